//! The middlewares that a manifest can put around a route. A new one is a file, and a line in the list below.
//!
//! The stack of a route is built once, outermost first; a route without middlewares has none and pays nothing.
//!
//! | type | origin | module |
//! |---|---|---|
//! | `basic-auth` | ours: tower-http has plain passwords alone | [`basic_auth`] |
//! | `compression` | tower-http, with our own choice: see the module | [`compression`] |
//! | `cors` | tower-http, only for real preflights | [`cors`] |
//! | `etag` | ours: tower-http has none for dynamic responses | [`etag`] |
//! | `rate-limit` | ours: tower's has one bucket for all clients, and makes them wait | [`rate_limit`] |
//! | `request-id` | ours: tower-http's has no notion of trust, and the id exists already | [`request_id`] |
//! | `response-headers`, `security-headers` | ours: a loop over a list | [`fields`] |

mod basic_auth;
mod compression;
mod cors;
pub(crate) mod etag;
mod fields;
mod layer;
mod rate_limit;
mod request_id;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::{Method, Request, Response};
use roadrunner_manifest::{Manifest, Middleware as Settings, MiddlewareName};
use roadrunner_sandbox::Secret;
use roadrunner_wire::{RequestBody, ResponseBody};
use tower::ServiceExt as _;

use self::layer::Middleware;
pub(crate) use self::layer::RouteService;

/// The list of the middlewares. Each can read the secrets that its settings name.
fn middleware(settings: &Settings, secrets: &BTreeMap<String, Secret>) -> Result<Box<dyn Middleware>> {
    Ok(match settings.clone() {
        Settings::BasicAuth(settings) => Box::new(basic_auth::BasicAuthMiddleware::new(settings, secrets)?),
        Settings::Compression(settings) => Box::new(compression::CompressionMiddleware(settings)),
        Settings::Cors(settings) => Box::new(cors::CorsMiddleware(settings)),
        Settings::Etag(settings) => Box::new(etag::EtagMiddleware(settings)),
        Settings::RateLimit(settings) => Box::new(rate_limit::RateLimitMiddleware::new(settings)),
        Settings::RequestId(settings) => Box::new(request_id::RequestIdMiddleware(settings)),
        Settings::ResponseHeaders(settings) => Box::new(fields::ResponseHeadersMiddleware(settings)),
        Settings::SecurityHeaders(settings) => Box::new(fields::SecurityHeadersMiddleware(settings)),
    })
}

/// The middlewares of a manifest, by name.
pub(crate) struct Middlewares(BTreeMap<MiddlewareName, Arc<dyn Middleware>>);

impl Middlewares {
    /// Opens the middlewares of a manifest. Those of the same name in `before` pass on what they keep.
    pub(crate) fn open(manifest: &Manifest, secrets: &BTreeMap<String, Secret>, before: Option<&Self>) -> Result<Self> {
        let open = |(name, settings): (&MiddlewareName, &Settings)| {
            let opened = middleware(settings, secrets);
            let mut middleware = opened.with_context(|| format!("cannot open the middleware {name}"))?;
            if let Some(known) = before.and_then(|Self(before)| before.get(name)) {
                middleware.keep(&**known);
            }
            Ok((name.clone(), Arc::from(middleware)))
        };
        Ok(Self(manifest.middlewares.iter().map(open).collect::<Result<_>>()?))
    }

    /// The method that a request asks about, if a middleware claims it: see [`Middleware::claims`].
    pub(crate) fn claim(&self, request: &Request<RequestBody>) -> Option<Method> {
        self.0.values().find_map(|middleware| middleware.claims(request))
    }

    /// Builds the stack of a route around its target; none when there is nothing to wrap.
    pub(crate) fn stack(&self, names: &[MiddlewareName], target: &RouteService) -> Option<Stack> {
        let middlewares: Vec<_> = names.iter().filter_map(|name| self.0.get(name).cloned()).collect();
        let wrap = |inner, middleware: &Arc<dyn Middleware>| middleware.wrap(inner);
        let service = middlewares.iter().rev().fold(target.clone(), wrap);
        (!middlewares.is_empty()).then_some(Stack { service, middlewares })
    }
}

/// The middlewares of one route, around its target.
pub(crate) struct Stack {
    service: RouteService,
    middlewares: Vec<Arc<dyn Middleware>>,
}

impl Stack {
    /// Whether one of the middlewares claims a request.
    pub(crate) fn claims(&self, request: &Request<RequestBody>) -> bool {
        self.middlewares.iter().any(|middleware| middleware.claims(request).is_some())
    }

    pub(crate) async fn call(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        match self.service.clone().oneshot(request).await {
            Ok(response) => response,
            Err(infallible) => match infallible {},
        }
    }
}

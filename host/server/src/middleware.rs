//! The middlewares that a manifest can put around a route.
//!
//! The stack of a route is built once, outermost first; a route without middlewares has none and pays nothing.
//!
//! | type | origin | module |
//! |---|---|---|
//! | `compression` | tower-http, with our own choice: see the module | [`compression`] |
//! | `cors` | tower-http, only for real preflights | [`cors`] |
//! | `etag` | ours: tower-http has none for dynamic responses | [`etag`] |
//! | `rate-limit` | ours: tower's has one bucket for all clients, and makes them wait | [`rate_limit`] |
//! | `request-id` | ours: tower-http's has no notion of trust, and the id exists already | [`request_id`] |
//! | `response-headers`, `security-headers` | ours: a loop over a list | [`fields`] |

mod compression;
pub(crate) mod cors;
pub(crate) mod etag;
mod fields;
mod rate_limit;
mod request_id;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use roadrunner_manifest::{Middleware, MiddlewareName};
use roadrunner_wire::{RequestBody, ResponseBody};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use crate::app;
use crate::buffers;
use crate::rate_limit::RateLimiter;

type Inner = BoxCloneSyncService<Request<RequestBody>, Response<ResponseBody>, Infallible>;

/// The limiters of the middlewares, by name; all routes that list a middleware share its limiter.
pub(crate) type Limiters = BTreeMap<MiddlewareName, Arc<RateLimiter>>;

/// The middlewares of one route, around its target.
#[derive(Clone)]
pub(crate) struct Stack(Inner);

impl Stack {
    /// Builds the stack; none when there is nothing to wrap.
    pub(crate) fn build(
        names: &[MiddlewareName],
        all: &BTreeMap<MiddlewareName, Middleware>,
        limiters: &Limiters,
    ) -> Option<Self> {
        if names.is_empty() {
            return None;
        }
        let target =
            BoxCloneSyncService::new(tower::service_fn(async |request| Ok(app::behind_middlewares(request).await)));
        let wrapped = names.iter().rev().filter_map(|name| Some((name, all.get(name)?)));
        Some(Self(wrapped.fold(target, |inner, (name, middleware)| wrap(middleware, limiters.get(name), inner))))
    }

    pub(crate) async fn call(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        match self.0.clone().oneshot(request).await {
            Ok(response) => response,
            Err(infallible) => match infallible {},
        }
    }
}

fn wrap(middleware: &Middleware, limiter: Option<&Arc<RateLimiter>>, inner: Inner) -> Inner {
    match middleware {
        Middleware::Compression(settings) => {
            BoxCloneSyncService::new(compression::wrap(settings, inner).map_response(buffers::compressed))
        }
        Middleware::Cors(settings) => cors::wrap(settings, inner),
        Middleware::Etag(settings) => etag::wrap(*settings, inner),
        Middleware::RateLimit(settings) => {
            let limiter = limiter.cloned().unwrap_or_else(|| Arc::new(RateLimiter::new(*settings)));
            rate_limit::wrap(limiter, inner)
        }
        Middleware::RequestId(settings) => request_id::wrap(settings, inner),
        Middleware::ResponseHeaders(settings) => fields::response_headers(settings, inner),
        Middleware::SecurityHeaders(settings) => fields::security_headers(settings, inner),
    }
}

//! The middlewares that a manifest can put around a route.
//!
//! The stack of a route is built once, outermost first; a route without middlewares has none and pays nothing.
//! CORS and compression are tower-http's. Compression leaves alone what must not be changed: event streams, what is
//! already encoded, ranges, and what has a strong validator (RFC 9110, 8.8.3.3), which is every file.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use roadrunner_manifest::{AnyOr, Compression, Cors, Encoding, Middleware, ResponseHeaders};
use roadrunner_sandbox::RequestId;
use roadrunner_wire::{Abort, RequestBody, ResponseBody};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::Predicate;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::app::{self, App};

type Inner = BoxCloneSyncService<Request<RequestBody>, Response<ResponseBody>, Infallible>;

/// The middlewares of one route, around its target.
#[derive(Clone)]
pub(crate) struct Stack(Inner);

impl Stack {
    /// None when there is nothing to wrap. The app is told of its stacks after it is made, hence `bind`.
    pub(crate) fn build(
        middlewares: &[Middleware],
        app: impl Fn() -> Option<App> + Clone + Send + Sync + 'static,
    ) -> Option<Self> {
        if middlewares.is_empty() {
            return None;
        }
        let target = tower::service_fn(move |request| {
            let app = app();
            async move {
                match app {
                    Some(app) => app.behind_middlewares(request).await,
                    None => Ok(app::plain(http::StatusCode::SERVICE_UNAVAILABLE, "the host is shutting down")),
                }
            }
        });
        let target = BoxCloneSyncService::new(target);
        Some(Self(middlewares.iter().rev().fold(target, |inner, middleware| wrap(middleware, inner))))
    }

    pub(crate) async fn call(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        match self.0.clone().oneshot(request).await {
            Ok(response) => response,
            Err(infallible) => match infallible {},
        }
    }
}

fn wrap(middleware: &Middleware, inner: Inner) -> Inner {
    match middleware {
        Middleware::Compression(settings) => {
            let encodings = settings.encodings.clone();
            let service = compression(settings).layer(inner.map_request(restore_preferences));
            let service = service.map_request(move |request| narrow_preferences(&encodings, request));
            BoxCloneSyncService::new(service.map_response(|response: Response<_>| response.map(reboxed)))
        }
        Middleware::Cors(settings) => {
            let service = cors(settings).layer(inner);
            BoxCloneSyncService::new(service)
        }
        Middleware::RequestId(settings) => {
            BoxCloneSyncService::new(WithRequestId { settings: settings.clone(), inner })
        }
        Middleware::ResponseHeaders(settings) => {
            let settings = settings.clone();
            BoxCloneSyncService::new(inner.map_response(move |response| with_headers(&settings, response)))
        }
    }
}

fn cors(settings: &Cors) -> CorsLayer {
    let origins = match &settings.origins {
        AnyOr::Any => AllowOrigin::any(),
        AnyOr::List(origins) => {
            AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
        }
    };
    let headers = match &settings.headers {
        AnyOr::Any => AllowHeaders::any(),
        AnyOr::List(headers) => AllowHeaders::list(headers.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods(settings.methods.clone())
        .allow_headers(headers)
        .expose_headers(settings.expose.clone())
        .allow_credentials(settings.credentials)
        .max_age(settings.max_age)
}

fn compression(settings: &Compression) -> CompressionLayer<impl Predicate + use<>> {
    let has = |encoding| settings.encodings.contains(&encoding);
    CompressionLayer::new()
        .br(has(Encoding::Brotli))
        .gzip(has(Encoding::Gzip))
        .zstd(has(Encoding::Zstd))
        .compress_when(Compressible { minimum: settings.minimum_size })
}

/// What the client accepts, while the compression layer sees only what was chosen of it.
#[derive(Clone)]
struct Preferences(Vec<HeaderValue>);

/// Leaves the layer no choice: of the codings that the client likes best, the first in the manifest's order.
fn narrow_preferences(encodings: &[Encoding], mut request: Request<RequestBody>) -> Request<RequestBody> {
    let given: Vec<_> = request.headers().get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
    let chosen = choose(encodings, given.iter().filter_map(|value| value.to_str().ok()));
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    if let Some(chosen) = chosen {
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(chosen));
    }
    request.extensions_mut().insert(Preferences(given));
    request
}

fn restore_preferences(mut request: Request<RequestBody>) -> Request<RequestBody> {
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    if let Some(Preferences(given)) = request.extensions_mut().remove() {
        for value in given {
            request.headers_mut().append(header::ACCEPT_ENCODING, value);
        }
    }
    request
}

/// RFC 9110, 12.5.3. None when the client accepts none of them, or likes identity better.
fn choose<'h>(encodings: &[Encoding], accepted: impl Iterator<Item = &'h str> + Clone) -> Option<&'static str> {
    let weight = |wanted: &str| {
        let mut wildcard = None;
        for item in accepted.clone().flat_map(|value| value.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or("");
            let q = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let q = q.map_or(Some(1.0), |q| q.parse::<f32>().ok()).unwrap_or(0.0);
            if name.eq_ignore_ascii_case(wanted) {
                return Some(q);
            }
            if name == "*" {
                wildcard = Some(q);
            }
        }
        wildcard
    };
    let identity = weight("identity");
    let mut best: Option<(&'static str, f32)> = None;
    for encoding in encodings {
        let name = match encoding {
            Encoding::Brotli => "br",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        };
        let q = weight(name).unwrap_or(0.0);
        if q > best.map_or(0.0, |(_, q)| q) {
            best = Some((name, q));
        }
    }
    best.filter(|(_, q)| identity.is_none_or(|identity| identity <= *q)).map(|(name, _)| name)
}

/// Which responses may be compressed.
#[derive(Clone, Copy)]
struct Compressible {
    minimum: u64,
}

impl Predicate for Compressible {
    fn should_compress<B>(&self, response: &Response<B>) -> bool
    where
        B: http_body::Body,
    {
        let headers = response.headers();
        let small = response.body().size_hint().exact().is_some_and(|size| size < self.minimum);
        let strong = headers.get(header::ETAG).is_some_and(|etag| !etag.as_bytes().starts_with(b"W/"));
        let fixed = headers.contains_key(header::CONTENT_RANGE)
            || headers.get(header::CACHE_CONTROL).is_some_and(|value| contains(value, "no-transform"));
        let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media = media.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let text = media.starts_with("text/")
            || media.ends_with("+json")
            || media.ends_with("+xml")
            || matches!(
                &*media,
                "application/json"
                    | "application/javascript"
                    | "application/xml"
                    | "application/wasm"
                    | "application/x-ndjson"
            );
        text && !small && !strong && !fixed && media != "text/event-stream"
    }
}

fn contains(value: &HeaderValue, word: &str) -> bool {
    value.to_str().is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
}

fn with_headers(settings: &ResponseHeaders, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    let headers = response.headers_mut();
    for name in &settings.remove {
        headers.remove(name);
    }
    for (name, value) in &settings.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &settings.default {
        if !headers.contains_key(name) {
            headers.insert(name, value.clone());
        }
    }
    response
}

/// Puts the request's id into a header of the request and of the response.
#[derive(Clone)]
struct WithRequestId {
    settings: roadrunner_manifest::RequestId,
    inner: Inner,
}

impl tower::Service<Request<RequestBody>> for WithRequestId {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let name = self.settings.header.clone();
        let given = self.settings.trust.then(|| given_id(&request, &name)).flatten();
        if let Some(given) = given
            && let Some(context) = request.extensions_mut().get_mut::<app::Context>()
        {
            context.id = RequestId::Given(given.into());
        }
        let id = request.extensions().get::<app::Context>().map(|context| context.id.to_string());
        let id = id.and_then(|id| HeaderValue::from_str(&id).ok());
        if let Some(id) = &id {
            request.headers_mut().insert(name.clone(), id.clone());
        }
        let response = self.inner.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            if let Some(id) = id {
                response.headers_mut().insert(name, id);
            }
            Ok(response)
        })
    }
}

/// The client's own id, if it is short and printable.
fn given_id(request: &Request<RequestBody>, name: &HeaderName) -> Option<String> {
    let value = request.headers().get(name)?.to_str().ok()?;
    let fits = (1..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| value.to_owned())
}

/// A response body again, after a layer has changed its type.
fn reboxed<B>(body: B) -> ResponseBody
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    if body.is_end_stream() {
        return ResponseBody::empty();
    }
    ResponseBody::new(Box::pin(body).map_err(|_| Abort))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_likes_first_and_the_manifest_breaks_ties() {
        let all = [Encoding::Zstd, Encoding::Brotli, Encoding::Gzip];
        let gzip_first = [Encoding::Gzip, Encoding::Brotli];
        for (encodings, accepted, chosen) in [
            (&all[..], "gzip, br, zstd", Some("zstd")),
            (&gzip_first[..], "gzip, br, zstd", Some("gzip")),
            (&gzip_first[..], "br;q=1, gzip;q=0.8", Some("br")),
            (&all[..], "gzip;q=0", None),
            (&all[..], "", None),
            (&all[..], "*", Some("zstd")),
            (&all[..], "*;q=0.5, gzip", Some("gzip")),
            (&all[..], "identity, gzip;q=0.5", None),
            (&all[..], "GZIP; q=0.3", Some("gzip")),
        ] {
            assert_eq!(choose(encodings, [accepted].into_iter()), chosen, "{accepted}");
        }
    }
}

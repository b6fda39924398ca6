//! Cross-origin requests (Fetch standard): tower-http's layer, which takes every OPTIONS for a preflight. Here only
//! requests that ask for a method are preflights; any other OPTIONS goes to the guest, with the fields of an ordinary
//! answer.

use http::{HeaderValue, Method, Request, header};
use roadrunner_manifest::{AnyOr, Cors};
use roadrunner_wire::RequestBody;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::layer::{Middleware, RouteService};

pub(super) struct CorsMiddleware(pub(super) Cors);

impl Middleware for CorsMiddleware {
    fn wrap(&self, inner: RouteService) -> RouteService {
        let service = layer(&self.0).layer(inner.map_request(restore_method));
        BoxCloneSyncService::new(service.map_request(hide_method))
    }

    /// Claims CORS preflights, which belong to the route that they ask about.
    fn claims(&self, request: &Request<RequestBody>) -> Option<Method> {
        preflighted(request)
    }
}

/// The method that a CORS preflight asks about (Fetch standard, CORS-preflight request); none for any other request.
fn preflighted(request: &Request<RequestBody>) -> Option<Method> {
    let headers = request.headers();
    if request.method() != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    Method::from_bytes(headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

/// A mark on an OPTIONS that is not a preflight, while the layer takes it for a GET.
#[derive(Clone, Copy)]
struct Options;

fn hide_method(mut request: Request<RequestBody>) -> Request<RequestBody> {
    if request.method() == Method::OPTIONS && preflighted(&request).is_none() {
        *request.method_mut() = Method::GET;
        request.extensions_mut().insert(Options);
    }
    request
}

fn restore_method(mut request: Request<RequestBody>) -> Request<RequestBody> {
    if request.extensions_mut().remove::<Options>().is_some() {
        *request.method_mut() = Method::OPTIONS;
    }
    request
}

fn layer(settings: &Cors) -> CorsLayer {
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

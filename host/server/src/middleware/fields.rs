//! Response headers that the manifest sets, adds and removes.

use http::{HeaderMap, Response, header};
use roadrunner_manifest::{ResponseHeaders, SecurityHeaders};
use roadrunner_wire::ResponseBody;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use super::layer::{Middleware, RouteService};
use crate::context::Context;

pub(super) struct ResponseHeadersMiddleware(pub(super) ResponseHeaders);

impl Middleware for ResponseHeadersMiddleware {
    fn wrap(&self, inner: RouteService) -> RouteService {
        let settings = self.0.clone();
        BoxCloneSyncService::new(inner.map_response(move |response| with_headers(&settings, response)))
    }
}

/// The security headers. A header that the response already has stays.
pub(super) struct SecurityHeadersMiddleware(pub(super) SecurityHeaders);

impl Middleware for SecurityHeadersMiddleware {
    fn wrap(&self, inner: RouteService) -> RouteService {
        let settings = self.0.clone();
        let service = tower::service_fn(move |request: http::Request<_>| {
            let settings = settings.clone();
            let is_tls = request.extensions().get::<Context>().is_some_and(|context| context.scheme == "https");
            let response = inner.clone().oneshot(request);
            async move {
                let mut response: Response<ResponseBody> = response.await?;
                let headers = response.headers_mut();
                for (name, value) in &settings.fields {
                    add(headers, name, value);
                }
                // RFC 6797, 7.2: the field is not sent over plaintext.
                if let Some(value) = settings.transport.as_ref().filter(|_| is_tls) {
                    add(headers, &header::STRICT_TRANSPORT_SECURITY, value);
                }
                Ok(response)
            }
        });
        BoxCloneSyncService::new(service)
    }
}

fn add(headers: &mut HeaderMap, name: &http::HeaderName, value: &http::HeaderValue) {
    if !headers.contains_key(name) {
        headers.insert(name, value.clone());
    }
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

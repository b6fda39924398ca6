//! Request ids in headers: the id of the logs, or that of a trusted proxy.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response};
use roadrunner_account::RequestId;
use roadrunner_wire::{RequestBody, ResponseBody};
use tower::util::BoxCloneSyncService;

use super::layer::{Middleware, RouteService};
use crate::context;

pub(super) struct RequestIdMiddleware(pub(super) roadrunner_manifest::RequestId);

impl Middleware for RequestIdMiddleware {
    fn wrap(&self, inner: RouteService) -> RouteService {
        BoxCloneSyncService::new(WithRequestId { settings: self.0.clone(), inner })
    }
}

/// Puts the request's id into a header of the request and of the response.
#[derive(Clone)]
struct WithRequestId {
    settings: roadrunner_manifest::RequestId,
    inner: RouteService,
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
        let is_trusted = |context: &context::Context| self.settings.trust && context.connection.is_from_trusted_proxy();
        let is_trusted = request.extensions().get::<context::Context>().is_some_and(is_trusted);
        let given = is_trusted.then(|| given_id(&request, &name)).flatten();
        if let Some(given) = given
            && let Some(context) = request.extensions_mut().get_mut::<context::Context>()
        {
            context.id = RequestId::Given(given.into());
        }
        let id = request.extensions().get::<context::Context>().map(|context| context.id.to_string());
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

/// The id that came with the request, if it is short and printable.
fn given_id(request: &Request<RequestBody>, name: &HeaderName) -> Option<String> {
    let value = request.headers().get(name)?.to_str().ok()?;
    let fits = (1..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| value.to_owned())
}

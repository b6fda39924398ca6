//! The contract of a middleware.

use std::any::Any;
use std::convert::Infallible;

use http::{Method, Request, Response};
use roadrunner_wire::{RequestBody, ResponseBody};
use tower::util::BoxCloneSyncService;

/// A service that answers the requests of a route: its target, with some middlewares around it.
pub(crate) type RouteService = BoxCloneSyncService<Request<RequestBody>, Response<ResponseBody>, Infallible>;

/// A middleware of the manifest. All routes that list its name share it.
pub(crate) trait Middleware: Any + Send + Sync {
    /// Puts the middleware around a service.
    fn wrap(&self, inner: RouteService) -> RouteService;

    /// Takes over the state of the middleware that had the same name in the manifest before.
    fn keep(&mut self, _before: &dyn Middleware) {}

    /// The method that a request asks about, where the middleware answers it in the place of a route for that method;
    /// none for any other request.
    fn claims(&self, _request: &Request<RequestBody>) -> Option<Method> {
        None
    }
}

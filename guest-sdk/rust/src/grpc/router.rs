//! The services of a component.

use std::convert::Infallible;

use http::StatusCode;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic_web::GrpcWebLayer;
use tower_layer::Layer as _;

use super::call::{Call, over};
use crate::request::Request;
use crate::response::{IntoResponse, Response};

/// Gives a call to the service that its path names. A path that names no service is answered with
/// [`tonic::Code::Unimplemented`].
#[derive(Debug)]
pub struct Router(State);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum State {
    Searching(Request),
    Answered(Response),
}

impl Router {
    /// Starts with a request and no service.
    pub fn new(request: Request) -> Self {
        Self(State::Searching(request))
    }

    /// Adds a service: the server that tonic has generated for it. It is called at once if the request is for it.
    #[must_use]
    pub fn add_service<S>(self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + NamedService,
    {
        match self.0 {
            State::Searching(request) if names(&request.path(), S::NAME) => {
                Self(State::Answered(answer(service, request)))
            }
            state => Self(state),
        }
    }
}

impl IntoResponse for Router {
    fn into_response(self) -> Response {
        match self.0 {
            State::Answered(response) => response,
            State::Searching(request) if is_call(&request) => over(Status::unimplemented("there is no such service")),
            State::Searching(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "this is gRPC\n").into_response(),
        }
    }
}

fn answer<S>(service: S, request: Request) -> Response
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    if content_type(&request).starts_with("application/grpc-web") {
        return Call::start(GrpcWebLayer::new().layer(service), request);
    }
    Call::start(service, request)
}

/// Whether a path is that of a method of this service: `/demo.v1.Greeter/SayHello`.
fn names(path: &str, service: &str) -> bool {
    path.strip_prefix('/').and_then(|path| path.strip_prefix(service)).is_some_and(|method| method.starts_with('/'))
}

fn is_call(request: &Request) -> bool {
    content_type(request).starts_with("application/grpc")
}

fn content_type(request: &Request) -> String {
    request.header("content-type").unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_service() {
        assert!(names("/demo.v1.Greeter/SayHello", "demo.v1.Greeter"));
        for path in
            ["/demo.v1.Greeter", "/demo.v1.Greeters/SayHello", "/demo.v1/SayHello", "demo.v1.Greeter/SayHello", ""]
        {
            assert!(!names(path, "demo.v1.Greeter"), "{path}");
        }
    }
}

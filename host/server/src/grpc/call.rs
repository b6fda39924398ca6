//! A request of gRPC or gRPC-Web.

use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request};
use roadrunner_grpc::{Protocol, timeout};
use roadrunner_wire::RequestBody;

use crate::answer::Reason;

/// The facts about a call that matter until its end.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) protocol: Protocol,
    /// The time at which the caller gives up; none if it waits for ever.
    pub(crate) deadline: Option<Instant>,
    /// The reason why the caller's timeout is none.
    malformed: Option<&'static str>,
}

impl Call {
    /// The call that a request is; none for any other request.
    pub(crate) fn of(request: &Request<RequestBody>) -> Option<Self> {
        let protocol = Protocol::of(request.headers())?;
        let (timeout, malformed) = match timeout(request.headers()) {
            Ok(timeout) => (timeout, None),
            Err(reason) => (None, Some(reason)),
        };
        Some(Self { protocol, deadline: timeout.and_then(after), malformed })
    }

    /// The reason not to answer a request of a route; `only` says whether the route takes calls alone.
    pub(crate) fn refusal(call: Option<&Self>, only: bool, method: &Method) -> Option<Reason> {
        if let Some(reason) = call.and_then(|call| call.malformed) {
            return Some(Reason::BadTimeout(reason));
        }
        if !only {
            return None;
        }
        if method != Method::POST {
            return Some(Reason::MethodNotAllowed(HeaderValue::from_static("POST")));
        }
        // PROTOCOL-HTTP2.md, Requests: any other content type is answered with 415.
        call.is_none().then_some(Reason::NotGrpc)
    }
}

/// The time after this duration; none if no clock reaches it.
fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// The earlier of two times.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(timeout: Option<&str>) -> Request<RequestBody> {
        let request = Request::post("/a.B/C").header("content-type", "application/grpc");
        let request = timeout.into_iter().fold(request, |request, timeout| request.header("grpc-timeout", timeout));
        request.body(RequestBody::empty()).expect("a request")
    }

    #[test]
    fn a_timeout_becomes_a_deadline() {
        let before = Instant::now();
        let call = Call::of(&request(Some("2S"))).expect("a call");
        let deadline = call.deadline.expect("a deadline");
        assert!(deadline >= before + Duration::from_secs(2) && deadline <= Instant::now() + Duration::from_secs(2));
        assert_eq!(Call::of(&request(None)).expect("a call").deadline, None);
        let plain = Request::post("/a.B/C").body(RequestBody::empty()).expect("a request");
        assert!(Call::of(&plain).is_none());
    }

    #[test]
    fn a_route_for_calls_takes_nothing_else() {
        let call = Call::of(&request(None));
        assert!(Call::refusal(call.as_ref(), true, &Method::POST).is_none());
        assert!(matches!(Call::refusal(call.as_ref(), true, &Method::GET), Some(Reason::MethodNotAllowed(_))));
        assert!(matches!(Call::refusal(None, true, &Method::POST), Some(Reason::NotGrpc)));
        assert!(Call::refusal(None, false, &Method::GET).is_none());
        let malformed = Call::of(&request(Some("2 seconds")));
        assert!(matches!(Call::refusal(malformed.as_ref(), false, &Method::POST), Some(Reason::BadTimeout(_))));
    }
}

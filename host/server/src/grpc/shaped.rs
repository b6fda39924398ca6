//! Answers of the host in the form of gRPC.

use http::{Response, StatusCode, header};
use roadrunner_grpc::{Protocol, Status};
use roadrunner_wire::ResponseBody;

use crate::answer::Refused;

/// Gives an answer of the host the form that a call expects: 200, and the status in the head. An answer of a guest
/// stays as it is.
pub(crate) fn shaped(mut response: Response<ResponseBody>, protocol: &Protocol) -> Response<ResponseBody> {
    let Some(Refused(code)) = response.extensions_mut().remove() else { return response };
    let text = response.body().bytes().map(|bytes| String::from_utf8_lossy(bytes).trim_end().to_owned());
    let status = Status::new(code, text.unwrap_or_default());
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = ResponseBody::empty();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    for (name, value) in &status.head(protocol) {
        headers.insert(name, value.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use roadrunner_account::Outcome;

    use super::*;
    use crate::answer::{Reason, plain, refuse};

    fn protocol() -> Protocol {
        let content_type = HeaderValue::from_static("application/grpc+proto");
        Protocol::of(&HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)])).expect("a protocol")
    }

    #[test]
    fn an_answer_of_the_host_is_over_with_its_head() {
        for (reason, code) in [
            (Reason::NotFound, "12"),
            (Outcome::Trapped.into(), "13"),
            (Outcome::TotalExceeded.into(), "4"),
            (Outcome::Overloaded.into(), "14"),
            (Outcome::BodyTooLarge.into(), "8"),
            (Reason::ForeignOrigin("session"), "7"),
            (Reason::Unauthorized(HeaderValue::from_static("Basic")), "16"),
            (Reason::BadTimeout("no time"), "13"),
        ] {
            let response = shaped(refuse(reason), &protocol());
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], code);
            assert_eq!(response.headers()["content-type"], "application/grpc+proto");
            assert!(response.headers().contains_key("grpc-message"));
            assert!(http_body::Body::is_end_stream(response.body()));
        }
    }

    #[test]
    fn an_answer_of_a_guest_stays() {
        let response = shaped(plain(StatusCode::NOT_FOUND, "no"), &protocol());
        assert_eq!(response.status(), 404);
        assert!(!response.headers().contains_key("grpc-status"));
    }
}

//! The types that a handler can return.

use bytes::Bytes;
use http::StatusCode;

use super::{EventLoop, Response, SendFile, Stream, WebSocket, WebTransport};
use crate::fields::Fields;

/// Converts into a response. Text becomes `text/plain; charset=utf-8`, bytes `application/octet-stream`; a status, and
/// header fields, may come before either in a tuple. The fields of a tuple or an [`http::Response`] replace those of
/// the same name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a response",
    label = "a handler returns text, bytes, `Json`, `(StatusCode, ...)`, `http::Response`, a shape such as `Stream`, or a `Result` of two of these",
    note = "see `roadrunner_guest::IntoResponse`"
)]
pub trait IntoResponse {
    /// The response.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for Stream {
    fn into_response(self) -> Response {
        self.response
    }
}

impl IntoResponse for EventLoop {
    fn into_response(self) -> Response {
        self.response
    }
}

impl IntoResponse for SendFile {
    fn into_response(self) -> Response {
        self.response
    }
}

impl IntoResponse for WebSocket {
    fn into_response(self) -> Response {
        self.response
    }
}

impl IntoResponse for WebTransport {
    fn into_response(self) -> Response {
        self.response
    }
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        text(self)
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        text(self)
    }
}

impl IntoResponse for &'static [u8] {
    fn into_response(self) -> Response {
        bytes(self)
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        bytes(self)
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        bytes(self)
    }
}

/// A response with an empty body.
impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::buffered([])
    }
}

/// A response with an empty body.
impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        Response::buffered([]).status(self)
    }
}

impl<R: IntoResponse> IntoResponse for (StatusCode, R) {
    fn into_response(self) -> Response {
        self.1.into_response().status(self.0)
    }
}

impl<H: Into<Fields>, R: IntoResponse> IntoResponse for (StatusCode, H, R) {
    fn into_response(self) -> Response {
        with_fields(self.2.into_response().status(self.0), &self.1.into())
    }
}

/// A response whose body may be any shape: `http::Response<Stream>`, for example.
impl<R: IntoResponse> IntoResponse for http::Response<R> {
    fn into_response(self) -> Response {
        let (head, body) = self.into_parts();
        with_fields(body.into_response().status(head.status), &Fields::from(head.headers))
    }
}

impl<R: IntoResponse, E: IntoResponse> IntoResponse for Result<R, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(response) => response.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

fn text(body: impl Into<Vec<u8>>) -> Response {
    Response::buffered(body).header("content-type", "text/plain; charset=utf-8")
}

fn bytes(body: impl Into<Vec<u8>>) -> Response {
    Response::buffered(body).header("content-type", "application/octet-stream")
}

/// Adds fields, including repeated ones. They replace the response's own fields of the same name.
fn with_fields(mut response: Response, fields: &Fields) -> Response {
    let given: Vec<_> = response.headers.iter().filter(|(name, _)| fields.get(name).is_none()).collect();
    response.headers = given.into_iter().chain(fields.iter()).collect();
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Shape;

    fn seen(response: impl IntoResponse) -> (u16, Vec<(String, String)>, String) {
        let response = response.into_response();
        let Shape::Buffered { body, .. } = response.shape else { panic!("not a buffered response") };
        let headers =
            response.headers.iter().map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned()));
        (response.status, headers.collect(), String::from_utf8(body).unwrap())
    }

    fn field(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn text_and_bytes_say_what_they_are() {
        assert_eq!(seen("hi"), (200, vec![field("content-type", "text/plain; charset=utf-8")], "hi".to_owned()));
        assert_eq!(
            seen(b"hi".to_vec()),
            (200, vec![field("content-type", "application/octet-stream")], "hi".to_owned())
        );
    }

    #[test]
    fn a_status_stands_alone_or_first() {
        assert_eq!(seen(StatusCode::NO_CONTENT), (204, vec![], String::new()));
        assert_eq!(seen((StatusCode::NOT_FOUND, "no")).0, 404);
    }

    #[test]
    fn fields_of_a_tuple_replace_and_repeat() {
        let (_, headers, _) = seen((StatusCode::OK, [("Content-Type", "a/b"), ("x", "1"), ("x", "2")], "hi"));
        assert_eq!(headers, [field("content-type", "a/b"), field("x", "1"), field("x", "2")]);
    }

    #[test]
    fn a_response_of_the_http_crate_is_one() {
        let response = http::Response::builder().status(201).header("content-type", "a/b").body("made").unwrap();
        assert_eq!(seen(response), (201, vec![field("content-type", "a/b")], "made".to_owned()));
    }

    #[test]
    fn either_side_of_a_result_answers() {
        assert_eq!(seen(Ok::<_, StatusCode>("fine")).2, "fine");
        assert_eq!(seen(Err::<&str, _>(StatusCode::CONFLICT)).0, 409);
    }
}

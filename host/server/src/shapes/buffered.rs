//! The shape buffered, and the heads of the others.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use roadrunner_sandbox::Head;
use roadrunner_wire::ResponseBody;

use super::facts::RequestFacts;
use crate::middleware::etag::HeadBody;

/// Whether the answer ends with its head: answers to HEAD, and 204 and 304 (RFC 9110, 6.4.1).
pub(super) fn has_no_body(head: &Head, facts: &RequestFacts) -> bool {
    facts.is_head() || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

pub(super) fn buffered(head: Head, body: Bytes, trailers: HeaderMap, facts: &RequestFacts) -> Response<ResponseBody> {
    let length = HeaderValue::from(body.len());
    if has_no_body(&head, facts) {
        let mut response = with_body(head, ResponseBody::empty());
        // RFC 9110, 9.3.2: the length that GET would have sent.
        if facts.is_head()
            && !response.headers().contains_key(header::CONTENT_LENGTH)
            && response.status() != StatusCode::NO_CONTENT
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
        }
        if facts.is_head() {
            response.extensions_mut().insert(HeadBody(body));
        }
        return response;
    }
    if trailers.is_empty() {
        return with_body(head, ResponseBody::full(body));
    }
    let mut response = with_body(head, ResponseBody::full_with_trailers(body, trailers));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

pub(super) fn with_body(head: Head, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

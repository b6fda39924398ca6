//! From a guest's answer to a response: one driver for each shape.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use roadrunner_sandbox::{self as sandbox, Failure, Head, Instance, Outcome};
use roadrunner_wire::{Connection, ResponseBody};

use crate::app::{Guest, Inner};
use crate::record::Record;

mod event_loop;
pub(crate) mod file;
mod stream;

/// What the shapes need to know of the request after the guest has it.
pub(crate) struct Asked {
    method: Method,
    /// What a file response depends on.
    conditions: HeaderMap,
}

impl Asked {
    pub(crate) fn of(head: &http::request::Parts) -> Self {
        Self { method: head.method.clone(), conditions: file::conditions(&head.headers) }
    }

    fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// Answers in the shape that the guest chose.
pub(crate) async fn answer(
    app: &Arc<Inner>,
    guest: &Guest,
    mut instance: Instance,
    response: sandbox::Response,
    asked: Asked,
    connection: Arc<Connection>,
    mut record: Record,
) -> Response<ResponseBody> {
    match response {
        sandbox::Response::Buffered { head, body, trailers } => {
            instance.finish();
            record.done(buffered(head, body, trailers, &asked))
        }
        sandbox::Response::Stream(head) => {
            if has_no_body(&head, &asked) {
                return record.done(with_body(head, ResponseBody::empty()));
            }
            record.head(head.status);
            with_body(head, stream::body(instance, record))
        }
        sandbox::Response::Loop { head, body_events } => {
            if has_no_body(&head, &asked) {
                return record.done(with_body(head, ResponseBody::empty()));
            }
            if let Err(outcome) = instance.hold() {
                drop(instance);
                return record.failed(outcome.into());
            }
            record.head(head.status);
            with_body(head, event_loop::body(app.clone(), instance, body_events, connection, record))
        }
        sandbox::Response::Sendfile { head, directory, path, range } => {
            drop(instance);
            file::send(app, guest, head, &directory, &path, range, &asked, record).await
        }
        sandbox::Response::WebSocket { .. } => {
            drop(instance);
            record.failed(Failure::new(Outcome::Unsupported, "this host does not serve WebSockets yet"))
        }
        sandbox::Response::WebTransport { .. } => {
            drop(instance);
            record.failed(Failure::new(Outcome::Unsupported, "this host does not serve WebTransport yet"))
        }
    }
}

fn buffered(head: Head, body: Bytes, trailers: HeaderMap, asked: &Asked) -> Response<ResponseBody> {
    let length = HeaderValue::from(body.len());
    if has_no_body(&head, asked) {
        let mut response = with_body(head, ResponseBody::empty());
        // RFC 9110, 9.3.2: what GET would have sent.
        if asked.is_head() && !response.headers().contains_key(header::CONTENT_LENGTH) && response.status() != StatusCode::NO_CONTENT {
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
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

fn with_body(head: Head, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// RFC 9110, 6.4.1: answers to HEAD, and 204 and 304, end with their head.
fn has_no_body(head: &Head, asked: &Asked) -> bool {
    asked.is_head() || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

//! Conversion of a guest's answer to a response: one driver for each shape.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use roadrunner_account::{Failure, Outcome};
use roadrunner_sandbox::{self as sandbox, Head, Instance};
use roadrunner_wire::{Connection, Held, ResponseBody, TunnelKind, TunnelRequest};

use crate::app::plain;
use crate::middleware::etag::HeadBody;
use crate::record::Record;
use crate::serving::{Guest, Serving};

mod event_loop;
pub(crate) mod file;
pub(crate) mod standard;
mod stream;
pub(crate) mod websocket;
pub(crate) mod webtransport;

/// The parts of the request that the shapes need after the guest has it.
pub(crate) struct Asked {
    method: Method,
    /// The fields that a file response depends on.
    conditions: HeaderMap,
    /// The handshake of the request.
    handshake: Option<Handshake>,
}

/// A valid handshake.
pub(crate) enum Handshake {
    WebSocket(websocket::Handshake),
    WebTransport(TunnelRequest),
}

impl Asked {
    pub(crate) fn of(head: &http::request::Parts, handshake: Option<Handshake>) -> Self {
        Self { method: head.method.clone(), conditions: file::conditions(&head.headers), handshake }
    }

    /// Whether a 2xx answer would open a tunnel (RFC 8441, 4).
    fn is_connect(&self) -> bool {
        self.handshake.as_ref().is_some_and(|handshake| match handshake {
            Handshake::WebSocket(handshake) => handshake.tunnel.kind() == TunnelKind::ExtendedConnect,
            Handshake::WebTransport(_) => true,
        })
    }

    fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// Answers in the shape that the guest chose.
pub(crate) async fn answer(
    serving: &Arc<Serving>,
    guest: &Guest,
    mut instance: Instance,
    response: sandbox::Response,
    asked: Asked,
    connection: Arc<Connection>,
    mut record: Record,
) -> Response<ResponseBody> {
    if let Some(refusal) = record.refusal() {
        drop(instance);
        return record.refused(&refusal);
    }
    if asked.is_connect() && head_of(&response).is_some_and(|head| head.status.is_success()) {
        drop(instance);
        return mismatch(record, "there is nothing here that a handshake could open");
    }
    match response {
        sandbox::Response::Buffered { head, body, trailers } => {
            if !has_no_body(&head, &asked) && head.length.is_some_and(|length| length != body.len() as u64) {
                drop(instance);
                return record.failed(Claim::broken());
            }
            instance.finish();
            record.done(buffered(head, body, trailers, &asked))
        }
        sandbox::Response::Stream(head) => {
            if has_no_body(&head, &asked) {
                return record.done(with_body(head, ResponseBody::empty()));
            }
            let mut stream = stream::Stream::new(instance, Claim(head.length), record);
            if stream.is_in_doubt()
                && let Some(refusal) = Box::pin(stream.begin()).await
            {
                return stream.refused(&refusal);
            }
            stream.answer(head)
        }
        sandbox::Response::Loop { head, body_events } => {
            if has_no_body(&head, &asked) {
                return record.done(with_body(head, ResponseBody::empty()));
            }
            if let Err(outcome) = instance.hold() {
                drop(instance);
                return record.failed(outcome.into());
            }
            let claim = Claim(head.length);
            record.head(head.status);
            record.holds();
            let body = event_loop::body(serving.clone(), instance, body_events, claim, connection, record);
            let mut response = with_body(head, body);
            response.extensions_mut().insert(Held);
            response
        }
        sandbox::Response::Sendfile { head, directory, path, range } => {
            drop(instance);
            Box::pin(file::send(serving, guest, head, &directory, &path, range, &asked, &connection, record)).await
        }
        sandbox::Response::WebSocket { headers, subprotocol } => {
            let Some(Handshake::WebSocket(handshake)) = asked.handshake else {
                drop(instance);
                return websocket::not_asked(&connection, record);
            };
            websocket::accept(serving, guest, instance, handshake, headers, subprotocol.as_deref(), record)
        }
        sandbox::Response::WebTransport { headers } => {
            let Some(Handshake::WebTransport(tunnel)) = asked.handshake else {
                drop(instance);
                return mismatch(record, "this is a WebTransport session, which an extended CONNECT of HTTP/3 opens");
            };
            webtransport::accept(serving, guest, instance, tunnel, headers, connection, record)
        }
    }
}

/// Answers a client whose handshake, or lack of it, does not fit the route.
fn mismatch(record: Record, reason: &str) -> Response<ResponseBody> {
    record.answered(plain(StatusCode::BAD_REQUEST, reason), &Outcome::HandshakeMismatch.into())
}

/// The head of an ordinary response.
fn head_of(response: &sandbox::Response) -> Option<&Head> {
    match response {
        sandbox::Response::Buffered { head, .. }
        | sandbox::Response::Stream(head)
        | sandbox::Response::Loop { head, .. }
        | sandbox::Response::Sendfile { head, .. } => Some(head),
        sandbox::Response::WebSocket { .. } | sandbox::Response::WebTransport { .. } => None,
    }
}

fn buffered(head: Head, body: Bytes, trailers: HeaderMap, asked: &Asked) -> Response<ResponseBody> {
    let length = HeaderValue::from(body.len());
    if has_no_body(&head, asked) {
        let mut response = with_body(head, ResponseBody::empty());
        // RFC 9110, 9.3.2: the length that GET would have sent.
        if asked.is_head()
            && !response.headers().contains_key(header::CONTENT_LENGTH)
            && response.status() != StatusCode::NO_CONTENT
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
        }
        if asked.is_head() {
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

fn with_body(head: Head, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// The rest of the length that a guest declared for a body that it writes piece by piece. A body with another length is
/// aborted before the first byte too many, or in place of its end: it must never look whole.
#[derive(Clone, Copy, Debug)]
struct Claim(Option<u64>);

impl Claim {
    /// Takes a chunk from the rest; false when it does not fit.
    fn take(&mut self, chunk: &Bytes) -> bool {
        let Self(Some(left)) = self else { return true };
        match left.checked_sub(chunk.len() as u64) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }

    /// Whether the body may end here.
    fn is_kept(self) -> bool {
        self.0.unwrap_or(0) == 0
    }

    /// Whether the client has the whole declared length. The connection may then drop the body, which does not mean
    /// that the client has left early.
    fn is_reached(self) -> bool {
        self.0 == Some(0)
    }

    fn broken() -> Failure {
        Failure::new(Outcome::InvalidResponse, "the body is not as long as content-length says")
    }
}

/// Whether the answer ends with its head: answers to HEAD, and 204 and 304 (RFC 9110, 6.4.1).
fn has_no_body(head: &Head, asked: &Asked) -> bool {
    asked.is_head() || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

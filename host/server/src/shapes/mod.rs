//! Conversion of a guest's answer to a response: one driver for each shape.

use std::sync::Arc;

use http::Response;
use roadrunner_sandbox::{self as sandbox, Head, Instance};
use roadrunner_wire::{Connection, Held, ResponseBody};

use self::buffered::{buffered, has_no_body, with_body};
use self::claim::Claim;
pub(crate) use self::facts::RequestFacts;
pub(crate) use self::handshake::Handshake;
use crate::answer::Reason;
use crate::record::Record;
use crate::serving::{Guest, Serving};

mod buffered;
mod claim;
mod event_loop;
mod facts;
pub(crate) mod file;
mod handshake;
mod held;
mod origins;
pub(crate) mod standard;
mod stream;
pub(crate) mod websocket;
pub(crate) mod webtransport;

/// Answers in the shape that the guest chose.
pub(crate) async fn answer(
    serving: &Arc<Serving>,
    guest: &Guest,
    mut instance: Instance,
    response: sandbox::Response,
    facts: RequestFacts,
    connection: Arc<Connection>,
    mut record: Record,
) -> Response<ResponseBody> {
    if let Some(refusal) = record.refusal() {
        drop(instance);
        return record.refused(&refusal);
    }
    if facts.is_connect() && head_of(&response).is_some_and(|head| head.status.is_success()) {
        drop(instance);
        return record.mismatched(Reason::Mismatch("there is nothing here that a handshake could open"));
    }
    match response {
        sandbox::Response::Buffered { head, body, trailers } => {
            if !has_no_body(&head, &facts) && head.length.is_some_and(|length| length != body.len() as u64) {
                drop(instance);
                return record.failed(Claim::broken());
            }
            instance.finish();
            record.trailers(&trailers);
            record.done(buffered(head, body, trailers, &facts))
        }
        sandbox::Response::Stream(head) => {
            if has_no_body(&head, &facts) {
                return record.done(with_body(head, ResponseBody::empty()));
            }
            let mut stream = stream::Stream::new(instance, Claim::new(head.length), record);
            if stream.is_in_doubt()
                && let Some(refusal) = Box::pin(stream.begin()).await
            {
                return stream.refused(&refusal);
            }
            stream.answer(head)
        }
        sandbox::Response::Loop { head, body_events } => {
            if has_no_body(&head, &facts) {
                return record.done(with_body(head, ResponseBody::empty()));
            }
            if let Err(outcome) = instance.hold() {
                drop(instance);
                return record.failed(outcome.into());
            }
            let claim = Claim::new(head.length);
            record.head(head.status, &head.headers);
            record.holds();
            let body = event_loop::body(serving.clone(), instance, body_events, claim, connection, record);
            let mut response = with_body(head, body);
            response.extensions_mut().insert(Held);
            response
        }
        sandbox::Response::Sendfile { head, directory, path, range } => {
            drop(instance);
            Box::pin(file::send(serving, guest, head, &directory, &path, range, &facts, &connection, record)).await
        }
        sandbox::Response::WebSocket { headers, subprotocol } => {
            let Some(Handshake::WebSocket(handshake)) = facts.handshake else {
                drop(instance);
                return websocket::not_asked(&connection, record);
            };
            websocket::accept(serving, guest, instance, handshake, headers, subprotocol.as_deref(), record)
        }
        sandbox::Response::WebTransport { headers } => {
            let Some(Handshake::WebTransport(tunnel)) = facts.handshake else {
                drop(instance);
                let reason = "this is a WebTransport session, which an extended CONNECT of HTTP/3 opens";
                return record.mismatched(Reason::Mismatch(reason));
            };
            webtransport::accept(serving, guest, instance, tunnel, headers, connection, record)
        }
    }
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

//! The shape websocket: one codec over any carrier of the bytes, and one call for each event, or for several messages
//! that are there.
//!
//! This file accepts the handshake; [`pump`] drives the session; [`ahead`] holds the decoded messages for the guest;
//! [`settings`] holds the manifest's settings; [`work`] charges for compression. docs/websocket.md is the contract with
//! guests and operators.

mod ahead;
mod pump;
mod settings;
mod work;

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, Response, header};
use roadrunner_account::{Failure, Outcome};
use roadrunner_sandbox::Instance;
use roadrunner_websocket::{Role, Session};
use roadrunner_wire::{Connection, Held, Protocol, ResponseBody};

use self::pump::Pump;
pub(crate) use self::settings::{DeflateMemory, WebSocketSettings};
use super::handshake::WebSocketHandshake;
use crate::answer::Reason;
use crate::record::Record;
use crate::serving::{Guest, Serving};

/// Accepts the handshake, and serves the session in a separate task.
pub(super) fn accept(
    serving: &Arc<Serving>,
    guest: &Guest,
    mut instance: Instance,
    handshake: WebSocketHandshake,
    mut headers: HeaderMap,
    subprotocol: Option<&str>,
    mut record: Record,
) -> Response<ResponseBody> {
    let WebSocketHandshake { judged, tunnel } = handshake;
    let config = &guest.websocket.codec;
    let (deflate, reserved) =
        config.deflate.as_ref().and_then(|deflate| serving.host.deflate.agree(deflate, &judged)).unzip();
    let answer = match judged.answer(subprotocol, deflate.as_ref()) {
        Ok(answer) => answer,
        Err(error) => {
            drop(instance);
            return record.failed(Failure::new(Outcome::InvalidResponse, error));
        }
    };
    if let Err(outcome) = instance.hold() {
        drop(instance);
        return record.failed(outcome.into());
    }
    remove_handshake_fields(&mut headers);
    headers.extend(answer);
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = judged.status();
    *response.headers_mut() = headers;
    response.extensions_mut().insert(Held);
    record.head(response.status(), response.headers());
    record.holds();

    let session = Session::new(Role::Server, config.clone(), deflate, Instant::now());
    let serving = serving.clone();
    let config = config.clone();
    tokio::spawn(async move {
        match tunnel.accept().await {
            Ok(tunnel) => Pump::new(serving, &config, tunnel, session, instance, reserved, record).await,
            // The client left before it had the answer.
            Err(error) => tracing::debug!("a WebSocket did not open: {error}"),
        }
    });
    response
}

/// Answers a request without a WebSocket handshake, where the guest has a WebSocket.
pub(super) fn not_asked(connection: &Connection, record: Record) -> Response<ResponseBody> {
    record.mismatched(match connection.protocol {
        // RFC 9110, 15.5.22: only HTTP/1 has an Upgrade that can be required.
        Protocol::Http1 => Reason::UpgradeRequired,
        _ => Reason::Mismatch("this is a WebSocket, which an extended CONNECT opens"),
    })
}

/// Removes fields of the handshake, which only the host may write.
fn remove_handshake_fields(headers: &mut HeaderMap) {
    for name in [
        header::SEC_WEBSOCKET_ACCEPT,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::CONTENT_LENGTH,
    ] {
        headers.remove::<HeaderName>(name);
    }
}

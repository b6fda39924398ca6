//! The shape webtransport: a session of streams and datagrams over HTTP/3, and one call for each event.
//!
//! This file accepts the handshake; [`pump`] drives the session; [`port`] carries out the guest's actions in it.
//! docs/webtransport.md is the contract with guests and operators.

mod port;
mod pump;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode, header};
use roadrunner_manifest::{AnyOr, WebTransport};
use roadrunner_sandbox::Instance;
use roadrunner_wire::webtransport::SessionLimits;
use roadrunner_wire::{Connection, Held, ResponseBody, TunnelRequest};

use self::pump::Pump;
use super::websocket;
use crate::record::Record;
use crate::serving::{Guest, Serving};

/// The manifest's settings for a route's sessions.
pub(crate) struct Settings {
    limits: SessionLimits,
    /// The longest time that a sending guest may be kept waiting.
    write_stall: Duration,
    close_wait: Duration,
    /// The origins of pages that may open a session, in lower case.
    origins: AnyOr<String>,
}

impl Settings {
    /// Takes the settings from the manifest; `write_stall` is among the timeouts there.
    pub(crate) fn new(settings: &WebTransport, write_stall: Duration) -> Self {
        Self {
            limits: SessionLimits { streams: settings.streams, datagrams: settings.datagram_queue },
            write_stall,
            close_wait: settings.close_wait,
            origins: settings.origins.clone(),
        }
    }

    /// Whether the origin of a handshake may open a session.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        websocket::admits(&self.origins, headers)
    }
}

/// Accepts the handshake, and serves the session in a separate task.
pub(super) fn accept(
    serving: &Arc<Serving>,
    guest: &Guest,
    mut instance: Instance,
    tunnel: TunnelRequest,
    mut headers: HeaderMap,
    connection: Arc<Connection>,
    mut record: Record,
) -> Response<ResponseBody> {
    if let Err(outcome) = instance.hold() {
        drop(instance);
        return record.failed(outcome.into());
    }
    headers.remove(header::CONTENT_LENGTH);
    let mut response = Response::new(ResponseBody::empty());
    *response.headers_mut() = headers;
    response.extensions_mut().insert(Held);
    record.head(StatusCode::OK);
    record.holds();

    let (limits, write_stall, close_wait) =
        (guest.webtransport.limits, guest.webtransport.write_stall, guest.webtransport.close_wait);
    let serving = serving.clone();
    tokio::spawn(async move {
        match tunnel.accept().await {
            Ok(tunnel) => {
                if let Some(session) = tunnel.into_webtransport(limits) {
                    Pump::new(serving, session, connection, instance, write_stall, close_wait, record).await;
                }
            }
            // The client left before it had the answer.
            Err(error) => tracing::debug!("a WebTransport session did not open: {error}"),
        }
    });
    response
}

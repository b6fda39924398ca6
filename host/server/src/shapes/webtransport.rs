//! The shape webtransport: a session of streams and datagrams over HTTP/3, and one call for each event.
//!
//! This file accepts the handshake; [`pump`] drives the session; [`port`] carries out the guest's actions in it;
//! [`settings`] holds the manifest's settings.
//! docs/webtransport.md is the contract with guests and operators.

mod port;
mod pump;
mod settings;

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode, header};
use roadrunner_sandbox::Instance;
use roadrunner_wire::{Connection, Held, ResponseBody, TunnelRequest};

use self::pump::Pump;
pub(crate) use self::settings::WebTransportSettings;
use crate::record::Record;
use crate::serving::{Guest, Serving};

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
    record.head(StatusCode::OK, response.headers());
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

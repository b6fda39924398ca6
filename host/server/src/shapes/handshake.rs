//! The handshake of a session: validated before the guest runs, accepted when it has answered.

use http::request::Parts;
use roadrunner_websocket::handshake::ServerHandshake;
use roadrunner_wire::{TunnelKind, TunnelRequest};

use crate::answer::Reason;
use crate::serving::Guest;

/// A valid handshake, and the tunnel that it asks for.
pub(crate) enum Handshake {
    WebSocket(WebSocketHandshake),
    WebTransport(TunnelRequest),
}

pub(crate) struct WebSocketHandshake {
    pub(crate) judged: ServerHandshake,
    pub(crate) tunnel: TunnelRequest,
}

impl Handshake {
    /// Validates the handshake of a request that asks for a tunnel.
    ///
    /// # Errors
    ///
    /// The reason why there is no session, whatever the guest says.
    pub(crate) fn judge(guest: &Guest, head: &Parts, tunnel: TunnelRequest) -> Result<Self, Reason> {
        if tunnel.is_webtransport() {
            return match guest.webtransport.origins.admit(&head.headers) {
                true => Ok(Self::WebTransport(tunnel)),
                false => Err(Reason::ForeignOrigin("WebTransport session")),
            };
        }
        let judged = match tunnel.kind() {
            TunnelKind::Upgrade => ServerHandshake::upgrade(&head.method, head.version, &head.headers),
            TunnelKind::ExtendedConnect => ServerHandshake::connect(&head.headers),
        };
        let judged = judged.map_err(Reason::Handshake)?;
        match guest.websocket.origins.admit(&head.headers) {
            true => Ok(Self::WebSocket(WebSocketHandshake { judged, tunnel })),
            false => Err(Reason::ForeignOrigin("WebSocket")),
        }
    }

    /// Whether a 2xx answer would open the tunnel (RFC 8441, 4).
    pub(crate) fn is_connect(&self) -> bool {
        match self {
            Self::WebSocket(handshake) => handshake.tunnel.kind() == TunnelKind::ExtendedConnect,
            Self::WebTransport(_) => true,
        }
    }
}

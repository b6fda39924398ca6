//! The manifest's settings for a route's WebTransport sessions.

use std::time::Duration;

use roadrunner_manifest::WebTransport;
use roadrunner_wire::webtransport::SessionLimits;

use super::super::origins::Origins;

/// The manifest's settings for a route's sessions.
pub(crate) struct WebTransportSettings {
    pub(super) limits: SessionLimits,
    /// The longest time that a sending guest may be kept waiting.
    pub(super) write_stall: Duration,
    pub(super) close_wait: Duration,
    /// The origins of pages that may open a session.
    pub(crate) origins: Origins,
}

impl WebTransportSettings {
    /// Takes the settings from the manifest; `write_stall` is among the timeouts there.
    pub(crate) fn new(settings: &WebTransport, write_stall: Duration) -> Self {
        Self {
            limits: SessionLimits { streams: settings.streams, datagrams: settings.datagram_queue },
            write_stall,
            close_wait: settings.close_wait,
            origins: Origins::new(&settings.origins),
        }
    }
}

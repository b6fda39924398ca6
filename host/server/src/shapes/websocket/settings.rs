//! The manifest's settings for a route's WebSockets, and the memory that their compression may take together.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use roadrunner_manifest::WebSocket;
use roadrunner_websocket::handshake::ServerHandshake;
use roadrunner_websocket::{Config, DeflateConfig, DeflateParams, Level, Limits, Rate, Role, Timers, WindowBits};

use super::super::origins::Origins;
use crate::access::Caller;
use crate::metrics::{Shows, Text};

/// The settings of one route.
pub(crate) struct WebSocketSettings {
    /// The settings of the codec.
    pub(crate) codec: Arc<Config>,
    /// The origins of pages that may open a WebSocket.
    pub(crate) origins: Origins,
}

impl WebSocketSettings {
    /// Takes the settings from the manifest; `idle` is among the limits there.
    pub(crate) fn new(settings: &WebSocket, idle: Option<Duration>) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let limits = Limits {
            frame_size: settings.frame_size,
            message_size: size(settings.message_size),
            fragments: settings.fragments,
            compression_ratio: settings.compression_ratio.and_then(std::num::NonZeroU32::new),
            compression_floor: size(settings.compression_floor),
            control_rate: settings.control_rate.and_then(rate),
            message_rate: settings.message_rate.and_then(rate),
            outgoing_queue: size(settings.outgoing_queue),
            outgoing_message: size(settings.outgoing_message),
        };
        let timers = Timers {
            ping_interval: settings.ping_interval,
            pong_timeout: settings.pong_timeout,
            idle,
            close: settings.close_wait,
        };
        let deflate = settings.deflate.then(|| deflate(settings));
        Self { codec: Arc::new(Config { limits, timers, deflate }), origins: Origins::new(&settings.origins) }
    }
}

/// A rate of this many in a second, and twice as many at once after a pause.
fn rate(per_second: u32) -> Option<Rate> {
    Rate::new(per_second, per_second.saturating_mul(2))
}

fn deflate(settings: &WebSocket) -> DeflateConfig {
    let window = |bits: u32| u8::try_from(bits).ok().and_then(WindowBits::new);
    let defaults = DeflateConfig::default();
    DeflateConfig {
        level: u8::try_from(settings.deflate_level).ok().and_then(Level::new).unwrap_or(defaults.level),
        threshold: usize::try_from(settings.deflate_threshold).unwrap_or(usize::MAX),
        server_context_takeover: settings.deflate_server_context,
        client_context_takeover: settings.deflate_client_context,
        server_window: window(settings.deflate_server_window).unwrap_or(defaults.server_window),
        client_window: window(settings.deflate_client_window).unwrap_or(defaults.client_window),
    }
}

/// The memory that permessage-deflate may take on the whole host. The most that a session may hold while it waits for
/// its client is reserved when it begins, whether it ever compresses or not. So the sum cannot be exceeded later.
#[derive(Debug)]
pub(crate) struct DeflateMemory {
    limit: u64,
    reserved: AtomicU64,
    /// Sessions without the server's context; `refused` counts those without compression.
    reduced: AtomicU64,
    refused: AtomicU64,
}

/// The reservation of a session, until it is dropped.
pub(crate) struct Reserved {
    of: Arc<DeflateMemory>,
    bytes: u64,
}

impl DeflateMemory {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, reserved: AtomicU64::new(0), reduced: AtomicU64::new(0), refused: AtomicU64::new(0) })
    }

    /// Agrees on parameters for permessage-deflate: as much as the client offers, the settings allow and the memory
    /// holds.
    pub(super) fn agree(
        self: &Arc<Self>,
        config: &DeflateConfig,
        handshake: &ServerHandshake,
    ) -> Option<(DeflateParams, Reserved)> {
        let wanted = handshake.deflate(config)?;
        if let Some(reserved) = self.reserve(&wanted) {
            return Some((wanted, reserved));
        }
        let without = DeflateConfig { server_context_takeover: false, ..config.clone() };
        let less = handshake.deflate(&without).filter(|less| *less != wanted);
        if let Some(agreed) = less.and_then(|less| Some((less, self.reserve(&less)?))) {
            self.reduced.fetch_add(1, Relaxed);
            return Some(agreed);
        }
        self.refused.fetch_add(1, Relaxed);
        None
    }

    fn reserve(self: &Arc<Self>, params: &DeflateParams) -> Option<Reserved> {
        let bytes = params.held_memory(Role::Server) as u64;
        let fits = |reserved: u64| reserved.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.reserved.fetch_update(Relaxed, Relaxed, fits).ok()?;
        Some(Reserved { of: self.clone(), bytes })
    }
}

impl Shows for DeflateMemory {
    fn show(&self, _: &Caller, text: &mut Text) {
        let help = "What compression of WebSockets may hold.";
        text.gauge("roadrunner_websocket_deflate_reserved_bytes", help, self.reserved.load(Relaxed));
        text.family(
            "roadrunner_websocket_deflate_refused_total",
            "counter",
            "Sessions over deflate-memory, by what they go without.",
        );
        text.sample(&[("without", "context")], self.reduced.load(Relaxed));
        text.sample(&[("without", "compression")], self.refused.load(Relaxed));
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.of.reserved.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use roadrunner_websocket::handshake::ServerHandshake;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn compression_ends_where_its_memory_does() {
        let offer = headers(&[("sec-websocket-version", "13"), ("sec-websocket-extensions", "permessage-deflate")]);
        let handshake = ServerHandshake::connect(&offer).expect("a handshake");
        let config = DeflateConfig { server_context_takeover: true, ..DeflateConfig::default() };
        let full = handshake.deflate(&config).expect("it is acceptable").held_memory(Role::Server) as u64;
        let small = handshake.deflate(&DeflateConfig::default()).expect("so is this").held_memory(Role::Server) as u64;
        let memory = DeflateMemory::new(full + small);
        let (first, held) = memory.agree(&config, &handshake).expect("all of it");
        assert!(!first.server_no_context_takeover);
        let (second, _small) = memory.agree(&config, &handshake).expect("without the context");
        assert!(second.server_no_context_takeover);
        assert!(memory.agree(&config, &handshake).is_none());
        let counts = |counter: &AtomicU64| counter.load(Relaxed);
        assert_eq!((counts(&memory.reserved), counts(&memory.reduced), counts(&memory.refused)), (full + small, 1, 1));
        drop(held);
        assert_eq!(counts(&memory.reserved), small);
    }
}

//! Counters and gauges of the transport, read by the metrics endpoint.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use roadrunner_h3::{PoolObserver, PoolStats};

use crate::control::Registry;
use crate::{Protocol, TimeoutName};

/// Counts since the server was bound. Gauges are the fields whose documentation says "now".
#[derive(Debug, Default)]
pub struct Stats {
    /// Accepted sockets, whatever their fate, and QUIC connections.
    pub accepted: AtomicU64,
    /// Sockets and QUIC connections open now, including those in a handshake.
    pub open: AtomicU64,
    /// HTTP/1 connections open now.
    pub open_http1: AtomicU64,
    /// HTTP/2 connections open now.
    pub open_http2: AtomicU64,
    /// HTTP/3 connections open now.
    pub open_http3: AtomicU64,
    /// Sockets closed, and QUIC connections refused, at once because a cap was reached.
    pub rejected_by_cap: AtomicU64,
    /// Errors of `accept` that made the loop wait (out of descriptors or memory).
    pub accept_backoffs: AtomicU64,
    /// Failed TLS handshakes; those that ran out of time count as a timeout instead.
    pub handshake_failures: AtomicU64,
    /// How often a listener's certificates were replaced while it served.
    pub certificate_reloads: AtomicU64,
    /// How often such a replacement failed; see [`Stats::certificate_reloads`].
    pub certificate_reload_failures: AtomicU64,
    /// Connections closed because they did not begin with a well-formed PROXY header; those that ran out of time count
    /// as a timeout instead.
    pub proxy_malformed: AtomicU64,
    /// Connections closed because their peer must not send a PROXY header.
    pub proxy_untrusted: AtomicU64,
    /// Requests refused by this crate or by the parser before the service saw them.
    pub bad_requests: AtomicU64,
    /// Requests refused because their listener had
    /// [`ListenerConfig::max_requests`](crate::ListenerConfig::max_requests) in flight.
    pub over_cap: AtomicU64,
    /// Panics of the service or of a response body.
    pub panics: AtomicU64,
    /// HTTP/2 connections closed because a frame budget was spent.
    pub floods: AtomicU64,
    timeouts: [AtomicU64; TimeoutName::ALL.len()],
    pools: OnceLock<Vec<(Arc<str>, PoolObserver)>>,
    /// Open connections. They count their own requests, so that cores share no counter on the hot path.
    pub(crate) live: Registry,
}

impl Stats {
    /// Requests that were read on connections of this protocol, including refused ones.
    pub fn requests(&self, protocol: Protocol) -> u64 {
        self.live.requests(protocol)
    }

    /// Exchanges whose service future or response body exists now.
    pub fn in_flight(&self) -> u64 {
        self.live.in_flight()
    }

    /// How often this deadline has passed.
    pub fn timeouts(&self, name: TimeoutName) -> u64 {
        self.timeouts[name as usize].load(Relaxed)
    }

    /// The QUIC endpoints of each listener that serves HTTP/3, by listener name.
    pub fn quic(&self) -> impl Iterator<Item = (&str, PoolStats)> {
        let pools = self.pools.get().map(Vec::as_slice).unwrap_or_default();
        pools.iter().filter_map(|(listener, pool)| Some((&**listener, pool.stats()?)))
    }

    pub(crate) fn observe(&self, pools: Vec<(Arc<str>, PoolObserver)>) {
        // A server is bound once.
        let _ = self.pools.set(pools);
    }

    pub(crate) fn count_timeout(&self, name: TimeoutName) {
        self.timeouts[name as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn open_by(&self, protocol: Protocol) -> &AtomicU64 {
        match protocol {
            Protocol::Http1 => &self.open_http1,
            Protocol::Http2 => &self.open_http2,
            Protocol::Http3 => &self.open_http3,
        }
    }
}

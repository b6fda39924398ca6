//! Starts the real server on free ports of loopback, and clients that see the raw facts of the wire.
//!
//! | module | purpose |
//! |---|---|
//! | [`server`] | a manifest, a running server with it, its log, its gauges, its end |
//! | [`client`] | one client for HTTP/1.1 and HTTP/2, plain and TLS, and HTTP/3: how exactly did the response end? |
//! | [`http1`], [`http2`], [`http3`] | the protocols under that client, for tests of one protocol |
//! | [`frames`] | HTTP/2 frame by frame, for clients that no library can play |
//! | [`chromium`] | a browser |
//! | [`nats`] | a NATS server, and an independent client of it; also used by the tests of `host/nats` |
//! | [`postgres`] | a PostgreSQL server; also used by the tests of `host/sql` |
//! | [`redis`] | a Redis server; also used by the tests of `host/store` |
//! | [`core_canary`] | a guest that fills memory, tables and globals, or searches them |
//! | [`dns`], [`deaf`] | a DNS server, and an address that does not answer; also used by the tests of `host/names` |
//! | [`registry`] | a registry of components, a client that pushes to it, and a registry that lies |
//! | [`signer`] | keys and signatures, made by openssl |
//! | [`victim`] | an attacker's neighbour, and the latencies of its requests |
//! | [`websocket`] | frames in their form on the wire, over every protocol |
//! | [`command`] | the program's command line, and other programs |
//!
//! Nothing here uses the server's code, except for field sections of HTTP/3 and the wrapping of a core module: the
//! server's promises are checked from outside. Tests that measure time or memory reserve the machine with
//! [`server::Setup::alone`].

#![forbid(unsafe_code)]

pub mod chromium;
pub mod client;
pub mod command;
pub mod core_canary;
#[path = "../../host/names/tests/support/deaf.rs"]
pub mod deaf;
#[path = "../../host/names/tests/support/dns.rs"]
pub mod dns;
pub mod frames;
pub mod http1;
pub mod http2;
pub mod http3;
pub mod metrics;
pub mod nats;
pub mod ports;
pub mod postgres;
pub mod redis;
pub mod registry;
pub mod server;
pub mod signer;
pub mod victim;
pub mod websocket;

pub use client::{Answer, Ask, Client, End, Exchange, Way};
pub use metrics::Metrics;
pub use nats::Nats;
pub use postgres::Postgres;
pub use redis::Redis;
pub use registry::Registry;
pub use server::{Server, Setup};
pub use signer::Signer;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long an operation may take before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The future's output, which must come within [`PATIENCE`].
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("nothing happened within {PATIENCE:?}, waited for at {caller}"),
        }
    }
}

/// Asks repeatedly until there is an answer, for at most this long. Returns the answer and how long it took.
pub async fn within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> Option<(T, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return Some((answer, start.elapsed()));
        }
        if start.elapsed() > limit {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The byte pattern of the guests: each byte is the low byte of its offset.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|offset| offset as u8).collect()
}

//! Starts the real server on free ports of loopback, and clients that see the raw facts of the wire.
//!
//! | module | what it gives a test |
//! |---|---|
//! | [`server`] | a manifest, a running server with it, its log, its gauges, its end |
//! | [`client`] | one client for HTTP/1.1 and HTTP/2, plain and TLS, and HTTP/3: how exactly did the response end? |
//! | [`http1`], [`http2`], [`http3`] | what that client stands on, for tests of one protocol |
//! | [`frames`] | HTTP/2 frame by frame, for clients that no library is |
//! | [`chromium`] | a browser |
//! | [`nats`] | a NATS server, and a client of it that is no Roadrunner |
//! | [`redis`] | a Redis server |
//! | [`core_canary`] | a guest that fills memory, tables and globals, or searches them |
//! | [`dns`], [`deaf`] | a DNS server, and an address that does not answer; the tests of `host/names` have them too |
//! | [`registry`] | a registry of components, who pushes to it, and one that lies |
//! | [`signer`] | keys and signatures, made by openssl |
//! | [`victim`] | the neighbour of an attacker, and how long his requests take |
//! | [`websocket`] | frames as they stand on the wire, over every protocol |
//! | [`command`] | the program's command line, and other programs |
//!
//! Nothing here is built from the server's code, but for field sections of HTTP/3 and the wrapping of a core module: what it
//! promises is checked from outside.
//! Tests that measure time or memory take the machine for themselves with [`server::Setup::alone`].

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
pub mod redis;
pub mod registry;
pub mod server;
pub mod signer;
pub mod victim;
pub mod websocket;

pub use client::{Answer, Ask, Client, End, Exchange, Way};
pub use metrics::Metrics;
pub use nats::Nats;
pub use redis::Redis;
pub use registry::Registry;
pub use server::{Server, Setup};
pub use signer::Signer;

use std::future::Future;
use std::time::{Duration, Instant};

/// What takes longer than this hangs.
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

/// Asks again and again until there is an answer, for at most this long. How long it took.
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

/// The byte pattern of the guests: each byte the low byte of its offset.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|offset| offset as u8).collect()
}

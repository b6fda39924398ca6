//! Ports for servers that the tests start, stop and start again.

use std::net::TcpListener;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Relaxed;

/// The ports that are given out. They are below those that Linux gives to a socket that asks for any port, so that no
/// other listener gets one while its server is down.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port of 127.0.0.1 on which nothing listens, and which no other test gets.
///
/// # Panics
/// When all of them are taken.
pub fn reserved() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of the tests beside this one begins elsewhere.
    let start = (std::process::id() % 100) as u16 * 120;
    (0..COUNT)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Relaxed) % COUNT) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

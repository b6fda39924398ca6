//! The cost of an idle WebSocket: `cargo test -p roadrunner-tests websocket_memory -- --ignored --nocapture`.

use std::time::Duration;

use roadrunner_tests::websocket::{Handshake, Socket};
use roadrunner_tests::{Setup, Way};

/// The number of opened sessions; the test and the server each need this many descriptors.
const SESSIONS: usize = 10_000;

/// The most memory of one session, with its held instance, its socket and its codec. Read-only pages of the compiled
/// component are in the resident set of each session that reads them, and in memory once.
const TARGET: u64 = 64 << 10;

#[tokio::test]
#[ignore = "it measures; it needs ten thousand descriptors and a release build"]
async fn ten_thousand_idle_sessions() {
    // A guest with the SDK and hibernation, and one with neither.
    for guest in ["sockets", "singles"] {
        measure(guest).await;
    }
}

async fn measure(guest: &str) {
    let server = Setup::of(guest).host_limits("instances = 100\nheld = 10000").alone().start().await;
    let hello = |mut socket: Socket| async move {
        assert!(socket.text("hello").await);
        assert_eq!(socket.next_text().await, "hello");
        socket
    };
    // The one-time costs of the first sessions do not count.
    let mut sockets = Vec::with_capacity(SESSIONS);
    for _ in 0..100 {
        sockets.push(hello(Handshake::to("/echo").open(&server, Way::H1).await).await);
    }
    let before = (server.resident(), server.resident_anonymous());
    while sockets.len() < SESSIONS {
        sockets.push(hello(Handshake::to("/echo").open(&server, Way::H1).await).await);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = (server.resident(), server.resident_anonymous());
    let each = |after: u64, before: u64| (after - before) / (SESSIONS as u64 - 100);
    let (resident, own) = (each(after.0, before.0), each(after.1, before.1));
    println!(
        "{SESSIONS} sessions of {guest}: {resident} bytes resident for each that is idle, {own} of them in no page of a file"
    );
    let last = sockets.pop().expect("it is open");
    drop(hello(last).await);
    drop(sockets);
    server.is_quiet().await;
    println!("after their end: {} bytes resident", server.resident());
    assert!(own <= TARGET, "{own} bytes for each session");
}

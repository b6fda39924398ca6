//! What an idle WebSocket costs: `cargo test -p roadrunner-tests websocket_memory -- --ignored --nocapture`.

use std::time::Duration;

use roadrunner_tests::websocket::Handshake;
use roadrunner_tests::{Setup, Way};

/// Sessions that are opened; the test and the server each need so many descriptors.
const SESSIONS: usize = 10_000;

/// The most that one may cost, with its instance held, its socket and its codec.
const TARGET: u64 = 64 << 10;

#[tokio::test]
#[ignore = "it measures; it needs ten thousand descriptors and a release build"]
async fn ten_thousand_idle_sessions() {
    let server = Setup::of("sockets").host_limits("instances = 100\nheld = 10000").alone().start().await;
    let hello = |socket: roadrunner_tests::websocket::Socket| async move {
        let mut socket = socket;
        assert!(socket.text("hello").await);
        assert_eq!(socket.next_text().await, "hello");
        socket
    };
    // What the first sessions bring about is not theirs.
    let mut sockets = Vec::with_capacity(SESSIONS);
    for _ in 0..100 {
        sockets.push(hello(Handshake::to("/echo").open(&server, Way::H1).await).await);
    }
    let before = server.resident();
    while sockets.len() < SESSIONS {
        sockets.push(hello(Handshake::to("/echo").open(&server, Way::H1).await).await);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = server.resident();
    let each = (after - before) / (SESSIONS as u64 - 100);
    println!("{SESSIONS} sessions: {after} bytes resident, {each} bytes for each idle session");
    let last = sockets.pop().expect("it is open");
    drop(hello(last).await);
    drop(sockets);
    server.is_quiet().await;
    println!("after their end: {} bytes resident", server.resident());
    assert!(each <= TARGET, "{each} bytes for each session");
}

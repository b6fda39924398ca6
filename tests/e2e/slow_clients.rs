//! Clients that are slow in every possible way, all at once, and a normal client that does not notice.
//!
//! Each kind ties up what it can: a socket, a handshake, a parser, a body, an instance, a stream. The normal client's
//! slowest percent is compared with its own on the same server before they came.
//!
//! A thousand of each: `cargo xtask soak`, or `cargo test -p roadrunner-tests slow_clients -- --ignored --nocapture`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roadrunner_tests::client::{Io, tls};
use roadrunner_tests::frames;
use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Server, Setup, Way};
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

/// The behaviour of a slow client before it becomes slow.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Connects.
    SilentAfterConnect,
    /// Sends a whole ClientHello, and nothing after it.
    SilentAfterClientHello,
    /// Sends half a head.
    HalfAHead,
    /// Sends a head, a byte a second.
    HeadByteByByte,
    /// Sends a body, a byte a second, to a guest that reads it.
    BodyByteByByte,
    /// Requests a megabyte, and reads none of it.
    ReaderThatStops,
    /// Requests the same over HTTP/2 with its windows closed.
    ZeroWindow,
}

const KINDS: [Kind; 7] = [
    Kind::SilentAfterConnect,
    Kind::SilentAfterClientHello,
    Kind::HalfAHead,
    Kind::HeadByteByByte,
    Kind::BodyByteByByte,
    Kind::ReaderThatStops,
    Kind::ZeroWindow,
];

/// How much slower the normal client may get.
const TOLERANCE: u32 = 3;

/// Next to other tests, a quiet server answers so fast that the scheduler's delays exceed three of its answers.
const NOISE: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_does_not_hold_up_a_normal_client() {
    crowd(25, NOISE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs seven thousand descriptors on each side, and a machine for itself"]
async fn a_thousand_of_each_do_not_hold_up_a_normal_client() {
    crowd(1000, Duration::ZERO).await;
}

/// Asserts that `count` of each kind slow a normal client down no more than [`TOLERANCE`], or leave it within `noise`.
async fn crowd(count: usize, noise: Duration) {
    let server = Setup::with(&["hello", "bodies", "streams"].map(component).concat())
        .and(
            "[[route]]\npath = \"/hello\"\ncomponent = \"hello\"\n\
             [[route]]\npath = \"/digest\"\ncomponent = \"bodies\"\nbody = \"manual\"\n\
             [[route]]\npath = \"/bytes\"\ncomponent = \"streams\"\n\
             [timeouts]\nbody-min-rate = 0\n",
        )
        .host_limits(&format!("instances = {}\nheld = 1", 3 * count + 100))
        .alone()
        .start()
        .await;
    let quiet = slowest_percent(&server).await;
    let mut clients = Vec::new();
    for kind in KINDS {
        for _ in 0..count {
            clients.push((kind, enter(&server, kind).await));
        }
    }
    // Each that needs an instance has one: a trickling body, a reader that stops, a closed window.
    server.has_instances(3 * count).await;
    let dripping = tokio::spawn(drip(clients));
    let crowded = slowest_percent(&server).await;
    println!("{count} of each kind: the slowest percent took {quiet:?} alone and {crowded:?} beside them");
    assert!(crowded <= (quiet * TOLERANCE).max(noise), "{crowded:?} beside {count} of each, {quiet:?} alone");
    assert!(
        server.metrics().await.sum("roadrunner_sockets_open", "") >= (7 * count) as f64,
        "they are all still there"
    );
    dripping.abort();
    let _ = dripping.await;
    server.is_quiet().await;
}

/// The best of several rounds on new connections, to exclude the effects of other work on this machine.
async fn slowest_percent(server: &Server) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let mut times = Vec::new();
        for way in Way::TCP {
            let mut client = server.connect(way).await;
            for _ in 0..100 {
                let start = Instant::now();
                assert_eq!(client.fetch(Ask::get("/hello")).await.status, 200, "{way:?}");
                times.push(start.elapsed());
            }
        }
        times.sort();
        best = best.min(times[times.len() * 99 / 100]);
    }
    best
}

/// A connection with a small receive buffer, so that the kernel does not read the bytes that the client leaves.
async fn dial(address: SocketAddr) -> Io {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket option");
    Box::new(socket.connect(address).await.expect("the server accepts"))
}

async fn enter(server: &Server, kind: Kind) -> Io {
    let listener = if matches!(kind, Kind::SilentAfterClientHello) { "tls" } else { "plain" };
    let mut io = dial(server.address(listener)).await;
    let bytes = match kind {
        Kind::SilentAfterConnect => Vec::new(),
        Kind::SilentAfterClientHello => client_hello(),
        Kind::HalfAHead => b"GET /hello HTTP/1.1\r\nhost: localhost\r\nx-hal".to_vec(),
        Kind::HeadByteByByte => b"GET /hello HTTP/1.1\r\nhost: localhost\r\nx-slow: ".to_vec(),
        Kind::BodyByteByByte => b"POST /digest HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n".to_vec(),
        Kind::ReaderThatStops => b"GET /bytes?n=10000000 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        Kind::ZeroWindow => {
            [frames::opening(&[(4, 0)]), frames::request(Way::H2c, 1, "GET", "/bytes?n=1000000", true)].concat()
        }
    };
    io.write_all(&bytes).await.expect("the server reads");
    io
}

/// The first flight of a real client.
fn client_hello() -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(tls(&[b"http/1.1"])), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("it goes into memory");
    bytes
}

/// Sends a byte a second, for the kinds that are slow in this way: each at its own time, like independent clients. The
/// others are held.
async fn drip(mut clients: Vec<(Kind, Io)>) {
    clients.sort_by_key(|(kind, _)| !matches!(kind, Kind::HeadByteByByte | Kind::BodyByteByByte));
    let slow = clients.partition_point(|(kind, _)| matches!(kind, Kind::HeadByteByByte | Kind::BodyByteByByte));
    let start = Instant::now();
    for turn in 0.. {
        tokio::time::sleep_until((start + Duration::from_secs(turn as u64) / slow as u32).into()).await;
        // A client that was closed at a deadline no longer matters.
        let _ = clients[turn % slow].1.write_all(b"x").await;
    }
}

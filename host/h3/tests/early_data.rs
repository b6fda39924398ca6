//! Requests in the first flight of a returning client (0-RTT): off by default, and then only for requests that may be
//! repeated.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use quinn::ZeroRttAccepted;
use roadrunner_h3::PoolKeys;
use roadrunner_values::TransportSettings;
use support::Server;
use support::client::Client;
use support::nat::Nat;
use tokio::time::timeout;

fn start(mut config: TransportSettings) -> Server {
    config.http3.endpoints = Some(4);
    Server::with_keys(config, &PoolKeys::random().expect("randomness"))
}

fn on() -> TransportSettings {
    support::with(|config| config.http3.early_data = true)
}

/// A client that has connected before and has its tickets.
async fn visited(server: &Server) -> quinn::Endpoint {
    let client = Client::connect(server).await;
    assert_eq!(client.get("/hello").await, b"hello GET");
    // Tickets come after the handshake.
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.quic.close(0x100_u32.into(), b"");
    let endpoint = client.endpoint.clone();
    endpoint.wait_idle().await;
    endpoint
}

/// Connects without waiting for the handshake; `None` if the ticket does not allow this.
async fn early(endpoint: &quinn::Endpoint, address: SocketAddr) -> Option<(Client, ZeroRttAccepted)> {
    let connecting = endpoint.connect(address, "localhost").expect("an address");
    let (quic, accepted) = connecting.into_0rtt().ok()?;
    Some((Client::over(endpoint.clone(), quic).await, accepted))
}

/// Delays the server's part of the handshake, so that the first bytes sent also arrive first.
async fn distant(server: &Server) -> Nat {
    Nat::slow(server.address, Duration::from_millis(30)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn off_by_default() {
    let server = start(TransportSettings::default());
    let endpoint = visited(&server).await;
    assert!(early(&endpoint, server.address).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe_methods_are_served_and_marked() {
    let server = start(on());
    let mut members = Vec::new();
    let mut endpoint = visited(&server).await;
    for _ in 0..8 {
        let nat = distant(&server).await;
        let (client, accepted) = early(&endpoint, nat.address).await.expect("a ticket that allows it");
        let (response, body) = client.exchange("GET", "/hello").await;
        assert_eq!((response.status(), &body[..]), (StatusCode::OK, &b"hello GET"[..]));
        assert_eq!(response.headers()["x-early-data"], "1", "it was early");
        assert!(accepted.await);
        // The connection works like any other.
        let (response, _) = client.exchange("GET", "/hello").await;
        assert!(!response.headers().contains_key("x-early-data"));
        assert_eq!(client.send("POST", "/echo", &["late".into()]).await.1, b"late");
        members.push(server.pool.members().iter().map(|member| member.accepted).collect::<Vec<_>>());
        endpoint = client.endpoint.clone();
    }
    // The member that has a client's session may differ from the member that made it.
    let last = members.last().expect("one");
    assert!(last.iter().filter(|accepted| **accepted > 0).count() > 1, "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_methods_are_too_early() {
    let server = start(on());
    let endpoint = visited(&server).await;
    let before = server.counters.calls.load(Ordering::SeqCst);
    let nat = distant(&server).await;
    let (client, accepted) = early(&endpoint, nat.address).await.expect("a ticket that allows it");
    let requests = ["POST", "PUT", "DELETE", "PATCH"].map(|method| client.exchange(method, "/echo"));
    for (response, _) in futures_util::future::join_all(requests).await {
        assert_eq!(response.status(), StatusCode::TOO_EARLY);
    }
    assert!(accepted.await);
    assert_eq!(server.counters.calls.load(Ordering::SeqCst), before, "the service has not seen them");
    assert_eq!(client.send("POST", "/echo", &["again".into()]).await.1, b"again");
}

/// A ticket is valid for one first flight (RFC 8446, 8.1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_flight_that_is_sent_again_is_not_served() {
    let server = start(on());
    let endpoint = visited(&server).await;
    let nat = distant(&server).await;
    let (client, accepted) = early(&endpoint, nat.address).await.expect("a ticket that allows it");
    assert_eq!(client.get("/hello").await, b"hello GET");
    assert!(accepted.await);
    client.quic.close(0x100_u32.into(), b"");
    server.pool.wait_idle().await;
    let calls = server.counters.calls.load(Ordering::SeqCst);
    let accepted: u64 = server.pool.members().iter().map(|member| member.accepted).sum();
    let replay = nat.sent.lock().clone();
    for _ in 0..4 {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        for datagram in &replay {
            socket.send_to(datagram, server.address).expect("it is sent");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.counters.calls.load(Ordering::SeqCst), calls);
    let again: u64 = server.pool.members().iter().map(|member| member.accepted).sum();
    assert!(again > accepted, "it began a handshake");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_retry() {
    let server = start(support::with(|config| (config.http3.early_data, config.http3.retry_above) = (true, Some(0))));
    let endpoint = visited(&server).await;
    let nat = distant(&server).await;
    let (client, accepted) = early(&endpoint, nat.address).await.expect("a ticket that allows it");
    assert_eq!(client.get("/hello").await, b"hello GET");
    assert!(accepted.await);
    assert_eq!(server.pool.retries(), 1, "the token of the first visit is good for the next");
}

/// A client that stays silent after its first flight holds a connection no longer than others in a handshake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_has_its_time() {
    let server = start(support::with(|config| {
        config.http3.early_data = true;
        config.timeouts.handshake = Duration::from_millis(300);
    }));
    let endpoint = visited(&server).await;
    let nat = Nat::slow(server.address, Duration::from_secs(3600)).await;
    let request = early(&endpoint, nat.address).await.expect("a ticket that allows it").0;
    let request = tokio::spawn(async move { request.get("/hello").await });
    let open = || server.pool.members().iter().map(|member| member.connections).sum::<usize>();
    let begun = async {
        while open() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), begun).await.expect("it begins");
    timeout(Duration::from_secs(10), server.pool.wait_idle()).await.expect("it ends");
    request.abort();
}

//! The server's answers before there is a connection: its versions, which clients must prove their address, and how
//! much it sends before they have.

mod support;

use std::time::Duration;

use roadrunner_values::TransportSettings;
use support::Server;
use support::client::Client;
use tokio::net::UdpSocket;
use tokio::time::timeout;

async fn socket() -> UdpSocket {
    UdpSocket::bind(("127.0.0.1", 0)).await.expect("a port")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_negotiation_lists_version_1_alone() {
    let server = Server::start(TransportSettings::default());
    let socket = socket().await;
    // RFC 9000 section 17.2: a long header with version draft-29, two connection IDs of eight bytes, and enough bytes
    // to get an answer.
    for version in [0xff00_001d_u32, 0x6b33_43cf, 0x1a2a_3a4a] {
        let mut packet = vec![0xc0];
        packet.extend(version.to_be_bytes());
        packet.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9]);
        packet.resize(1200, 0);
        socket.send_to(&packet, server.address).await.expect("sent");
        let mut answer = [0; 1500];
        let received = timeout(Duration::from_secs(5), socket.recv(&mut answer)).await.expect("an answer");
        let length = received.expect("an answer");
        // RFC 9000 section 17.2.1: version 0, the connection IDs in reverse order, and the supported versions.
        assert_eq!(&answer[1..5], [0; 4], "{version:x}");
        let listed: Vec<_> =
            answer[23..length].chunks(4).map(|four| u32::from_be_bytes(four.try_into().expect("four"))).collect();
        // Reserved versions (RFC 9000 section 15) teach clients to ignore unknown versions.
        let real: Vec<_> = listed.iter().filter(|version| *version & 0x0f0f_0f0f != 0x0a0a_0a0a).collect();
        assert_eq!(real, [&1], "{version:x}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_here_proves_its_address_without_a_round_trip() {
    let server = Server::start(support::with(|config| config.http3.retry_above = Some(0)));
    let endpoint = Client::endpoint(&server);
    for visit in 0..5 {
        let client = Client::on(endpoint.clone(), server.address).await.expect("a handshake");
        assert_eq!(client.get("/hello").await, b"hello GET");
        // Tokens come after the handshake.
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.quic.close(0x100_u32.into(), b"");
        assert_eq!(server.pool.retries(), 1, "at visit {visit}");
    }
    let stranger = Client::connect(&server).await;
    assert_eq!(stranger.get("/hello").await, b"hello GET");
    assert_eq!(server.pool.retries(), 2, "it has no token");
}

/// RFC 9000 section 8.1 allows three times the received bytes; quinn-proto 0.11.19 checks before a datagram whether it
/// has sent that much, and not whether it will have. docs/http3.md says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_datagram_is_answered_with_less_than_one_too_many() {
    let server = Server::start(TransportSettings::default());
    let listener = socket().await;
    // Without a post-quantum key, the client's hello fits into one datagram.
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let endpoint = Client::endpoint_with(&server, provider);
    let _connecting = endpoint.connect(listener.local_addr().expect("an address"), "localhost").expect("an address");
    let mut initial = [0; 1500];
    let length =
        timeout(Duration::from_secs(5), listener.recv(&mut initial)).await.expect("an Initial").expect("it came");
    let socket = socket().await;
    socket.send_to(&initial[..length], server.address).await.expect("sent");
    let mut sent = 0;
    let mut answer = [0; 1500];
    // The server repeats it after 1 s, 2 s and 4 s.
    while let Ok(received) = timeout(Duration::from_secs(5), socket.recv(&mut answer)).await {
        sent += received.expect("a datagram");
    }
    assert!(sent > length, "{sent} bytes for {length}");
    assert!(sent < 3 * length + 1200, "{sent} bytes for {length}");
}

//! The caps on connections: on the host, on a listener, of one peer. A socket over a cap is closed at once.

use roadrunner_tests::{Ask, Client, Server, Setup, Way, soon};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const SMALL: &str = "[[listener]]\nname = \"small\"\naddress = \"127.0.0.1:0\"\nconnections = 2\n";
const FAIR: &str = "[[listener]]\nname = \"fair\"\naddress = \"127.0.0.1:0\"\nconnections-per-peer = 2\n";

async fn open(server: &Server, listener: &str) -> Client {
    let mut client = Client::connect(server.address(listener), Way::H1).await;
    assert_eq!(client.fetch(Ask::get("/")).await.status, 200, "{listener}");
    client
}

async fn is_turned_away(server: &Server, listener: &str) {
    let mut tcp = soon(TcpStream::connect(server.address(listener))).await.expect("the kernel accepts");
    let mut said = Vec::new();
    // A reset is an end too.
    let _ = soon(tcp.read_to_end(&mut said)).await;
    assert!(said.is_empty(), "{listener}: {said:?}");
}

async fn has_open(server: &Server, wanted: f64) {
    let open = async || (server.metrics().await.sum("roadrunner_sockets_open", "") == wanted).then_some(());
    roadrunner_tests::within(roadrunner_tests::PATIENCE, open).await.expect("connections end");
}

#[tokio::test]
async fn a_listener_and_a_peer_have_caps() {
    let server = Setup::of("hello").and(SMALL).and(FAIR).start().await;
    for (count, listener) in [(1.0, "small"), (2.0, "fair")] {
        let first = open(&server, listener).await;
        let second = open(&server, listener).await;
        is_turned_away(&server, listener).await;
        assert_eq!(server.metrics().await.sum("roadrunner_connections_rejected_total", ""), count);
        // Other peers are not affected.
        drop(open(&server, "plain").await);
        drop(first);
        has_open(&server, 1.0).await;
        drop(open(&server, listener).await);
        drop(second);
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn the_host_has_caps_over_all_listeners() {
    for (limits, cap) in [("connections = 3", 3), ("connections-per-peer = 2", 2)] {
        let server = Setup::of("hello").host_limits(limits).start().await;
        let mut all = Vec::new();
        for index in 0..cap {
            let way = if index % 2 == 0 { Way::H1 } else { Way::H2Tls };
            let mut client = server.connect(way).await;
            assert_eq!(client.fetch(Ask::get("/")).await.status, 200);
            all.push(client);
        }
        is_turned_away(&server, "plain").await;
        is_turned_away(&server, "tls").await;
        all.pop();
        has_open(&server, f64::from(cap) - 1.0).await;
        drop(open(&server, "plain").await);
        drop(all);
        server.is_quiet().await;
    }
}

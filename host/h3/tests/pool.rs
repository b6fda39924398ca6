//! Several endpoints on one port, with and without the kernel's steering: clients that change their address, connection
//! IDs that change, Retry, stateless resets, a drain.

mod support;

use std::time::Duration;

use roadrunner_h3::{PoolKeys, Steering};
use roadrunner_values::TransportSettings;
use support::client::Client;
use support::nat::Nat;
use support::{Server, python, run_script};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// Settings with four endpoints.
fn pool(kernel_steering: bool) -> TransportSettings {
    support::with(|config| (config.http3.endpoints, config.http3.kernel_steering) = (Some(4), kernel_steering))
}

fn with_cid_lifetime(lifetime: Option<Duration>) -> TransportSettings {
    let mut config = pool(false);
    config.http3.cid_lifetime = lifetime;
    config
}

fn keys() -> PoolKeys {
    PoolKeys::random().expect("randomness")
}

fn start(config: TransportSettings) -> Server {
    Server::with_keys(config, &keys())
}

/// Servers with both ways to steer, as far as this machine supports them.
fn both_ways() -> Vec<Server> {
    let members = start(pool(false));
    assert!(matches!(members.pool.steering(), Steering::Members(_)));
    let kernel = start(pool(true));
    match kernel.pool.steering() {
        Steering::Kernel => vec![members, kernel],
        other => {
            eprintln!("SKIPPED: steering by the kernel: {other:?}");
            vec![members]
        }
    }
}

fn forwarded(server: &Server) -> u64 {
    server.pool.members().iter().map(|member| member.forwarded).sum()
}

/// If the kernel steers, no datagram of an established connection is left to forward; otherwise about three of four
/// changes of address need forwarding.
fn assert_forwarding(server: &Server) {
    let forwarded = forwarded(server);
    match server.pool.steering() {
        Steering::Kernel => assert_eq!(forwarded, 0),
        _ => assert!(forwarded > 0),
    }
    assert!(server.pool.members().iter().all(|member| member.dropped == 0));
}

async fn hello(client: &Client) -> bool {
    matches!(timeout(PATIENCE, client.get("/hello")).await, Ok(body) if body == b"hello GET")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nat_rebinding_100_of_100() {
    for server in both_ways() {
        let mut survived = 0;
        for _ in 0..20 {
            let mut nat = Nat::to(server.address).await;
            let client = Client::on(Client::endpoint(&server), nat.address).await.expect("a handshake");
            assert!(hello(&client).await);
            for _ in 0..5 {
                nat.rebind(server.address).await;
                survived += u32::from(hello(&client).await);
            }
        }
        assert_eq!(survived, 100, "{:?}", server.pool.steering());
        assert_forwarding(&server);
        let members = server.pool.members();
        assert!(members.iter().filter(|member| member.accepted > 0).count() > 1, "one member did it all: {members:?}");
    }
}

/// The client moves to another socket by itself, and uses another connection ID (RFC 9000 section 9.5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn active_migration_100_of_100() {
    for server in both_ways() {
        let mut survived = 0;
        for _ in 0..20 {
            let client = Client::connect(&server).await;
            assert!(hello(&client).await);
            for _ in 0..5 {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
                client.endpoint.rebind(socket).expect("a socket");
                survived += u32::from(hello(&client).await);
            }
            // Each move uses up an ID and gets another.
            assert!(client.quic.stats().frame_tx.retire_connection_id > 0);
        }
        assert_eq!(survived, 100, "{:?}", server.pool.steering());
        assert_forwarding(&server);
    }
}

/// A body in both directions across changes of address, so that many datagrams at a time are forwarded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_survives_nat_rebinding() {
    for server in both_ways() {
        let mut nat = Nat::to(server.address).await;
        let client = Client::on(Client::endpoint(&server), nat.address).await.expect("a handshake");
        let body = vec![bytes::Bytes::from(vec![7; 64 * 1024]); 64];
        let transfer = async { client.send("POST", "/echo", &body).await.1.len() };
        let rebinding = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                nat.rebind(server.address).await;
            }
        };
        let (received, ()) = tokio::join!(timeout(Duration::from_secs(60), transfer), rebinding);
        assert_eq!(received.expect("it ends"), 4 * 1024 * 1024);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aioquic_changes_address_and_connection_id() {
    let Some(python) = python() else { return };
    for server in both_ways() {
        run_script(python.clone(), "migration.py", &server, &[]).await;
        assert_forwarding(&server);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_ids_have_a_lifetime() {
    let lifetime = Some(Duration::from_millis(500));
    let server = start(with_cid_lifetime(lifetime));
    let mut nat = Nat::to(server.address).await;
    let client = Client::on(Client::endpoint(&server), nat.address).await.expect("a handshake");
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        nat.rebind(server.address).await;
        assert!(hello(&client).await);
    }
    let stats = client.quic.stats();
    // Seven at the start (RFC 9000 section 5.1.1), and the same number again for each lifetime.
    assert!(stats.frame_rx.new_connection_id > 14, "{}", stats.frame_rx.new_connection_id);
    assert!(stats.frame_tx.retire_connection_id > 7, "{}", stats.frame_tx.retire_connection_id);

    let server = start(with_cid_lifetime(None));
    let client = Client::connect(&server).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(hello(&client).await);
    assert_eq!(client.quic.stats().frame_tx.retire_connection_id, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry() {
    for (retry_above, retries) in [(Some(0), 12), (Some(5), 7), (None, 0)] {
        let mut config = pool(true);
        config.http3.retry_above = retry_above;
        let server = start(config);
        let mut clients = Vec::new();
        for _ in 0..12 {
            clients.push(Client::connect(&server).await);
            assert!(hello(clients.last().expect("one")).await);
        }
        assert_eq!(server.pool.retries(), retries);
        let accepted: u64 = server.pool.members().iter().map(|member| member.accepted).sum();
        assert_eq!(accepted, 12);
    }
}

/// A process has the keys but does not know the connection. Whichever of its members a datagram reaches, and however
/// many it has, the client learns at once that the connection is gone (RFC 9000 section 10.3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stateless_reset() {
    let keys = keys();
    let before = Server::with_keys(pool(true), &keys);
    for endpoints in [1, 4] {
        let mut config = pool(false);
        config.http3.endpoints = Some(endpoints);
        let after = Server::with_keys(config, &keys);
        for _ in 0..8 {
            let mut nat = Nat::to(before.address).await;
            let client = Client::on(Client::endpoint(&before), nat.address).await.expect("a handshake");
            assert!(hello(&client).await);
            nat.rebind(after.address).await;
            // The datagrams that the client still had to send may have been enough.
            if let Ok(mut stream) = client.quic.open_uni().await {
                let _ = stream.write_all(b"\x21anything").await;
            }
            let end = timeout(PATIENCE, client.quic.closed()).await.expect("it ends");
            assert_eq!(end, quinn::ConnectionError::Reset);
            // Resets are at least 20 ms apart.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
    let stranger = start(pool(false));
    let mut nat = Nat::to(before.address).await;
    let client = Client::on(Client::endpoint(&before), nat.address).await.expect("a handshake");
    nat.rebind(stranger.address).await;
    client.quic.open_uni().await.expect("a stream").write_all(b"\x21anything").await.expect("it is sent");
    assert!(timeout(Duration::from_millis(500), client.quic.closed()).await.is_err(), "without the keys it cannot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_reaches_every_member() {
    let server = start(pool(true));
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(Client::connect(&server).await);
        assert!(hello(clients.last().expect("one")).await);
    }
    let busy = server.pool.members().iter().filter(|member| member.connections > 0).count();
    assert!(busy > 1, "one member has them all");
    let slow = Client::connect(&server).await;
    let slow = tokio::spawn(async move {
        let body = slow.get("/slow?2000").await;
        (body, slow)
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.drain.drain();
    for client in clients {
        let end = timeout(PATIENCE, client.driver).await.expect("it closes").expect("no panic");
        assert!(end.is_h3_no_error(), "{end}");
    }
    // Members without connections turn new clients away like the member that has one.
    for _ in 0..12 {
        let refused = timeout(PATIENCE, Client::on(Client::endpoint(&server), server.address)).await;
        assert!(refused.expect("an answer").is_err());
    }
    assert_eq!(server.pool.members().iter().map(|member| member.refused).sum::<u64>(), 12);
    let (body, _client) = timeout(PATIENCE, slow).await.expect("it ends").expect("no panic");
    assert_eq!(body, b"slow", "what has begun is finished");
    timeout(PATIENCE, server.task).await.expect("serve returns").expect("no panic");
    assert!(server.pool.members().iter().all(|member| member.connections == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_endpoint_to_many() {
    for (endpoints, expected) in [(0, 1), (1, 1), (100, 100)] {
        let server = start(support::with(|config| config.http3.endpoints = Some(endpoints)));
        assert_eq!(server.pool.endpoints().len(), expected);
        assert_eq!(*server.pool.steering() == Steering::None, expected == 1);
        let mut nat = Nat::to(server.address).await;
        let client = Client::on(Client::endpoint(&server), nat.address).await.expect("a handshake");
        for _ in 0..3 {
            assert!(hello(&client).await);
            nat.rebind(server.address).await;
        }
    }
}

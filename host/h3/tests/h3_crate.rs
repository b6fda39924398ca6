//! The client of the h3 crate against the server: another implementation, without a dynamic QPACK table.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use roadrunner_values::TransportSettings;
use support::Server;
use support::client::Client;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests() {
    let server = Server::start(TransportSettings::default());
    let client = Client::connect(&server).await;
    assert_eq!(client.send("GET", "/hello", &[]).await.1, b"hello GET");
    assert_eq!(client.send("HEAD", "/hello", &[]).await, (StatusCode::OK, Vec::new(), None));
    assert_eq!(client.send("GET", "/nothing", &[]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(client.send("POST", "/echo", &[Bytes::from_static(b"ab"), Bytes::from_static(b"cd")]).await.1, b"abcd");
    let (status, body, trailers) = client.send("GET", "/trailers", &[]).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"body"[..]));
    assert_eq!(trailers.expect("there are some")["x-trailer"], "yes");
    assert_eq!(client.send("GET", "/panic", &[]).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn big_bodies_both_ways() {
    let server = Server::start(TransportSettings::default());
    let client = Client::connect(&server).await;
    let piece = Bytes::from((0..64 * 1024).map(|index| (index % 251) as u8).collect::<Vec<_>>());
    let (_, body, _) = client.send("POST", "/echo", &vec![piece.clone(); 160]).await;
    assert_eq!(body.len(), 160 * piece.len());
    assert!(body.chunks(piece.len()).all(|chunk| chunk == piece));
    assert_eq!(client.send("GET", "/large?10000000", &[]).await.1.len(), 10_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once() {
    let server = Server::start(TransportSettings::default());
    let client = Arc::new(Client::connect(&server).await);
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.send("POST", "/echo", &[Bytes::from_static(b"x")]).await.1 })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), b"x");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finishes_what_has_begun() {
    let server = Server::start(TransportSettings::default());
    let client = Client::connect(&server).await;
    let slow = client.send("GET", "/slow", &[]);
    let drain = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.drain.drain();
    };
    let ((status, body, _), ()) = tokio::join!(slow, drain);
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"slow"[..]));
    let end = tokio::time::timeout(Duration::from_secs(5), client.driver).await.expect("it closes").expect("no panic");
    assert!(end.is_h3_no_error(), "{end}");
    tokio::time::timeout(Duration::from_secs(5), server.task).await.expect("serve returns").expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed() {
    let server = Server::start(support::with(|config| config.timeouts.h3_idle = Duration::from_millis(200)));
    let client = Client::connect(&server).await;
    assert_eq!(client.send("GET", "/slow", &[]).await.1, b"slow", "a request is not idle");
    let end = tokio::time::timeout(Duration::from_secs(5), client.driver).await.expect("it closes").expect("no panic");
    assert!(end.is_h3_no_error(), "{end}");
}

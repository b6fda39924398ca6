//! The unread rest of an HTTP/1 request body: the connection goes on after it, or its close is announced.

mod support;

use std::time::{Duration, Instant};

use roadrunner_values::{Timeouts, TransportSettings};
use support::{Client, Way, read_to_close, read_until, start, start_with};
use tokio::io::AsyncWriteExt;

const WAYS: [Way; 2] = [Way::H1, Way::H1Tls];

fn head(path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
}

fn sized(path: &str, length: usize) -> Vec<u8> {
    [head(path, &format!("content-length: {length}\r\n")).into_bytes(), vec![b'x'; length]].concat()
}

fn chunked(path: &str, length: usize) -> Vec<u8> {
    let head = head(path, "transfer-encoding: chunked\r\n");
    let (first, second) = (length / 3, length - length / 3);
    let chunk = |length: usize| [format!("{length:x}\r\n").into_bytes(), vec![b'x'; length], b"\r\n".to_vec()].concat();
    [head.into_bytes(), chunk(first), chunk(second), b"0\r\n\r\n".to_vec()].concat()
}

/// Sends, and reads the answer up to the end of its body.
async fn answer(client: &mut Client, sent: &[u8], end: &str) -> String {
    client.write_all(sent).await.expect("the connection lives");
    read_until(client, end).await
}

#[tokio::test]
async fn sixty_requests_on_one_connection() {
    let harness = start().await;
    for way in WAYS {
        for (path, end) in [("/hello", "hello, world\n"), ("/nothing", "not found\n"), ("/late", "0\r\n\r\n")] {
            let mut client = harness.connect(way).await;
            let rounds = if path == "/late" { 6 } else { 60 };
            for round in 0..rounds {
                let length = [10, 1000, 20_000, 200_000][round % 4];
                for sent in [sized(path, length), chunked(path, length)] {
                    let wire = answer(&mut client, &sent, end).await;
                    assert!(!wire.contains("connection: close"), "{way:?} {path} {length}: {wire}");
                }
            }
        }
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn a_body_that_comes_late_is_waited_for() {
    let harness = start().await;
    for way in WAYS {
        let mut client = harness.connect(way).await;
        client.write_all(head("/hello", "content-length: 4\r\n").as_bytes()).await.expect("written");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let wire = answer(&mut client, b"body", "hello, world\n").await;
        assert!(!wire.contains("connection: close"), "{way:?}: {wire}");
        let wire = answer(&mut client, &sized("/count", 7), "7 0").await;
        assert!(!wire.contains("connection: close"), "{way:?}: {wire}");
    }
}

#[tokio::test]
async fn what_is_too_much_or_too_late_is_announced() {
    let timeouts = Timeouts { unread_body: Duration::from_millis(200), ..Timeouts::default() };
    let harness = start_with(TransportSettings { timeouts, ..TransportSettings::default() }).await;
    let too_much = head("/hello", "content-length: 300000\r\n").into_bytes();
    let endless = chunked("/hello", 400_000);
    let never = head("/hello", "content-length: 4\r\n").into_bytes();
    let broken = head("/hello", "transfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes();
    for way in WAYS {
        for (name, sent, waits) in [
            ("a declared length over the bound", &too_much, false),
            ("chunks over the bound", &endless, false),
            ("a body that does not come", &never, true),
            ("chunks that are none", &broken, false),
        ] {
            let mut client = harness.connect(way).await;
            let begun = Instant::now();
            client.write_all(sent).await.expect("written");
            let wire = read_to_close(&mut client).await;
            assert!(wire.contains("\r\nconnection: close\r\n"), "{way:?} {name}: {wire}");
            assert_eq!(begun.elapsed() >= Duration::from_millis(200), waits, "{way:?} {name}: {:?}", begun.elapsed());
        }
    }
}

/// The body may or may not come (RFC 9110, 10.1.1).
#[tokio::test]
async fn a_body_that_was_not_asked_for_costs_the_connection() {
    let harness = start().await;
    for way in WAYS {
        let mut client = harness.connect(way).await;
        let sent = head("/hello", "content-length: 4\r\nexpect: 100-continue\r\n");
        client.write_all(sent.as_bytes()).await.expect("written");
        let begun = Instant::now();
        let wire = read_to_close(&mut client).await;
        assert!(wire.starts_with("HTTP/1.1 200") && wire.contains("\r\nconnection: close\r\n"), "{way:?}: {wire}");
        assert!(begun.elapsed() < Duration::from_millis(500), "{way:?}: {:?}", begun.elapsed());
    }
}

/// A client that has asked for the close waits for nothing.
#[tokio::test]
async fn a_connection_that_closes_anyway_is_not_drained() {
    let harness = start().await;
    for way in WAYS {
        let mut client = harness.connect(way).await;
        let sent = head("/hello", "content-length: 4\r\nconnection: close\r\n");
        client.write_all(sent.as_bytes()).await.expect("written");
        let begun = Instant::now();
        read_until(&mut client, "hello, world\n").await;
        assert!(begun.elapsed() < Duration::from_millis(500), "{way:?}: {:?}", begun.elapsed());
    }
}

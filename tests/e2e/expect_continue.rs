//! `Expect: 100-continue` (RFC 9110, 10.1.1): the client is told to send its body when the guest or the host wants to
//! read it.

use std::time::{Duration, Instant};

use roadrunner_tests::{Ask, Setup, Way};

fn ask(path: &str, length: u64) -> Ask {
    Ask::post_open_with_length(path, length).header("expect", "100-continue")
}

#[tokio::test]
async fn the_first_read_asks_for_the_body() {
    for (mode, limit) in [("auto", "memory = \"8MiB\""), ("manual", "memory = \"8MiB\"")] {
        let server = Setup::of("bodies").route(&format!("body = \"{mode}\"")).limit(limit).start().await;
        for way in [Way::H1, Way::H1Tls, Way::H3] {
            let mut client = server.connect(way).await;
            let mut exchange = client.open(ask("/all", 5)).await;
            let start = Instant::now();
            assert!(exchange.interim().await.contains(&100), "{mode} {way:?}");
            assert!(start.elapsed() < Duration::from_secs(2), "{mode} {way:?}");
            exchange.send("hello").await;
            if way == Way::H3 {
                exchange.finish(&[]).await;
            }
            let answer = exchange.rest().await;
            assert_eq!((answer.text().as_str(), &answer.interim[..]), ("5\n", &[100][..]), "{mode} {way:?}");
        }
    }
}

#[tokio::test]
async fn a_guest_that_reads_late_asks_late() {
    let server = Setup::of("bodies").manual().start().await;
    for way in [Way::H1, Way::H1Tls, Way::H3] {
        let mut client = server.connect(way).await;
        let start = Instant::now();
        let mut exchange = client.open(ask("/late?ms=300", 5)).await;
        assert!(exchange.interim().await.contains(&100), "{way:?}");
        assert!(start.elapsed() >= Duration::from_millis(290), "{way:?}: {:?}", start.elapsed());
        exchange.send("hello").await;
        if way == Way::H3 {
            exchange.finish(&[]).await;
        }
        assert_eq!(exchange.rest().await.text(), "5\n", "{way:?}");
    }
}

#[tokio::test]
async fn who_does_not_read_does_not_ask() {
    let server = Setup::of("bodies").manual().start().await;
    for way in [Way::H1, Way::H1Tls, Way::H3] {
        let mut client = server.connect(way).await;
        let exchange = client.open(ask("/ignore", 5)).await;
        let answer = exchange.rest().await;
        assert_eq!((answer.text().as_str(), &answer.interim[..]), ("ignored\n", &[][..]), "{way:?}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_not_asked_for() {
    let server = Setup::of("bodies").limit("body = \"1KiB\"").start().await;
    for way in [Way::H1, Way::H1Tls, Way::H3] {
        let mut client = server.connect(way).await;
        let exchange = client.open(ask("/all", 1025)).await;
        let answer = exchange.rest().await;
        assert_eq!((answer.status, &answer.interim[..]), (413, &[][..]), "{way:?}");
    }
}

#[tokio::test]
async fn no_route_no_body() {
    let server = Setup::with("[component.bodies]\nfile = \"{guests}/bodies.wasm\"\n[[route]]\npath = \"/all\"\ncomponent = \"bodies\"\nmethods = [\"PUT\"]").start().await;
    for way in [Way::H1, Way::H1Tls, Way::H3] {
        for (path, status) in [("/nothing", 404), ("/all", 405)] {
            let mut client = server.connect(way).await;
            let answer = client.open(ask(path, 5)).await.rest().await;
            assert_eq!((answer.status, &answer.interim[..]), (status, &[][..]), "{way:?} {path}");
        }
    }
}

//! Topics join the held sessions of one component only.

use std::time::{Duration, Instant};

use roadrunner_tests::{Ask, Client, Exchange, Setup, Way};

/// The number of sessions that one message is for.
const SESSIONS: usize = 1000;

/// The number of these over HTTP/1.1, with a connection each; the others share HTTP/2 connections.
const OVER_HTTP1: usize = 200;

/// The number of streams of one HTTP/2 connection.
const SHARED: usize = 100;

#[tokio::test]
async fn a_thousand_sessions_are_fed_by_one_publish() {
    let server = Setup::of("loops").host_limits("instances = 100\nheld = 1100").alone().start().await;
    let mut h1: Vec<Client> = Vec::new();
    for _ in 0..OVER_HTTP1 {
        h1.push(server.connect(Way::H1).await);
    }
    let mut h2: Vec<Client> = Vec::new();
    for index in 0..(SESSIONS - OVER_HTTP1) / SHARED {
        h2.push(server.connect(if index % 2 == 0 { Way::H2c } else { Way::H2Tls }).await);
    }
    let mut sessions: Vec<Exchange<'_>> = Vec::new();
    for client in &mut h1 {
        sessions.push(client.open(Ask::get("/subscribe/news")).await);
    }
    for client in &mut h2 {
        for _ in 0..SHARED {
            sessions.push(Exchange::H2(client.h2().begin_get("/subscribe/news").await));
        }
    }
    for session in &mut sessions {
        session.read_until("subscribed").await;
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_bus_subscriptions", ""), SESSIONS as f64);
    assert_eq!(metrics.sum("roadrunner_sessions_held", "host"), SESSIONS as f64);

    let start = Instant::now();
    let receivers = server.fetch(Way::H1, Ask::post("/publish/news", "hello")).await.text();
    assert_eq!(receivers, format!("{SESSIONS}\n"));
    for session in &mut sessions {
        assert!(session.read_until("\n\n").await.ends_with("data: hello\n\n"));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(sessions);
    drop(h1);
    drop(h2);
    server.is_quiet().await;
    assert_eq!(server.fetch(Way::H1, Ask::post("/publish/news", "hello")).await.text(), "0\n");
}

#[tokio::test]
async fn components_do_not_hear_each_other() {
    let server = Setup::with(
        "[component.ours]\nfile = \"{guests}/loops.wasm\"\n[component.theirs]\nfile = \"{guests}/loops.wasm\"\n\
         [[group]]\nhosts = [\"ours\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"ours\"\n\
         [[group]]\nhosts = [\"theirs\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"theirs\"\n",
    )
    .start()
    .await;
    let mut client = server.connect(Way::H1).await;
    let mut session = client.open(Ask::get("/subscribe/news").host("ours")).await;
    session.read_until("subscribed\n\n").await;
    let publish = async |host: &str, text: &'static str| {
        server.fetch(Way::H2c, Ask::post("/publish/news", text).host(host)).await.text()
    };
    assert_eq!(publish("theirs", "secret").await, "0\n", "the same file, another owner");
    assert_eq!(publish("ours", "hello").await, "1\n");
    assert_eq!(session.read_until("\n\n").await, "data: hello\n\n");
}

#[tokio::test]
async fn topics_are_apart_and_can_be_left() {
    let server = Setup::of("loops").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut session = client.open(Ask::get("/once/one")).await;
        assert_eq!(session.head().await, 200);
        let publish = async |topic: &str, text: &'static str| {
            server.text_of(way, Ask::post(&format!("/publish/{topic}"), text)).await
        };
        assert_eq!(publish("two", "no").await, "0\n", "{way:?}");
        assert_eq!(publish("one", "yes").await, "1\n", "{way:?}");
        session.read_until("yes").await;
        assert_eq!(publish("one", "again").await, "0\n", "{way:?}: it has unsubscribed");
        assert_eq!(session.rest().await.text(), "", "{way:?}");
    }
    server.is_quiet().await;
}

/// A session that is slower than its publisher misses messages, never blocks it, and learns how many it missed.
#[tokio::test]
async fn what_a_slow_session_misses_is_counted() {
    let server = Setup::of("loops").start().await;
    for way in Way::EACH {
        let mut client = server.connect(way).await;
        let mut session = client.open(Ask::get("/slow/news?ms=200")).await;
        session.read_until("subscribed\n\n").await;
        let large = "x".repeat(300 << 10);
        let start = Instant::now();
        for _ in 0..12 {
            assert_eq!(server.fetch(way, Ask::post("/publish/news", large.clone())).await.text(), "1\n", "{way:?}");
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{way:?}: publishing does not wait: {:?}", start.elapsed());
        let mut text = String::new();
        // Until there is room again.
        while text.matches("data: x").count() < 2 {
            text += &session.read_until("\n\n").await;
        }
        server.fetch(way, Ask::post("/publish/news", "last")).await;
        text += &session.read_until("data: last\n\n").await;
        let received = text.matches("data: x").count();
        let missed: usize = text
            .split("event: missed\ndata: ")
            .skip(1)
            .filter_map(|rest| rest.split('\n').next()?.parse::<usize>().ok())
            .sum();
        assert!(missed > 0, "{way:?}: {received} of 12 were received");
        assert_eq!(received + missed, 12, "{way:?}: each is received or counted");
    }
    server.is_quiet().await;
}

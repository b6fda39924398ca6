//! The shutdown of the host: nothing new, time for requests in progress, and an exit code that says whether that was
//! enough.

use std::time::{Duration, Instant};

use roadrunner_tests::client::secure;
use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Client, End, Server, Setup, Way};
use rustix::process::Signal;
use tokio::net::TcpStream;

async fn start(drain: &str) -> Server {
    Setup::with(&(component("loops") + &component("hostile") + &component("hello")))
        .and(
            "[[route]]\npath = \"/hello\"\ncomponent = \"hello\"\n[[route]]\npath = \"/sleep\"\ncomponent = \"hostile\"\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"loops\"\n",
        )
        .server(&format!("drain = \"{drain}\""))
        .start()
        .await
}

#[tokio::test]
async fn without_work_it_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = start("10s").await;
        let mut idle = server.connect(Way::H1).await;
        assert_eq!(idle.fetch(Ask::get("/hello")).await.status, 200);
        let mut idle2 = server.connect(Way::H2Tls).await;
        assert_eq!(idle2.fetch(Ask::get("/hello")).await.status, 200);
        let start = Instant::now();
        server.signal(signal);
        assert_eq!(server.exit().await.code(), Some(0), "{signal:?}: {}", server.log);
        assert!(start.elapsed() < Duration::from_secs(2), "{signal:?}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn what_is_under_way_is_finished() {
    let mut server = start("10s").await;
    let mut clients = Vec::new();
    for way in Way::ALL {
        clients.push((way, server.connect(way).await));
    }
    let mut exchanges = Vec::new();
    for (way, client) in &mut clients {
        exchanges.push((*way, client.open(Ask::get("/sleep?ms=700")).await));
    }
    server.has_instances(5).await;
    server.signal(Signal::TERM);
    let refused = roadrunner_tests::within(Duration::from_secs(2), async || {
        (server.admin_request("GET", "/ready").await.0 == 503).then_some(())
    });
    assert!(refused.await.is_some(), "not ready");
    assert_eq!(server.admin_request("GET", "/live").await.0, 200);
    assert_eq!(server.metrics().await.sum("roadrunner_draining", ""), 1.0);
    let address = server.address("plain");
    let closed = roadrunner_tests::within(Duration::from_millis(300), async || {
        TcpStream::connect(address).await.is_err().then_some(())
    });
    assert!(closed.await.is_some(), "nothing new");
    for (way, exchange) in exchanges {
        let answer = exchange.rest().await;
        assert_eq!((answer.text().as_str(), answer.end), ("awake\n", End::sized(way)), "{way:?}");
    }
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);
}

#[tokio::test]
async fn held_sessions_are_told_and_may_say_goodbye() {
    let mut server = start("10s").await;
    let mut clients = Vec::new();
    for way in Way::ALL {
        clients.push((way, server.connect(way).await));
    }
    let mut exchanges = Vec::new();
    for (way, client) in &mut clients {
        let mut exchange = client.open(Ask::get("/drain")).await;
        assert_eq!(exchange.head().await, 200);
        exchanges.push((*way, exchange));
    }
    server.signal(Signal::TERM);
    for (way, exchange) in exchanges {
        let answer = exchange.rest().await;
        let left = answer
            .text()
            .strip_prefix("goodbye, ")
            .and_then(|text| text.strip_suffix(" ms left\n"))
            .and_then(|ms| ms.parse::<u64>().ok());
        assert!(left.is_some_and(|left| (9_000..=10_000).contains(&left)), "{way:?}: {answer:?}");
        assert_eq!(answer.end, End::streamed(way), "{way:?}");
    }
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);
}

#[tokio::test]
async fn at_the_deadline_the_rest_is_cut() {
    let mut server = start("400ms").await;
    let mut clients = Vec::new();
    for way in Way::ALL {
        clients.push((way, server.connect(way).await));
    }
    let mut exchanges = Vec::new();
    for (way, client) in &mut clients {
        let mut exchange = client.open(Ask::get("/drain/ignored")).await;
        assert_eq!(exchange.head().await, 200);
        exchanges.push((*way, exchange));
    }
    let start = Instant::now();
    server.signal(Signal::TERM);
    for (way, exchange) in exchanges {
        assert!(!exchange.rest().await.end.is_whole(), "{way:?}: a cut session does not look whole");
    }
    assert_eq!(server.exit().await.code(), Some(3), "{}", server.log);
    let elapsed = start.elapsed();
    assert!((Duration::from_millis(390)..Duration::from_secs(3)).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test]
async fn a_second_signal_cuts_at_once() {
    let mut server = start("1m").await;
    let mut client = server.connect(Way::H2c).await;
    let mut exchange = client.open(Ask::get("/drain/ignored")).await;
    assert_eq!(exchange.head().await, 200);
    server.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(server.is_running(), "it waits for the session");
    let start = Instant::now();
    server.signal(Signal::INT);
    assert_eq!(server.exit().await.code(), Some(3), "{}", server.log);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(!exchange.rest().await.end.is_whole());
}

/// Guests that compute are no exception: the process does not wait for them.
#[tokio::test]
async fn a_guest_that_never_returns_is_cut_too() {
    let mut server =
        Setup::of("hostile").limit("cpu = \"10m\", deadline = \"10m\"").server("drain = \"200ms\"").start().await;
    let mut client = server.connect(Way::H1).await;
    let exchange = client.open(Ask::get("/spin")).await;
    server.has_instances(1).await;
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(3), "{}", server.log);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(!exchange.rest().await.end.is_whole());
}

/// `/ready` fails first; clients that have not noticed yet are still served.
#[tokio::test]
async fn a_load_balancer_gets_time_to_notice() {
    let mut server = Setup::with(&(component("loops") + &component("hello")))
        .and("[[route]]\npath = \"/hello\"\ncomponent = \"hello\"\n[[route]]\npath = \"/*rest\"\ncomponent = \"loops\"\n")
        .server("drain-delay = \"1500ms\"\ndrain = \"10s\"")
        .start()
        .await;
    let mut client = server.connect(Way::H2c).await;
    let mut session = client.open(Ask::get("/drain")).await;
    assert_eq!(session.head().await, 200);
    let start = Instant::now();
    server.signal(Signal::TERM);
    let refused = roadrunner_tests::within(Duration::from_secs(1), async || {
        (server.admin_request("GET", "/ready").await.0 == 503).then_some(())
    });
    assert!(refused.await.is_some(), "not ready");
    for way in Way::ALL {
        assert_eq!(server.fetch(way, Ask::get("/hello")).await.status, 200, "{way:?}: still served");
    }
    let answer = session.rest().await;
    assert!(answer.text().starts_with("goodbye"), "{answer:?}");
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(1450), "the session was told after {elapsed:?} already");
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);

    // A second signal does not wait for it.
    let mut server = Setup::of("hello").server("drain-delay = \"1m\"").start().await;
    server.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(server.is_running());
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(3), "{}", server.log);
}

/// Sends requests on one connection after another, as long as it can connect; returns the number of answers.
async fn asks_on(address: std::net::SocketAddr, way: Way) -> u32 {
    let mut answered = 0;
    while let Ok(tcp) = TcpStream::connect(address).await {
        let Ok(io) = tokio::spawn(secure(tcp, way)).await else { break };
        let mut client = Client::on(io, way).await;
        let first = client.fetch(Ask::get("/hello")).await;
        if first.status == 0 {
            // It came just as the listener was closed.
            break;
        }
        let mut answer = first;
        loop {
            assert_eq!((answer.status, answer.end.is_whole()), (200, true), "{way:?} after {answered}: {answer:?}");
            answered += 1;
            if answer.header("connection") == "close" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
            answer = client.fetch(Ask::get("/hello")).await;
        }
    }
    answered
}

#[tokio::test]
async fn no_request_fails_on_a_connection_that_is_in_use() {
    for delay in ["0ms", "500ms"] {
        let mut server =
            Setup::of("hello").server(&format!("drain-delay = \"{delay}\"\ndrain = \"10s\"")).start().await;
        let mut clients = tokio::task::JoinSet::new();
        for way in [Way::H1, Way::H1Tls] {
            let address = server.address(if way.is_tls() { "tls" } else { "plain" });
            for _ in 0..8 {
                clients.spawn(asks_on(address, way));
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.signal(Signal::TERM);
        while let Some(answered) = clients.join_next().await {
            assert!(answered.expect("every request was answered") > 10, "with a delay of {delay}");
        }
        assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);
    }
}

/// During the delay, clients are told to make their next connection elsewhere; an idle connection is not cut before it
/// has had its time.
#[tokio::test]
async fn connections_end_with_their_next_answer() {
    let mut server = Setup::of("hello").server("drain-delay = \"1s\"\ndrain = \"10s\"").start().await;
    let mut clients = Vec::new();
    for way in [Way::H1, Way::H1Tls] {
        for after in [200, 1300] {
            let mut client = server.connect(way).await;
            assert_eq!(client.fetch(Ask::get("/hello")).await.header("connection"), "", "{way:?}");
            clients.push((way, after, client));
        }
    }
    let start = Instant::now();
    server.signal(Signal::TERM);
    clients.sort_by_key(|(_, after, _)| *after);
    for (way, after, mut client) in clients {
        tokio::time::sleep(Duration::from_millis(after).saturating_sub(start.elapsed())).await;
        let answer = client.fetch(Ask::get("/hello")).await;
        assert_eq!((answer.status, answer.header("connection")), (200, "close"), "{way:?} after {after} ms");
        assert!(client.h1().is_closed_within(Duration::from_secs(1)).await, "{way:?} after {after} ms");
    }
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);
}

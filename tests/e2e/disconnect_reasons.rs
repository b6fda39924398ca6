//! A session's last event gives the true reason for its end.

use roadrunner_tests::{Ask, Client, Server, Setup, Way};

/// Opens a session and waits until the guest runs it; returns its request's id.
async fn open<'c>(server: &Server, client: &'c mut Client) -> (roadrunner_tests::Exchange<'c>, String) {
    let mut exchange = client.open(Ask::get("/disconnect")).await;
    exchange.read_until("open").await;
    let id = server.has_instances(1).await[0]["request"].as_str().unwrap_or("").to_owned();
    (exchange, id)
}

async fn told(server: &Server, id: &str) -> String {
    let line = server.log.message(&format!("disconnect: {id}")).await;
    server.is_quiet().await;
    line["message"].as_str().unwrap_or("").rsplit(' ').next().unwrap_or("").to_owned()
}

#[tokio::test]
async fn an_orderly_close_of_http1_is_closed() {
    let server = Setup::of("loops").start().await;
    for way in [Way::H1, Way::H1Tls] {
        let mut client = server.connect(way).await;
        let (exchange, id) = open(&server, &mut client).await;
        drop(exchange);
        client.h1().shut_down().await;
        drop(client);
        assert_eq!(told(&server, &id).await, "Closed", "{way:?}");
    }
}

#[tokio::test]
async fn a_tcp_reset_is_connection_lost() {
    let server = Setup::of("loops").start().await;
    for way in Way::ALL {
        let address = server.address(if way.is_tls() { "tls" } else { "plain" });
        let mut client = Client::connect_abortive(address, way).await;
        let (exchange, id) = open(&server, &mut client).await;
        drop(exchange);
        drop(client);
        assert_eq!(told(&server, &id).await, "ConnectionLost", "{way:?}");
    }
}

#[tokio::test]
async fn a_reset_stream_is_reset() {
    let server = Setup::of("loops").start().await;
    for way in [Way::H2c, Way::H2Tls] {
        let mut client = server.connect(way).await;
        let (exchange, id) = open(&server, &mut client).await;
        exchange.reset();
        assert_eq!(told(&server, &id).await, "Reset", "{way:?}");
        let (exchange, id) = open(&server, &mut client).await;
        exchange.reset();
        assert_eq!(told(&server, &id).await, "Reset", "{way:?}: and the connection lives");
    }
}

#[tokio::test]
async fn an_http2_connection_that_closes_under_its_streams_is_connection_lost() {
    let server = Setup::of("loops").start().await;
    for way in [Way::H2c, Way::H2Tls] {
        let mut client = server.connect(way).await;
        let (exchange, id) = open(&server, &mut client).await;
        // The connection is gone before it could send the reset that dropping the stream causes.
        drop(exchange);
        drop(client);
        assert_eq!(told(&server, &id).await, "ConnectionLost", "{way:?}");
    }
}

#[tokio::test]
async fn an_idle_limit_is_timeout() {
    let server = Setup::of("loops").limit("idle = \"1s\"").start().await;
    for way in Way::EACH {
        let mut client = server.connect(way).await;
        let (exchange, id) = open(&server, &mut client).await;
        assert_eq!(told(&server, &id).await, "Timeout", "{way:?}");
        assert!(!exchange.rest().await.end.is_whole(), "{way:?}");
    }
}

#[tokio::test]
async fn a_client_that_accepts_nothing_for_too_long_is_timeout() {
    let server = Setup::of("streams").and("[timeouts]\nwrite-stall = \"300ms\"").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/bytes?n=1000000000")).await;
        assert_eq!(exchange.head().await, 200, "{way:?}");
        // Nothing is read from here on.
        assert!(server.is_empty_after().await < std::time::Duration::from_secs(5), "{way:?}");
        server.is_quiet().await;
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_timeouts_total", "timeout=\"write"), 5.0, "{metrics:?}");
}

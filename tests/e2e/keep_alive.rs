//! HTTP/1.1 connections are kept for the next request whenever both sides stay in step, and clients that use HTTP/1.0
//! get HTTP/1.0.

use std::time::Duration;

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, End, Server, Setup, Way};

async fn start(extra: &str) -> Server {
    Setup::with(&(component("answers") + &component("streams") + &component("bodies") + extra))
        .and(
            "[[route]]\npath = \"/bodies/*rest\"\ncomponent = \"bodies\"\n\
             [[group]]\nhosts = [\"streams\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"streams\"\n\
             [[group]]\nhosts = [\"bodies\"]\nlimits = { body = \"1KiB\" }\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"bodies\"\n\
             [[group]]\nhosts = [\"manual\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"bodies\"\nbody = \"manual\"\n\
             [[route]]\npath = \"/status/:n\"\ncomponent = \"answers\"\nmethods = [\"GET\"]\n\
             [[route]]\npath = \"/counter\"\ncomponent = \"answers\"\n",
        )
        .start()
        .await
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = start("").await;
    for way in [Way::H1, Way::H1Tls] {
        let mut client = server.connect(way).await;
        for (ask, status) in [
            (Ask::get("/chunks").host("streams"), 200),
            (Ask::get("/trailers").host("streams"), 200),
            (Ask::get("/nothing"), 404),
            (Ask::new("POST", "/status/200"), 405),
            (Ask::get("/status/%zz"), 400),
            (Ask::get("/status/204"), 204),
            (Ask::get("/status/304"), 304),
            (Ask::new("HEAD", "/status/200"), 200),
            (Ask::get("/status/999"), 500),
            (Ask::get("/trap/before").host("streams"), 500),
            (Ask::post("/ignore", "hello").host("bodies"), 200),
            (Ask::post("/ignore", "hello").host("manual"), 200),
            (Ask::post("/half", "hello").host("manual"), 200),
            (Ask::post("/drop", "hello").host("manual"), 200),
            (Ask::get("/counter"), 200),
        ] {
            let answer = client.fetch(ask.clone()).await;
            assert_eq!(answer.status, status, "{way:?} {ask:?}");
            assert!(!answer.header("connection").contains("close"), "{way:?} {ask:?}");
            assert!(answer.end.is_whole() && answer.end != End::Close, "{way:?} {ask:?}");
        }
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_connections_accepted_total", ""), 2.0);
    server.is_quiet().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start("").await;
    for way in [Way::H1, Way::H1Tls] {
        let mut client = server.connect(way).await;
        let mut bytes = String::new();
        for status in 206..240 {
            bytes += &format!("GET /status/{status} HTTP/1.1\r\nhost: x\r\n\r\n");
        }
        client.h1().write(bytes.as_bytes()).await;
        for status in 206..240 {
            let answer = client.h1().answer("GET").await;
            assert_eq!(answer.status, status, "{way:?}");
            assert_eq!(answer.text(), format!("status {status}\n"), "{way:?}");
        }
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_client_that_asks_for_it_is_closed() {
    let server = start("").await;
    for way in [Way::H1, Way::H1Tls] {
        for (host, path) in [("x", "/counter"), ("streams", "/chunks")] {
            let mut client = server.connect(way).await;
            let answer = client.fetch(Ask::get(path).host(host).header("connection", "close")).await;
            assert_eq!((answer.status, answer.end.is_whole()), (200, true), "{way:?} {path}");
            assert!(client.h1().is_closed_within(Duration::from_secs(2)).await, "{way:?} {path}");
        }
    }
}

#[tokio::test]
async fn http_1_0_gets_no_chunks() {
    let server = start("").await;
    for way in [Way::H1, Way::H1Tls] {
        let mut client = server.connect(way).await;
        client.h1().write(b"GET /chunks HTTP/1.0\r\nhost: streams\r\n\r\n").await;
        let answer = client.h1().answer("GET").await;
        assert_eq!((answer.text().as_str(), &answer.end), ("aaaaaaaabbbbbbbbcccccccc", &End::Close), "{way:?}");
        assert!(!answer.headers.contains_key("transfer-encoding"), "{way:?}");

        // Without Host, which HTTP/1.0 does not require.
        let mut client = server.connect(way).await;
        client.h1().write(b"GET /counter HTTP/1.0\r\n\r\n").await;
        let answer = client.h1().answer("GET").await;
        assert_eq!((answer.text().as_str(), &answer.end), ("1\n", &End::Length), "{way:?}");
        assert!(client.h1().is_closed_within(Duration::from_secs(2)).await, "{way:?}");

        let mut client = server.connect(way).await;
        for _ in 0..3 {
            client.h1().write(b"GET /counter HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
            let answer = client.h1().answer("GET").await;
            assert_eq!((answer.text().as_str(), &answer.end), ("1\n", &End::Length), "{way:?}");
        }

        // Trailers are not possible.
        let mut client = server.connect(way).await;
        client.h1().write(b"GET /trailers HTTP/1.0\r\nhost: streams\r\nte: trailers\r\n\r\n").await;
        let answer = client.h1().answer("GET").await;
        assert_eq!((answer.text().as_str(), answer.end), ("body\n", End::Close), "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start("[timeouts]\nkeep-alive-idle = \"800ms\"\n").await;
    for way in [Way::H1, Way::H1Tls] {
        let mut client = server.connect(way).await;
        assert_eq!(client.fetch(Ask::get("/counter")).await.status, 200);
        assert!(!client.h1().is_closed_within(Duration::from_millis(150)).await, "{way:?}: not at once");
        assert!(client.h1().is_closed_within(Duration::from_secs(2)).await, "{way:?}");
    }
}

/// A body that is refused before it is read is still read, or the connection ends; the answer arrives in either case.
#[tokio::test]
async fn after_413_the_answer_arrives_and_nothing_of_the_body_is_a_request() {
    let server = start("").await;
    let body = |times| b"GET /counter HTTP/1.1\r\nhost: x\r\n\r\n".repeat(times);
    for way in [Way::H1, Way::H1Tls] {
        let mut client = server.connect(way).await;
        let answer = client.fetch(Ask::post("/all", body(1000)).host("bodies")).await;
        assert_eq!((answer.status, answer.end.is_whole()), (413, true), "{way:?}");
        assert_eq!(answer.header("connection"), "", "{way:?}");
        assert_eq!(client.fetch(Ask::get("/status/204")).await.status, 204, "{way:?}: it is in step");
        let answer = client.fetch(Ask::post("/all", body(10_000)).host("bodies")).await;
        assert_eq!((answer.status, answer.header("connection")), (413, "close"), "{way:?}");
        let rest = client.h1().to_close().await;
        assert_eq!(rest, "", "{way:?}");
    }
}

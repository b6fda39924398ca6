//! Requests that two readers could understand differently are refused, and the connection ends: over the whole way
//! through the program, what follows such a request is never taken for another one.

use roadrunner_tests::{Ask, Setup, Way};

/// What a smuggler would hide behind a request.
const HIDDEN: &str = "GET /counter?hidden HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let server = Setup::of("answers").start().await;
    for way in [Way::H1, Way::H1Tls] {
        for head in [
            "GET /counter HTTP/1.1\r\n\r\n",
            "GET /counter HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "GET /counter HTTP/1.1\r\nhost: a b\r\n\r\n",
            "GET http://a/counter HTTP/1.1\r\nhost: b\r\n\r\n",
            "GET /counter HTTP/1.1\r\nhost : x\r\n\r\n",
            "GET /counter HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
            "GET /counter HTTP/1.1\nhost: x\n\n",
            "GET /counter HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n",
            "GET /counter HTTP/1.1\r\nhost: x\r\na: b\rc\r\n\r\n",
            "GET /counter HTTP/3.1\r\nhost: x\r\n\r\n",
            "GET  /counter HTTP/1.1\r\nhost: x\r\n\r\n",
            "POST /counter HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\nhello",
            "POST /counter HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\nhello",
            "POST /counter HTTP/1.1\r\nhost: x\r\ncontent-length: 5, 6\r\n\r\nhello",
            "POST /counter HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
            "POST /counter HTTP/1.1\r\nhost: x\r\ncontent-length: 0x5\r\n\r\nhello",
            "POST /counter HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST /counter HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "POST /counter HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "POST /counter HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n",
            "POST /counter HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
            "POST /counter HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            let mut client = server.connect(way).await;
            client.h1().write(format!("{head}{HIDDEN}").as_bytes()).await;
            let said = client.h1().to_close().await;
            assert_eq!(said.matches("HTTP/1.").count(), 1, "{way:?}: one answer to {head:?}: {said}");
            let status: u16 = said.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
            assert!((400..=501).contains(&status), "{way:?} {head:?}: {said}");
        }
    }
    assert!(!server.log.text().contains("hidden"), "{}", server.log);
    server.is_quiet().await;
}

#[tokio::test]
async fn chunks_that_are_not_chunks_end_the_body_badly() {
    let server = Setup::of("bodies").manual().start().await;
    for body in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "5\nhello\n0\n\n",
    ] {
        let mut client = server.connect(Way::H1).await;
        let head = "POST /error HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        client.h1().write(format!("{head}{body}{HIDDEN}").as_bytes()).await;
        let said = client.h1().to_close().await;
        assert!(!said.contains("whole"), "{body:?}: {said}");
        assert!(said.matches("HTTP/1.").count() <= 1, "{body:?}: {said}");
    }
    assert!(!server.log.text().contains("hidden"), "{}", server.log);
    server.is_quiet().await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_431_or_414() {
    let server = Setup::of("hello").start().await;
    for way in Way::ALL {
        // Far over the limit HTTP/2 ends the connection instead: nobody reads so much to keep the tables in step.
        for size in [20_000, 200_000] {
            let ask = Ask::get("/").header("x-large", &"x".repeat(size));
            let answer = server.fetch(way, ask).await;
            assert!(answer.status == 431 || size == 200_000 && answer.status == 0, "{way:?} {size}: {answer:?}");
            assert_eq!(server.text("/").await, "hello, world\n", "{way:?}");
        }
        let answer = server.fetch(way, Ask::get("/").header("x-large", &"x".repeat(8_000))).await;
        assert_eq!(answer.status, 200, "{way:?}: what fits passes");
    }
    let mut client = server.connect(Way::H1).await;
    client.h1().write(format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100_000)).as_bytes()).await;
    let said = client.h1().to_close().await;
    assert!(said.starts_with("HTTP/1.1 4"), "{said}");
    server.is_quiet().await;
}

//! Header and trailer fields of a request, as guests see them: one form on every protocol, and no connection-specific
//! fields.

use roadrunner_tests::{Ask, End, Setup, Way};
use serde_json::Value;

fn fields(json: &str) -> Vec<(String, String)> {
    let seen: Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("not JSON: {json}"));
    serde_json::from_value(seen["headers"].clone()).expect("pairs")
}

fn values<'f>(fields: &'f [(String, String)], name: &str) -> Vec<&'f str> {
    fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
}

/// Connection-specific fields (RFC 9110, 7.6.1), in the forms that HTTP/1 allows.
const OF_THE_CONNECTION: &str = "connection: keep-alive, x-hop, TE\r\nconnection: X-Other\r\nkeep-alive: timeout=5\r\n\
     proxy-connection: keep-alive\r\nupgrade: foo\r\nhttp2-settings: AAMAAABkAAQAAP__\r\nte: gzip;q=0.5, trailers\r\n\
     x-hop: 1\r\nx-other: 2\r\nx-stays: 3\r\n";

#[tokio::test]
async fn of_the_connection_do_not_reach_guests() {
    for guest in ["inspector", "standard", "service"] {
        let server = Setup::of(guest).server("wasi-03 = true").start().await;
        for way in [Way::H1, Way::H1Tls] {
            let mut client = server.connect(way).await;
            let body = "transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
            let head = format!("POST /request HTTP/1.1\r\nhost: a\r\n{OF_THE_CONNECTION}{body}");
            client.h1().write(head.as_bytes()).await;
            let text = client.h1().answer("POST").await.text().to_lowercase();
            for gone in
                ["connection", "keep-alive", "upgrade", "settings", "transfer-encoding", "gzip", "x-hop", "x-other"]
            {
                assert!(!text.contains(gone), "{guest} {way:?}: {gone} in {text}");
            }
            assert!(text.contains("x-stays") && text.contains("trailers"), "{guest} {way:?}: {text}");
        }
        for way in Way::ALL {
            let text = server.text_of(way, Ask::post("/request", "x").header("te", "trailers")).await;
            let line = if guest == "inspector" { "[\"te\",\"trailers\"]" } else { "te: trailers\n" };
            assert!(text.contains(line), "{guest} {way:?}: {text}");
        }
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn that_connection_names_do_not_come_as_trailers() {
    let server = Setup::of("bodies").manual().start().await;
    for way in [Way::H1, Way::H1Tls] {
        let ask = Ask::post_unsized("/trailers", "x").header("connection", "x-hop, keep-alive");
        let answer = server.fetch(way, ask.trailer("x-hop", "named").trailer("x-sum", "1")).await;
        assert!(answer.text().contains("x-sum") && !answer.text().contains("named"), "{way:?}: {answer:?}");
    }
    for way in Way::ALL {
        let ask = Ask::post_unsized("/trailers", "x").trailer("x-sum", "1").trailer("http2-settings", "AAMA");
        let text = server.text_of(way, ask.trailer("authorization", "forged").trailer("cookie", "forged")).await;
        assert!(text.contains("x-sum") && !text.contains("AAMA") && !text.contains("forged"), "{way:?}: {text}");
    }
    server.is_quiet().await;
}

/// A proxy that strips the fields that such a `Connection` names passes on another request.
#[tokio::test]
async fn that_are_for_the_recipient_cannot_be_named() {
    let server = Setup::of("inspector").start().await;
    for way in [Way::H1, Way::H1Tls] {
        for name in
            ["host", "Content-Length", "authorization", "cookie", "x-forwarded-for", "cache-control", "a b", "\"x\""]
        {
            let ask = Ask::get("/").header("connection", &format!("keep-alive, {name}")).header("authorization", "a");
            let answer = server.fetch(way, ask).await;
            assert_eq!(answer.status, 400, "{way:?} {name}: {answer:?}");
        }
        let answer = server.fetch(way, Ask::get("/").header("connection", "close, ,TE,")).await;
        assert_eq!(answer.status, 200, "{way:?}: {answer:?}");
    }
    server.is_quiet().await;
}

/// RFC 9113, 8.2.3; RFC 9114, 4.2.1.
#[tokio::test]
async fn cookies_are_one() {
    for guest in ["inspector", "standard", "service"] {
        let server = Setup::of(guest).server("wasi-03 = true").start().await;
        for way in Way::ALL {
            let ask = Ask::post("/request", "x").header("cookie", "a=1").header("x", "y");
            let text = server.text_of(way, ask.header("cookie", "b=2").header("cookie", "c=3; d=4")).await;
            if guest == "inspector" {
                assert_eq!(values(&fields(&text), "cookie"), ["a=1; b=2; c=3; d=4"], "{way:?}");
            } else {
                assert!(text.contains("\ncookie: a=1; b=2; c=3; d=4\n"), "{guest} {way:?}: {text}");
            }
        }
        server.is_quiet().await;
    }
}

/// RFC 9112, 5.1: not part of the value on HTTP/1. RFC 9113, 8.2.1 and RFC 9114, 4.2: malformed.
#[tokio::test]
async fn with_blanks_at_an_end_are_trimmed_or_malformed() {
    let server = Setup::of("inspector").start().await;
    for way in Way::ALL {
        for padded in [" b", "b ", "\tb", "b\t", "  "] {
            let answer = server.fetch(way, Ask::get("/").header("x-a", padded)).await;
            match way {
                Way::H1 | Way::H1Tls => assert_eq!(values(&fields(&answer.text()), "x-a"), [padded.trim()], "{way:?}"),
                Way::H2c | Way::H2Tls => assert_eq!(answer.status, 400, "{way:?} {padded:?}"),
                Way::H3 => assert!(matches!(answer.end, End::Reset(_)), "{way:?} {padded:?}: {answer:?}"),
            }
        }
        let answer = server.fetch(way, Ask::get("/").header("x-a", "b\tc d")).await;
        assert_eq!(values(&fields(&answer.text()), "x-a"), ["b\tc d"], "{way:?}");
    }
    server.is_quiet().await;
    let server = Setup::of("bodies").manual().start().await;
    for way in [Way::H2c, Way::H2Tls, Way::H3] {
        let answer = server.fetch(way, Ask::post_unsized("/trailers", "x").trailer("x-sum", " 1")).await;
        assert!(answer.status == 400 || !answer.end.is_whole(), "{way:?}: {answer:?}");
    }
    server.is_quiet().await;
}

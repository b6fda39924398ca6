//! Requests that two readers could understand differently are refused, and the connection ends. On the whole path
//! through the program, the bytes after such a request are never taken for another request.

use std::time::Duration;

use roadrunner_tests::{Ask, Server, Setup, Way};

/// The request that a smuggler would hide after another.
const HIDDEN: &str = "GET /counter?hidden HTTP/1.1\r\nhost: x\r\n\r\n";

/// Heads that are refused with 400 and a close, whatever follows. From the RFCs and from publications about request
/// smuggling.
const HEADS: &[(&str, &str)] = &[
    ("no Host", "GET / HTTP/1.1\r\n\r\n"),
    ("an empty Host", "GET / HTTP/1.1\r\nhost:\r\n\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
    ("the same Host twice", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
    ("two Hosts on 1.0", "GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n"),
    ("a Host with a space", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n"),
    ("a Host that is a list", "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n"),
    ("a Host with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n"),
    ("a Host with user information", "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n"),
    ("a target that contradicts Host", "GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n"),
    ("a target with user information", "GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("* with GET", "GET * HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a target without a slash", "GET a HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("no target", "GET  HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a target with a fragment", "GET /a#b HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a target with a space", "GET /a b HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a target with a NUL", "GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a target with a control byte", "GET /\x0b HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a target with DEL", "GET /\x7f HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("two spaces", "GET  / HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a tab for a space", "GET\t/ HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a space before the method", " GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a space behind the version", "GET / HTTP/1.1 \r\nhost: x\r\n\r\n"),
    ("a method with a control byte", "G\x01T / HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a method with a bracket", "G(T / HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a version in small letters", "GET / http/1.1\r\nhost: x\r\n\r\n"),
    ("HTTP/1.10", "GET / HTTP/1.10\r\nhost: x\r\n\r\n"),
    ("HTTP/01.1", "GET / HTTP/01.1\r\nhost: x\r\n\r\n"),
    ("HTTP/0.9", "GET /\r\n\r\n"),
    ("bare LF throughout", "GET / HTTP/1.1\nhost: x\n\n"),
    ("a bare LF after the request line", "GET / HTTP/1.1\nhost: x\r\n\r\n"),
    ("a bare LF after a field", "GET / HTTP/1.1\r\nhost: x\na: b\r\n\r\n"),
    ("a bare LF at the end", "GET / HTTP/1.1\r\nhost: x\r\n\n"),
    ("a bare LF before the request", "\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("bare CR throughout", "GET / HTTP/1.1\rhost: x\r\r\n\r\n"),
    ("CR CR LF after the request line", "GET / HTTP/1.1\r\r\nhost: x\r\n\r\n"),
    ("CR CR LF after a field", "GET / HTTP/1.1\r\nhost: x\r\r\n\r\n"),
    ("CR CR LF at the end", "GET / HTTP/1.1\r\nhost: x\r\n\r\r\n"),
    ("a line without a colon", "GET / HTTP/1.1\r\nhost: x\r\njunk\r\n\r\n"),
    ("a nameless field", "GET / HTTP/1.1\r\nhost: x\r\n: b\r\n\r\n"),
    ("a space before the colon", "GET / HTTP/1.1\r\nhost : x\r\n\r\n"),
    ("a tab before the colon", "GET / HTTP/1.1\r\nhost\t: x\r\n\r\n"),
    ("a name with a NUL", "GET / HTTP/1.1\r\nhost: x\r\na\0: b\r\n\r\n"),
    ("a name beyond ASCII", "GET / HTTP/1.1\r\nhost: x\r\n\u{e9}: b\r\n\r\n"),
    ("a folded line", "GET / HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n"),
    ("a line folded with a tab", "GET / HTTP/1.1\r\nhost: x\r\na: b\r\n\tc: d\r\n\r\n"),
    ("a first line that is folded", "GET / HTTP/1.1\r\n host: x\r\n\r\n"),
    ("a folded empty line", "GET / HTTP/1.1\r\nhost: x\r\na: b\r\n \r\n\r\n"),
    ("a value with a NUL", "GET / HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n"),
    ("a value with a CR", "GET / HTTP/1.1\r\nhost: x\r\na: b\rc\r\n\r\n"),
    ("a value with a control byte", "GET / HTTP/1.1\r\nhost: x\r\na: b\x0bc\r\n\r\n"),
    ("a value with DEL", "GET / HTTP/1.1\r\nhost: x\r\na: b\x7fc\r\n\r\n"),
];

/// Fields for the length of a body, each refused with 400 and a close.
const LENGTHS: &[(&str, &str)] = &[
    ("a plus", "content-length: +5\r\n"),
    ("a minus", "content-length: -5\r\n"),
    ("minus nothing", "content-length: -0\r\n"),
    ("a list", "content-length: 5,5\r\n"),
    ("a list with a space", "content-length: 5, 5\r\n"),
    ("two lengths", "content-length: 5\r\ncontent-length: 6\r\n"),
    ("a length and none", "content-length: 5\r\ncontent-length:\r\n"),
    ("nothing", "content-length:\r\n"),
    ("hexadecimal", "content-length: 0x5\r\n"),
    ("a fraction", "content-length: 5.0\r\n"),
    ("an exponent", "content-length: 5e0\r\n"),
    ("a parameter", "content-length: 5;a\r\n"),
    ("a quoted length", "content-length: \"5\"\r\n"),
    ("a space inside", "content-length: 5 5\r\n"),
    ("a space before the colon", "content-length : 5\r\n"),
    ("a NUL", "content-length: 5\0\r\n"),
    ("a vertical tab", "content-length: \x0b5\r\n"),
    ("digits beyond ASCII", "content-length: \u{665}\r\n"),
    ("more than 63 bits", "content-length: 9223372036854775808\r\n"),
    ("64 bits", "content-length: 18446744073709551615\r\n"),
    ("more than 64 bits", "content-length: 18446744073709551621\r\n"),
    ("a folded length", "content-length:\r\n 5\r\n"),
    ("a length and a coding", "content-length: 5\r\ntransfer-encoding: chunked\r\n"),
    ("a coding and a length", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
    ("no length and a coding", "content-length: 0\r\ntransfer-encoding: chunked\r\n"),
    ("two codings", "transfer-encoding: gzip, chunked\r\n"),
    ("identity and chunked", "transfer-encoding: identity, chunked\r\n"),
    ("chunked twice", "transfer-encoding: chunked, chunked\r\n"),
    ("chunked on two lines", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
    ("chunked and another", "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n"),
    ("another and chunked", "transfer-encoding: x\r\ntransfer-encoding: chunked\r\n"),
    ("an unknown coding", "transfer-encoding: xchunked\r\n"),
    ("a coding that starts well", "transfer-encoding: chunkedx\r\n"),
    ("an unknown coding and a length", "transfer-encoding: xchunked\r\ncontent-length: 5\r\n"),
    ("identity", "transfer-encoding: identity\r\n"),
    ("an empty coding", "transfer-encoding:\r\n"),
    ("a coding with a parameter", "transfer-encoding: chunked;q=1\r\n"),
    ("a coding with a semicolon", "transfer-encoding: chunked;\r\n"),
    ("a comma before it", "transfer-encoding: ,chunked\r\n"),
    ("a comma behind it", "transfer-encoding: chunked,\r\n"),
    ("a quoted coding", "transfer-encoding: \"chunked\"\r\n"),
    ("a vertical tab before it", "transfer-encoding:\x0bchunked\r\n"),
    ("a no-break space behind it", "transfer-encoding: chunked\u{a0}\r\n"),
    ("a NUL behind it", "transfer-encoding: chunked\0\r\n"),
    ("a space before its colon", "transfer-encoding : chunked\r\n"),
    ("a space before its name", " transfer-encoding: chunked\r\n"),
    ("a folded coding", "transfer-encoding:\r\n chunked\r\n"),
];

/// Chunked bodies that are refused: 400 and a close.
const CHUNKS: &[(&str, &str)] = &[
    ("no number", "zz\r\nhello\r\n0\r\n\r\n"),
    ("nothing", "\r\nhello\r\n0\r\n\r\n"),
    ("a plus", "+5\r\nhello\r\n0\r\n\r\n"),
    ("a minus", "-5\r\nhello\r\n0\r\n\r\n"),
    ("0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("an underscore", "0_5\r\nhello\r\n0\r\n\r\n"),
    ("a list", "5,5\r\nhello\r\n0\r\n\r\n"),
    ("a space before it", " 5\r\nhello\r\n0\r\n\r\n"),
    ("a space behind it", "5 \r\nhello\r\n0\r\n\r\n"),
    ("a tab behind it", "5\t\r\nhello\r\n0\r\n\r\n"),
    ("17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("more than 63 bits", "8000000000000000\r\nhello\r\n0\r\n\r\n"),
    ("64 bits", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("more than 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("bare LF throughout", "5\nhello\n0\n\n"),
    ("a bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
    ("a bare LF after the data", "5\r\nhello\n0\r\n\r\n"),
    ("a bare LF after the last size", "5\r\nhello\r\n0\n\r\n"),
    ("a bare LF at the end", "5\r\nhello\r\n0\r\n\n"),
    ("bare CR throughout", "5\rhello\r0\r\r"),
    ("CR CR LF after the size", "5\r\r\nhello\r\n0\r\n\r\n"),
    ("more data than the size", "5\r\nhelloX\r\n0\r\n\r\n"),
    ("no line end after the data", "5\r\nhello0\r\n\r\n"),
    ("two other bytes after the data", "5\r\nhelloXX0\r\n\r\n"),
    ("CR and another byte after the data", "5\r\nhello\rX0\r\n\r\n"),
    ("an extension without a size", ";a\r\nhello\r\n0\r\n\r\n"),
    ("an extension ended by LF", "5;a\nhello\r\n0\r\n\r\n"),
    ("an extension with an LF in it", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ("an extension with a CR in it", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("an extension with a NUL in it", "5;a\0\r\nhello\r\n0\r\n\r\n"),
    ("an extension with a control byte", "5;a\x01\r\nhello\r\n0\r\n\r\n"),
    ("an extension whose quotes stay open", "5;a=\"\r\nhello\r\n0\r\n\r\n\"\r\nhello\r\n0\r\n\r\n"),
    ("a trailer that is a request", "0\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("a folded trailer", "0\r\na: b\r\n c\r\n\r\n"),
    ("a trailer ended by LF", "0\r\na: b\n\r\n"),
    ("an extension that is no token", "5;bad[=x\r\nhello\r\n0\r\n\r\n"),
    ("an extension without a name", "5;\r\nhello\r\n0\r\n\r\n"),
    ("an extension without its value", "5;a=\r\nhello\r\n0\r\n\r\n"),
    ("an extension with two values", "5;a=\"b\"c\r\nhello\r\n0\r\n\r\n"),
    ("an extension of the last chunk", "5\r\nhello\r\n0;a b\r\n\r\n"),
    ("a trailer with a NUL", "0\r\na: \0\r\n\r\n"),
    ("a trailer with a space before the colon", "0\r\na : b\r\n\r\n"),
];

/// Sends it with another request after it: the answer must be one 400, and then the connection is closed.
async fn is_refused(server: &Server, way: Way, name: &str, sent: &str) {
    let mut client = server.connect(way).await;
    client.h1().write(format!("{sent}{HIDDEN}").as_bytes()).await;
    let said = client.h1().to_close().await;
    assert!(said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.0 400 "), "{way:?} {name}: {said:?}");
    assert_eq!(said.matches("HTTP/1.").count(), 1, "{way:?} {name}: one answer: {said:?}");
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let server = Setup::of("answers").start().await;
    for way in [Way::H1, Way::H1Tls] {
        for (name, head) in HEADS {
            is_refused(&server, way, name, head).await;
        }
        for (name, fields) in LENGTHS {
            // A reader of the length sees the body, a reader of the coding sees the last chunk.
            let sent = format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\n0\r\n\r\n");
            is_refused(&server, way, name, &sent).await;
        }
        let old = "POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        is_refused(&server, way, "a coding on 1.0", old).await;
    }
    assert!(!server.log.text().contains("hidden"), "{}", server.log);
    let refused = server.metrics().await.sum("roadrunner_requests_malformed_total", "");
    assert_eq!(refused, 2.0 * (HEADS.len() + LENGTHS.len() + 1) as f64);
    server.is_quiet().await;
}

#[tokio::test]
async fn chunks_that_are_not_chunks_are_refused() {
    let server = Setup::of("answers").start().await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for way in [Way::H1, Way::H1Tls] {
        for (name, body) in CHUNKS {
            is_refused(&server, way, name, &format!("{head}{body}")).await;
        }
        for (name, size) in [("an extension without end", 20_000), ("an extension", 300)] {
            let body = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(size));
            is_refused(&server, way, name, &format!("{head}{body}")).await;
        }
        let extended = "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nh\r\n".repeat(400);
        is_refused(&server, way, "many extensions", &format!("{head}{extended}0\r\n\r\n")).await;
        for trailers in ["a: b\r\n".repeat(3000), format!("a: {}\r\n", "b".repeat(20_000))] {
            is_refused(&server, way, "large trailers", &format!("{head}0\r\n{trailers}\r\n")).await;
        }
    }
    assert!(!server.log.text().contains("hidden"), "{}", server.log);
    server.is_quiet().await;
}

/// The same in pieces: no verdict depends on where the reads end.
#[tokio::test]
async fn pieces_are_refused_like_the_whole() {
    let server = Setup::of("answers").start().await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = CHUNKS.iter().map(|(name, body)| (*name, format!("{head}{body}")));
    for (name, sent) in HEADS.iter().map(|(name, head)| (*name, (*head).to_owned())).chain(chunked) {
        let mut client = server.connect(Way::H1).await;
        for piece in format!("{sent}{HIDDEN}").as_bytes().chunks(9) {
            if !client.h1().try_write(piece).await {
                break;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        let said = client.h1().to_close().await;
        // Bytes sent after the close may destroy the answer with a reset.
        assert!(said.is_empty() || said.get(9..12) == Some("400"), "{name}: {said:?}");
        assert!(said.matches("HTTP/1.").count() <= 1, "{name}: {said:?}");
    }
    assert!(!server.log.text().contains("hidden"), "{}", server.log);
    server.is_quiet().await;
}

/// Unsupported features have their own status; then the connection is closed.
#[tokio::test]
async fn what_is_not_served_says_so() {
    let server = Setup::of("answers").start().await;
    for way in [Way::H1, Way::H1Tls] {
        for (line, status) in [
            ("CONNECT x:80 HTTP/1.1", "501"),
            ("TRACE / HTTP/1.1", "501"),
            ("GET / HTTP/2.0", "505"),
            ("GET / HTTP/3.0", "505"),
            ("GET / HTTP/0.9", "505"),
        ] {
            for size in [100, 1] {
                let mut client = server.connect(way).await;
                let host = if status == "501" && line.starts_with("CONNECT") { "x:80" } else { "x" };
                for piece in format!("{line}\r\nhost: {host}\r\n\r\n").as_bytes().chunks(size) {
                    client.h1().write(piece).await;
                }
                let said = client.h1().to_close().await;
                assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{way:?} {line}: {said:?}");
                assert_eq!(said.matches("HTTP/1.").count(), 1, "{way:?} {line}: {said:?}");
            }
        }
    }
    server.is_quiet().await;
}

/// Unusual requests with only one meaning.
#[tokio::test]
async fn odd_requests_that_are_clear_are_answered() {
    let server = Setup::of("answers").start().await;
    let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let good = [
        "\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "GET http://X/ HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "GET / HTTP/1.2\r\nhost: x\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHOST:\t[::1]:80 \r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: x\r\na: #\u{e9}\tb\r\nc:\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 005\r\n\r\nhello".to_owned(),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
        format!("{chunked}5\r\nhello\r\n0\r\n\r\n"),
        format!("{chunked}0000000000000005\r\nhello\r\n00\r\n\r\n"),
        format!("{chunked}5;a\r\nhello\r\n0;b=\"c\\\"d\"\r\n\r\n"),
        format!("{chunked}5 ; a=b\r\nhello\r\n0\r\na: b\r\ncontent-length: 7\r\n\r\n"),
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n".to_owned(),
    ];
    for way in [Way::H1, Way::H1Tls] {
        let mut client = server.connect(way).await;
        for sent in &good {
            client.h1().write(sent.as_bytes()).await;
            let answer = client.h1().answer("GET").await;
            assert!(answer.status < 500 && answer.status != 400, "{way:?} {sent:?}: {answer:?}");
        }
    }
    server.is_quiet().await;
}

/// Fields that frame or route a message have no meaning after its body, and a guest does not see them there.
#[tokio::test]
async fn trailers_do_not_speak_of_the_message() {
    let server = Setup::of("bodies").manual().start().await;
    for way in Way::ALL {
        let ask = Ask::post_unsized("/trailers", "x")
            .trailer("x-sum", "1")
            .trailer("content-length", "99")
            .trailer("host", "another")
            .trailer("expect", "100-continue");
        let answer = server.fetch(way, ask).await;
        let text = answer.text();
        assert!(text.contains("x-sum"), "{way:?}: {answer:?}");
        assert!(!["99", "another", "100-continue"].iter().any(|value| text.contains(value)), "{way:?}: {text}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_431_or_414() {
    let server = Setup::of("hello").start().await;
    for way in Way::ALL {
        // Far above the limit HTTP/2 ends the connection instead: the server does not read that much just to keep the
        // tables in step.
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

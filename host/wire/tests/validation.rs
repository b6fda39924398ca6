//! The requests that the edge lets in. Each case asserts what the wire shows: the status, and whether the connection
//! was closed.

mod support;

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use support::frames::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM};
use support::{Way, read_to_close, soon, start};
use tokio::io::AsyncWriteExt;

/// Requests that are refused with this status and a close.
const REFUSED: &[(&str, &str, u16)] = &[
    ("no Host", "GET / HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
    ("the same Host twice", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
    ("two Hosts on 1.0", "GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", 400),
    ("an empty Host", "GET / HTTP/1.1\r\nhost:\r\n\r\n", 400),
    ("a Host with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
    ("a Host with user information", "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", 400),
    ("a Host with two ports", "GET / HTTP/1.1\r\nhost: a:1:2\r\n\r\n", 400),
    ("a Host that is a list", "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", 400),
    ("a target that contradicts Host", "GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", 400),
    ("a target with another port", "GET http://a:1/ HTTP/1.1\r\nhost: a:2\r\n\r\n", 400),
    ("* with GET", "GET * HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("a target without a slash", "GET hello HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", 501),
    ("TRACE", "TRACE /hello HTTP/1.1\r\nhost: a\r\n\r\n", 501),
    ("two codings", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked twice", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "two coding lines",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "two lines of chunked",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked and then another",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("an unknown coding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", 400),
    ("an empty coding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n", 400),
    ("a coding with a parameter", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400),
    ("a coding with a tab in it", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("a coding on 1.0", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("a length with a plus", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello", 400),
    ("a negative length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\nhello", 400),
    ("a list of lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5,5\r\n\r\nhello", 400),
    ("a length in hex", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nhello", 400),
    ("a length with a space", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5 5\r\n\r\nhello", 400),
    ("an empty length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\nhello", 400),
    ("a length that overflows", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551621\r\n\r\nhello", 400),
    ("two lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!", 400),
    (
        "a length and a coding",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "a coding and a length",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("a space before the colon", "GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
    ("a folded line", "GET / HTTP/1.1\r\nhost: a\r\nx: b\r\n c\r\n\r\n", 400),
    ("a line that starts with a space", "GET / HTTP/1.1\r\n host: a\r\n\r\n", 400),
    ("a nameless field", "GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n", 400),
    ("a NUL in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: b\0c\r\n\r\n", 400),
    ("a CR in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: b\rc\r\n\r\n", 400),
    ("a control byte in the target", "GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("a space in the target", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("another major version", "GET /hello HTTP/2.0\r\nhost: a\r\n\r\n", 505),
    ("a version to come", "GET /hello HTTP/3.1\r\nhost: a\r\n\r\n", 505),
    ("a version that never was", "GET /hello HTTP/0.9\r\nhost: a\r\n\r\n", 505),
    ("a version with two digits", "GET /hello HTTP/1.10\r\nhost: a\r\n\r\n", 400),
    ("a version in lower case", "GET /hello http/1.1\r\nhost: a\r\n\r\n", 400),
    ("no version", "GET /\r\nhost: a\r\n\r\n", 400),
    ("a port that is none", "GET / HTTP/1.1\r\nhost: a:99999\r\n\r\n", 400),
    ("a dot segment", "GET /a/../b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("a dot segment in disguise", "GET /a/%2E. HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("a backslash", "GET /a\\b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("two slashes at the beginning", "GET //a/b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("a path beyond ASCII", "GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("a query beyond ASCII", "GET /?\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("Connection that names Host", "GET / HTTP/1.1\r\nhost: a\r\nconnection: host\r\n\r\n", 400),
    ("bare LF throughout", "GET / HTTP/1.1\nhost: a\n\n", 400),
    ("a bare LF after the request line", "GET / HTTP/1.1\nhost: a\r\n\r\n", 400),
    ("a bare LF after a field", "GET / HTTP/1.1\r\nhost: a\nx: b\r\n\r\n", 400),
    ("a bare LF at the end", "GET / HTTP/1.1\r\nhost: a\r\n\n", 400),
    ("a bare LF before the request", "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
];

#[tokio::test]
async fn http1_refuses_and_closes() {
    let harness = start().await;
    for (name, bytes, status) in REFUSED {
        for way in [Way::H1, Way::H1Tls] {
            let mut client = harness.connect(way).await;
            client.write_all(bytes.as_bytes()).await.expect("written");
            let wire = read_to_close(&mut client).await;
            assert!(
                wire.starts_with(&format!("HTTP/1.1 {status}")) || wire.starts_with("HTTP/1.0 400"),
                "{name}: {wire:?}"
            );
            assert_eq!(wire.matches("HTTP/1.").count(), 1, "{name}: one answer and a close: {wire:?}");
        }
    }
    assert_eq!(harness.server.stats().bad_requests.load(SeqCst), 2 * REFUSED.len() as u64);
    harness.is_quiet().await;
}

/// The same requests in pieces: no verdict may depend on where the reads end.
#[tokio::test]
async fn http1_refuses_byte_by_byte() {
    let harness = start().await;
    for (name, bytes, status) in REFUSED {
        let mut client = harness.tcp().await;
        client.set_nodelay(true).expect("set");
        for piece in bytes.as_bytes().chunks(7) {
            if client.write_all(piece).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        let wire = read_to_close(&mut client).await;
        assert_eq!(wire.matches(&format!(" {status} ")).count(), 1, "{name}: {wire:?}");
    }
}

/// The same requests after a good one, in the same segment.
#[tokio::test]
async fn http1_refuses_what_is_pipelined() {
    let harness = start().await;
    let firsts = [
        "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\na\nb\nc",
        "POST /count HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\na\nb\nc\r\n0\r\nx: y\r\n\r\n",
    ];
    for first in firsts {
        for (name, bytes, status) in REFUSED {
            let wire = harness.raw(format!("{first}{bytes}").as_bytes()).await;
            assert!(wire.starts_with("HTTP/1.1 200"), "{name}: {wire:?}");
            assert_eq!(wire.matches(&format!(" {status} ")).count(), 1, "{name} after {first:?}: {wire:?}");
            assert!(wire.matches("HTTP/1.").count() == 2, "{name}: {wire:?}");
        }
    }
}

#[tokio::test]
async fn http1_lets_good_requests_in() {
    let good = [
        "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /hello HTTP/1.2\r\nhost: a\r\n\r\n",
        "GET /hello HTTP/1.9\r\nhost: a\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHOST: example.com:80\r\n\r\n",
        "GET /hello HTTP/1.1\r\nhost:\t[::1]:80 \r\n\r\n",
        "GET http://A:80/hello HTTP/1.1\r\nhost: a:80\r\n\r\n",
        "\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        "POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        // An upgrade that the service ignores: the next bytes are the next request.
        "GET /hello HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "POST /hello HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\ncontent-length: 2\r\n\r\n\n\n",
        "POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 005\r\n\r\nhello",
        "POST /hello HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST /hello HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nA;a=\"b\"\r\nhello\nhell\r\n00\r\nx: y\r\n\r\n",
        "GET /hello HTTP/1.1\r\nhost: a\r\nx: \u{e9}\t.\r\n\r\n",
    ];
    let harness = start().await;
    let mut client = harness.tcp().await;
    for bytes in good {
        client.write_all(bytes.as_bytes()).await.expect("written");
        let wire = support::read_until(&mut client, "hello, world\n").await;
        assert!(wire.starts_with("HTTP/1.1 200"), "{bytes:?}: {wire:?}");
    }
    // All of them at once, to be read differently.
    let mut all: String = good.concat();
    all.push_str("GET /close HTTP/1.1\r\nhost: a\r\n\r\n");
    let wire = harness.raw(all.as_bytes()).await;
    assert_eq!(wire.matches("HTTP/1.1 200").count(), good.len() + 1, "{wire}");
}

#[tokio::test]
async fn http1_heads_that_are_too_large() {
    let harness = start().await;
    let many = "x: y\r\n".repeat(150);
    let wire = harness.raw(format!("GET /hello HTTP/1.1\r\nhost: a\r\n{many}\r\n").as_bytes()).await;
    assert!(wire.starts_with("HTTP/1.1 431"), "{wire:?}");
    let long = "y".repeat(20_000);
    let wire = harness.raw(format!("GET /hello HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n").as_bytes()).await;
    assert!(wire.starts_with("HTTP/1.1 431"), "{wire:?}");
    let wire = harness.raw(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "p".repeat(90_000)).as_bytes()).await;
    assert!(wire.starts_with("HTTP/1.1 414") || wire.starts_with("HTTP/1.1 431"), "{wire:?}");
    // A head that never ends must not be kept.
    let mut client = harness.tcp().await;
    let _ = client.write_all(format!("GET /hello HTTP/1.1\r\nhost: a\r\nx: {}", "z".repeat(200_000)).as_bytes()).await;
    let wire = read_to_close(&mut client).await;
    assert!(wire.is_empty() || wire.starts_with("HTTP/1.1 431"), "{wire:?}");
    harness.is_quiet().await;
}

/// How an HTTP/2 request was refused.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Status(String),
    Reset(u32),
    Goaway(u32),
}

#[tokio::test]
async fn http2_refuses() {
    const PROTOCOL_ERROR: u32 = 1;
    let status = |status: &str| Verdict::Status(status.to_owned());
    let harness = start().await;
    let cases: Vec<(&str, Vec<u8>, Verdict)> = vec![
        ("nothing wrong", frames::fields("GET", "/hello", &[]), status("200")),
        ("a Host that agrees", frames::fields("GET", "/hello", &[("host", "LOCALHOST")]), status("200")),
        ("a Host that does not", frames::fields("GET", "/hello", &[("host", "b")]), status("400")),
        ("two Hosts", frames::fields("GET", "/hello", &[("host", "localhost"), ("host", "localhost")]), status("400")),
        ("connection", frames::fields("GET", "/hello", &[("connection", "close")]), Verdict::Reset(PROTOCOL_ERROR)),
        ("keep-alive", frames::fields("GET", "/hello", &[("keep-alive", "x")]), Verdict::Reset(PROTOCOL_ERROR)),
        (
            "proxy-connection",
            frames::fields("GET", "/hello", &[("proxy-connection", "x")]),
            Verdict::Reset(PROTOCOL_ERROR),
        ),
        (
            "transfer-encoding",
            frames::fields("GET", "/hello", &[("transfer-encoding", "chunked")]),
            Verdict::Reset(PROTOCOL_ERROR),
        ),
        ("upgrade", frames::fields("GET", "/hello", &[("upgrade", "h2c")]), Verdict::Reset(PROTOCOL_ERROR)),
        ("te", frames::fields("GET", "/hello", &[("te", "gzip")]), Verdict::Reset(PROTOCOL_ERROR)),
        ("te: trailers", frames::fields("GET", "/hello", &[("te", "trailers")]), status("200")),
        ("a CR in a value", frames::fields("GET", "/hello", &[("x", "a\rb")]), Verdict::Goaway(PROTOCOL_ERROR)),
        ("an LF in a value", frames::fields("GET", "/hello", &[("x", "a\nb")]), Verdict::Goaway(PROTOCOL_ERROR)),
        ("a NUL in a value", frames::fields("GET", "/hello", &[("x", "a\0b")]), Verdict::Goaway(PROTOCOL_ERROR)),
        ("an upper-case name", frames::fields("GET", "/hello", &[("X", "a")]), Verdict::Goaway(PROTOCOL_ERROR)),
        ("an empty path", frames::fields("GET", "", &[]), Verdict::Reset(PROTOCOL_ERROR)),
        ("* with GET", frames::fields("GET", "*", &[]), status("400")),
        ("a second path", frames::fields("GET", "/", &[(":path", "/")]), Verdict::Reset(PROTOCOL_ERROR)),
        (
            "a length that is not true",
            frames::fields("GET", "/count", &[("content-length", "5")]),
            Verdict::Reset(PROTOCOL_ERROR),
        ),
        ("a field section that is too large", frames::fields("GET", "/hello", &many_fields()), status("431")),
    ];
    for (name, fields, expected) in cases {
        let mut tcp = harness.tcp().await;
        let bytes = [frames::opening(), frames::frame(HEADERS, END_STREAM | 4, 1, &fields)].concat();
        tcp.write_all(&bytes).await.expect("written");
        assert_eq!(verdict(&mut tcp).await, expected, "{name}");
    }
}

#[tokio::test]
async fn http2_refuses_a_plain_connect() {
    let harness = start().await;
    let mut block = Vec::new();
    for (name, value) in [(":method", "CONNECT"), (":authority", "a:80")] {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    let mut tcp = harness.tcp().await;
    tcp.write_all(&[frames::opening(), frames::frame(HEADERS, 4, 1, &block)].concat()).await.expect("written");
    assert_eq!(verdict(&mut tcp).await, Verdict::Status("501".to_owned()));
}

/// The other streams belong to other clients, where a proxy is in front.
#[tokio::test]
async fn an_http2_connect_with_a_length_ends_only_its_stream() {
    let harness = start().await;
    let mut tcp = harness.tcp().await;
    let mut sent = [frames::opening(), frames::request(1, "GET", "/slow", END_STREAM)].concat();
    for stream in [3, 5] {
        let more = [(":protocol", "websocket"), ("content-length", "5")];
        sent.extend(frames::frame(HEADERS, END_HEADERS, stream, &frames::fields("CONNECT", "/tunnel", &more)));
    }
    tcp.write_all(&sent).await.expect("written");
    for stream in [3, 5] {
        let reset = frames::until(&mut tcp, RST_STREAM).await.expect("a reset");
        assert_eq!(reset.stream, stream);
    }
    let late = frames::frame(DATA, END_STREAM, 3, b"hello");
    tcp.write_all(&[late, frames::request(7, "GET", "/hello", END_STREAM)].concat()).await.expect("written");
    let mut answered = Vec::new();
    while answered.len() < 2 {
        answered.push(frames::until(&mut tcp, HEADERS).await.expect("an answer").stream);
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 7]);
    drop(tcp);
    harness.is_quiet().await;
}

#[tokio::test]
async fn curl_agrees() {
    let harness = start().await;
    let certificate = [
        "--insecure",
        "--silent",
        "--show-error",
        "--max-time",
        "5",
        "--write-out",
        " %{http_version} %{response_code}",
    ];
    for (way, flag) in [
        (Way::H1, "--http1.1"),
        (Way::H1Tls, "--http1.1"),
        (Way::H2, "--http2-prior-knowledge"),
        (Way::H2Tls, "--http2"),
        (Way::H1, "--http1.0"),
    ] {
        let scheme = if way.is_tls() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}/hello", harness.address(way).port());
        let output =
            match tokio::process::Command::new("curl").args(certificate).args(["-4", flag, &url]).output().await {
                Ok(output) => output,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
                Err(error) => panic!("curl: {error}"),
            };
        let wire = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = if flag == "--http1.0" {
            "1.0"
        } else if way.is_h2() {
            "2"
        } else {
            "1.1"
        };
        assert!(wire.starts_with("hello, world\n"), "{way:?}: {output:?}");
        assert!(wire.contains(" 200"), "{way:?}: {wire}");
        assert!(wire.ends_with(&format!(" {version} 200")) || flag == "--http1.0", "{way:?}: {wire}");
    }
}

fn many_fields() -> Vec<(&'static str, &'static str)> {
    vec![("x-name-that-is-long", "a value that is long enough to fill the section at last"); 200]
}

/// How the server took stream 1.
async fn verdict(tcp: &mut (impl tokio::io::AsyncRead + Unpin)) -> Verdict {
    loop {
        let frame = soon(frames::next(tcp)).await.expect("a verdict before the close");
        match frame.kind {
            RST_STREAM => return Verdict::Reset(frame.error()),
            GOAWAY => return Verdict::Goaway(frame.error()),
            HEADERS => {
                // `:status` comes first, and is in the static table (RFC 7541, Appendix A) or a literal with its name
                // there.
                return Verdict::Status(match frame.payload[0] {
                    0x88 => "200".to_owned(),
                    0x8c => "400".to_owned(),
                    // "431", in Huffman code.
                    0x48 | 0x08 if frame.payload[1..].starts_with(&[0x83, 0x69, 0x90, 0xff]) => "431".to_owned(),
                    // "501", as above.
                    0x48 | 0x08 if frame.payload[1..].starts_with(&[0x82, 0x6c, 0x01]) => "501".to_owned(),
                    0x48 | 0x08 => format!("{:x?}", &frame.payload[1..5]),
                    byte => format!("{byte:x}"),
                });
            }
            _ => {}
        }
    }
}

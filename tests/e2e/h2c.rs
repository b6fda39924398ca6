//! How a client of a plain listener switches to HTTP/2: with its preface, with `Upgrade: h2c` (RFC 7540, 3.2), or not.

use std::process::Command;
use std::time::{Duration, Instant};

use roadrunner_tests::command::{self, tool};
use roadrunner_tests::{Ask, Client, Server, Setup, Way};

/// A listener in addition to the plain one.
fn listener(name: &str, h2c: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nh2c = \"{h2c}\"\n")
}

async fn start() -> Server {
    Setup::of("inspector").and(&listener("upgrading", "upgrade")).and(&listener("off", "off")).start().await
}

fn url(server: &Server, path: &str) -> String {
    format!("http://localhost:{}{path}", server.address("upgrading").port())
}

/// A request for HTTP/2, in clients' usual form.
fn wish(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n{more}\r\n"
    )
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn raw(server: &Server, listener: &str, sent: &[u8]) -> Client {
    let mut client = Client::connect(server.address(listener), Way::H1).await;
    client.h1().write(sent).await;
    client
}

/// The output of an independent client, or why there is none.
async fn run(mut command: Command, arguments: &[&str]) -> String {
    command.args(arguments);
    let done = command::output(command).await;
    assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
    done.stdout
}

#[tokio::test]
async fn curl_upgrades() {
    let server = start().await;
    let Some(command) = tool("h2c::curl_upgrades", "curl") else { return };
    let code = "\n%{http_version} %{response_code}";
    let said = run(command, &["-sS", "--http2", "-H", "x-mine: yes", "-w", code, &url(&server, "/a?b=c")]).await;
    let (body, code) = said.rsplit_once('\n').expect("two lines");
    assert_eq!(code, "2 200", "{said}");
    let seen: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&seen["version"], &seen["path"], &seen["query"]), (&"HTTP/2.0".into(), &"/a".into(), &"b=c".into()));
    assert_eq!(seen["scheme"], "http");
    assert_eq!(seen["authority"], format!("localhost:{}", server.address("upgrading").port()));
    let names: Vec<_> = seen["headers"].as_array().expect("a list").iter().map(|field| field[0].clone()).collect();
    assert!(names.contains(&"x-mine".into()), "{names:?}");
    for gone in ["connection", "upgrade", "http2-settings"] {
        assert!(!names.contains(&gone.into()), "{names:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn nghttp_upgrades_and_goes_on() {
    let server = start().await;
    let Some(command) = tool("h2c::nghttp_upgrades_and_goes_on", "nghttp") else { return };
    let urls = ["/one", "/two", "/three"].map(|path| url(&server, path));
    let said = run(command, &["-v", "-u", &urls[0], &urls[1], &urls[2]]).await;
    assert!(said.contains("HTTP Upgrade success"), "{said}");
    for path in ["/one", "/two", "/three"] {
        assert!(said.contains(&format!("\"path\":\"{path}\"")), "{path}: {said}");
    }
    assert_eq!(said.matches(":status: 200").count(), 3, "{said}");
    assert!(!said.contains("RST_STREAM") && !said.contains("PROTOCOL_ERROR"), "{said}");
    server.is_quiet().await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_wire_requests_total", "http2"), 3.0, "the first one is not counted twice");
}

/// The answer to the request comes on stream 1, however the client's bytes are split.
#[tokio::test]
async fn the_first_request_is_stream_1() {
    let server = start().await;
    let wish = wish("/first", "");
    let together = [wish.as_bytes(), PREFACE].concat();
    for split in [wish.len(), wish.len() + 10, wish.len() + 24, wish.len() + 30, together.len()] {
        let mut client = raw(&server, "upgrading", &together[..split]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.h1().write(&together[split..]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        // GOAWAY, after which the connection ends when the stream has.
        client.h1().write(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0").await;
        let said = client.h1().to_close().await;
        assert!(said.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{said:?}");
        assert!(said.contains("upgrade: h2c\r\n") && said.matches("HTTP/1.").count() == 1, "{said:?}");
        assert!(said.contains("\"path\":\"/first\""), "split at {split}: {said:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn wishes_that_are_not_granted_are_answered_over_http1() {
    let server = start().await;
    let good = wish("/", "Connection: close\r\n");
    let body = "content-length: 2\r\nConnection: close\r\n\r\nhi";
    let cases = [
        ("a body", wish("/", "").trim_end().to_owned() + "\r\n" + body),
        ("two HTTP2-Settings", wish("/", "HTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: close\r\n")),
        ("no HTTP2-Settings", good.replace("HTTP2-Settings: AAMAAABkAAQAAP__\r\n", "")),
        ("settings that are no base64url", good.replace("AAP__", "AAP//")),
        ("settings that are cut short", good.replace("AAP__", "AAP_")),
        ("settings that are not named by Connection", good.replace("Upgrade, HTTP2-Settings", "Upgrade")),
        ("an upgrade that is not named by Connection", good.replace("Upgrade, HTTP2-Settings", "HTTP2-Settings")),
        ("another protocol", good.replace("h2c", "h2")),
        ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0")),
    ];
    for (name, sent) in cases {
        let said = raw(&server, "upgrading", sent.as_bytes()).await.h1().to_close().await;
        assert!(said.starts_with("HTTP/1.1 200") || said.starts_with("HTTP/1.0 200"), "{name}: {said:?}");
        assert!(said.contains("\"version\":\"HTTP/1."), "{name}: {said:?}");
    }
    for listener in ["plain", "off"] {
        let said = raw(&server, listener, good.as_bytes()).await.h1().to_close().await;
        assert!(said.starts_with("HTTP/1.1 200"), "{listener}: {said:?}");
    }
    let mut tls = server.connect(Way::H1Tls).await;
    tls.h1().write(good.as_bytes()).await;
    let said = tls.h1().to_close().await;
    assert!(said.starts_with("HTTP/1.1 200"), "over TLS: {said:?}");
    server.is_quiet().await;
}

/// An invalid request is refused before anything is granted.
#[tokio::test]
async fn an_invalid_request_does_not_upgrade() {
    let server = start().await;
    let sent = wish("/", "Host: another\r\n");
    let said = raw(&server, "upgrading", sent.as_bytes()).await.h1().to_close().await;
    assert!(said.starts_with("HTTP/1.1 400"), "{said:?}");
    server.is_quiet().await;
}

#[tokio::test]
async fn the_preface_has_to_follow_in_time() {
    let server =
        Setup::of("hello").and(&listener("upgrading", "upgrade")).and("[timeouts]\npreface = \"300ms\"").start().await;
    let start = Instant::now();
    let said = raw(&server, "upgrading", wish("/", "").as_bytes()).await.h1().to_close().await;
    assert!(said.starts_with("HTTP/1.1 101") && !said.contains("hello, world"), "{said:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(server.metrics().await.sum("roadrunner_timeouts_total", "preface"), 1.0);
    server.is_quiet().await;
    // Bytes other than a preface end it too.
    let mut client = raw(&server, "upgrading", wish("/", "").as_bytes()).await;
    client.h1().write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n").await;
    let said = client.h1().to_close().await;
    assert!(!said.contains("hello, world") && said.matches("HTTP/1.1 ").count() == 1, "{said:?}");
    server.is_quiet().await;
}

#[tokio::test]
async fn off_means_http1_only_and_upgrading_takes_the_preface_too() {
    let server = start().await;
    let answer = Client::connect(server.address("upgrading"), Way::H2c).await.fetch(Ask::get("/")).await;
    assert!(answer.text().contains("HTTP/2.0"), "{answer:?}");
    let said = raw(&server, "off", PREFACE).await.h1().to_close().await;
    assert!(!said.contains("200") && said.matches("HTTP/1.").count() <= 1, "{said:?}");
    let answer = Client::connect(server.address("off"), Way::H1).await.fetch(Ask::get("/")).await;
    assert_eq!(answer.status, 200);
    server.is_quiet().await;
}

/// A listener that may upgrade to HTTP/2 still upgrades to other protocols.
#[tokio::test]
async fn websockets_are_still_websockets() {
    let server = Setup::of("sockets").and(&listener("upgrading", "upgrade")).start().await;
    let sent = "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut client = raw(&server, "upgrading", sent.as_bytes()).await;
    // A close frame, masked with zeros.
    client.h1().write(b"\x88\x80\0\0\0\0").await;
    let said = client.h1().to_close().await;
    assert!(said.starts_with("HTTP/1.1 101") && said.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{said:?}");
    server.is_quiet().await;
}

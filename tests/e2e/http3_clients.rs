//! Independent clients over HTTP/3: aioquic, curl, gtlsclient (ngtcp2), the crate h3, and Chromium. Tests of clients
//! that are not installed print SKIPPED; `.ci/run` installs all of them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use roadrunner_tests::chromium::Chromium;
use roadrunner_tests::command::{self, Done, http3_client, python};
use roadrunner_tests::{Server, Setup, client, soon, within};
use rustix::process::{Pid, Signal, kill_process};

async fn start(more: &str) -> Server {
    Setup::of("demo")
        .manual()
        .component("directories = [\"files\"]")
        .and("[directory.files]\npath = \"public\"")
        .and(more)
        .file("public/small.txt", "small\n")
        .host_limits("instances = 200\nheld = 100")
        .start()
        .await
}

fn url(server: &Server, path: &str) -> String {
    format!("https://localhost:{}{path}", server.address("tls").port())
}

async fn run(mut command: Command, arguments: &[&str]) -> Done {
    command.args(arguments);
    let done = command::output(command).await;
    assert_eq!(done.code, 0, "{arguments:?}: {}\n{}", done.stdout, done.stderr);
    done
}

fn aioquic(server: &Server, more: &[&str]) -> Option<Command> {
    let mut command = python("http3_clients::aioquic", "aioquic")?;
    command.arg("-B").arg(command::workspace().join("tests/e2e/http3_clients.py"));
    command.arg(server.address("tls").port().to_string()).arg(server.certificate()).args(more);
    Some(command)
}

#[tokio::test]
async fn aioquic_is_served() {
    let server = start("").await;
    let Some(command) = aioquic(&server, &[]) else { return };
    let done = run(command, &[]).await;
    assert!(done.stdout.contains("all is well"), "{}", done.stdout);
    server.is_quiet().await;
    assert_eq!(server.metrics().await.outcome("cancelled"), 1.0, "the body that was reset");
}

/// A client that vanishes silently is detected after `h3-lost`, and its session ends.
#[tokio::test]
async fn a_client_that_is_killed_is_given_up() {
    let server = start("[timeouts]\nh3-lost = \"1s\"").await;
    let Some(mut command) = aioquic(&server, &["silence"]) else { return };
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it can be started");
    let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        said.read_line(&mut line).map(|_| line)
    });
    assert_eq!(soon(line).await.expect("no panic").expect("it says something"), "open\n");
    server.has_instances(1).await;
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(id, Signal::KILL).expect("it is our own process");
    child.wait().expect("it is our own process");
    assert!(server.is_empty_after().await > Duration::from_millis(300), "its silence is waited out");
    server.is_quiet().await;
    assert_eq!(server.metrics().await.sum("roadrunner_timeouts_total", "timeout=\"h3-lost\""), 1.0);
}

#[tokio::test]
async fn curl() {
    let server = start("").await;
    let certificate = server.certificate().display().to_string();
    for (path, more, wanted) in [
        ("/hello", &[][..], "hello, world\n"),
        ("/stream?n=3", &[], "chunk 0\nchunk 1\nchunk 2\n"),
        ("/files/small.txt", &[], "small\n"),
        ("/files/small.txt", &["-r", "0-1"], "sm"),
        ("/echo", &["--data-binary", "an echo"], "an echo"),
        ("/upload", &["--data-binary", "12345"], "5\n"),
        ("/upload", &["-H", "expect: 100-continue", "--data-binary", "12345"], "5\n"),
    ] {
        let Some(command) = http3_client("http3_clients::curl", "curl") else { return };
        let url = url(&server, path);
        let arguments = [&["-sS", "--http3-only", "--cacert", &certificate, &url], more].concat();
        assert_eq!(run(command, &arguments).await.stdout, wanted, "{path} {more:?}");
    }
    let Some(command) = http3_client("http3_clients::curl", "curl") else { return };
    let write = "%{http_version} %{http_code} %header{alt-svc}";
    let hello = url(&server, "/hello");
    let arguments = ["-sS", "--http3-only", "--cacert", &certificate, "-o", "/dev/null", "-w", write, &hello];
    assert_eq!(run(command, &arguments).await.stdout, "3 200 ");
    // From HTTP/2 to HTTP/3 through Alt-Svc.
    let Some(command) = http3_client("http3_clients::curl", "curl") else { return };
    let cache = server.folder().join("alt-svc").display().to_string();
    let arguments = ["-sS", "--alt-svc", &cache, "--cacert", &certificate, "-o", "/dev/null", "-w", write, &hello];
    let first = run(command, &arguments).await.stdout;
    assert_eq!(first, format!("2 200 h3=\":{}\"; ma=86400", server.address("tls").port()));
    let Some(command) = http3_client("http3_clients::curl", "curl") else { return };
    assert_eq!(run(command, &arguments).await.stdout, "3 200 ");
    server.is_quiet().await;
}

#[tokio::test]
async fn gtlsclient() {
    let server = start("[http3]\nearly-data = true").await;
    let port = server.address("tls").port().to_string();
    let hello = url(&server, "/hello");
    let session = server.folder().join("session").display().to_string();
    let parameters = server.folder().join("parameters").display().to_string();
    let upload = server.folder().join("upload").display().to_string();
    std::fs::write(&upload, vec![b'x'; 100_000]).expect("it is writable");
    let uploads = url(&server, "/upload");
    let common = ["--exit-on-all-streams-close", "--no-quic-dump", "--no-http-dump"];
    let rebinding = ["--change-local-addr", "5ms", "--nat-rebinding"];
    let resumed = ["--session-file", &session, "--tp-file", &parameters];
    for (what, more, requests) in [
        ("many requests", &["-n", "2000"][..], 2000),
        ("a key update under way", &["-n", "300", "--key-update", "1ms"], 300),
        ("another address under way", &["-n", "300", "--change-local-addr", "1ms"], 300),
        // It drops datagrams that still come to its old address. Without an upload, the client might only have new
        // connection IDs left to send, and these alone move no connection (RFC 9000, 9.1).
        ("a NAT that forgets", &[&["-n", "100", "-m", "POST", "-d", &upload], &rebinding[..]].concat(), 100),
        ("a session to come back to", &[&["-n", "1", "--wait-for-ticket"], &resumed[..]].concat(), 1),
        ("the same session again", &[&["-n", "3"], &resumed[..]].concat(), 3),
    ] {
        let Some(command) = http3_client("http3_clients::gtlsclient", "gtlsclient") else { return };
        let before = server.metrics().await.outcome("ok");
        let address = if more.contains(&"POST") { &uploads } else { &hello };
        let done = run(command, &[more, &common, &["localhost", &port, address]].concat()).await;
        assert_eq!(done.stderr.matches("[:status: 200]").count(), requests, "{what}: {}", done.stderr);
        assert_eq!(server.metrics().await.outcome("ok") - before, requests as f64, "{what}");
        let moves = more.contains(&"--change-local-addr");
        assert_eq!(done.stderr.contains("Changing local address"), moves, "{what}: {}", done.stderr);
        if what == "the same session again" {
            // Early data is for returning clients, which have shown their ticket.
            assert!(!done.stderr.contains("Early data was rejected"), "{what}: {}", done.stderr);
        }
    }
    server.is_quiet().await;
}

/// The crate h3 on quinn: the usual client of Rust programs.
#[tokio::test]
async fn the_crate_h3() {
    let server = start("").await;
    let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a port");
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(client::tls(&[b"h3"])).expect("TLS 1.3");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let connecting = endpoint.connect(server.address("tls"), "localhost").expect("an address");
    let quic = soon(connecting).await.expect("a handshake");
    let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic)).await.expect("a connection");
    let driver = tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
    let large = Bytes::from(vec![b'x'; 1 << 20]);
    for (method, path, body, wanted) in [
        ("GET", "/hello", None, Bytes::from_static(b"hello, world\n")),
        ("GET", "/stream?n=2", None, Bytes::from_static(b"chunk 0\nchunk 1\n")),
        ("POST", "/echo", Some(large.clone()), large),
    ] {
        let request = http::Request::builder().method(method).uri(url(&server, path)).body(()).expect("a request");
        let stream = soon(requests.clone().send_request(request)).await.expect("it is sent");
        let (mut send, mut receive) = stream.split();
        let sending = tokio::spawn(async move {
            if let Some(body) = body {
                send.send_data(body).await.expect("the server takes it");
            }
            send.finish().await.expect("the server takes it");
        });
        let response = soon(receive.recv_response()).await.expect("a response");
        assert_eq!(response.status(), 200, "{path}");
        let mut read = Vec::new();
        while let Some(mut piece) = soon(receive.recv_data()).await.expect("a body") {
            read.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        }
        assert_eq!(read, wanted, "{path}");
        let trailers = soon(receive.recv_trailers()).await.expect("an end");
        assert_eq!(trailers.is_some_and(|trailers| trailers["x-chunks"] == "2"), path == "/stream?n=2", "{path}");
        sending.await.expect("no panic");
    }
    drop(requests);
    driver.abort();
    endpoint.close(0x100_u32.into(), b"");
    server.is_quiet().await;
}

#[tokio::test]
async fn chromium() {
    let server = start("").await;
    let port = server.address("tls").port();
    let Some(mut browser) = Chromium::start_http3("http3_clients::chromium", port) else { return };
    let page = browser.open(&url(&server, "/")).await;
    browser.until(&page, "document.readyState === 'complete' && location.protocol === 'https:'").await;
    let protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(browser.evaluate(&page, protocol).await, "h3", "the page");
    let fetched = "(async () => {
        const texts = [];
        for (let index = 0; index < 5; index++) texts.push(await (await fetch('/hello?' + index)).text());
        const body = 'x'.repeat(300000);
        const echo = await (await fetch('/echo', { method: 'POST', body })).text();
        const hops = performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol);
        return texts.every((text) => text === 'hello, world\\n') && echo === body && hops.every((hop) => hop === 'h3');
    })()";
    assert_eq!(browser.evaluate(&page, fetched).await, true, "fetch");
    let websocket = "new Promise((resolve, reject) => {
        const socket = new WebSocket('wss://' + location.host + '/ws');
        const heard = [];
        socket.onopen = () => { socket.send('one'); socket.send('two'); };
        socket.onmessage = (event) => { heard.push(event.data); if (heard.length === 2) socket.close(1000); };
        socket.onerror = () => reject(new Error('failed'));
        socket.onclose = (event) => resolve(heard.join() + ' ' + event.code);
    })";
    let heard = browser.evaluate(&page, websocket).await;
    assert!(heard.as_str().is_some_and(|heard| heard.ends_with(" 1000") && heard.contains("two")), "{heard}");
    let line = server.access("/ws").await;
    assert_eq!((line["protocol"].as_str(), line["shape"].as_str()), (Some("http3"), Some("websocket")), "{line}");
    drop(browser);
    let gone = within(Duration::from_secs(10), || async { server.metrics().await.busy().is_empty().then_some(()) });
    assert!(gone.await.is_some(), "{:?}", server.metrics().await.busy());
}

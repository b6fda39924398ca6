//! The apps of `examples/`: axum, Hono in both worlds, Flask and Starlette. They share their routes, and one list of
//! checks over every protocol. The unit tests of the SDKs' adapters run here, too.
//!
//! An app whose tools were missing when the guests were built is skipped, with the reason.

use std::process::Command;
use std::time::Duration;

use roadrunner_tests::command::{self, python, tool};
use roadrunner_tests::{Ask, End, Server, Setup, Way, pattern};
use serde_json::{Value, json};

use crate::languages::is_built;
use crate::standard_bodies::returns;

/// What differs between the apps.
#[derive(Clone, Copy)]
struct App {
    /// Its component.
    guest: &'static str,
    /// The framework, as its greeting has it.
    name: &'static str,
    /// The status of an order that is not JSON.
    no_json: u16,
    /// Whether the text of a refused request names the key of the manifest.
    names_the_key: bool,
}

const AXUM: App = App { guest: "app-axum", name: "axum", no_json: 400, names_the_key: true };
const FLASK: App = App { guest: "app-flask", name: "Flask", no_json: 400, names_the_key: true };
const HONO: App = App { guest: "app-hono", name: "Hono", no_json: 500, names_the_key: true };
const HONO_WASI: App = App { guest: "app-hono-wasi", names_the_key: false, ..HONO };
const STARLETTE: App = App { guest: "app-starlette", name: "Starlette", no_json: 500, names_the_key: true };

#[tokio::test]
async fn axum() {
    let Some((server, upstream)) = start("axum", AXUM).await else { return };
    holds(&server, &upstream, AXUM).await;
    for way in Way::EACH {
        let ask = Ask::post_unsized("/echo", "x").header("te", "trailers").header("trailer", "x-sum");
        let answer = server.fetch(way, ask.trailer("x-sum", "5")).await;
        assert_eq!((answer.text().as_str(), answer.trailer("x-sum")), ("x", "5"), "{way:?}");
        let text = server.text_of(way, Ask::get("/whoami")).await;
        assert!(text.starts_with("127.0.0.1:") && text.ends_with(" all\n"), "{way:?}: {text}");
        let answer = server.fetch(way, Ask::get("/fails")).await;
        assert_eq!(answer.end, End::aborted(way), "{way:?}");
        // The reset of a stream may overtake what was sent before it.
        if way == Way::H1 {
            assert_eq!((answer.status, answer.text().as_str()), (200, "half of it"), "{way:?}");
        }
        assert_eq!(server.fetch(way, Ask::post("/hello", "x")).await.status, 405, "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn hono() {
    let Some((server, upstream)) = start("hono", HONO).await else { return };
    holds(&server, &upstream, HONO).await;
    for way in Way::EACH {
        let answer = server.fetch(way, Ask::get("/hello")).await;
        assert_eq!((answer.header("x-served-by"), &answer.end), ("hono", &End::sized(way)), "{way:?}");
    }
    server.is_quiet().await;
}

/// The same app, as a standard component.
#[tokio::test]
async fn hono_as_a_standard_component() {
    let Some((server, upstream)) = start("hono_as_a_standard_component", HONO_WASI).await else { return };
    holds(&server, &upstream, HONO_WASI).await;
    server.is_quiet().await;
}

#[tokio::test]
async fn flask() {
    let Some((server, upstream)) = start("flask", FLASK).await else { return };
    holds(&server, &upstream, FLASK).await;
    fails(&server, "KeyError: 'a fault of the app'").await;
}

#[tokio::test]
async fn starlette() {
    let Some((server, upstream)) = start("starlette", STARLETTE).await else { return };
    holds(&server, &upstream, STARLETTE).await;
    fails(&server, "KeyError: 'a fault of the app'").await;
    let lines = server.log.settled().await.text();
    for line in ["the app starts", "ordered tea", "the app ends"] {
        assert!(lines.contains(line), "{line}: {lines}");
    }
}

/// The demo in C asks other servers, too.
#[tokio::test]
async fn c_asks_other_servers() {
    let demo = App { guest: "demo-c", name: "C", no_json: 404, names_the_key: true };
    let Some((server, upstream)) = start("c_asks_other_servers", demo).await else { return };
    for way in Way::EACH {
        asks_others(&server, way, &upstream, demo).await;
    }
    server.is_quiet().await;
}

/// A client that everybody has.
#[tokio::test]
async fn curl_is_answered() {
    for app in [AXUM, HONO, FLASK, STARLETTE] {
        let Some((server, _upstream)) = start("curl_is_answered", app).await else { continue };
        let certificate = server.certificate().display().to_string();
        for (version, listener, scheme) in [("--http1.1", "plain", "http"), ("--http2", "tls", "https")] {
            let url = |path: &str| format!("{scheme}://localhost:{}{path}", server.address(listener).port());
            let wanted = format!("hello from {}\n", app.name);
            let order = [("content-type: application/json", r#"{"item":"tea","count":1}"#)];
            let Some(mut curl) = tool("frameworks::curl_is_answered", "curl") else { return };
            curl.args(["-sS", version, "--cacert", &certificate, &url("/hello")]);
            assert_eq!(command::output(curl).await.stdout, wanted, "{} {version}", app.name);
            let Some(mut curl) = tool("frameworks::curl_is_answered", "curl") else { return };
            curl.args(["-sS", version, "--cacert", &certificate, "-H", order[0].0, "-d", order[0].1, &url("/orders")]);
            let done = command::output(curl).await;
            let order: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
            assert_eq!(order, json!({ "item": "tea", "count": 2 }), "{} {version}", app.name);
        }
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn adapters_of_python_hold_without_a_host() {
    let test = "frameworks::adapters_of_python_hold_without_a_host";
    let Some(mut python) = python(test, "django, flask, starlette") else { return };
    let sdk = command::workspace().join("guest-sdk/python");
    python.args(["-m", "unittest", "test_asgi", "test_wsgi"]).current_dir(sdk.join("tests"));
    python.env("PYTHONPATH", sdk.join("src")).env("PYTHONDONTWRITEBYTECODE", "1");
    passes(python, "OK").await;
}

#[tokio::test]
async fn adapters_of_javascript_hold_without_a_host() {
    let Some(mut node) = tool("frameworks::adapters_of_javascript_hold_without_a_host", "node") else { return };
    node.args(["--test", "tests/fetch.test.js"]).current_dir(command::workspace().join("guest-sdk/js"));
    passes(node, "fail 0").await;
}

async fn passes(command: Command, sign: &str) {
    let done = command::output(command).await;
    assert!(
        done.code == 0 && format!("{}{}", done.stdout, done.stderr).contains(sign),
        "{}{}",
        done.stdout,
        done.stderr
    );
}

/// Starts a server with an app, and another for it to ask.
async fn start(test: &str, app: App) -> Option<(Server, Server)> {
    if !is_built(&format!("frameworks::{test}"), app.guest) {
        return None;
    }
    let upstream = Setup::of("standard").beside().start().await;
    let grant = format!("outbound = [\"http://{}\"]", upstream.address("plain"));
    let setup = Setup::of(app.guest).component(&grant).limit("cpu = \"10s\"").route("name = \"all\"").manual();
    Some((setup.compiled().await.start().await, upstream))
}

/// The whole list.
async fn holds(server: &Server, upstream: &Server, app: App) {
    for way in Way::EACH {
        answers(server, way, app).await;
        streams(server, way).await;
        asks_others(server, way, upstream, app).await;
    }
}

async fn answers(server: &Server, way: Way, app: App) {
    let answer = server.fetch(way, Ask::get("/hello")).await;
    assert_eq!((answer.status, answer.text()), (200, format!("hello from {}\n", app.name)), "{way:?}");
    let text = server.text_of(way, Ask::get("/users/j%C3%B6rg?ask=a%20b")).await;
    assert!(text.contains("j\u{f6}rg") || text.contains("j\\u00f6rg"), "{way:?}: {text}");
    assert!(text.contains("a b"), "{way:?}: {text}");
    let order = |body: &str| Ask::post("/orders", body.to_owned()).header("content-type", "application/json");
    let answer = server.fetch(way, order(r#"{"item":"tea","count":1}"#)).await;
    let made: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{way:?}: {answer:?}"));
    assert_eq!((answer.status, made), (201, json!({ "item": "tea", "count": 2 })), "{way:?}");
    assert_eq!(server.fetch(way, order("no JSON")).await.status, app.no_json, "{way:?}");
    assert_eq!(server.fetch(way, Ask::get("/nowhere")).await.status, 404, "{way:?}");
    let head = server.fetch(way, Ask::new("HEAD", "/hello")).await;
    assert_eq!((head.status, head.body.len()), (200, 0), "{way:?}");
}

async fn streams(server: &Server, way: Way) {
    let mut client = server.connect(way).await;
    let mut exchange = client.open(Ask::post_open("/echo")).await;
    assert!(exchange.send("first".to_owned()).await, "{way:?}");
    assert_eq!(exchange.head().await, 200, "{way:?}");
    assert_eq!(exchange.read_until("first").await, "first", "{way:?}");
    returns(&mut exchange, "second").await;
    assert!(exchange.finish(&[]).await, "{way:?}");
    assert!(exchange.rest().await.end.is_whole(), "{way:?}");
    let sent = pattern(300_000);
    let answer = server.fetch(way, Ask::post("/echo", sent.clone())).await;
    assert!(answer.body == sent && answer.end.is_whole(), "{way:?}: {:?}", answer.end);

    let mut exchange = client.open(Ask::get("/ticks")).await;
    assert_eq!(exchange.head().await, 200, "{way:?}");
    assert_eq!(exchange.read_until("tick 1\n").await, "tick 1\n", "{way:?}: not before the next is made");
    let answer = tokio::time::timeout(Duration::from_secs(30), exchange.rest()).await.expect("it ends");
    assert_eq!((answer.text().as_str(), answer.end.is_whole()), ("tick 2\ntick 3\n", true), "{way:?}");
}

async fn asks_others(server: &Server, way: Way, upstream: &Server, app: App) {
    let origin = format!("http://{}", upstream.address("plain"));
    let answer = server.fetch(way, Ask::get(&format!("/fetch?url={origin}/hello"))).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello from a standard component\n"), "{way:?}");
    assert_eq!(answer.header("x-fetched"), "yes", "{way:?}");
    let answer = server.fetch(way, Ask::get(&format!("/fetch?url={origin}/large?300000"))).await;
    assert!(answer.body == pattern(300_000) && answer.end.is_whole(), "{way:?}: {:?}", answer.end);
    let ask = Ask::post_unsized(&format!("/forward?url={origin}/sum"), pattern(300_000));
    assert_eq!(server.text_of(way, ask).await, "300000 whole\n", "{way:?}");

    let answer = server.fetch(way, Ask::get("/fetch?url=http://127.0.0.1:9/")).await;
    assert_eq!(answer.status, 502, "{way:?}");
    let text = answer.text();
    if app.names_the_key {
        assert!(text.contains("outbound") && text.contains("http://127.0.0.1:9"), "{way:?}: {text}");
    }
}

/// A fault of the app is 500, and its trace is in the log.
async fn fails(server: &Server, trace: &str) {
    for way in Way::EACH {
        assert_eq!(server.fetch(way, Ask::get("/fails")).await.status, 500, "{way:?}");
    }
    let lines = server.log.settled().await.text();
    assert!(lines.contains(trace), "{lines}");
}

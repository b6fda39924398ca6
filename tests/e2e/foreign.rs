//! Programs by other authors, built with their own tools and served unchanged: the published examples of the crate
//! `wstd`, and programs on the public interfaces of componentize-py and the SDK of Spin.

use roadrunner_tests::{Ask, End, Server, Setup, Way, command, pattern};
use sha2::{Digest as _, Sha256};

use crate::languages::is_built;
use crate::standard_bodies::{comes_back, returns};

/// Starts a server with one of them, if it was built. `keys` are those of its component.
async fn start(test: &str, program: &str, keys: &str) -> Option<Server> {
    if !is_built(&format!("foreign::{test}"), program) {
        return None;
    }
    let component = command::guest(program);
    let setup = Setup::with(&format!(
        "[component.app]\nfile = {component:?}\n{keys}\n[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n"
    ));
    Some(setup.server("wasi-03 = true").compiled().await.start().await)
}

#[tokio::test]
async fn the_server_of_wstd() {
    let Some(server) = start("the_server_of_wstd", "http_server", "").await else { return };
    for way in Way::ALL {
        assert_eq!(server.text_of(way, Ask::get("/")).await, "Hello, wasi:http/proxy world!\n", "{way:?}");
        let text = server.text_of(way, Ask::get("/stream-body")).await;
        assert_eq!(text.lines().count(), 5, "{way:?}: {text}");
        assert!(server.text_of(way, Ask::get("/wait-body")).await.starts_with("slept for 1"), "{way:?}");
        let sent = pattern(300_000);
        assert!(server.fetch(way, Ask::post("/echo", sent.clone())).await.body == sent, "{way:?}");
        let answer = server.fetch(way, Ask::get("/echo-headers").header("x-a", "1").header("x-a", "2")).await;
        assert_eq!(answer.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"], "{way:?}");
        let ask = Ask::post_unsized("/echo-trailers", "x").header("te", "trailers").header("trailer", "x-sum");
        let answer = server.fetch(way, ask.trailer("x-sum", "5")).await;
        assert!(answer.end.is_whole(), "{way:?}: {answer:?}");
        if way.has_streams() {
            assert_eq!(answer.trailer("x-sum"), "5", "{way:?}");
        }
        let answer = server.fetch(way, Ask::get("/response-status").header("x-response-status", "418")).await;
        assert_eq!((answer.status, answer.end.is_whole()), (418, true), "{way:?}");
        assert_eq!(server.fetch(way, Ask::get("/response-fail")).await.status, 500, "{way:?}");
        let answer = server.fetch(way, Ask::get("/response-body-fail")).await;
        assert!(answer.status == 500 || answer.end == End::aborted(way), "{way:?}: {answer:?}");
        assert_eq!(server.fetch(way, Ask::get("/elsewhere")).await.status, 404, "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn the_proxy_of_wstd() {
    let upstream = Setup::of("standard").beside().start().await;
    let origin = format!("http://{}", upstream.address("plain"));
    let keys = format!("outbound = [\"{origin}\"]\nenvironment = {{ TARGET_URL = \"{origin}/\" }}");
    let Some(server) = start("the_proxy_of_wstd", "http_server_proxy", &keys).await else { return };
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/proxy/hello")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello from a standard component\n"), "{way:?}");
        let answer = server.fetch(way, Ask::get("/proxy/large?3000000")).await;
        assert!(answer.body == pattern(3_000_000) && answer.end.is_whole(), "{way:?}: {:?}", answer.end);
        // With a length, which the program copies next to its own, and without.
        for ask in [Ask::post("/proxy/sum", pattern(300_000)), Ask::post_unsized("/proxy/sum", pattern(300_000))] {
            assert_eq!(server.text_of(way, ask).await, "300000 whole\n", "{way:?}");
        }
        assert_eq!(server.fetch(way, Ask::get("/elsewhere")).await.status, 404, "{way:?}");
        // The program sends all of a request before it reads the answer, which then comes piece by piece.
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/proxy/slow")).await;
        assert_eq!(exchange.head().await, 200, "{way:?}");
        assert_eq!(exchange.read_until("tick\ntick\n").await, "tick\ntick\n", "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn components_of_spin() {
    let test = "components_of_spin";
    let Some(server) = start(test, "spin_hello", "").await else { return };
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/anything")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello from Spin\n"), "{way:?}");
    }
    server.is_quiet().await;
    let Some(server) = start(test, "spin_streaming", "").await else { return };
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::post_open("/")).await;
        assert_eq!(exchange.head().await, 200, "{way:?}");
        returns(&mut exchange, "first").await;
        returns(&mut exchange, "second").await;
        assert!(exchange.finish(&[]).await, "{way:?}");
        assert_eq!(exchange.rest().await.end, End::streamed(way), "{way:?}");
        let sent = pattern(3_000_000);
        let answer = server.fetch(way, Ask::post("/", sent.clone())).await;
        assert!(answer.body == sent && answer.end.is_whole(), "{way:?}: {:?}", answer.end);
    }
    server.is_quiet().await;
}

/// The tasks of the examples `http` and `http-p3` of componentize-py: echo bodies as they come, and digest the answers
/// of several other servers.
#[tokio::test]
async fn components_of_componentize_py() {
    let upstream = Setup::of("standard").beside().start().await;
    let origin = format!("http://{}", upstream.address("plain"));
    let keys = format!("outbound = [\"{origin}\"]\nlimits = {{ cpu = \"10s\" }}");
    for program in ["standard_python", "service_python"] {
        let Some(server) = start("components_of_componentize_py", program, &keys).await else { return };
        for way in Way::ALL {
            if program == "service_python" {
                comes_back(&server, way, "/echo").await;
            }
            let mut client = server.connect(way).await;
            let mut exchange = client.open(Ask::post_open("/echo")).await;
            assert_eq!(exchange.head().await, 200, "{program} {way:?}");
            returns(&mut exchange, "first").await;
            returns(&mut exchange, "second").await;
            assert!(exchange.finish(&[]).await, "{program} {way:?}");
            assert!(exchange.rest().await.end.is_whole(), "{program} {way:?}");
            let sent = pattern(3_000_000);
            let answer = server.fetch(way, Ask::post("/echo", sent.clone())).await;
            assert!(answer.body == sent && answer.end.is_whole(), "{program} {way:?}: {:?}", answer.end);
        }
        let text = server.text(&format!("/hash?{origin}/hello,{origin}/empty")).await;
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        let digest = |path: &str, body: &str| format!("{path} {:x}", Sha256::digest(body));
        assert_eq!(lines, [digest("/empty", ""), digest("/hello", "hello from a standard component\n")], "{program}");
        server.is_quiet().await;
    }
}

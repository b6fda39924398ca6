//! Greedy guests. Each is stopped, the client is told, and nothing of it is left: the gauges are back at zero, and the
//! next request is served.

use std::time::{Duration, Instant};

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, End, Server, Setup, Way, command};

/// How an attack ends.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// With this status, before the head.
    Status(u16),
    /// With one of these.
    Either(u16, u16),
    /// In the middle of the body.
    Aborted,
    /// It continues until the client leaves.
    Endless,
}

const ATTACKS: [(&str, Fate); 38] = [
    ("/abort", Fate::Status(500)),
    ("/exit?code=0", Fate::Status(500)),
    ("/exit?code=1", Fate::Status(500)),
    ("/panic", Fate::Status(500)),
    ("/trap", Fate::Status(500)),
    ("/sleep", Fate::Status(504)),
    ("/spin", Fate::Status(503)),
    ("/spin/callback", Fate::Aborted),
    ("/spin/stream", Fate::Aborted),
    ("/recursion", Fate::Status(500)),
    ("/recursion/stack", Fate::Status(500)),
    ("/memory/allocate?kib=8192", Fate::Status(503)),
    ("/memory/callback", Fate::Aborted),
    ("/memory/grow", Fate::Status(200)),
    ("/memory/hold?kib=1024", Fate::Endless),
    ("/memory/many", Fate::Status(503)),
    ("/memory/one", Fate::Status(200)),
    ("/handles/pollables", Fate::Status(500)),
    ("/handles/streams", Fate::Status(500)),
    ("/subscriptions", Fate::Status(500)),
    ("/subscriptions?n=90", Fate::Endless),
    ("/timers", Fate::Status(500)),
    ("/timers?n=90", Fate::Endless),
    ("/call/header?mib=2", Fate::Status(500)),
    ("/call/log?mib=2", Fate::Status(500)),
    ("/call/publish?mib=2", Fate::Status(500)),
    ("/call/topic?mib=2", Fate::Status(500)),
    ("/call/write?mib=2", Fate::Aborted),
    ("/log", Fate::Either(200, 503)),
    ("/print", Fate::Either(200, 503)),
    ("/publish", Fate::Either(200, 503)),
    ("/response/body?mib=2", Fate::Status(500)),
    ("/response/header?kib=64", Fate::Either(200, 500)),
    ("/response/header?kib=900", Fate::Either(200, 500)),
    ("/response/headers", Fate::Status(500)),
    ("/response/trailers", Fate::Status(500)),
    ("/response/headers?n=1001", Fate::Status(500)),
    ("/response/trailers?n=1001", Fate::Status(500)),
];

async fn start(extra: &str) -> Server {
    Setup::with(extra)
        .host_limits(
            "instances = 8\nheld = 8\nmemory = \"4MiB\"\ncpu = \"100ms\"\ncallback-cpu = \"50ms\"\ndeadline = \"2s\"\n\
             host-call-bytes = \"1MiB\"\nhandles = 100\nlog-bytes = \"4KiB\"",
        )
        .and(&component("hello"))
        .and("[[route]]\npath = \"/hello\"\ncomponent = \"hello\"")
        .start()
        .await
}

async fn attack(way: Way) {
    let server = start(&(component("hostile") + "[[route]]\npath = \"/*rest\"\ncomponent = \"hostile\"\n")).await;
    for (path, fate) in ATTACKS {
        let start = Instant::now();
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get(path)).await;
        let status = exchange.head().await;
        match fate {
            Fate::Status(wanted) => {
                assert_eq!(status, wanted, "{way:?} {path}");
                assert_eq!(exchange.rest().await.end, End::sized(way), "{way:?} {path}");
            }
            Fate::Either(one, other) => {
                assert!(status == one || status == other, "{way:?} {path}: {status}");
                assert_eq!(exchange.rest().await.end, End::sized(way), "{way:?} {path}");
            }
            Fate::Aborted => {
                // RST_STREAM may overtake the head.
                assert!(status == 200 || way.has_streams() && status == 0, "{way:?} {path}: {status}");
                assert_eq!(exchange.rest().await.end, End::aborted(way), "{way:?} {path}");
            }
            Fate::Endless => {
                assert_eq!(status, 200, "{way:?} {path}");
                drop(exchange);
            }
        }
        drop(client);
        assert!(start.elapsed() < Duration::from_secs(5), "{way:?} {path}: {:?}", start.elapsed());
        server.is_quiet().await;
        assert_eq!(server.text("/hello").await, "hello, world\n", "{way:?} after {path}");
    }
    assert_eq!(server.metrics().await.sum("roadrunner_panics_total", ""), 0.0, "{way:?}");
}

#[tokio::test]
async fn over_http1() {
    attack(Way::H1).await;
}

#[tokio::test]
async fn over_http1_and_tls() {
    attack(Way::H1Tls).await;
}

#[tokio::test]
async fn over_http2() {
    attack(Way::H2c).await;
}

#[tokio::test]
async fn over_http2_and_tls() {
    attack(Way::H2Tls).await;
}

#[tokio::test]
async fn over_http3() {
    attack(Way::H3).await;
}

#[tokio::test]
async fn what_cannot_even_be_started() {
    for guest in ["start-loop", "large-start"] {
        // The host itself has room for them; their route does not.
        let route =
            format!("limits = {{ memory = \"64MiB\" }}\n[[route]]\npath = \"/*rest\"\ncomponent = \"{guest}\"\n");
        let large = component("minimal")
            + "limits = { memory = \"2GiB\" }\n[[route]]\npath = \"/minimal\"\ncomponent = \"minimal\"\n";
        let server = start(&(component(guest) + &route + &large)).await;
        for way in Way::ALL {
            assert_eq!(server.fetch(way, Ask::get("/")).await.status, 503, "{way:?} {guest}");
            server.is_quiet().await;
            assert_eq!(server.text("/hello").await, "hello, world\n", "{way:?} after {guest}");
        }
    }
}

/// A component too large for any route is refused before anything is served.
#[tokio::test]
async fn what_is_too_large_for_every_route_is_refused_at_the_start() {
    for guest in ["large-start", "table-bomb"] {
        let (folder, manifest) = Setup::of(guest).limit("memory = \"64MiB\"").write();
        let mut check = command::roadrunner();
        check.arg("check").arg("--manifest").arg(&manifest).current_dir(folder.path());
        let done = command::output(check).await;
        assert_eq!(done.code, 1, "{guest}: {done:?}");
        assert!(done.stderr.contains(&format!("{}.wasm", guest.replace('-', "_"))), "{guest}: {done:?}");
        assert_eq!(done.stderr.trim().lines().count(), 1, "{guest}: one sentence: {done:?}");
    }
}

/// Guests that spin on every worker leave room for the others.
#[tokio::test]
async fn guests_that_spin_do_not_hold_the_threads() {
    let server = Setup::with(&(component("hostile") + &component("hello")))
        .server("workers = 2")
        .and("[[route]]\npath = \"/hello\"\ncomponent = \"hello\"\n[[route]]\npath = \"/*rest\"\ncomponent = \"hostile\"")
        .host_limits("instances = 16\nheld = 1\ncpu = \"60s\"\ndeadline = \"60s\"")
        .start()
        .await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = server.connect(Way::H1).await;
        client.h1().write(b"GET /spin HTTP/1.1\r\nhost: x\r\n\r\n").await;
        clients.push(client);
    }
    server.has_instances(6).await;
    let start = Instant::now();
    for way in Way::ALL {
        assert_eq!(server.fetch(way, Ask::get("/hello")).await.text(), "hello, world\n", "{way:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(clients);
    server.is_quiet().await;
}

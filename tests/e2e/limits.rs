//! Every limit has a test that trips it, over every protocol.

use std::time::{Duration, Instant};

use roadrunner_tests::server::component;
use roadrunner_tests::{Answer, Ask, Client, End, Exchange, Server, Setup, Way};

/// A server with one guest and one limit; all other limits are generous.
async fn limited(guest: &str, limit: &str) -> Server {
    Setup::of(guest).limit(limit).start().await
}

/// Checks that a limit answers before the head, and is counted as such.
async fn trips(server: &Server, way: Way, path: &str, status: u16, outcome: &str) -> Answer {
    let before = server.metrics().await.outcome(outcome);
    let answer = server.fetch(way, Ask::get(path)).await;
    assert_eq!((answer.status, &answer.end), (status, &End::sized(way)), "{way:?} {path}: {answer:?}");
    assert_eq!(server.metrics().await.outcome(outcome), before + 1.0, "{way:?} {path}: {outcome}");
    server.is_quiet().await;
    answer
}

/// Checks that a limit aborts the response after the head, and is counted as such.
async fn aborts(server: &Server, way: Way, path: &str, outcome: &str) {
    let before = server.metrics().await.outcome(outcome);
    let answer = server.fetch(way, Ask::get(path)).await;
    // RST_STREAM may overtake the head.
    assert!(answer.status == 200 || way.has_streams() && answer.status == 0, "{way:?} {path}: {answer:?}");
    assert_eq!(answer.end, End::aborted(way), "{way:?} {path}: {answer:?}");
    assert_eq!(server.metrics().await.outcome(outcome), before + 1.0, "{way:?} {path}: {outcome}");
    server.is_quiet().await;
}

#[tokio::test]
async fn memory() {
    let server = limited("hostile", "memory = \"2MiB\"").await;
    for way in Way::ALL {
        trips(&server, way, "/memory/many", 503, "memory-exceeded").await;
        trips(&server, way, "/memory/allocate?kib=3000", 503, "memory-exceeded").await;
        aborts(&server, way, "/memory/callback", "memory-exceeded").await;
        let grown = server.fetch(way, Ask::get("/memory/grow")).await.text();
        let pages: u64 = grown.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        assert!((1..=32).contains(&pages), "{way:?}: refused, and the guest could go on: {grown}");
        assert_eq!(server.fetch(way, Ask::get("/memory/one")).await.text(), "refused\n", "{way:?}");
        let fits = server.fetch(way, Ask::get("/memory/allocate?kib=1024")).await;
        assert_eq!(fits.text(), "allocated\n", "{way:?}");
    }
    let peak = server.metrics().await.sum("roadrunner_guest_peak_memory_bytes", "");
    assert!((1 << 20..=2 << 20).contains(&(peak as u64)), "{peak}");
}

#[tokio::test]
async fn memory_that_is_there_from_the_start() {
    // Another route may use the memory that this one may not.
    let server = Setup::of("large-start")
        .limit("memory = \"64MiB\"")
        .and(&(component("hello") + "limits = { memory = \"2GiB\" }\n"))
        .and("[[route]]\npath = \"/hello\"\ncomponent = \"hello\"")
        .host_limits("instances = 4\nheld = 4")
        .start()
        .await;
    for way in Way::ALL {
        trips(&server, way, "/", 503, "memory-exceeded").await;
    }
}

#[tokio::test]
async fn cpu() {
    let server = limited("hostile", "cpu = \"50ms\"").await;
    for way in Way::ALL {
        let start = Instant::now();
        trips(&server, way, "/spin", 503, "cpu-exceeded").await;
        assert!(start.elapsed() < Duration::from_secs(3), "{way:?}: {:?}", start.elapsed());
        aborts(&server, way, "/spin/stream", "cpu-exceeded").await;
        assert_eq!(server.fetch(way, Ask::get("/spin/for?ms=5")).await.status, 200, "{way:?}");
        assert_eq!(
            server.fetch(way, Ask::get("/sleep?ms=200")).await.text(),
            "awake\n",
            "{way:?}: sleep is not CPU time"
        );
    }
}

#[tokio::test]
async fn cpu_of_the_start() {
    let server = limited("start-loop", "cpu = \"50ms\"").await;
    for way in Way::ALL {
        trips(&server, way, "/", 503, "cpu-exceeded").await;
    }
}

#[tokio::test]
async fn callback_cpu() {
    let server = limited("hostile", "callback-cpu = \"30ms\"").await;
    for way in Way::ALL {
        aborts(&server, way, "/spin/callback", "cpu-exceeded").await;
    }
}

/// The budget applies to one callback: many short callbacks never use it up.
#[tokio::test]
async fn callback_cpu_is_not_summed() {
    let server = limited("loops", "callback-cpu = \"20ms\"").await;
    let answer = server.fetch(Way::H1, Ask::get("/count?n=400&ms=1")).await;
    assert_eq!((answer.text().lines().count(), answer.end), (400, End::LastChunk));
}

#[tokio::test]
async fn deadline() {
    let server = limited("hostile", "deadline = \"150ms\"").await;
    for way in Way::ALL {
        let start = Instant::now();
        trips(&server, way, "/sleep", 504, "deadline-exceeded").await;
        assert!(start.elapsed() >= Duration::from_millis(150), "{way:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "{way:?}: {:?}", start.elapsed());
        // The wall-clock limit stops a computing guest, too.
        trips(&server, way, "/spin", 504, "deadline-exceeded").await;
        assert_eq!(server.fetch(way, Ask::get("/sleep?ms=1")).await.text(), "awake\n", "{way:?}");
    }
}

#[tokio::test]
async fn host_call_bytes() {
    let server = limited("hostile", "host-call-bytes = \"64KiB\"").await;
    for way in Way::ALL {
        for path in [
            "/response/body?mib=1",
            "/call/header?mib=1",
            "/call/log?mib=1",
            "/call/publish?mib=1",
            "/call/topic?mib=1",
        ] {
            trips(&server, way, path, 500, "host-call-exceeded").await;
        }
        aborts(&server, way, "/call/write?mib=1", "host-call-exceeded").await;
    }
}

#[tokio::test]
async fn handles() {
    let server = limited("hostile", "handles = 50").await;
    for way in Way::ALL {
        for path in ["/handles/pollables?n=1000", "/handles/streams?n=1000", "/subscriptions?n=1000", "/timers?n=1000"]
        {
            trips(&server, way, path, 500, "handles-exceeded").await;
        }
        assert_eq!(server.fetch(way, Ask::get("/handles/pollables?n=20")).await.text(), "took 20\n", "{way:?}");
    }
}

#[tokio::test]
async fn log_bytes() {
    let server = limited("hostile", "log-bytes = \"1KiB\"").await;
    for way in Way::ALL {
        for (path, wanted) in [("/log?n=500", "logged 500\n"), ("/print?n=500", "printed 500, failed 0\n")] {
            let before = server.metrics().await.sum("roadrunner_guest_log_dropped_bytes_total", "");
            let answer = server.fetch(way, Ask::get(path)).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, wanted), "{way:?}");
            let id = server.access(path).await["request"].clone();
            let dropped = server.metrics().await.sum("roadrunner_guest_log_dropped_bytes_total", "") - before;
            assert!(dropped > 2000.0, "{way:?} {path}: {dropped} bytes were counted");
            let lines: Vec<_> = server
                .log
                .lines()
                .into_iter()
                .filter(|line| line["target"] == "guest" && line["request"] == id)
                .collect();
            let bytes: usize = lines
                .iter()
                .filter_map(|line| line["message"].as_str())
                .filter(|line| line.starts_with("line "))
                .map(|line| line.len() + 1)
                .sum();
            assert!((400..=1024).contains(&bytes), "{way:?} {path}: {bytes} bytes were logged");
            let told = lines
                .iter()
                .filter(|line| line["message"].as_str().is_some_and(|text| text.contains("log-bytes")))
                .count();
            assert_eq!(told, 1, "{way:?} {path}: one warning says so");
        }
    }
}

#[tokio::test]
async fn instances() {
    let server = limited("hostile", "instances = 1").await;
    for way in Way::ALL {
        // One that takes its time, and one that waits for it.
        let (first, second) = tokio::join!(server.fetch(way, Ask::get("/sleep?ms=300")), async {
            server.has_instances(1).await;
            server.fetch(way, Ask::get("/sleep?ms=1")).await
        });
        assert_eq!((first.status, second.status), (200, 200), "{way:?}: the second has waited");

        // One that takes too long.
        let mut client = server.connect(way).await;
        let exchange = client.open(Ask::get("/sleep")).await;
        server.has_instances(1).await;
        let start = Instant::now();
        let answer = server.fetch(way, Ask::get("/sleep?ms=1")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{way:?}");
        assert!(start.elapsed() >= Duration::from_millis(900), "{way:?}: it queues first");
        assert_eq!(server.instances().await.len(), 1, "{way:?}");
        drop(exchange);
        drop(client);
        server.is_quiet().await;
    }
    assert_eq!(server.metrics().await.outcome("overloaded"), 5.0);
}

#[tokio::test]
async fn instances_of_the_host_of_a_component_and_of_a_route_all_hold() {
    let server = Setup::with(
        "[component.hostile]\nfile = \"{guests}/hostile.wasm\"\nlimits = { instances = 2 }\n\
         [[route]]\npath = \"/sleep\"\ncomponent = \"hostile\"\nlimits = { instances = 1 }\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"hostile\"\n",
    )
    .host_limits("instances = 3\nheld = 1")
    .start()
    .await;
    let mut clients = [server.connect(Way::H1).await, server.connect(Way::H2c).await];
    let [one, two] = &mut clients;
    let _one = one.open(Ask::get("/sleep")).await;
    server.has_instances(1).await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_instances_running", "gate=\"host\""), 1.0);
    assert_eq!(metrics.sum("roadrunner_instances_running", "gate=\"component:hostile\""), 1.0);
    assert_eq!(metrics.sum("roadrunner_instances_running", "gate=\"route:"), 1.0);
    // The route is full, the component is not.
    assert_eq!(server.fetch(Way::H1, Ask::get("/sleep")).await.status, 503);
    let _two = two.open(Ask::get("/handles/pollables?n=1")).await.rest().await;
    assert_eq!(_two.status, 200);
}

#[tokio::test]
async fn held() {
    let server = limited("loops", "held = 1").await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/idle")).await;
        assert_eq!(exchange.head().await, 200);
        let answer = server.fetch(way, Ask::get("/idle")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{way:?}");
        drop(exchange);
        drop(client);
        server.is_quiet().await;
    }
    assert_eq!(server.metrics().await.outcome("held-exceeded"), 5.0);
}

#[tokio::test]
async fn idle() {
    let server = limited("loops", "idle = \"1s\"").await;
    let start = Instant::now();
    let mut clients = Vec::new();
    for way in Way::ALL {
        clients.push((way, server.connect(way).await));
    }
    // All wait at once: each takes a second.
    let mut waiting: Vec<(Way, Exchange<'_>)> = Vec::new();
    for (way, client) in &mut clients {
        waiting.push((*way, open(client, "/idle").await));
    }
    for (way, exchange) in waiting {
        assert_eq!(exchange.rest().await.end, End::aborted(way), "{way:?}");
        let elapsed = start.elapsed();
        assert!((Duration::from_millis(950)..Duration::from_secs(4)).contains(&elapsed), "{way:?}: {elapsed:?}");
    }
    assert_eq!(server.metrics().await.outcome("idle-exceeded"), 5.0);
    server.is_quiet().await;
    // Ticks are events.
    let answer = server.fetch(Way::H1, Ask::get("/count?n=4&ms=400")).await;
    assert_eq!(answer.end, End::LastChunk);

    // The limit counts from the end of a callback: a callback that takes longer than the limit leaves the session the
    // full time again.
    let mut client = server.connect(Way::H1).await;
    let mut exchange = open(&mut client, "/slow/news?ms=1300").await;
    exchange.read_until("subscribed").await;
    for message in ["first", "second"] {
        server.fetch(Way::H1, Ask::post("/publish/news", message)).await;
        exchange.read_until(message).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn open<'c>(client: &'c mut Client, path: &str) -> Exchange<'c> {
    let mut exchange = client.open(Ask::get(path)).await;
    assert_eq!(exchange.head().await, 200, "{path}");
    exchange
}

/// The only possible instance is busy: a request that needs one would wait, but 413 does not.
#[tokio::test]
async fn body_is_refused_before_the_instance_exists() {
    let server = Setup::of("bodies").limit("body = \"1KiB\", instances = 1").start().await;
    let mut busy = server.connect(Way::H1).await;
    let exchange = busy.open(Ask::post("/late?ms=20000", "x")).await;
    server.has_instances(1).await;
    for way in Way::ALL {
        for (kind, ask) in [
            ("sized", Ask::post("/all", vec![b'x'; 1025])),
            ("sized and large", Ask::post("/all", vec![b'x'; 1 << 20])),
            ("unsized", Ask::post_unsized("/all", vec![b'x'; 1025])),
            ("declared and never sent", Ask::post_open_with_length("/all", 1 << 40)),
        ] {
            let start = Instant::now();
            let mut client = server.connect(way).await;
            let status = match kind {
                "declared and never sent" => client.open(ask).await.head().await,
                _ => client.fetch(ask).await.status,
            };
            assert_eq!(status, 413, "{way:?} {kind}");
            assert!(start.elapsed() < Duration::from_millis(900), "{way:?} {kind}: it has waited for an instance");
        }
    }
    assert_eq!(server.instances().await.len(), 1);
    drop(exchange);
    drop(busy);
    server.is_quiet().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::post("/all", vec![b'x'; 1024])).await;
        assert_eq!(answer.text(), "1024\n", "{way:?}: what fits passes");
    }
    assert_eq!(server.metrics().await.outcome("body-too-large"), 20.0);
}

#[tokio::test]
async fn memory_holds_what_a_manual_body_is_gathered_to() {
    let server = Setup::of("bodies").manual().limit("memory = \"2MiB\"").start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::post("/all", vec![b'x'; 8 << 20])).await;
        assert!([413, 503].contains(&answer.status), "{way:?}: {answer:?}");
        let answer = server.fetch(way, Ask::post("/digest", vec![b'x'; 8 << 20])).await;
        assert_eq!(answer.status, 200, "{way:?}: piece by piece it fits");
    }
    server.is_quiet().await;
}

//! Standard components, `wasi:http/proxy` 0.2 and `wasi:http/service` 0.3: made with public crates, and served
//! unchanged.

use std::time::Duration;

use roadrunner_tests::command::{self, output, roadrunner};
use roadrunner_tests::{Ask, End, Setup, Way, pattern, within};

use crate::languages::is_built;

/// A guest of WASI 0.2, and one of 0.3.
const GUESTS: [&str; 2] = ["standard", "service"];

fn setup(guest: &str) -> Setup {
    let setup = Setup::of(guest);
    if guest == "service" { setup.server("wasi-03 = true") } else { setup }
}

#[tokio::test]
async fn are_served_as_they_are() {
    for (guest, text) in GUESTS.into_iter().zip(["hello from a standard component\n", "hello from a service\n"]) {
        let server = setup(guest).start().await;
        for way in Way::ALL {
            let answer = server.fetch(way, Ask::get("/hello")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, text), "{way:?}");
            assert_eq!((answer.header("content-type"), answer.end.is_whole()), ("text/plain", true), "{way:?}");
            // The answer of a guest that has returned in time has a length; on a busy machine not every guest has.
            let sized = within(Duration::from_secs(5), || async {
                (server.fetch(way, Ask::get("/hello")).await.end == End::sized(way)).then_some(())
            });
            assert!(sized.await.is_some(), "{guest} {way:?}: never with a length");
        }
    }
    let server = Setup::of("standard-wstd").start().await;
    for way in Way::EACH {
        assert_eq!(server.text_of(way, Ask::get("/there")).await, "hello from wstd, /there\n", "{way:?}");
        let sent = pattern(1 << 20);
        let answer = server.fetch(way, Ask::post("/echo", sent.clone())).await;
        assert!(answer.body == sent, "{way:?}: {} bytes came back", answer.body.len());
    }
}

/// Handlers in JavaScript and Python, made by componentize-js and componentize-py from WASI's own worlds.
#[tokio::test]
async fn are_served_as_public_tools_make_them() {
    for (name, who) in [("standard_js", "JavaScript"), ("standard_python", "Python"), ("service_python", "Python")] {
        if !is_built("standard::are_served_as_public_tools_make_them", name) {
            continue;
        }
        let component = command::guest(name);
        let server = Setup::with(&format!(
            "[component.app]\nfile = {component:?}\nlimits = {{ cpu = \"10s\" }}\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n"
        ))
        .server("wasi-03 = true")
        .compiled()
        .await
        .start()
        .await;
        for way in Way::EACH {
            let answer = server.fetch(way, Ask::get("/hello")).await;
            assert_eq!((answer.status, answer.text()), (200, format!("hello from {who}\n")), "{name} {way:?}");
            assert_eq!((answer.header("content-type"), answer.end.is_whole()), ("text/plain", true), "{name} {way:?}");
            assert_eq!(server.fetch(way, Ask::get("/elsewhere")).await.status, 404, "{name} {way:?}");
            let answer = server.fetch(way, Ask::post("/length", vec![b'x'; 300_000])).await;
            assert_eq!(answer.text(), "300000\n", "{name} {way:?}");
            if who == "JavaScript" {
                let sent = pattern(300_000);
                let answer = server.fetch(way, Ask::post("/echo", sent.clone())).await;
                assert!(answer.body == sent, "{name} {way:?}: {} bytes came back", answer.body.len());
            }
        }
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn see_the_request() {
    for guest in GUESTS {
        let server = setup(guest).start().await;
        for way in Way::ALL {
            let ask = Ask::post("/request?a=%20b", "x").host("shop.example:81").header("x-a", "1").header("x-a", "2");
            let text = server.text_of(way, ask.header("accept", "*/*")).await;
            let scheme = if way.is_tls() { "https" } else { "http" };
            assert!(text.starts_with(&format!("POST {scheme} shop.example:81 /request?a=%20b\n")), "{way:?}: {text}");
            assert!(text.contains("x-a: 1\nx-a: 2\n") && text.contains("accept: */*\n"), "{way:?}: {text}");
            // RFC 9110, 7.6.1: these are connection-specific; and the authority has its own place.
            for field in ["host:", "connection:", "transfer-encoding:", "upgrade:"] {
                assert!(!text.contains(field), "{way:?}: {field} in {text}");
            }
        }
    }
}

#[tokio::test]
async fn set_status_and_fields() {
    for guest in GUESTS {
        let server = setup(guest).start().await;
        for way in Way::EACH {
            let answer = server.fetch(way, Ask::get("/status?418")).await;
            let values: Vec<_> = answer.headers.get_all("x-a").iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!((answer.status, values), (418, vec!["1", "2"]), "{way:?}");
            assert_eq!(server.fetch(way, Ask::get("/status?204")).await.status, 204, "{way:?}");
            let answer = server.fetch(way, Ask::get("/empty")).await;
            assert_eq!((answer.status, answer.text().as_str(), answer.end.is_whole()), (200, "", true), "{way:?}");
            let answer = server.fetch(way, Ask::new("HEAD", "/hello")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{way:?}");
            assert_eq!(server.text_of(way, Ask::get("/forbidden")).await, "refused\n", "{way:?}");
            // The fields of a message are at most 64 KiB.
            assert_eq!(server.text_of(way, Ask::get("/fields?50")).await, "50\n", "{way:?}");
            let answer = server.fetch(way, Ask::get("/fields?100")).await;
            // A guest of 0.2 traps there; a guest of 0.3 gets an error.
            let added = answer.text().trim().parse::<u32>().ok();
            assert!(if guest == "service" {
                added.is_some_and(|n| (50..70).contains(&n))
            } else {
                answer.status == 500
            });
            assert_eq!(server.fetch(way, Ask::get("/status?101")).await.status, 500, "{way:?}");
            assert_eq!(server.fetch(way, Ask::get("/length?5")).await.text(), "five!", "{way:?}");
            for wrong in ["/length?4", "/length?6"] {
                // The head may already be on its way when the fault is detected.
                let answer = server.fetch(way, Ask::get(wrong)).await;
                assert!(answer.status == 500 || answer.end == End::aborted(way), "{way:?} {wrong}: {answer:?}");
            }
        }
        assert_eq!(server.access("/length?6").await["outcome"], "invalid-response");
    }
}

/// Pieces come back while the request is still being sent, and its trailer fields at the end.
#[tokio::test]
async fn stream_both_ways() {
    for guest in GUESTS {
        let server = setup(guest).start().await;
        for way in Way::ALL {
            let mut client = server.connect(way).await;
            let ask = Ask::post_open("/echo").header("te", "trailers").header("trailer", "x-sum");
            let mut exchange = client.open(ask).await;
            assert!(exchange.send("first").await, "{way:?}");
            assert_eq!(exchange.head().await, 200, "{way:?}");
            assert_eq!(exchange.read_until("first").await, "first", "{way:?}");
            assert!(exchange.send("second").await, "{way:?}");
            assert_eq!(exchange.read_until("second").await, "second", "{way:?}");
            assert!(exchange.finish(&[("x-sum", "11")]).await, "{way:?}");
            let answer = exchange.rest().await;
            assert_eq!(answer.end, End::streamed(way), "{way:?}");
            if way.has_streams() {
                assert_eq!(answer.trailer("x-sum"), "11", "{way:?}");
            }
            let answer = server.fetch(way, Ask::get("/large?3000000")).await;
            assert!(answer.body == pattern(3_000_000) && answer.end == End::streamed(way), "{way:?}: {:?}", answer.end);
            let answer = server.fetch(way, Ask::post("/sum", pattern(5_000_000))).await;
            assert_eq!(answer.text(), "5000000 whole\n", "{way:?}");
        }
        server.is_quiet().await;
    }
}

/// Their `body` key has no effect: WASI has only one way to read a body.
#[tokio::test]
async fn a_client_that_does_not_read_holds_up_the_guest() {
    for guest in GUESTS {
        let server = setup(guest).start().await;
        for way in Way::EACH {
            let mut client = server.connect(way).await;
            let mut exchange = client.open(Ask::get("/large?100000000")).await;
            assert_eq!(exchange.head().await, 200, "{way:?}");
            let instance = &server.has_instances(1).await[0].clone();
            assert_eq!(instance["shape"], "standard", "{way:?}");
            drop(exchange);
            drop(client);
            server.is_empty_after().await;
        }
    }
}

#[tokio::test]
async fn faults_before_the_head_have_a_status() {
    for guest in GUESTS {
        let server = setup(guest).limit("memory = \"16MiB\", cpu = \"100ms\", deadline = \"3s\"").start().await;
        for way in Way::EACH {
            for (path, status, outcome) in [
                ("/error", 500, "guest-error"),
                ("/trap", 500, "trapped"),
                ("/spin", 503, "cpu-exceeded"),
                ("/sleep?60000", 504, "deadline-exceeded"),
                ("/memory", 503, "memory-exceeded"),
            ] {
                let answer = server.fetch(way, Ask::get(path)).await;
                assert_eq!((answer.status, answer.end.is_whole()), (status, true), "{way:?} {path}: {}", answer.text());
                assert_eq!(server.access(path).await["outcome"], outcome, "{way:?} {path}");
            }
            assert_eq!(server.fetch(way, Ask::get("/hello")).await.status, 200, "{way:?}");
        }
        server.is_quiet().await;
    }
}

/// With WASI 0.3 a body ends when the guest drops its stream, and a handler cannot return without a response.
#[tokio::test]
async fn a_response_has_to_be_set_and_finished() {
    let server = Setup::of("standard").start().await;
    for way in Way::EACH {
        for path in ["/never-set", "/dropped"] {
            let answer = server.fetch(way, Ask::get(path)).await;
            assert_eq!((answer.status, answer.end.is_whole()), (500, true), "{way:?} {path}: {}", answer.text());
            assert_eq!(server.access(path).await["outcome"], "invalid-response", "{way:?} {path}");
        }
    }
    server.is_quiet().await;
}

/// A response that the guest did not finish never looks whole.
#[tokio::test]
async fn faults_after_the_head_cut_the_body() {
    for guest in GUESTS {
        let server = setup(guest).limit("cpu = \"100ms\"").start().await;
        for way in Way::ALL {
            for (path, outcome) in [
                ("/trap-mid-stream", "trapped"),
                ("/not-finished", "invalid-response"),
                ("/spin-mid-stream", "cpu-exceeded"),
            ] {
                let answer = server.fetch(way, Ask::get(path)).await;
                assert_eq!(answer.end, End::aborted(way), "{way:?} {path}");
                // RFC 9000, 3.2: a reset may overtake earlier data.
                assert!(
                    answer.status == 200 || (way == Way::H3 && answer.status == 0),
                    "{way:?} {path}: {}",
                    answer.status
                );
                assert_eq!(server.access(path).await["outcome"], outcome, "{way:?} {path}");
            }
        }
        // The head may be on its way by then, or not.
        for way in Way::EACH {
            let answer = server.fetch(way, Ask::get("/trap-after-set")).await;
            assert!(answer.status == 500 || answer.end == End::aborted(way), "{way:?}: {answer:?}");
            assert_eq!(server.access("/trap-after-set").await["outcome"], "trapped", "{way:?}");
        }
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_guest() {
    for guest in GUESTS {
        let server = setup(guest).start().await;
        for way in Way::EACH {
            for path in ["/slow", "/sleep?60000"] {
                let mut client = server.connect(way).await;
                let mut exchange = client.open(Ask::get(path)).await;
                if path == "/slow" {
                    assert_eq!(exchange.read_until("tick\n").await, "tick\n", "{way:?}");
                }
                server.has_instances(1).await;
                drop(exchange);
                drop(client);
                let took = server.is_empty_after().await;
                assert!(took < Duration::from_secs(5), "{way:?} {path}: gone only after {took:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_operator_can_end_them() {
    for guest in GUESTS {
        let server = setup(guest).start().await;
        let mut client = server.connect(Way::H1).await;
        let mut exchange = client.open(Ask::get("/slow")).await;
        assert_eq!(exchange.head().await, 200);
        let id = server.has_instances(1).await[0]["id"].clone();
        assert_eq!(server.admin_request("DELETE", &format!("/instances/{id}")).await.0, 204);
        assert_eq!(exchange.rest().await.end, End::Cut);
        assert_eq!(server.access("/slow").await["outcome"], "killed");
    }
}

/// The guest's housekeeping continues after the client has its answer, and its place stays taken.
#[tokio::test]
async fn may_work_on_after_the_response() {
    for guest in GUESTS {
        let server = setup(guest).start().await;
        for way in Way::EACH {
            let answer = server.fetch(way, Ask::get("/after")).await;
            assert_eq!((answer.text().as_str(), &answer.end), ("answered\n", &End::streamed(way)), "{way:?}");
            server.log.message("work after the response").await;
            server.is_empty_after().await;
        }
    }
}

#[tokio::test]
async fn have_no_files_and_no_way_out_unless_granted() {
    for guest in GUESTS {
        let server = setup(guest).start().await;
        assert_eq!(server.text("/files").await, "false\n");
        let answer = server.fetch(Way::H1, Ask::get("/fetch?http://127.0.0.1:9/")).await;
        assert_eq!((answer.status, answer.text().as_str()), (502, "ErrorCode::HttpRequestDenied\n"));
    }
}

#[tokio::test]
async fn share_gates_and_middlewares_with_native_components() {
    let server = Setup::of("standard")
        .limit("instances = 1")
        .route("middlewares = [\"fields\"]")
        .and("[middleware.fields]\ntype = \"response-headers\"\nset = { x-by = \"the host\" }\n")
        .start()
        .await;
    let answer = server.fetch(Way::H2c, Ask::get("/hello")).await;
    assert_eq!(answer.header("x-by"), "the host");
    let mut client = server.connect(Way::H1).await;
    let mut exchange = client.open(Ask::get("/slow")).await;
    assert_eq!(exchange.head().await, 200);
    let answer = server.fetch(Way::H1, Ask::get("/hello")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    drop(exchange);
    drop(client);
    let limit = Duration::from_secs(5);
    let free =
        within(limit, || async { (server.fetch(Way::H1, Ask::get("/hello")).await.status == 200).then_some(()) });
    free.await.expect("the place is free again");
}

#[tokio::test]
async fn are_told_apart_on_the_command_line() {
    for (guest, kind) in [
        ("standard", "standard, wasi:http/proxy 0.2"),
        ("service", "standard, wasi:http/service 0.3"),
        ("hello", "native, roadrunner:handler"),
    ] {
        let mut inspect = roadrunner();
        inspect.arg("inspect").arg(command::guest(guest));
        let done = output(inspect).await;
        assert!(done.stdout.contains(&format!("kind     {kind}\n")), "{guest}: {done:?}");
        let (folder, manifest) = setup(guest).write();
        let mut check = roadrunner();
        check.arg("check").arg("--manifest").arg(manifest);
        let done = output(check).await;
        assert!(done.stdout.contains(&format!("{guest} is {kind}\n")), "{guest}: {done:?}");
        drop(folder);
    }
}

/// The engine's support for it is experimental: the manifest must ask for it.
#[tokio::test]
async fn wasi_03_is_off_by_default() {
    let (folder, manifest) = Setup::of("service").write();
    let mut check = roadrunner();
    check.arg("check").arg("--manifest").arg(manifest);
    let done = output(check).await;
    assert_ne!(done.code, 0, "{done:?}");
    for part in ["service.wasm", "wasi:http/service 0.3", "experimental", "`wasi-03 = true` under [server]"] {
        assert!(done.stderr.contains(part), "{part}: {done:?}");
    }
    drop(folder);
}

/// A guest of WASI 0.3 learns whether its response has reached the client.
#[tokio::test]
async fn a_service_hears_that_its_response_was_sent() {
    let server = setup("service").start().await;
    assert_eq!(server.text("/sent").await, "answered\n");
    server.log.message("sent: Ok(())").await;
    server.is_quiet().await;
}

/// Streams, futures and tasks are handles.
#[tokio::test]
async fn a_service_has_a_limit_of_streams() {
    let server = setup("service").limit("handles = 200").start().await;
    assert_eq!(server.text("/streams?20").await, "20 streams\n");
    let answer = server.fetch(Way::H1, Ask::get("/streams?100000")).await;
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert_eq!(server.access("/streams?100000").await["outcome"], "handles-exceeded");
    server.is_quiet().await;
}

/// One instance answers several requests, one after the other, if its component asks for it.
#[tokio::test]
async fn can_be_reused() {
    for guest in GUESTS {
        let server = setup(guest).component("reuse = { requests = 3, idle = \"10s\" }").start().await;
        let mut counts = Vec::new();
        for _ in 0..7 {
            counts.push(server.text("/counter").await.trim().parse::<u32>().expect("a number"));
        }
        assert_eq!(counts, [1, 2, 3, 1, 2, 3, 1], "{guest}");
        // An instance that failed, or whose response was not read, is not used again.
        assert_eq!(server.fetch(Way::H1, Ask::get("/trap")).await.status, 500, "{guest}");
        assert_eq!(server.text("/counter").await, "1\n", "{guest}");
        let mut client = server.connect(Way::H1).await;
        let mut exchange = client.open(Ask::get("/slow")).await;
        assert_eq!(exchange.read_until("tick\n").await, "tick\n", "{guest}");
        drop(exchange);
        drop(client);
        server.is_empty_after().await;
        assert_eq!(server.text("/counter").await, "1\n", "{guest}: the departed client's instance is gone");
    }
    let server = setup("service").start().await;
    for _ in 0..3 {
        assert_eq!(server.text("/counter").await, "1\n", "without `reuse`, every instance is fresh");
    }
}

/// An instance of WASI 0.3 answers several requests at once, if its component asks for it.
#[tokio::test]
async fn a_service_can_answer_several_requests_at_once() {
    let reuse = "reuse = { requests = 8, concurrency = 4, idle = \"10s\" }";
    let server = setup("service").component(reuse).start().await;
    let ask = || async { server.text("/at-once?300").await.trim().parse::<u32>().expect("a number") };
    let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
    assert_eq!([a, b, c, d], [4; 4], "all in one instance");
    // Four of its eight requests are left; a fifth at once goes to another instance.
    let (a, b, c, d, e) = tokio::join!(ask(), ask(), ask(), ask(), ask());
    let mut counts = [a, b, c, d, e];
    counts.sort_unstable();
    assert_eq!(counts, [1, 4, 4, 4, 4]);
    server.is_quiet().await;
    for way in Way::EACH {
        let sent = pattern(1 << 20);
        let answer = server.fetch(way, Ask::post("/echo", sent.clone())).await;
        assert!(answer.body == sent && answer.end == End::streamed(way), "{way:?}: {:?}", answer.end);
        let answer = server.fetch(way, Ask::get("/large?3000000")).await;
        assert!(answer.body == pattern(3_000_000), "{way:?}");
    }
    let line = server.access("/large?3000000").await;
    assert!(line["cpu_microseconds"].as_u64().is_some_and(|cpu| cpu > 0), "{line}");
    server.is_quiet().await;
}

/// A faulty request ends the other requests of the same instance, and no others.
#[tokio::test]
async fn a_fault_of_a_shared_instance_ends_all_of_its_requests() {
    let reuse = "reuse = { requests = 1000, concurrency = 10, idle = \"10s\" }";
    let limits = "cpu = \"200ms\", deadline = \"3s\", memory = \"16MiB\"";
    let server = setup("service").component(reuse).limit(limits).start().await;
    for (path, status, outcome) in
        [("/trap", 500, "trapped"), ("/spin", 503, "cpu-exceeded"), ("/memory", 503, "memory-exceeded")]
    {
        let mut client = server.connect(Way::H1).await;
        let mut exchange = client.open(Ask::get("/slow")).await;
        assert_eq!(exchange.read_until("tick\n").await, "tick\n", "{path}");
        assert_eq!(server.fetch(Way::H1, Ask::get(path)).await.status, status, "{path}");
        assert_eq!(server.access(path).await["outcome"], outcome);
        assert_eq!(exchange.rest().await.end, End::Cut, "{path}");
        assert_eq!(server.text("/counter").await, "1\n", "{path}: the next request gets another instance");
    }
    // A request that takes too long gets 504, and its instance takes no more requests.
    assert_eq!(server.fetch(Way::H1, Ask::get("/sleep?60000")).await.status, 504);
    assert_eq!(server.text("/counter").await, "1\n");
    server.is_quiet().await;
}

#[tokio::test]
async fn a_client_that_leaves_a_shared_instance_leaves_the_others() {
    let reuse = "reuse = { requests = 1000, concurrency = 10, idle = \"10s\" }";
    let server = setup("service").component(reuse).start().await;
    for way in Way::EACH {
        let mut staying = server.connect(Way::H1).await;
        let mut other = staying.open(Ask::get("/slow")).await;
        assert_eq!(other.read_until("tick\n").await, "tick\n", "{way:?}");
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/slow")).await;
        assert_eq!(exchange.read_until("tick\n").await, "tick\n", "{way:?}");
        server.has_instances(2).await;
        drop(exchange);
        drop(client);
        server.has_instances(1).await;
        assert_eq!(other.read_until("tick\ntick\n").await, "tick\ntick\n", "{way:?}");
        // An operator ends the instance with its last request.
        let id = server.has_instances(1).await[0]["id"].clone();
        assert_eq!(server.admin_request("DELETE", &format!("/instances/{id}")).await.0, 204);
        assert_eq!(other.rest().await.end, End::Cut, "{way:?}");
        server.is_empty_after().await;
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn others_answer_one_request_at_a_time() {
    for guest in ["standard", "hello"] {
        let (folder, manifest) = setup(guest).component("reuse = { requests = 2, concurrency = 2 }").write();
        let mut check = roadrunner();
        check.arg("check").arg("--manifest").arg(manifest);
        let done = output(check).await;
        assert_ne!(done.code, 0, "{done:?}");
        assert!(done.stderr.contains(&format!("the component {guest} answers one request at a time")), "{done:?}");
        drop(folder);
    }
}

/// A handler of fetch events in JavaScript answers one request in its life, and `check` reports that before a client
/// notices.
#[tokio::test]
async fn what_cannot_be_reused_is_refused() {
    let test = "standard::what_cannot_be_reused_is_refused";
    for guest in ["standard-js", "app-hono-wasi"] {
        if !is_built(test, guest) {
            continue;
        }
        let setup = Setup::of(guest).compiled().await;
        let (folder, manifest) = setup.component("reuse = { requests = 2 }").write();
        let mut check = roadrunner();
        check.arg("check").arg("--manifest").arg(manifest);
        let done = output(check).await;
        assert_ne!(done.code, 0, "{done:?}");
        let reason = format!("the component {guest} cannot be reused");
        assert!(done.stderr.contains(&reason) && done.stderr.contains("leave out its `reuse`"), "{done:?}");
        drop(folder);
    }
}

/// In every other language, one instance answers several requests.
#[tokio::test]
async fn every_other_language_can_be_reused() {
    let test = "standard::every_other_language_can_be_reused";
    for guest in [
        "standard",
        "service",
        "standard-wstd",
        "standard-python",
        "service-python",
        "spin-hello",
        "http-server",
        "demo",
        "demo-c",
        "demo-js",
        "demo-python",
    ] {
        if !is_built(test, guest) {
            continue;
        }
        let keys = "reuse = { requests = 50, idle = \"60s\" }\nlimits = { cpu = \"10s\" }";
        let server = Setup::of(guest).server("wasi-03 = true").component(keys).compiled().await.start().await;
        let path = if guest == "http-server" { "/" } else { "/hello" };
        for way in Way::EACH {
            for _ in 0..5 {
                assert_eq!(server.fetch(way, Ask::get(path)).await.status, 200, "{guest} {way:?}");
            }
        }
        server.is_quiet().await;
    }
}

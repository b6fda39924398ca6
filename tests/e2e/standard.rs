//! Standard components, `wasi:http/proxy` 0.2: made with public crates, and served as they are.

use std::time::Duration;

use roadrunner_tests::command::{self, output, roadrunner};
use roadrunner_tests::{Ask, End, Setup, Way, pattern, within};

#[tokio::test]
async fn are_served_as_they_are() {
    let server = Setup::of("standard").start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/hello")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello from a standard component\n"), "{way:?}");
        assert_eq!((answer.header("content-type"), &answer.end), ("text/plain", &End::sized(way)), "{way:?}");
    }
    let server = Setup::of("standard-wstd").start().await;
    for way in Way::EACH {
        assert_eq!(server.text_of(way, Ask::get("/there")).await, "hello from wstd, /there\n", "{way:?}");
        let sent = pattern(1 << 20);
        let answer = server.fetch(way, Ask::post("/echo", sent.clone())).await;
        assert!(answer.body == sent, "{way:?}: {} bytes came back", answer.body.len());
    }
}

#[tokio::test]
async fn see_the_request() {
    let server = Setup::of("standard").start().await;
    for way in Way::ALL {
        let ask = Ask::post("/request?a=%20b", "x").host("shop.example:81").header("x-a", "1").header("x-a", "2");
        let text = server.text_of(way, ask.header("accept", "*/*")).await;
        let scheme = if way.is_tls() { "https" } else { "http" };
        assert!(text.starts_with(&format!("POST {scheme} shop.example:81 /request?a=%20b\n")), "{way:?}: {text}");
        assert!(text.contains("x-a: 1\nx-a: 2\n") && text.contains("accept: */*\n"), "{way:?}: {text}");
        // RFC 9110, 7.6.1: these are the connection's; and the authority has its own place.
        for field in ["host:", "connection:", "transfer-encoding:", "upgrade:"] {
            assert!(!text.contains(field), "{way:?}: {field} in {text}");
        }
    }
}

#[tokio::test]
async fn set_status_and_fields() {
    let server = Setup::of("standard").start().await;
    for way in Way::EACH {
        let answer = server.fetch(way, Ask::get("/status?418")).await;
        let values: Vec<_> = answer.headers.get_all("x-a").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!((answer.status, values), (418, vec!["1", "2"]), "{way:?}");
        assert_eq!(server.fetch(way, Ask::get("/status?204")).await.status, 204, "{way:?}");
        let answer = server.fetch(way, Ask::get("/empty")).await;
        assert_eq!((answer.status, answer.text().as_str(), &answer.end), (200, "", &End::sized(way)), "{way:?}");
        let answer = server.fetch(way, Ask::new("HEAD", "/hello")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{way:?}");
        assert_eq!(server.text_of(way, Ask::get("/forbidden")).await, "refused\n", "{way:?}");
        // The fields of a message are at most 64 KiB.
        assert_eq!(server.text_of(way, Ask::get("/fields?50")).await, "50\n", "{way:?}");
        assert_eq!(server.fetch(way, Ask::get("/fields?100")).await.status, 500, "{way:?}");
        assert_eq!(server.fetch(way, Ask::get("/status?101")).await.status, 500, "{way:?}");
        assert_eq!(server.fetch(way, Ask::get("/length?5")).await.text(), "five!", "{way:?}");
        for wrong in ["/length?4", "/length?6"] {
            assert_eq!(server.fetch(way, Ask::get(wrong)).await.status, 500, "{way:?} {wrong}");
        }
    }
    assert_eq!(server.access("/length?6").await["outcome"], "invalid-response");
}

/// Pieces come back while the request is still being sent, and its trailer fields at the end.
#[tokio::test]
async fn stream_both_ways() {
    let server = Setup::of("standard").start().await;
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

/// Their `body` key is of no effect: WASI has only one way to read a body.
#[tokio::test]
async fn a_client_that_does_not_read_holds_up_the_guest() {
    let server = Setup::of("standard").start().await;
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

#[tokio::test]
async fn faults_before_the_head_have_a_status() {
    let server = Setup::of("standard").limit("memory = \"16MiB\", cpu = \"100ms\", deadline = \"3s\"").start().await;
    for way in Way::EACH {
        for (path, status, outcome) in [
            ("/never-set", 500, "invalid-response"),
            ("/error", 500, "guest-error"),
            ("/trap", 500, "trapped"),
            ("/dropped", 500, "invalid-response"),
            ("/spin", 503, "cpu-exceeded"),
            ("/sleep?60000", 504, "deadline-exceeded"),
            ("/memory", 503, "memory-exceeded"),
        ] {
            let answer = server.fetch(way, Ask::get(path)).await;
            assert_eq!((answer.status, answer.end.is_whole()), (status, true), "{way:?} {path}: {}", answer.text());
            assert_eq!(server.access(path).await["outcome"], outcome, "{way:?} {path}");
        }
        assert_eq!(server.text_of(way, Ask::get("/hello")).await, "hello from a standard component\n", "{way:?}");
    }
    server.is_quiet().await;
}

/// A response that the guest did not finish never looks whole.
#[tokio::test]
async fn faults_after_the_head_cut_the_body() {
    let server = Setup::of("standard").limit("cpu = \"100ms\"").start().await;
    for way in Way::ALL {
        for (path, outcome) in [
            ("/trap-mid-stream", "trapped"),
            ("/not-finished", "invalid-response"),
            ("/spin-mid-stream", "cpu-exceeded"),
        ] {
            let answer = server.fetch(way, Ask::get(path)).await;
            assert_eq!(answer.end, End::aborted(way), "{way:?} {path}");
            // RFC 9000, 3.2: a reset may overtake what was sent before it.
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

#[tokio::test]
async fn a_client_that_leaves_ends_the_guest() {
    let server = Setup::of("standard").start().await;
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

#[tokio::test]
async fn an_operator_can_end_them() {
    let server = Setup::of("standard").start().await;
    let mut client = server.connect(Way::H1).await;
    let mut exchange = client.open(Ask::get("/slow")).await;
    assert_eq!(exchange.head().await, 200);
    let id = server.has_instances(1).await[0]["id"].clone();
    assert_eq!(server.admin_request("DELETE", &format!("/instances/{id}")).await.0, 204);
    assert_eq!(exchange.rest().await.end, End::Cut);
    assert_eq!(server.access("/slow").await["outcome"], "killed");
}

/// The guest's housekeeping goes on when the client has its answer, and its place stays taken.
#[tokio::test]
async fn may_work_on_after_the_response() {
    let server = Setup::of("standard").start().await;
    for way in Way::EACH {
        let answer = server.fetch(way, Ask::get("/after")).await;
        assert_eq!((answer.text().as_str(), &answer.end), ("answered\n", &End::streamed(way)), "{way:?}");
        server.log.message("work after the response").await;
        server.is_empty_after().await;
    }
}

#[tokio::test]
async fn have_no_files_and_no_way_out_unless_granted() {
    let server = Setup::of("standard").start().await;
    assert_eq!(server.text("/files").await, "false\n");
    let answer = server.fetch(Way::H1, Ask::get("/fetch?http://127.0.0.1:9/")).await;
    assert_eq!((answer.status, answer.text().as_str()), (502, "ErrorCode::HttpRequestDenied\n"));
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
    for (guest, kind) in [("standard", "standard, wasi:http/proxy 0.2"), ("hello", "native, roadrunner:handler")] {
        let mut inspect = roadrunner();
        inspect.arg("inspect").arg(command::guest(guest));
        let done = output(inspect).await;
        assert!(done.stdout.contains(&format!("kind     {kind}\n")), "{guest}: {done:?}");
        let (folder, manifest) = Setup::of(guest).write();
        let mut check = roadrunner();
        check.arg("check").arg("--manifest").arg(manifest);
        let done = output(check).await;
        assert!(done.stdout.contains(&format!("{guest} is {kind}\n")), "{guest}: {done:?}");
        drop(folder);
    }
}

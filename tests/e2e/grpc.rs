//! Calls of gRPC: each kind of call, each error of the host, deadlines, cancellation, health and reflection. grpcio is in
//! grpc_clients.rs.

use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHasher as _, SaltString};
use argon2::{Argon2, Params};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use prost::Message;
use roadrunner_tests::server::component;
use roadrunner_tests::{Answer, Ask, Client, End, Exchange, Server, Setup, Way, within};
use rustix::process::Signal;

/// The ways that carry gRPC.
const WAYS: [Way; 3] = [Way::H2c, Way::H2Tls, Way::H3];

/// The usual time after which an instance is gone, reached in one of several tries.
const USUAL: Duration = Duration::from_millis(50);

/// The longest time: a busy machine may be late, a leak never ends.
const LONGEST: Duration = Duration::from_millis(250);

const TRIES: usize = 5;

/// The messages of guests/grpc/proto/interop.proto.
mod interop {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Ask {
        #[prost(bytes = "vec", tag = "1")]
        pub payload: Vec<u8>,
        #[prost(uint32, tag = "2")]
        pub size: u32,
        #[prost(int32, tag = "3")]
        pub code: i32,
        #[prost(string, tag = "4")]
        pub message: String,
        #[prost(uint32, tag = "5")]
        pub delay_ms: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Reply {
        #[prost(bytes = "vec", tag = "1")]
        pub payload: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Sum {
        #[prost(uint64, tag = "1")]
        pub bytes: u64,
        #[prost(uint32, tag = "2")]
        pub messages: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Plan {
        #[prost(uint32, tag = "1")]
        pub count: u32,
        #[prost(uint32, tag = "2")]
        pub size: u32,
        #[prost(uint32, tag = "3")]
        pub delay_ms: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Trouble {
        #[prost(uint32, tag = "1")]
        pub after: u32,
        #[prost(int32, tag = "2")]
        pub kind: i32,
    }

    /// `grpc.health.v1.HealthCheckRequest`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Check {
        #[prost(string, tag = "1")]
        pub service: String,
    }

    /// `grpc.health.v1.HealthCheckResponse`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Checked {
        #[prost(int32, tag = "1")]
        pub status: i32,
    }
}

const TRAP: i32 = 0;
const SPIN: i32 = 1;
const MEMORY: i32 = 2;
const SLEEP: i32 = 3;

/// A route for the service, and none for others.
fn setup() -> Setup {
    Setup::with(&component("grpc"))
        .and("[[route]]\npath = \"/interop.v1.Test/:method\"\ncomponent = \"grpc\"\ngrpc = true")
}

fn framed(message: &impl Message) -> Vec<u8> {
    let content = message.encode_to_vec();
    let length = u32::try_from(content.len()).expect("a short message").to_be_bytes();
    [&[0][..], &length, &content].concat()
}

fn with_fields(ask: Ask) -> Ask {
    ask.header("content-type", "application/grpc+proto").header("te", "trailers")
}

fn call(method: &str, message: &impl Message) -> Ask {
    with_fields(Ask::post(&format!("/interop.v1.Test/{method}"), framed(message)))
}

fn open(method: &str) -> Ask {
    with_fields(Ask::post_open(&format!("/interop.v1.Test/{method}")))
}

/// The messages of a body, all of them whole.
fn messages<M: Message + Default>(mut body: &[u8]) -> Vec<M> {
    let mut all = Vec::new();
    while let Some((header, rest)) = body.split_at_checked(5) {
        assert_eq!(header[0], 0, "not compressed");
        let length = u32::from_be_bytes(header[1..].try_into().expect("four bytes")) as usize;
        let (content, rest) = rest.split_at_checked(length).expect("a whole message");
        all.push(M::decode(content).expect("a message"));
        body = rest;
    }
    assert!(body.is_empty(), "a part of a message is left");
    all
}

/// The status of an answer: in its trailer fields, or in its head if it has no body.
fn status(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("content-type").starts_with("application/grpc"), "{answer:?}");
    assert_eq!(answer.end, End::EndStream, "{answer:?}");
    match answer.trailer("grpc-status") {
        "" => {
            assert!(answer.body.is_empty(), "{answer:?}");
            answer.header("grpc-status")
        }
        status => status,
    }
}

/// Reads one message of an exchange.
async fn next<M: Message + Default>(exchange: &mut Exchange<'_>) -> M {
    let mut read = Vec::new();
    loop {
        if let Some(length) = read.get(1..5) {
            let length = u32::from_be_bytes(<[u8; 4]>::try_from(length).expect("four bytes")) as usize;
            if read.len() >= 5 + length {
                assert_eq!(read.len(), 5 + length, "one message at a time");
                return M::decode(&read[5..]).expect("a message");
            }
        }
        read.extend_from_slice(&exchange.piece().await.expect("another message"));
    }
}

async fn is_usable(client: &mut Client) {
    let answer = client.fetch(call("Empty", &())).await;
    assert_eq!(status(&answer), "0", "the connection goes on");
}

#[tokio::test]
async fn calls_of_each_kind_are_answered() {
    let server = setup().start().await;
    for way in WAYS {
        let mut client = server.connect(way).await;
        let answer = client.fetch(call("Empty", &())).await;
        assert_eq!((status(&answer), &answer.body[..]), ("0", &[0; 5][..]), "{way:?}");

        let ask = interop::Ask { payload: vec![7; 271_828], size: 314_159, ..interop::Ask::default() };
        let answer = client.fetch(call("Unary", &ask).header("x-echo", "one")).await;
        assert_eq!((status(&answer), answer.header("x-echo")), ("0", "one"), "{way:?}");
        assert_eq!(messages::<interop::Reply>(&answer.body)[0].payload.len(), 314_159, "{way:?}");

        let mut exchange = client.open(open("Collect")).await;
        for size in [27_182, 8, 1_828, 45_904] {
            let ask = interop::Ask { payload: vec![0; size], ..interop::Ask::default() };
            assert!(exchange.send(framed(&ask)).await, "{way:?}");
        }
        assert!(exchange.finish(&[]).await, "{way:?}");
        let answer = exchange.rest().await;
        assert_eq!(status(&answer), "0", "{way:?}");
        assert_eq!(messages::<interop::Sum>(&answer.body), [interop::Sum { bytes: 74_922, messages: 4 }], "{way:?}");

        let plan = interop::Plan { count: 10_000, size: 10, delay_ms: 0 };
        let answer = client.fetch(call("Stream", &plan)).await;
        assert_eq!(status(&answer), "0", "{way:?}");
        assert_eq!(messages::<interop::Reply>(&answer.body).len(), 10_000, "{way:?}");

        let mut exchange = client.open(open("Echo")).await;
        assert_eq!(exchange.head().await, 200, "{way:?}: the head comes before any message");
        for size in [31_415, 9, 2_653, 0] {
            let ask = interop::Ask { size, ..interop::Ask::default() };
            assert!(exchange.send(framed(&ask)).await, "{way:?}");
            assert_eq!(next::<interop::Reply>(&mut exchange).await.payload.len(), size as usize, "{way:?}");
        }
        assert!(exchange.finish(&[]).await, "{way:?}");
        assert_eq!(exchange.rest().await.trailer("grpc-status"), "0", "{way:?}");
    }
    server.is_quiet().await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_grpc_calls_total", "grpc_code=\"OK\""), 15.0);
    assert_eq!(server.access("/Echo").await["grpc_status"], 0);
}

#[tokio::test]
async fn a_stream_sends_each_message_when_it_is_there() {
    let server = setup().start().await;
    for way in WAYS {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(call("Stream", &interop::Plan { count: 3, size: 1, delay_ms: 300 })).await;
        let start = Instant::now();
        next::<interop::Reply>(&mut exchange).await;
        let first = start.elapsed();
        next::<interop::Reply>(&mut exchange).await;
        assert!(start.elapsed() - first >= Duration::from_millis(150), "{way:?}: gathered with the one before");
        assert_eq!(exchange.rest().await.trailer("grpc-status"), "0", "{way:?}");
    }
}

#[tokio::test]
async fn a_status_of_the_guest_arrives_with_its_message() {
    let server = setup().start().await;
    let message = "\t\u{e4}\u{1f600} 100 %\n";
    for way in WAYS {
        let ask = interop::Ask { code: 2, message: message.to_owned(), ..interop::Ask::default() };
        let answer = server.fetch(way, call("Unary", &ask)).await;
        assert_eq!(status(&answer), "2", "{way:?}");
        assert_eq!(answer.header("grpc-message"), "%09%C3%A4%F0%9F%98%80%20100%20%25%0A", "{way:?}");
        let mut client = server.connect(way).await;
        let mut exchange = client.open(open("Echo")).await;
        assert!(exchange.send(framed(&ask)).await, "{way:?}");
        assert_eq!(exchange.rest().await.trailer("grpc-status"), "2", "{way:?}");
        assert_eq!(status(&server.fetch(way, call("Missing", &())).await), "12", "{way:?}");
        assert_eq!(status(&server.fetch(way, call("Nowhere", &())).await), "12", "{way:?}");
    }
    assert_eq!(server.access("/Nowhere").await["grpc_status"], 12);
}

/// A hash of a password, with the cheapest parameters.
fn hash(password: &str) -> String {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("they are in range");
    let salt = SaltString::encode_b64(b"some salt of it").expect("a salt");
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2.hash_password(password.as_bytes(), &salt).expect("a hash").to_string()
}

#[tokio::test]
async fn errors_of_the_host_have_a_status() {
    let server = setup()
        .and("[secret.staff]\nfile = \"users\"")
        .and("[middleware.door]\ntype = \"basic-auth\"\nrealm = \"tests\"\nusers = \"staff\"")
        .private_file("users", format!("ann:{}\n", hash("opensesame")))
        .and("[[route]]\npath = \"/staff/:method\"\ncomponent = \"grpc\"\nmiddlewares = [\"door\"]")
        .and(
            "[[route]]\npath = \"/small/:method\"\ncomponent = \"grpc\"\nbody = \"auto\"\nlimits = { body = \"1KiB\" }",
        )
        .and("[[route]]\npath = \"/get/:method\"\nmethods = [\"GET\"]\ncomponent = \"grpc\"")
        .start()
        .await;
    let large = interop::Ask { payload: vec![0; 4096], ..interop::Ask::default() };
    let at = |path: &str, message: &interop::Ask| with_fields(Ask::post(path, framed(message)));
    for way in WAYS {
        let mut client = server.connect(way).await;
        for (ask, code) in [
            (at("/other.v1.Service/Method", &large), "12"),
            (at("/get/Method", &large), "12"),
            (at("/small/Unary", &large), "8"),
            (at("/staff/Unary", &large), "16"),
            (call("Unary", &large).header("grpc-timeout", "ten seconds"), "13"),
            (call("Unary", &large).header("grpc-timeout", "123456789S"), "13"),
            (call("Unary", &large).header("grpc-encoding", "snappy"), "12"),
            (with_fields(Ask::new("GET", "/interop.v1.Test/Empty")), "12"),
        ] {
            let answer = client.fetch(ask.clone()).await;
            assert_eq!(status(&answer), code, "{way:?} {ask:?}: {answer:?}");
            assert!(!answer.header("grpc-message").is_empty(), "{way:?} {ask:?}: {answer:?}");
            assert!(answer.header("content-type").starts_with("application/grpc"), "{way:?} {ask:?}");
            is_usable(&mut client).await;
        }
        let plain = Ask::post("/interop.v1.Test/Empty", "{}").header("content-type", "application/json");
        assert_eq!(client.fetch(plain).await.status, 415, "{way:?}");
        is_usable(&mut client).await;
    }
    let line = server.access("/other.v1.Service/Method").await;
    assert_eq!((line["status"].as_u64(), line["grpc_status"].as_u64()), (Some(404), Some(12)), "{line}");
    let line = server.access("/small/Unary").await;
    assert_eq!((line["outcome"].as_str(), line["grpc_status"].as_u64()), (Some("body-too-large"), Some(8)), "{line}");
    server.is_quiet().await;
}

#[tokio::test]
async fn messages_that_are_not_valid_end_the_call_alone() {
    let server = setup().and("[grpc]\nmax-receive-message-length = \"1KiB\"").start().await;
    let flagged = Bytes::from_static(&[7, 0, 0, 0, 1, 0]);
    let cut = Bytes::from_static(&[0, 0, 0, 0, 9, 1, 2]);
    let claims = Bytes::from_static(&[0, 255, 255, 255, 255]);
    let long = Bytes::from(framed(&interop::Ask { payload: vec![0; 2048], ..interop::Ask::default() }));
    for way in WAYS {
        let mut client = server.connect(way).await;
        for (what, body, code) in [
            ("a flag", &flagged, "13"),
            ("the end in a message", &cut, "13"),
            ("a claim of 4 GiB", &claims, "8"),
            ("a long message", &long, "8"),
            ("no message", &Bytes::new(), "13"),
        ] {
            for method in ["Unary", "Collect", "Echo"] {
                if body.is_empty() && method != "Unary" {
                    continue;
                }
                let mut exchange = client.open(open(method)).await;
                if method == "Echo" {
                    let ask = interop::Ask { size: 1, ..interop::Ask::default() };
                    assert!(exchange.send(framed(&ask)).await, "{way:?}");
                    next::<interop::Reply>(&mut exchange).await;
                }
                if !body.is_empty() {
                    exchange.send(body.clone()).await;
                }
                exchange.finish(&[]).await;
                let answer = exchange.rest().await;
                let seen = (answer.trailer("grpc-status"), answer.header("grpc-status"));
                assert!(seen == (code, "") || seen == ("", code), "{way:?} {what} {method}: {answer:?}");
                is_usable(&mut client).await;
            }
        }
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_full_host_is_unavailable() {
    let server = setup().host_limits("instances = 1\nheld = 10\nqueue = 0").start().await;
    let mut first = server.connect(Way::H2c).await;
    let busy = first.open(call("Unary", &interop::Ask { delay_ms: 60_000, ..interop::Ask::default() })).await;
    server.has_instances(1).await;
    for way in WAYS {
        assert_eq!(status(&server.fetch(way, call("Empty", &())).await), "14", "{way:?}");
    }
    busy.reset();
    server.is_empty_after().await;
    let line = server.access("/Empty").await;
    assert_eq!((line["outcome"].as_str(), line["grpc_status"].as_u64()), (Some("overloaded"), Some(14)), "{line}");
}

#[tokio::test]
async fn faults_end_a_call_with_their_status() {
    let server = setup()
        .host_limits("instances = 40\nheld = 40\nmemory = \"32MiB\"\ncpu = \"300ms\"\ncallback-cpu = \"300ms\"")
        .start()
        .await;
    for way in WAYS {
        let mut client = server.connect(way).await;
        for after in [0, 2] {
            for (kind, code) in [(TRAP, "13"), (SPIN, "8"), (MEMORY, "8")] {
                let answer = client.fetch(call("Fail", &interop::Trouble { after, kind })).await;
                let sent = messages::<interop::Reply>(&answer.body).len();
                assert_eq!(sent, after as usize, "{way:?} {kind}: what came before is there");
                // A guest whose allocation fails traps, unless the host sees why.
                let is_right = status(&answer) == code || kind == MEMORY && status(&answer) == "13";
                assert!(is_right, "{way:?} {kind} after {after}: {answer:?}");
                is_usable(&mut client).await;
            }
        }
    }
    server.is_quiet().await;
    let metrics = server.metrics().await;
    assert!(metrics.outcome("trapped") >= 6.0 && metrics.outcome("cpu-exceeded") == 6.0);
    assert!(metrics.sum("roadrunner_grpc_calls_total", "grpc_code=\"Internal\"") >= 6.0);
}

/// Makes a call that outlasts its deadline, and returns how long the instance outlived the deadline.
async fn outlive(server: &Server, way: Way, ask: Ask, timeout: Duration, has_head: bool) -> Duration {
    let mut client = server.connect(way).await;
    let start = Instant::now();
    let exchange = client.open_beside(ask.header("grpc-timeout", &format!("{}m", timeout.as_millis()))).await;
    server.has_instances(1).await;
    // The connection stays open until the answer is there.
    let waits = tokio::spawn(async move { (exchange.rest().await, client).0 });
    let (gone, _) = within(timeout + LONGEST * 8, || async { server.instances().await.is_empty().then(Instant::now) })
        .await
        .unwrap_or_else(|| panic!("{way:?}: still there"));
    let answer = waits.await.expect("no panic");
    let code = if has_head { answer.trailer("grpc-status") } else { answer.header("grpc-status") };
    assert_eq!(code, "4", "{way:?}: {answer:?}");
    gone.duration_since(start).saturating_sub(timeout)
}

#[tokio::test]
async fn a_deadline_that_passes_drops_the_instance() {
    let server = setup().alone().start().await;
    let sleeps = interop::Ask { delay_ms: 60_000, ..interop::Ask::default() };
    for way in WAYS {
        for (ask, has_head) in [
            (call("Unary", &sleeps), false),
            (call("Fail", &interop::Trouble { after: 1, kind: SLEEP }), true),
            (call("Stream", &interop::Plan { count: 9, size: 1, delay_ms: 60_000 }), true),
        ] {
            let mut least = Duration::MAX;
            for _ in 0..TRIES {
                let late = outlive(&server, way, ask.clone(), Duration::from_millis(200), has_head).await;
                assert!(late < LONGEST, "{way:?} {ask:?}: {late:?}");
                least = least.min(late);
            }
            assert!(least < USUAL, "{way:?} {ask:?}: {least:?}");
        }
    }
    server.is_quiet().await;
    assert_eq!(server.metrics().await.outcome("total-exceeded"), (WAYS.len() * 3 * TRIES) as f64);
    assert_eq!(server.access("/Unary").await["grpc_status"], 4);
}

#[tokio::test]
async fn a_held_call_ends_by_its_deadline() {
    let server = setup().start().await;
    for way in WAYS {
        let mut client = server.connect(way).await;
        let start = Instant::now();
        let exchange = client.open(open("Echo").header("grpc-timeout", "200m")).await;
        let answer = exchange.rest().await;
        assert_eq!(answer.trailer("grpc-status"), "4", "{way:?}: {answer:?}");
        assert!(start.elapsed() >= Duration::from_millis(200), "{way:?}: too early");
        server.is_empty_after().await;
    }
    server.is_quiet().await;
    assert_eq!(server.metrics().await.outcome("total-exceeded"), WAYS.len() as f64);
}

#[tokio::test]
async fn a_caller_may_be_quiet_between_two_messages() {
    let server = setup().and("[timeouts]\nbody-idle = \"200ms\"").start().await;
    for way in WAYS {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(open("Echo")).await;
        let ask = interop::Ask { size: 1, ..interop::Ask::default() };
        for _ in 0..2 {
            assert!(exchange.send(framed(&ask)).await, "{way:?}");
            next::<interop::Reply>(&mut exchange).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        assert!(exchange.finish(&[]).await, "{way:?}");
        assert_eq!(exchange.rest().await.trailer("grpc-status"), "0", "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_cancelled_call_drops_the_instance() {
    let server = setup().alone().start().await;
    let sleeps = interop::Ask { delay_ms: 60_000, ..interop::Ask::default() };
    for way in WAYS {
        for (ask, reads) in [
            (call("Unary", &sleeps), false),
            (call("Fail", &interop::Trouble { after: 1, kind: SLEEP }), true),
            (open("Echo"), false),
            (open("Collect"), false),
        ] {
            let mut least = Duration::MAX;
            for _ in 0..TRIES {
                let mut client = server.connect(way).await;
                let mut exchange = client.open_beside(ask.clone()).await;
                server.has_instances(1).await;
                if reads {
                    assert!(exchange.piece().await.is_some(), "{way:?}");
                }
                let start = Instant::now();
                exchange.reset();
                tokio::task::yield_now().await;
                let gone = within(LONGEST * 8, || async { server.instances().await.is_empty().then(Instant::now) });
                let (gone, _) = gone.await.unwrap_or_else(|| panic!("{way:?} {ask:?}: still there"));
                let late = gone.duration_since(start);
                assert!(late < LONGEST, "{way:?} {ask:?}: {late:?}");
                least = least.min(late);
                drop(client);
            }
            assert!(least < USUAL, "{way:?} {ask:?}: {least:?}");
        }
    }
    server.is_quiet().await;
    assert!(server.metrics().await.sum("roadrunner_grpc_calls_total", "grpc_code=\"Canceled\"") >= 12.0);
}

#[tokio::test]
async fn a_thousand_streams_at_once() {
    const CONNECTIONS: usize = 10;
    const STREAMS: usize = 100;
    let server = setup().host_limits("instances = 1100\nheld = 1100").alone().start().await;
    let mut clients = Vec::new();
    let mut exchanges = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = server.connect(Way::H2c).await;
        for _ in 0..STREAMS {
            exchanges.push(client.open_beside(open("Echo")).await);
        }
        clients.push(client);
    }
    for (index, exchange) in exchanges.iter_mut().enumerate() {
        let ask = interop::Ask { size: index as u32, ..interop::Ask::default() };
        assert!(exchange.send(framed(&ask)).await);
    }
    for (index, exchange) in exchanges.iter_mut().enumerate() {
        assert_eq!(next::<interop::Reply>(exchange).await.payload.len(), index, "each has its own answer");
    }
    assert_eq!(server.instances().await.len(), CONNECTIONS * STREAMS);
    for mut exchange in exchanges {
        assert!(exchange.finish(&[]).await);
        assert_eq!(exchange.rest().await.trailer("grpc-status"), "0");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_slow_reader_holds_its_guest_and_no_memory() {
    const READERS: usize = 8;
    let server = setup().alone().start().await;
    for way in [Way::H2c, Way::H3] {
        let plan = interop::Plan { count: 1_000_000, size: 16_384, delay_ms: 0 };
        let warm = server.fetch(way, call("Stream", &interop::Plan { count: 10, ..plan.clone() })).await;
        assert_eq!(status(&warm), "0");
        let before = server.resident_anonymous();
        let (mut clients, mut exchanges) = (Vec::new(), Vec::new());
        for _ in 0..READERS {
            let mut client = server.connect(way).await;
            let mut exchange = client.open_beside(call("Stream", &plan)).await;
            assert!(exchange.piece().await.is_some(), "{way:?}");
            clients.push(client);
            exchanges.push(exchange);
        }
        let cpu = server.cpu();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let grown = server.resident_anonymous().saturating_sub(before);
        // A guest with its memory, and the buffers of its connection: a few MiB each.
        assert!(grown < READERS as u64 * (8 << 20), "{way:?}: {grown}");
        assert!(server.cpu() - cpu < Duration::from_millis(750), "{way:?}: the guests wait");
        assert_eq!(server.instances().await.len(), READERS, "{way:?}");
        exchanges.into_iter().for_each(Exchange::reset);
        server.is_empty_after().await;
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn grpc_web_is_answered_over_every_protocol() {
    let server = setup().start().await;
    let ask = interop::Ask { size: 3, ..interop::Ask::default() };
    let web = |method: &str, kind: &str, body: Vec<u8>| {
        Ask::post(&format!("/interop.v1.Test/{method}"), body).header("content-type", kind).header("x-grpc-web", "1")
    };
    for way in Way::ALL {
        let answer = server.fetch(way, web("Unary", "application/grpc-web+proto", framed(&ask))).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/grpc-web+proto"), "{way:?}");
        let (message, trailers) = answer.body.split_at(10);
        assert_eq!(messages::<interop::Reply>(message)[0].payload.len(), 3, "{way:?}");
        assert_eq!(trailers[0], 0x80, "{way:?}");
        assert!(String::from_utf8_lossy(&trailers[5..]).to_lowercase().contains("grpc-status:"), "{way:?}: {answer:?}");

        let text = BASE64_STANDARD.encode(framed(&ask));
        let asks = web("Unary", "application/grpc-web-text", text.into_bytes());
        let answer = server.fetch(way, asks.header("accept", "application/grpc-web-text")).await;
        let first = answer.body.get(..4).unwrap_or_default();
        assert_eq!(BASE64_STANDARD.decode(first).expect("base64"), [0, 0, 0], "{way:?}: {answer:?}");

        let trap = interop::Trouble { after: 1, kind: TRAP };
        let answer = server.fetch(way, web("Fail", "application/grpc-web+proto", framed(&trap))).await;
        assert!(answer.end.is_whole(), "{way:?}: {answer:?}");
        assert!(answer.text().contains("grpc-status: 13\r\n"), "{way:?}: {answer:?}");

        let nowhere = Ask::post("/other.v1.Service/Method", framed(&ask));
        let answer = server.fetch(way, nowhere.header("content-type", "application/grpc-web+proto")).await;
        assert_eq!((answer.status, answer.header("grpc-status")), (200, "12"), "{way:?}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/grpc-web+proto", "{way:?}");
    }
    server.is_quiet().await;
}

fn check(method: &str, service: &str) -> Ask {
    let check = interop::Check { service: service.to_owned() };
    with_fields(Ask::post(&format!("/grpc.health.v1.Health/{method}"), framed(&check)))
}

#[tokio::test]
async fn health_is_that_of_the_routes() {
    const SERVING: i32 = 1;
    let server = setup()
        .and("[grpc]\nhealth = true")
        .and("[[route]]\npath = \"/a.v1.A/:method\"\nhosts = [\"a.test\"]\ncomponent = \"grpc\"\ngrpc = true")
        .and("[[route]]\npath = \"/*rest\"\nhosts = [\"a.test\"]\ncomponent = \"grpc\"")
        .start()
        .await;
    for way in WAYS {
        for (host, service, served) in [
            ("localhost", "", true),
            ("localhost", "interop.v1.Test", true),
            ("localhost", "grpc.health.v1.Health", true),
            ("localhost", "a.v1.A", false),
            ("localhost", "other", false),
            ("a.test", "a.v1.A", true),
        ] {
            let answer = server.fetch(way, check("Check", service).host(host)).await;
            if served {
                assert_eq!(status(&answer), "0", "{way:?} {host} {service}");
                assert_eq!(messages::<interop::Checked>(&answer.body)[0].status, SERVING, "{way:?} {host} {service}");
            } else {
                assert_eq!(status(&answer), "5", "{way:?} {host} {service}");
            }
        }
    }
    let plain = server.fetch(Way::H2c, Ask::get("/grpc.health.v1.Health/Check")).await;
    assert_eq!(plain.status, 405);
    server.is_quiet().await;
    let none = setup().start().await;
    assert_eq!(status(&none.fetch(Way::H2c, check("Check", "")).await), "12", "nobody has asked for it");
}

#[tokio::test]
async fn a_watch_sees_the_drain_and_a_call_survives_it() {
    const SERVING: i32 = 1;
    const NOT_SERVING: i32 = 2;
    const UNKNOWN: i32 = 3;
    let mut server = setup().and("[grpc]\nhealth = true").server("drain = \"10s\"").start().await;
    let mut clients = Vec::new();
    let (mut watches, mut calls) = (Vec::new(), Vec::new());
    for way in [Way::H2c, Way::H2Tls] {
        let mut client = server.connect(way).await;
        let mut unknown = client.open_beside(check("Watch", "other")).await;
        assert_eq!(next::<interop::Checked>(&mut unknown).await.status, UNKNOWN, "{way:?}");
        let mut watch = client.open_beside(check("Watch", "interop.v1.Test")).await;
        assert_eq!(next::<interop::Checked>(&mut watch).await.status, SERVING, "{way:?}");
        watches.push(watch);
        let mut call = client.open_beside(open("Echo")).await;
        assert_eq!(call.head().await, 200, "{way:?}");
        calls.push(call);
        clients.push(client);
    }
    server.signal(Signal::TERM);
    for mut watch in watches {
        assert_eq!(next::<interop::Checked>(&mut watch).await.status, NOT_SERVING);
        let answer = watch.rest().await;
        assert_eq!(answer.trailer("grpc-status"), "0", "the watch does not hold up the drain: {answer:?}");
    }
    for mut call in calls {
        let ask = interop::Ask { size: 5, ..interop::Ask::default() };
        assert!(call.send(framed(&ask)).await);
        assert_eq!(next::<interop::Reply>(&mut call).await.payload.len(), 5, "the call goes on");
        assert!(call.finish(&[]).await);
        assert_eq!(call.rest().await.trailer("grpc-status"), "0");
    }
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);
}

#[tokio::test]
async fn middlewares_answer_in_the_form_of_grpc() {
    let server = Setup::with(&component("grpc"))
        .and("[middleware.once]\ntype = \"rate-limit\"\nrequests = 1\nburst = 1")
        .and(
            "[[route]]\npath = \"/interop.v1.Test/:method\"\ncomponent = \"grpc\"\ngrpc = true\nmiddlewares = [\"once\"]",
        )
        .start()
        .await;
    let mut client = server.connect(Way::H2c).await;
    assert_eq!(status(&client.fetch(call("Empty", &())).await), "0");
    let answer = client.fetch(call("Empty", &())).await;
    assert_eq!(status(&answer), "8", "{answer:?}");
    assert_eq!(answer.header("retry-after"), "1", "{answer:?}");
    server.is_quiet().await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_grpc_calls_total", "grpc_code=\"ResourceExhausted\""), 1.0);
}

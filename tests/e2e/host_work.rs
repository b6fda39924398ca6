//! The host's work for guests is CPU time of their request and their tenant: compressing, hashing, random numbers,
//! polls, long host calls, outgoing requests.
//!
//! The charged time is compared with the time that the process has used. The difference is the cost of clients'
//! connections, which the host bears: so these requests have answers that are small, or cheap compared with the work.

use std::time::{Duration, Instant};

use flate2::{Compress, Compression, FlushCompress};
use roadrunner_tests::client::End;
use roadrunner_tests::websocket::{Handshake, frame};
use roadrunner_tests::{Ask, Client, Server, Setup, Way, pattern, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The codings that the compression middleware supports.
const CODINGS: [&str; 3] = ["br", "gzip", "zstd"];

const MIDDLEWARES: &str = "[middleware.small]\ntype = \"compression\"\nencodings = [\"gzip\", \"br\", \"zstd\"]\n\
                           [middleware.tags]\ntype = \"etag\"\nmaximum-size = \"32MiB\"\n";

/// Two tenants: `one`, whose guest makes the host work, and `two` as its neighbour.
fn two(guest: &str, quota: &str, route: &str) -> Setup {
    Setup::with(&format!(
        "{MIDDLEWARES}[tenant.one]\nhosts = [\"one\", \"localhost\", \"127.0.0.1\"]\nquota = {{ {quota} }}\n\
         [tenant.two]\nhosts = [\"two\"]\n\
         [component.worker]\nfile = \"{{guests}}/{guest}.wasm\"\ntenant = \"one\"\n\
         [component.victim]\nfile = \"{{guests}}/answers.wasm\"\ntenant = \"two\"\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"worker\"\n{route}\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"victim\"\n"
    ))
    .server("workers = 2\nwasi-03 = true")
    .host_limits("cpu = \"60s\"\ncallback-cpu = \"60s\"\ndeadline = \"60s\"\nhost-call-bytes = \"32MiB\"")
    .alone()
}

fn one(path: &str) -> Ask {
    Ask::get(path).host("one")
}

async fn charged(server: &Server, tenant: &str) -> f64 {
    server.metrics().await.sum("roadrunner_tenant_cpu_seconds_total", &format!("\"{tenant}\""))
}

/// The time in seconds that the tenant `one` was charged for `work`, and that the process used for it.
async fn cost(server: &Server, work: impl AsyncFnOnce()) -> (f64, f64) {
    let before = (charged(server, "one").await, server.cpu());
    work().await;
    let used = (server.cpu() - before.1).as_secs_f64();
    (charged(server, "one").await - before.0, used)
}

/// Checks that both are within a factor of one and a half, apart from the process's other work.
#[track_caller]
fn assert_paid(what: &str, (charged, used): (f64, f64)) {
    println!("{what}: charged {charged:.3} s of {used:.3} s");
    assert!(used <= 1.5 * charged + 0.05, "{what}: {used} s were used, and {charged} s charged");
    assert!(charged <= 1.5 * used + 0.05, "{what}: {used} s were used, and {charged} s charged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_is_paid_for() {
    let server = two("hostile", "", "middlewares = [\"small\"]").start().await;
    for coding in CODINGS {
        for stream in [false, true] {
            let path = format!("/labour/noise?kib=12000&stream={stream}&coding={coding}");
            let cost = cost(&server, async || {
                let answer = server.fetch(Way::H1, one(&path).header("accept-encoding", coding)).await;
                assert_eq!((answer.status, answer.header("content-encoding")), (200, coding), "{path}");
                assert!(answer.end.is_whole() && answer.body.len() > 1_000_000, "{path}: {:?}", answer.end);
            })
            .await;
            assert_paid(&path, cost);
            // The access log has it, too, although the guest was done long before.
            let line = server.access(&path).await;
            let logged = line["cpu_microseconds"].as_f64().expect("a number") / 1e6;
            assert!((logged - cost.0).abs() < 0.1 * cost.0 + 0.01, "{logged} s in the log, {} s charged", cost.0);
        }
    }
}

/// The results of both tenants while clients of one repeatedly request `path`: CPU time of the process, and the
/// victim's longest request.
async fn besieged(server: &Server, time: Duration, asks: Vec<Ask>) -> (Duration, Duration) {
    let mut attackers = JoinSet::new();
    for ask in asks {
        let address = server.address("plain");
        attackers.spawn(async move {
            loop {
                Client::connect(address, Way::H1).await.fetch(ask.clone()).await;
            }
        });
    }
    let (start, before) = (Instant::now(), server.cpu());
    let mut client = server.connect(Way::H1).await;
    let mut longest = Duration::ZERO;
    while start.elapsed() < time {
        let asked = Instant::now();
        assert_eq!(client.fetch(Ask::get("/counter").host("two")).await.status, 200);
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let used = server.cpu() - before;
    attackers.shutdown().await;
    (used, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_pauses_over_the_quota() {
    let server = two("hostile", "cpu-per-second = \"100ms\"", "middlewares = [\"small\"]").start().await;
    let asks = CODINGS
        .iter()
        .cycle()
        .take(6)
        .map(|coding| one("/labour/noise?kib=8000&stream=true").header("accept-encoding", coding));
    let (used, longest) = besieged(&server, Duration::from_secs(6), asks.collect()).await;
    println!("used {used:?}, the victim's longest request {longest:?}");
    // A second's worth at the start, and six more; the rest is the victim, the connections and the clock.
    assert!(used < Duration::from_millis(2500), "{used:?} in six seconds, with a quota of 100 ms in each");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert!(server.metrics().await.sum("roadrunner_tenant_quota_exceeded_total", "\"cpu-per-second\"") > 0.0);
    server.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_compression_uses_up_cuts_the_response() {
    let route = "middlewares = [\"small\"]\nlimits = { cpu = \"80ms\" }";
    let server = two("hostile", "", route).start().await;
    for way in Way::ALL {
        for stream in [false, true] {
            let path = format!("/labour/noise?kib=12000&stream={stream}&way={way:?}");
            let answer = server.fetch(way, one(&path).header("accept-encoding", "br")).await;
            let line = server.access(&path).await;
            assert_eq!(line["outcome"], "cpu-exceeded", "{path}: {line}");
            // Whether the guest alone took too long depends on the machine. A QUIC reset may overtake the head.
            if answer.status == 200 || way == Way::H3 && answer.status == 0 {
                assert_eq!(answer.end, End::aborted(way), "{path}");
            } else {
                assert_eq!(answer.status, 503, "{path}");
            }
        }
    }
    server.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_waits_for_cpu_time_is_listed_and_can_be_killed() {
    let server = two("hostile", "cpu-per-second = \"50ms\"", "middlewares = [\"small\"]").start().await;
    let mut client = server.connect(Way::H1).await;
    let ask = one("/labour/noise?kib=12000").header("accept-encoding", "br");
    let exchange = client.open(ask).await;
    let answered = || async {
        let listed = server.instances().await;
        listed.first().filter(|one| one["shape"] == "buffered").map(|one| one["id"].to_string())
    };
    let (id, _) = within(Duration::from_secs(15), answered).await.expect("it is listed when its guest is done");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(answered().await.as_ref(), Some(&id), "its guest is gone, and the response is not sent");
    assert_eq!(server.admin_request("DELETE", &format!("/instances/{id}")).await.0 / 100, 2);
    let answer = exchange.rest().await;
    assert!(answer.status == 503 || !answer.end.is_whole(), "{:?}", answer.end);
    server.is_quiet().await;
    assert_eq!(server.access("/labour/noise?kib=12000").await["outcome"], "killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validators_are_paid_for() {
    let server = two("hostile", "", "middlewares = [\"tags\"]").start().await;
    let path = "/response/body?mib=15";
    let tag = server.fetch(Way::H1, one(path)).await.header("etag").to_owned();
    assert!(tag.starts_with("W/"), "{tag}");
    let cost = cost(&server, async || {
        let mut client = server.connect(Way::H1).await;
        for _ in 0..20 {
            // No bytes are sent, so the only costs are the guest and the hash.
            let answer = client.fetch(one(path).header("if-none-match", &tag)).await;
            assert_eq!(answer.status, 304);
        }
    })
    .await;
    assert_paid(path, cost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_calls_are_paid_for() {
    let server = two("hostile", "", "name = \"name\"").start().await;
    for (path, times) in [
        ("/labour/random?times=1000", 1),
        ("/labour/insecure?times=2000", 1),
        ("/labour/polls?n=400&times=2000", 1),
        ("/labour/url?kib=4000", 10),
        ("/call/log?mib=15", 20),
        ("/call/publish?mib=15", 20),
        ("/call/topic?mib=15", 20),
    ] {
        let cost = cost(&server, async || {
            let mut client = server.connect(Way::H1).await;
            for _ in 0..times {
                let answer = client.fetch(one(path)).await;
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
            }
        })
        .await;
        assert_paid(path, cost);
    }
}

#[tokio::test]
async fn random_bytes_are_so_many_in_one_call() {
    let server = two("hostile", "", "").start().await;
    for way in Way::ALL {
        for kind in ["random", "insecure"] {
            let path = |n: u32| format!("/labour/{kind}?n={n}&way={way:?}");
            assert_eq!(server.fetch(way, one(&path(65_536))).await.text(), "took 65536\n", "{way:?}");
            for n in [65_537, 64 << 20] {
                assert_eq!(server.fetch(way, one(&path(n))).await.status, 500, "{way:?}");
                assert_eq!(server.access(&path(n)).await["outcome"], "host-call-exceeded", "{way:?}");
            }
        }
    }
    drop(server);
    // WASI 0.3 lets the host return fewer.
    let server = two("service", "", "").start().await;
    assert_eq!(server.fetch(Way::H1, one("/random?1000000")).await.text(), "took 131072\n");
}

/// A message in the form of a client that has agreed on permessage-deflate.
fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut stream = Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(payload.len() + 1024);
    stream.compress_vec(payload, &mut out, FlushCompress::Sync).expect("it does not end");
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    // RSV1 marks it as compressed.
    frame(true, 0x42, &out)
}

/// Letters that take some work to compress.
fn letters(length: usize) -> Vec<u8> {
    let mut state: u32 = 7;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 24) as u8 % 23
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_compression_is_paid_for() {
    let server = two("sockets", "", "").start().await;
    let offer = || Handshake::to("/echo").header("sec-websocket-extensions", "permessage-deflate");
    let message = compressed(&letters(900_000));
    for way in [Way::H1, Way::H2c] {
        let mut socket = offer().open(&server, way).await;
        let cost = cost(&server, async || {
            for _ in 0..20 {
                assert!(socket.write(&message).await);
                let echo = socket.next().await.expect("an answer");
                assert!(echo.rsv1 && echo.fin && echo.opcode == 2, "{way:?}");
            }
        })
        .await;
        assert_paid(&format!("{way:?}"), cost);
        drop(socket);
    }
    server.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_compression_pauses_over_the_quota() {
    let server = two("sockets", "cpu-per-second = \"100ms\"", "").start().await;
    let message = compressed(&letters(900_000));
    let mut attackers = JoinSet::new();
    for _ in 0..4 {
        let handshake = Handshake::to("/echo").header("sec-websocket-extensions", "permessage-deflate");
        let mut socket = handshake.open(&server, Way::H1).await;
        let message = message.clone();
        attackers.spawn(async move { while socket.write(&message).await && socket.next().await.is_some() {} });
    }
    let (used, longest) = besieged(&server, Duration::from_secs(6), Vec::new()).await;
    println!("used {used:?}, the victim's longest request {longest:?}");
    assert!(used < Duration::from_millis(2500), "{used:?} in six seconds, with a quota of 100 ms in each");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    attackers.shutdown().await;
    server.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outgoing_requests_are_paid_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut head = [0; 4096];
                let _ = socket.read(&mut head).await;
                let body = pattern(300_000);
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n").await;
                let _ = socket.write_all(&body).await;
                let _ = socket.read(&mut head).await;
            });
        }
    });
    let server = Setup::with(&format!(
        "[tenant.one]\nhosts = [\"one\"]\n\
         [component.worker]\nfile = \"{{guests}}/standard.wasm\"\ntenant = \"one\"\noutbound = [\"http://{address}\"]\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"worker\"\n"
    ))
    .alone()
    .start()
    .await;
    let cost = cost(&server, async || {
        let mut client = server.connect(Way::H1).await;
        for _ in 0..20 {
            let answer = client.fetch(one(&format!("/flood?http://{address}/"))).await;
            assert_eq!(answer.text(), "20 answered, 0 over the limit\n");
        }
    })
    .await;
    println!("400 outgoing requests: charged {:.3} s of {:.3} s", cost.0, cost.1);
    // In addition, there are 400 connections to make and to end, which is kernel time on any thread.
    assert!(cost.1 <= 2.0 * cost.0 + 0.05 && cost.0 <= 1.5 * cost.1 + 0.05, "{cost:?}");
    upstream.abort();
}

//! The memory that the host holds for requests outside of their instances: counted for as long as it is held, bounded
//! for the whole host, and shared so that no request takes all of it.

use std::time::Duration;

use bytes::Bytes;
use roadrunner_tests::client::dial;
use roadrunner_tests::server::component;
use roadrunner_tests::websocket::{Handshake, frame};
use roadrunner_tests::{Ask, Client, Server, Setup, Way, http2, http3, within};

const MIB: f64 = 1_048_576.0;

/// Requests at once.
const REQUESTS: usize = 200;

/// The path of an unread answer of 4 MiB, with a head of nearly 16 KiB.
const LARGE: &str = "/large/14/4";

/// The bytes that clients which do not read let the server send, for each stream and in total.
const WINDOW: u32 = 64 << 10;

/// A client that reads almost nothing.
async fn unreading(server: &Server, way: Way) -> Client {
    let address = server.address(if way.is_tls() { "tls" } else { "plain" });
    match way {
        Way::H3 => Client::H3(http3::Connection::start_with_window(address, WINDOW).await),
        Way::H2c => Client::H2(http2::Connection::start_with_window(dial(address, way).await, WINDOW).await),
        Way::H2Tls => Client::H2(http2::Connection::start_with_window(dial(address, way).await, WINDOW).await.secure()),
        Way::H1 | Way::H1Tls => Client::connect(address, way).await,
    }
}

async fn held(server: &Server) -> f64 {
    server.metrics().await.sum("roadrunner_buffered_bytes", "")
}

async fn held_for(server: &Server, tenant: &str) -> f64 {
    server.metrics().await.sum("roadrunner_tenant_buffered_bytes", &format!("tenant=\"{tenant}\""))
}

/// Waits until the host holds more than this.
async fn holds(server: &Server, bytes: f64) -> f64 {
    let holds = within(Duration::from_secs(10), async || Some(held(server).await).filter(|held| *held > bytes));
    match holds.await {
        Some((held, _)) => held,
        None => panic!("{} bytes are held, not more than {bytes}", held(server).await),
    }
}

/// Waits until the guests of this many requests are done.
async fn answered(server: &Server, wanted: f64) {
    let all = within(Duration::from_secs(60), async || {
        (server.metrics().await.sum("roadrunner_requests_total", "") >= wanted).then_some(())
    });
    assert!(all.await.is_some(), "not {wanted} answers within a minute: {:?}", server.instances().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_stay_within_the_budget_and_are_counted() {
    for way in Way::ALL {
        let server = Setup::of("answers")
            .limit("response-head = \"16KiB\"")
            .host_limits("instances = 2\nheld = 1\nqueue = 1000\nqueue-wait = \"1m\"\nbuffered = \"256MiB\"")
            .and("[http3]\nmax-streams = 200\n[timeouts]\nwrite-stall = \"1m\"\n")
            .alone()
            .start()
            .await;
        let count = if way.has_streams() { 1 } else { REQUESTS };
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(unreading(&server, way).await);
        }
        for _ in 0..20 {
            server.fetch(way, Ask::get("/large/1/1")).await;
        }
        server.is_quiet().await;
        let (before, asked) = (server.resident_anonymous(), REQUESTS as f64 + 20.0);
        let mut exchanges = Vec::new();
        let mut others = clients.iter_mut();
        let first = others.next().expect("there is one");
        if way.has_streams() {
            for _ in 0..REQUESTS {
                exchanges.push(first.open_beside(Ask::get(LARGE)).await);
            }
        } else {
            exchanges.push(first.open(Ask::get(LARGE)).await);
            for client in others {
                exchanges.push(client.open(Ask::get(LARGE)).await);
            }
        }
        answered(&server, asked).await;
        let gauge = held(&server).await;
        // The allocator returns the memory of refused answers somewhat later.
        let growth = async || Some(server.resident_anonymous().saturating_sub(before) as f64);
        let close = async || growth().await.filter(|growth| (growth - gauge).abs() < gauge / 4.0);
        let growth = match within(Duration::from_secs(5), close).await {
            Some((growth, _)) => growth,
            None => growth().await.expect("it is measured"),
        };
        let refused = server.metrics().await.outcome("buffers-exceeded");
        println!("{way:?}: {:.1} MiB held, {:.1} MiB more in memory, {refused} refused", gauge / MIB, growth / MIB);
        // One connection has half of it, many have nearly all.
        let least = if way.has_streams() { 112.0 } else { 200.0 };
        assert!(gauge > least * MIB && gauge <= 256.0 * MIB, "{way:?}: {gauge}");
        assert!(way == Way::H1 || way == Way::H1Tls || gauge <= 128.0 * MIB, "{way:?}: {gauge}");
        assert!(refused > 50.0, "{way:?}: {refused}");
        assert!((growth - gauge).abs() < gauge / 4.0, "{way:?}: {gauge} bytes are held, {growth} more in memory");
        drop(exchanges);
        drop(clients);
        server.is_quiet().await;
    }
}

/// In mode `auto`, bytes count as they are read; an announced length does not.
#[tokio::test]
async fn bodies_count_before_there_is_an_instance() {
    let server = Setup::of("bodies")
        .limit("body = \"4MiB\"")
        .host_limits("instances = 40\nheld = 1\nbuffered = \"16MiB\"")
        .alone()
        .start()
        .await;
    for way in Way::ALL {
        if !way.has_streams() {
            continue;
        }
        let mut client = server.connect(way).await;
        let before = server.resident_anonymous();
        let mut silent = Vec::new();
        for _ in 0..50 {
            silent.push(client.open_beside(Ask::post_open_with_length("/all", 4 << 20)).await);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(held(&server).await < MIB, "{way:?}: nothing has come");
        let mut refused = 0;
        let piece = Bytes::from(vec![b'x'; 3 << 20]);
        for exchange in silent.iter_mut().take(6) {
            if !exchange.send(piece.clone()).await {
                refused += 1;
            }
        }
        let statuses = within(Duration::from_secs(10), async || {
            let refused = server.metrics().await.outcome("buffers-exceeded");
            (refused > 0.0).then_some(refused)
        });
        let (counted, _) = statuses.await.expect("six bodies of 3 MiB do not fit");
        let (held, growth) = (held(&server).await, server.resident_anonymous().saturating_sub(before) as f64);
        println!("{way:?}: {held} held, {growth} more in memory, {counted} refused so far, {refused} seen");
        assert!(held > 5.0 * MIB && held <= 8.0 * MIB, "{way:?}: {held}: a connection has half of it");
        drop(silent);
        drop(client);
        server.is_quiet().await;
    }
    assert_eq!(server.instances().await.len(), 0);
}

/// Over HTTP/1.1, each connection is one of many that share it.
#[tokio::test]
async fn bodies_of_many_connections_share_the_budget() {
    let server = Setup::of("bodies")
        .limit("body = \"4MiB\"")
        .host_limits("instances = 40\nheld = 1\nbuffered = \"16MiB\"")
        .start()
        .await;
    for way in [Way::H1, Way::H1Tls] {
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(server.connect(way).await);
        }
        let before = server.metrics().await.outcome("buffers-exceeded");
        let mut exchanges = Vec::new();
        for client in &mut clients {
            let mut exchange = client.open(Ask::post_open_with_length("/all", 4 << 20)).await;
            exchange.send(vec![b'x'; 3 << 20]).await;
            exchanges.push(exchange);
        }
        let refused = within(Duration::from_secs(10), async || {
            (server.metrics().await.outcome("buffers-exceeded") >= before + 4.0).then_some(())
        });
        assert!(refused.await.is_some(), "{way:?}: ten bodies of 3 MiB do not fit into 16");
        let held = held(&server).await;
        assert!(held > 8.0 * MIB && held <= 16.0 * MIB, "{way:?}: {held}");
        let mut newcomer = server.connect(way).await;
        let answer = newcomer.fetch(Ask::post("/all", vec![b'x'; 200 << 10])).await;
        assert_eq!(answer.status, 200, "{way:?}: a new client finds room: {answer:?}");
        drop(exchanges);
        drop(clients);
        drop(newcomer);
        server.is_quiet().await;
    }
}

/// The refusal from the client's view.
#[tokio::test]
async fn over_the_budget_is_503_and_retry_after() {
    let server = Setup::of("answers").host_limits("instances = 40\nheld = 1\nbuffered = \"4MiB\"").start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/large/1/3")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{way:?}: {answer:?}");
        assert_eq!(server.fetch(way, Ask::get("/large/1/1")).await.body.len(), 1 << 20, "{way:?}");
    }
    assert_eq!(server.access("/large/1/3").await["outcome"], "buffers-exceeded");
    assert_eq!(server.metrics().await.sum("roadrunner_buffered_refused_total", ""), Way::ALL.len() as f64);
    server.is_quiet().await;
}

/// Two tenants with the same guest, which serves every path of its own host.
fn two(guest: &str, quota: &str, limits: &str) -> Setup {
    let tenant = |name: &str, quota: &str| {
        format!(
            "[tenant.{name}]\nhosts = [\"{name}\"]\nquota = {{ {quota} }}\n\
             [component.{name}]\nfile = \"{{guests}}/{guest}.wasm\"\ntenant = \"{name}\"\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"{name}\"\n"
        )
    };
    Setup::with(&(tenant("one", quota) + &tenant("two", ""))).host_limits(limits)
}

/// A tenant at its limit does not keep another from the memory it needs.
#[tokio::test]
async fn a_tenant_does_not_take_the_room_of_others() {
    let limits = "instances = 40\nheld = 1\nqueue-wait = \"30s\"\nbuffered = \"32MiB\"";
    for (quota, path, most) in [("", "/large/1/4", 16.0), ("memory = \"12MiB\"", "/large/1/1", 12.0)] {
        let server = two("answers", quota, limits).start().await;
        // Over HTTP/1.1 the kernel takes a small answer as a whole.
        for way in Way::EACH.into_iter().filter(|way| way.has_streams() || quota.is_empty()) {
            let mut clients = Vec::new();
            for _ in 0..20 {
                clients.push(unreading(&server, way).await);
            }
            let mut unread = Vec::new();
            for client in &mut clients {
                let mut exchange = client.open(Ask::get(path).host("one")).await;
                exchange.head().await;
                unread.push(exchange);
            }
            holds(&server, (most - 5.0) * MIB).await;
            let (held, quota) = (held_for(&server, "one").await, quota.to_owned());
            assert!(held <= most * MIB, "{way:?} {quota}: {held}");
            for _ in 0..20 {
                let answer = server.fetch(way, Ask::get("/large/1/4").host("two")).await;
                assert_eq!((answer.status, answer.body.len()), (200, 4 << 20), "{way:?} {quota}");
            }
            drop(unread);
            drop(clients);
            server.is_quiet().await;
            assert_eq!(server.metrics().await.sum("roadrunner_tenant_memory_bytes", ""), 0.0, "{way:?} {quota}");
        }
    }
}

/// A chunk counts until its client has taken it, for streams, event loops and files, native and standard.
#[tokio::test]
async fn pieces_under_way_count_until_they_are_taken() {
    let guests =
        ["streams", "standard", "service"].map(component).concat().replace(".wasm\"\n", ".wasm\"\ntenant = \"one\"\n");
    let server = Setup::with(&guests)
        .and(
            "[tenant.one]\nhosts = [\"one\"]\n[directory.files]\npath = \"files\"\n\
             [[route]]\npath = \"/one\"\ncomponent = \"streams\"\n\
             [[route]]\npath = \"/wasi02/*rest\"\ncomponent = \"standard\"\n\
             [[route]]\npath = \"/large\"\ncomponent = \"standard\"\n\
             [[route]]\npath = \"/service/large\"\ncomponent = \"service\"\n\
             [[route]]\npath = \"/files/*path\"\ntenant = \"one\"\nstatic = { directory = \"files\" }\n",
        )
        .server("wasi-03 = true")
        .file("files/large", vec![b'x'; 8 << 20])
        .start()
        .await;
    for way in Way::EACH {
        // Over HTTP/1.1 the kernel, or hyper's buffer, has taken a copy of a small answer.
        let small = [("/large?8388608", 0.06), ("/files/large", 0.12)].into_iter().filter(|_| way.has_streams());
        for (path, least) in [("/one?size=8388608", 7.9)].into_iter().chain(small) {
            let mut client = unreading(&server, way).await;
            let mut unread = client.open(Ask::get(path).host("one")).await;
            assert_eq!(unread.head().await, 200, "{way:?} {path}");
            let held = holds(&server, least * MIB).await;
            assert!(held < 9.0 * MIB, "{way:?} {path}: {held}");
            assert!(held_for(&server, "one").await >= least * MIB, "{way:?} {path}: it is the tenant's");
            drop(unread);
            drop(client);
            server.is_quiet().await;
        }
    }
}

/// The encoder of a response is held for as long as it works.
#[tokio::test]
async fn encoders_count_while_they_work() {
    let server = Setup::of("streams")
        .route("middlewares = [\"small\", \"typed\"]")
        .and(
            "[middleware.small]\ntype = \"compression\"\n\
             [middleware.typed]\ntype = \"response-headers\"\nset = { content-type = \"text/plain\" }\n",
        )
        .start()
        .await;
    for way in Way::ALL {
        for (coding, least) in [("br", 9.0), ("zstd", 3.25), ("gzip", 0.31)] {
            let mut client = server.connect(way).await;
            let ask = Ask::get("/chunks?n=1000&size=2000&delay=20").header("accept-encoding", coding);
            let exchange = client.open(ask).await;
            holds(&server, least * MIB).await;
            drop(exchange);
            drop(client);
            server.is_quiet().await;
        }
    }
}

/// The received part of a message, and the part that a WebSocket's client has not read, are on its tenant's account.
#[tokio::test]
async fn messages_under_way_are_the_tenants() {
    // A datagram that closes a connection can be lost. The other end then learns of it after `h3-idle`.
    let keys = "[timeouts]\nh3-idle = \"3s\"\n[tenant.one]\nhosts = [\"localhost\"]\n";
    let server = Setup::of("sockets").component("tenant = \"one\"").and(keys).start().await;
    for way in [Way::H1, Way::H2c, Way::H3] {
        let mut sockets = Vec::new();
        for _ in 0..2 {
            let mut socket = Handshake::to("/echo").open(&server, way).await;
            // Most of a message, and not its end.
            let message = frame(true, 2, &vec![b'x'; 5 << 20]);
            assert!(socket.write(&message[..4 << 20]).await);
            sockets.push(socket);
        }
        let held = within(Duration::from_secs(10), async || {
            // All of it: with bytes under way, the kernel may drop the datagram that closes a connection.
            Some(held_for(&server, "one").await).filter(|held| *held >= 8.0 * MIB)
        });
        assert!(held.await.is_some(), "{way:?}: {} bytes are counted", held_for(&server, "one").await);
        drop(sockets);
        server.is_quiet().await;
    }
}

/// A head has a size limit, whatever its fields are.
#[tokio::test]
async fn response_head() {
    let server = Setup::of("hostile").limit("response-head = \"32KiB\"").start().await;
    for way in Way::ALL {
        for (path, status) in [
            ("/response/header?kib=30", 200),
            ("/response/header?kib=32", 500),
            ("/response/headers?n=500", 200),
            ("/response/headers?n=900", 500),
        ] {
            let answer = server.fetch(way, Ask::get(path)).await;
            assert_eq!(answer.status, status, "{way:?} {path}");
        }
    }
    assert_eq!(server.access("/response/header?kib=32").await["outcome"], "invalid-response");
    server.log.message("is over `response-head`, which is 32768 bytes").await;
    server.is_quiet().await;
}

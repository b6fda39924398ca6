//! Clients that leave at any moment, in any way, over every protocol; nothing of them stays behind: no instance, no
//! socket, no task, no memory.
//!
//! A million: `cargo xtask soak`, or, in a release build, with the number in `ROADRUNNER_SOAK_REQUESTS`, `cargo test
//! --release -p roadrunner-tests soak -- --ignored --nocapture`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Client, Exchange, Server, Setup, Way, within};
use tokio::task::JoinSet;

/// Clients at once.
const CLIENTS: u64 = 24;

/// The most bytes that a release build keeps per finished request: room for counters and for fragmentation, and far
/// less than the smallest possible leak of each.
const LEFT: u64 = 16;

#[tokio::test]
async fn random_aborts_leave_nothing() {
    aborts(3000).await;
}

#[tokio::test]
#[ignore = "it takes minutes"]
async fn a_million_random_aborts_leave_nothing() {
    let requests = std::env::var("ROADRUNNER_SOAK_REQUESTS").ok().and_then(|count| count.parse().ok());
    aborts(requests.unwrap_or(1_000_000)).await;
}

async fn aborts(requests: u64) {
    let server = Setup::with(&["hello", "bodies", "streams", "loops", "hostile"].map(component).concat())
        .and(
            "[[route]]\npath = \"/hello\"\ncomponent = \"hello\"\n\
             [[route]]\npath = \"/auto/digest\"\ncomponent = \"bodies\"\n\
             [[route]]\npath = \"/digest\"\ncomponent = \"bodies\"\nbody = \"manual\"\n\
             [[route]]\npath = \"/endless\"\ncomponent = \"streams\"\n\
             [[route]]\npath = \"/count\"\ncomponent = \"loops\"\n\
             [[route]]\npath = \"/echo\"\ncomponent = \"loops\"\nbody = \"manual\"\n\
             [[route]]\npath = \"/sleep\"\ncomponent = \"hostile\"\n\
             # A QUIC client that is dropped may vanish without a word.\n\
             [timeouts]\nh3-lost = \"2s\"\n",
        )
        .server("access-log = false")
        .host_limits("instances = 200\nheld = 200\nqueue = 1000")
        .alone()
        .start()
        .await;
    // The one-time costs of the first requests, such as warm slots and caches, do not count as leftovers.
    storm(&server, requests / 10).await;
    let before = settled(&server).await;
    let start = Instant::now();
    storm(&server, requests).await;
    let took = start.elapsed();
    let after = settled(&server).await;
    println!("{requests} requests in {took:?}; before {before:?}, after {after:?}");
    assert!(after.descriptors <= before.descriptors, "descriptors are left");
    assert!(after.tasks <= before.tasks, "tasks are left");
    assert!(after.threads <= before.threads, "threads are left");
    let grown = after.resident.saturating_sub(before.resident);
    // The smaller run is too short for its memory to show more than that it does not explode.
    assert!(grown < (64 << 20) + requests * LEFT, "{grown} bytes more for {requests} requests");
    assert_eq!(server.metrics().await.sum("roadrunner_panics_total", ""), 0.0);
    assert_eq!(server.text("/hello").await, "hello, world\n");
}

/// The server's resources while it is idle.
#[derive(Clone, Copy, Debug)]
struct Left {
    descriptors: usize,
    threads: usize,
    tasks: u64,
    resident: u64,
}

/// Waits until every gauge is at zero.
async fn settled(server: &Server) -> Left {
    server.is_quiet().await;
    let empty = within(Duration::from_secs(15), async || {
        let metrics = server.metrics().await;
        let gauges = ["roadrunner_sockets_open", "roadrunner_connections_open", "roadrunner_exchanges_in_flight"];
        gauges.iter().all(|name| metrics.sum(name, "") == 0.0).then_some(())
    });
    assert!(empty.await.is_some(), "sockets are left: {:?}", server.metrics().await);
    let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", server.id())).map_or(0, Iterator::count);
    // Ended tasks are removed a little later, and blocking threads wait for ten seconds for more work.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let tasks = server.metrics().await.sum("roadrunner_tasks", "") as u64;
    // The scrape's own connection is a descriptor, too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Left { descriptors: count("fd"), threads: count("task"), tasks, resident: server.resident() }
}

async fn storm(server: &Server, requests: u64) {
    let seed = std::process::id();
    println!("{requests} requests with the seed {seed}");
    let left = Arc::new(AtomicU64::new(requests));
    let addresses = [server.address("plain"), server.address("tls")];
    let mut clients = JoinSet::new();
    for index in 0..CLIENTS {
        let left = left.clone();
        clients.spawn(async move {
            let mut random = Random(u64::from(seed) * 1000 + index + 1);
            while left.load(Relaxed) > 0 {
                let way = Way::ALL[random.below(Way::ALL.len() as u64) as usize];
                let address = addresses[usize::from(way.is_tls())];
                // Half of them end with a TCP reset.
                let mut client = match random.below(2) {
                    0 => Client::connect_abortive(address, way).await,
                    _ => Client::connect(address, way).await,
                };
                // Of those that connect, some leave at once.
                for _ in 0..random.below(8) {
                    left.update(Relaxed, Relaxed, |left| left.saturating_sub(1));
                    if !request(&mut client, way, &mut random).await {
                        break;
                    }
                }
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client does not panic");
    }
}

/// Sends one request, to its end or not. Returns whether the connection can take another.
async fn request(client: &mut Client, way: Way, random: &mut Random) -> bool {
    let (ask, sends) = match random.below(9) {
        0 | 1 => (Ask::get("/hello"), false),
        2 => (Ask::post("/auto/digest", vec![b'x'; random.below(50_000) as usize]), false),
        3 => (Ask::post_open_with_length("/auto/digest", 100_000), true),
        4 => (Ask::post_open("/digest"), true),
        5 => (Ask::get("/endless?delay=1"), false),
        6 => (Ask::get("/count?n=100&ms=5"), false),
        7 => (Ask::post_open("/echo"), true),
        _ => (Ask::get("/sleep?ms=50"), false),
    };
    let mut exchange = client.open(ask).await;
    // At every step the client may leave.
    for step in 0..4 {
        if random.below(3) == 0 {
            return leave(exchange, way, random);
        }
        match step {
            0 | 1 if sends => {
                let piece = vec![b'x'; random.below(20_000) as usize + 1];
                let _ = tokio::time::timeout(Duration::from_millis(20), exchange.send(piece)).await;
            }
            0 | 1 => tokio::time::sleep(Duration::from_millis(random.below(5))).await,
            2 => {
                let _ = tokio::time::timeout(Duration::from_millis(20), exchange.head()).await;
            }
            _ => {
                let _ = tokio::time::timeout(Duration::from_millis(20), exchange.piece()).await;
            }
        }
    }
    leave(exchange, way, random)
}

/// Over HTTP/2 and HTTP/3 only the stream may end; otherwise the connection does.
fn leave(exchange: Exchange<'_>, way: Way, random: &mut Random) -> bool {
    if !way.has_streams() {
        return false;
    }
    if random.below(2) == 0 {
        exchange.reset();
    }
    random.below(4) > 0
}

/// A random number generator with a seed (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

//! Sessions that leave their instance while they are idle, on the same open socket.

use std::time::Duration;

use roadrunner_tests::websocket::{Handshake, Socket};
use roadrunner_tests::{Ask, Server, Setup, Way, soon, within};
use rustix::process::{Resource, Signal, getrlimit};

const PING: u8 = 9;
const PONG: u8 = 10;

/// How long a session waits before it hibernates.
const AFTER: &str = "hibernate = \"50ms\"";

async fn start(guest: &str, limits: &str) -> Server {
    Setup::of(guest).limit(limits).start().await
}

/// Waits until this many sessions hibernate and this many are held.
pub async fn settled(server: &Server, hibernated: usize, held: usize) {
    let state = || async {
        let metrics = server.metrics().await;
        let now = (
            metrics.sum("roadrunner_sessions_hibernated", "gate=\"host\""),
            metrics.sum("roadrunner_sessions_held", "gate=\"host\""),
        );
        (now == (hibernated as f64, held as f64)).then_some(())
    };
    within(Duration::from_secs(10), state)
        .await
        .unwrap_or_else(|| panic!("not {hibernated} and {held}\n{}", server.log));
}

async fn open(server: &Server, way: Way, path: &str) -> Socket {
    Handshake::to(path).open(server, way).await
}

async fn says(socket: &mut Socket, text: &str, answer: &str) {
    assert!(socket.text(text).await);
    assert_eq!(socket.next_text().await, answer);
}

#[tokio::test]
async fn a_message_a_timer_and_a_topic_bring_the_state_back() {
    let server = start("sockets", AFTER).await;
    for (index, way) in Way::ALL.into_iter().enumerate() {
        let mut socket = open(&server, way, "/count/from-client?n=100").await;
        settled(&server, 1, 0).await;
        assert_eq!(server.instances().await[0]["hibernating"], true);
        assert_eq!(server.instances().await[0]["shape"], "websocket");
        says(&mut socket, "one", "1 one").await;
        settled(&server, 1, 0).await;
        says(&mut socket, "in 300", "2 in 300").await;
        settled(&server, 1, 0).await;
        assert_eq!(soon(socket.next_text()).await, "3 timer", "{way:?}");
        settled(&server, 1, 0).await;

        let mut feed = open(&server, Way::H2c, "/feed/nothing").await;
        assert!(feed.text("from the bus").await);
        assert_eq!(socket.next_text().await, "4 from the bus", "{way:?}");
        drop(feed);
        settled(&server, 1, 0).await;
        assert_eq!(server.metrics().await.sample("roadrunner_bus_subscriptions"), 1.0);

        // The host answers pings without the guest.
        assert!(socket.send(PING, b"?").await);
        let pong = socket.next().await.expect("a pong");
        assert_eq!((pong.opcode, pong.payload), (PONG, b"?".to_vec()), "{way:?}");
        settled(&server, 1, 0).await;

        assert!(socket.close(1000).await);
        assert_eq!(socket.closed().await.0, 1000, "{way:?}");
        server.is_quiet().await;
        let told = || {
            let count = server.log.text().matches("disconnect: Closed after 4").count();
            async move { (count == index + 1).then_some(()) }
        };
        assert!(within(Duration::from_secs(5), told).await.is_some(), "{way:?}\n{}", server.log);
        assert_eq!(server.metrics().await.sample("roadrunner_bus_subscriptions"), 0.0);
    }
}

#[tokio::test]
async fn event_loops_hibernate_too() {
    let server = start("loops", AFTER).await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut session = client.open(Ask::get("/tally/news")).await;
        assert_eq!(session.head().await, 200);
        for (text, line) in [("a", "0 a\n"), ("b", "1 b\n"), ("end", "2 end\n")] {
            settled(&server, 1, 0).await;
            assert_eq!(server.fetch(Way::H2c, Ask::post("/publish/news", text)).await.text(), "1\n");
            assert_eq!(session.read_until("\n").await, line, "{way:?}");
        }
        assert!(session.rest().await.end.is_whole(), "{way:?}");
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn what_cannot_hibernate_stays_held() {
    let server = start("sockets", "hibernate = \"50ms\", hibernate-bytes = 1000").await;
    let mut closure = open(&server, Way::H1, "/echo").await;
    let mut refuses = open(&server, Way::H2c, "/brittle/refuse").await;
    let mut large = open(&server, Way::H1, "/count?n=2000").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    settled(&server, 0, 3).await;
    says(&mut closure, "hi", "hi").await;
    says(&mut refuses, "hi", "hi").await;
    server.log.message("the session cannot hibernate: it refuses").await;
    // With less state it can.
    says(&mut large, "forget", "1 forget").await;
    settled(&server, 1, 2).await;
    says(&mut large, "back", "2 back").await;
}

#[tokio::test]
async fn a_trap_on_the_way_out_or_in_ends_the_session() {
    let server = start("sockets", AFTER).await;
    for way in [Way::H1, Way::H2Tls] {
        let mut socket = open(&server, way, "/brittle/suspend").await;
        assert_eq!(soon(socket.closed()).await.0, 1011, "{way:?}");
        let mut socket = open(&server, way, "/brittle/resume").await;
        settled(&server, 1, 0).await;
        assert!(socket.text("wake").await);
        assert_eq!(soon(socket.closed()).await.0, 1011, "{way:?}");
        server.is_quiet().await;
    }
    assert_eq!(server.metrics().await.outcome("trapped"), 4.0);
}

#[tokio::test]
async fn hibernated_is_a_cap() {
    let server = Setup::of("sockets").limit(AFTER).host_limits("hibernated = 1").start().await;
    let first = open(&server, Way::H1, "/count").await;
    settled(&server, 1, 0).await;
    let mut second = open(&server, Way::H1, "/count").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    settled(&server, 1, 1).await;
    drop(first);
    settled(&server, 1, 0).await;
    says(&mut second, "hi", "1 hi").await;
}

#[tokio::test]
async fn more_sessions_wake_than_can_be_held() {
    let server = Setup::of("sockets").limit("hibernate = \"1s\"").host_limits("held = 3").start().await;
    let mut sockets = Vec::new();
    for index in 0..12 {
        let way = Way::ALL[index % Way::ALL.len()];
        sockets.push(open(&server, way, "/count/from-client").await);
        if index % 3 == 2 {
            settled(&server, index + 1, 0).await;
        }
    }
    let mut feed = open(&server, Way::H1, "/feed/nothing").await;
    // The feed itself holds one of the three places. No session waits as long as an idle session may stay held.
    assert!(feed.text("all of you").await);
    for socket in &mut sockets {
        assert_eq!(soon(socket.next_text()).await, "1 all of you");
    }
    for socket in &mut sockets {
        says(socket, "again", "2 again").await;
    }
}

#[tokio::test]
async fn without_a_place_a_session_that_wakes_is_told_to_try_again() {
    let server = Setup::of("sockets").limit(AFTER).host_limits("held = 1").start().await;
    let mut asleep = open(&server, Way::H1, "/count").await;
    settled(&server, 1, 0).await;
    let _held = open(&server, Way::H1, "/echo").await;
    assert!(asleep.text("wake").await);
    let closed = tokio::time::timeout(Duration::from_secs(30), asleep.closed()).await.expect("it is told");
    assert_eq!(closed.0, 1013);
    assert_eq!(server.metrics().await.outcome("held-exceeded"), 1.0);
}

#[tokio::test]
async fn a_session_that_hibernates_is_drained_and_killed_like_any_other() {
    let mut server = start("sockets", AFTER).await;
    let mut killed = open(&server, Way::H1, "/count").await;
    settled(&server, 1, 0).await;
    let id = server.instances().await[0]["id"].as_u64().expect("a number");
    assert_eq!(server.admin_request("DELETE", &format!("/instances/{id}")).await.0, 204);
    assert_eq!(soon(killed.closed()).await.0, 1008);
    settled(&server, 0, 0).await;

    let mut drained = open(&server, Way::H2Tls, "/count").await;
    settled(&server, 1, 0).await;
    server.signal(Signal::TERM);
    let (code, reason) = soon(drained.closed()).await;
    assert_eq!((code, &*reason), (1001, "drained"));
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn an_idle_session_ends_while_it_hibernates() {
    let server = start("sockets", "hibernate = \"50ms\", idle = \"1s\"").await;
    let mut socket = open(&server, Way::H1, "/count").await;
    settled(&server, 1, 0).await;
    assert_eq!(soon(socket.closed()).await.0, 1001);
    assert!(socket.close(1001).await);
    server.is_quiet().await;
    assert_eq!(server.metrics().await.outcome("idle-exceeded"), 1.0);
}

/// The number of opened sessions; the test and the server each need this many descriptors.
const SESSIONS: usize = 15_000;

/// The most memory of one session besides the kernel's socket, in bytes.
const TARGET: u64 = 8 << 10;

/// The descriptors that the server needs besides those of its clients, and the test besides its own.
const SPARE: u64 = 500;

#[tokio::test]
async fn fifteen_thousand_sessions() {
    let descriptors = getrlimit(Resource::Nofile).current;
    if descriptors.is_some_and(|descriptors| descriptors < SESSIONS as u64 + SPARE) {
        println!("SKIPPED: fifteen_thousand_sessions: `ulimit -n` is {descriptors:?}");
        return;
    }
    let server = Setup::of("sockets")
        .limit("hibernate = \"1s\"")
        // The test may not read for half a minute on a slow machine.
        .and("[websocket]\nping-interval = \"none\"\n")
        .host_limits("instances = 100\nheld = 1000\nhibernated = 20000")
        .alone()
        .start()
        .await;
    let hello = async |socket: &mut Socket, index: usize| {
        says(socket, &format!("in {}", 1_000_000 + index), &format!("1 in {}", 1_000_000 + index)).await;
    };
    // The one-time costs of the first sessions do not count: slots, and the pages of the program.
    let mut sockets = Vec::with_capacity(SESSIONS);
    let mut warm = Vec::new();
    for index in 0..900 {
        let mut socket = open(&server, Way::H1, "/count").await;
        hello(&mut socket, index).await;
        warm.push(socket);
    }
    settled(&server, 900, 0).await;
    let before = server.resident();
    while sockets.len() < SESSIONS - warm.len() {
        let mut socket = open(&server, Way::H1, "/count").await;
        hello(&mut socket, sockets.len()).await;
        sockets.push(socket);
        if sockets.len() % 900 == 0 {
            settled(&server, sockets.len() + warm.len(), 0).await;
        }
    }
    settled(&server, SESSIONS, 0).await;
    let after = server.resident();
    let each = (after - before) / sockets.len() as u64;
    println!("{SESSIONS} sessions hibernate: {after} bytes resident, {each} bytes for each");
    sockets.append(&mut warm);
    // Each gets one message and answers with its state intact.
    for socket in &mut sockets {
        assert!(socket.text("still there?").await);
    }
    for socket in &mut sockets {
        assert_eq!(socket.next_text().await, "2 still there?");
    }
    drop(sockets);
    server.is_quiet().await;
    println!("after their end: {} bytes resident", server.resident());
    // The futures of a build without optimisation are larger.
    assert!(cfg!(debug_assertions) || each <= TARGET, "{each} bytes for each session");
}

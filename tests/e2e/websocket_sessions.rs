//! A WebSocket from its first message to its end: order, back-pressure, events, and how each end looks.

use std::time::{Duration, Instant};

use roadrunner_tests::websocket::{Handshake, Socket, frame};
use roadrunner_tests::{Ask, Server, Setup, Way};
use rustix::process::Signal;

const PING: u8 = 9;
const PONG: u8 = 10;

async fn reason(server: &Server, count: usize) -> String {
    let said = || {
        let lines = server.log.lines();
        let mut found = lines.iter().filter_map(|line| line["message"].as_str()?.strip_prefix("disconnect: "));
        let found = found.nth(count).map(str::to_owned);
        async move { found }
    };
    let reason = roadrunner_tests::within(Duration::from_secs(5), said).await;
    reason.unwrap_or_else(|| panic!("no disconnect number {count}:\n{}", server.log)).0
}

#[tokio::test]
async fn every_ping_of_one_read_is_answered_also_while_the_guest_is_busy() {
    let server = Setup::of("sockets").start().await;
    for way in Way::ALL {
        let mut socket = Handshake::to("/slow?ms=300").open(&server, way).await;
        let mut bytes = frame(true, 1, b"work");
        for n in 0..20 {
            bytes.extend_from_slice(&frame(true, PING, &[n]));
        }
        let start = Instant::now();
        assert!(socket.write(&bytes).await);
        for n in 0..20 {
            let pong = socket.next().await.expect("a pong");
            assert_eq!((pong.opcode, pong.payload), (PONG, vec![n]), "{way:?}");
        }
        assert!(start.elapsed() < Duration::from_millis(250), "{way:?}: {:?}", start.elapsed());
        assert_eq!(socket.next_text().await, "work", "{way:?}");
    }
}

#[tokio::test]
async fn what_came_before_a_close_frame_or_a_violation_is_answered() {
    let server = Setup::of("sockets").start().await;
    for way in Way::ALL {
        for (path, end, code) in [
            ("/echo", frame(true, 8, &1000_u16.to_be_bytes()), 1000),
            ("/slow?ms=100", frame(true, 8, &1000_u16.to_be_bytes()), 1000),
            ("/slow?ms=100", frame(true, 3, b""), 1002),
            ("/slow?ms=100", frame(true, 1, b"\xff"), 1007),
        ] {
            let mut socket = Handshake::to(path).open(&server, way).await;
            let mut bytes = Vec::new();
            for text in ["one", "two", "three"] {
                bytes.extend_from_slice(&frame(true, 1, text.as_bytes()));
            }
            bytes.extend_from_slice(&end);
            assert!(socket.write(&bytes).await);
            for text in ["one", "two", "three"] {
                assert_eq!(socket.next_text().await, text, "{way:?} {path} {code}");
            }
            assert_eq!(socket.closed().await.0, code, "{way:?} {path}");
        }
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn messages_behind_a_guests_close_do_not_keep_it_open() {
    let server = Setup::of("sockets").start().await;
    for way in Way::ALL {
        for (path, code) in [("/close?code=4001&reason=enough", 4001), ("/stop", 1000), ("/trap", 1011)] {
            let mut socket = Handshake::to(path).open(&server, way).await;
            let start = Instant::now();
            assert!(socket.write(&frame(true, 1, b"again").repeat(100)).await);
            let (told, reason) = socket.closed().await;
            assert_eq!(told, code, "{way:?} {path}");
            assert!(code != 4001 || reason == "enough", "{way:?}: {reason}");
            assert!(start.elapsed() < Duration::from_secs(3), "{way:?} {path}: the close handshake was not seen");
            server.is_quiet().await;
        }
    }
    assert_eq!(server.metrics().await.outcome("trapped"), 5.0);
}

#[tokio::test]
async fn bus_and_timers_come_between_frames() {
    let server = Setup::of("sockets").and(&roadrunner_tests::server::component("loops")).start().await;
    for way in Way::ALL {
        let mut listener = Handshake::to("/feed/from-client").open(&server, way).await;
        let mut ticker = Handshake::to("/ticks").open(&server, way).await;
        assert_eq!(ticker.next_text().await, "tick", "{way:?}");
        // Constant messages of the client do not keep timers away.
        let flood = frame(true, 1, b"m").repeat(500);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            assert!(ticker.write(&flood).await, "{way:?}");
        }
        assert_eq!(ticker.next_text().await, "tick", "{way:?}");
        let heard = listener.next().await.expect("a message of the bus");
        assert_eq!((heard.opcode, heard.payload), (2, b"m".to_vec()), "{way:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_guest_and_nothing_else() {
    let server = Setup::of("sockets").limit("callback-cpu = \"1m\"").start().await;
    for way in Way::EACH {
        let mut socket = Handshake::to("/flood").open(&server, way).await;
        let stands_still = || async {
            let before = server.instances().await[0].clone();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let after = server.instances().await[0].clone();
            (before["cpu_us"] == after["cpu_us"]).then_some(after)
        };
        let stopped = roadrunner_tests::within(Duration::from_secs(15), stands_still).await;
        let (after, _) = stopped.unwrap_or_else(|| panic!("{way:?}: it goes on"));
        assert!(after["memory"].as_u64().is_some_and(|memory| memory < 8 << 20), "{way:?}: {after}");
        let mut other = Handshake::to("/echo").open(&server, way).await;
        other.text("hello").await;
        assert_eq!(other.next_text().await, "hello", "{way:?}");
        assert_eq!(socket.next_text().await, "again", "{way:?}: it is there when it is read");
        drop((socket, other));
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn a_killed_session_ends_also_when_its_client_does_not_read() {
    let setup = Setup::of("sockets").limit("callback-cpu = \"1m\"").and("[websocket]\nclose-wait = \"500ms\"");
    let server = setup.start().await;
    for way in Way::ALL {
        for path in ["/echo", "/flood"] {
            let mut socket = Handshake::to(path).open(&server, way).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            let id = server.has_instances(1).await[0]["id"].clone();
            let (status, _) = server.admin_request("DELETE", &format!("/instances/{id}")).await;
            assert!((200..300).contains(&status), "{status}");
            if path == "/echo" {
                assert_eq!(socket.closed().await.0, 1008, "{way:?}");
            }
            assert!(server.is_empty_after().await < Duration::from_secs(2), "{way:?} {path}");
            server.is_quiet().await;
            // The connection is dropped after close-wait, though nothing of it was read.
            let gone = roadrunner_tests::within(Duration::from_secs(3), || async {
                (server.metrics().await.sum("roadrunner_sockets_open", "") <= f64::from(u8::from(way.has_streams())))
                    .then_some(())
            });
            assert!(gone.await.is_some(), "{way:?} {path}: the socket is still open");
            drop(socket);
        }
    }
    assert_eq!(server.metrics().await.outcome("killed"), 10.0);
}

#[tokio::test]
async fn what_waits_in_the_transport_is_flushed() {
    let server = Setup::of("sockets").start().await;
    for way in Way::ALL {
        let mut socket = Handshake::to("/large?n=8000000").open(&server, way).await;
        // The server's last write is done long before the client begins to read.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(socket.next().await.expect("all of it").payload.len(), 8_000_000, "{way:?}");
    }
}

#[tokio::test]
async fn disconnect_says_why() {
    let server = Setup::of("sockets")
        .limit("idle = \"1s\"")
        .and("[websocket]\nping-interval = \"500ms\"\npong-timeout = \"200ms\"")
        .start()
        .await;
    let mut count = 0;
    let mut next = || {
        count += 1;
        reason(&server, count - 1)
    };
    for way in Way::ALL {
        let open = || Handshake::to("/feed/none").open(&server, way);
        let mut socket = open().await;
        socket.close(1000).await;
        assert_eq!((socket.closed().await.0, next().await.as_str()), (1000, "Closed"), "{way:?}");

        let mut socket = open().await;
        socket.send(3, "").await;
        assert_eq!((socket.closed().await.0, next().await.as_str()), (1002, "ConnectionLost"), "{way:?}");

        // The pings are not answered.
        let socket = open().await;
        assert_eq!(next().await, "Timeout", "{way:?}: dead");
        drop(socket);

        let socket = open().await;
        if way.has_streams() {
            socket.reset().await;
            assert_eq!(next().await, "Reset", "{way:?}");
        } else {
            drop(socket);
            assert_eq!(next().await, "ConnectionLost", "{way:?}");
        }
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn idle_is_1001() {
    let server = Setup::of("sockets").limit("idle = \"1s\"").start().await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let mut socket = Handshake::to("/feed/none").open(&server, way).await;
        let start = Instant::now();
        // A ping shows that the client is alive, and is no message.
        socket.send(PING, "").await;
        assert_eq!(socket.next().await.expect("a pong").opcode, PONG);
        assert_eq!(socket.closed().await.0, 1001, "{way:?}");
        assert!(start.elapsed() >= Duration::from_millis(900), "{way:?}: {:?}", start.elapsed());
        assert_eq!(reason(&server, count).await, "Timeout", "{way:?}");
        server.is_quiet().await;
    }
    assert_eq!(server.metrics().await.outcome("idle-exceeded"), 5.0);
}

/// A guest that sleeps leaves its client's pongs unread, but the client is not taken for dead.
#[tokio::test]
async fn a_slow_guest_is_not_blamed_on_its_client() {
    let server =
        Setup::of("sockets").and("[websocket]\nping-interval = \"100ms\"\npong-timeout = \"100ms\"").start().await;
    for way in Way::ALL {
        let mut socket = Handshake::to("/slow?ms=700").open(&server, way).await;
        socket.write(&frame(true, 1, b"one").repeat(2)).await;
        let mut texts = 0;
        while texts < 2 {
            let frame = socket.next().await.unwrap_or_else(|| panic!("{way:?}: ended after {texts}"));
            match frame.opcode {
                1 => texts += 1,
                PING => drop(socket.send(PONG, "").await),
                other => panic!("{way:?}: {other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_drain_is_told_and_at_last_enforced() {
    for way in Way::ALL {
        let mut server = Setup::of("sockets").server("drain = \"2s\"").start().await;
        let mut told = Handshake::to("/feed/none").open(&server, way).await;
        let mut deaf = Handshake::to("/deaf").open(&server, way).await;
        server.signal(Signal::TERM);
        let start = Instant::now();
        assert_eq!(told.closed().await, (1001, "drained".to_owned()), "{way:?}");
        assert!(start.elapsed() < Duration::from_millis(700), "{way:?}: {:?}", start.elapsed());
        assert_eq!(deaf.closed().await.0, 1001, "{way:?}");
        let waited = start.elapsed();
        assert!((700..1900).contains(&waited.as_millis()), "{way:?}: {waited:?}");
        drop((told, deaf));
        assert!(server.exit().await.success(), "{way:?}");
    }
}

#[tokio::test]
async fn a_flood_does_not_starve_others() {
    for way in Way::EACH {
        let server = Setup::of("sockets").server("workers = 1").alone().start().await;
        let mut floods = Vec::new();
        for _ in 0..2 {
            let mut socket: Socket = Handshake::to("/feed/none").open(&server, way).await;
            floods.push(tokio::spawn(async move {
                let bytes = frame(true, 1, b"").repeat(2000);
                while socket.write(&bytes).await {}
            }));
        }
        let mut socket = Handshake::to("/echo").open(&server, way).await;
        let mut worst = Duration::ZERO;
        for _ in 0..50 {
            let start = Instant::now();
            socket.text("hello").await;
            assert_eq!(socket.next_text().await, "hello");
            worst = worst.max(start.elapsed());
        }
        for instance in server.has_instances(3).await {
            let memory = instance["memory"].as_u64().expect("a number");
            assert!(memory < 4 << 20, "{way:?}: what was read and not delivered piles up: {instance}");
        }
        floods.iter().for_each(tokio::task::JoinHandle::abort);
        assert!(worst < Duration::from_secs(2), "{way:?}: {worst:?}");
    }
}

#[tokio::test]
async fn idle_sessions_cost_no_time() {
    let server = Setup::of("sockets").host_limits("instances = 40\nheld = 300").alone().start().await;
    for way in Way::EACH {
        let mut sockets = Vec::new();
        for _ in 0..100 {
            let mut socket = Handshake::to("/echo").open(&server, way).await;
            socket.text("hello").await;
            assert_eq!(socket.next_text().await, "hello");
            sockets.push(socket);
        }
        let before = server.instances().await;
        assert_eq!(before.len(), 100);
        let cpu = |server: &Server| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).expect("it runs");
            let (_, fields) = stat.rsplit_once(") ").expect("Linux's format");
            let fields: Vec<u64> = fields.split(' ').filter_map(|field| field.parse().ok()).collect();
            // utime and stime, in ticks of 10 ms; the state before them is not a number.
            fields[10] + fields[11]
        };
        let start = cpu(&server);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let used = cpu(&server) - start;
        assert!(used < 40, "{way:?}: {used}0 ms of CPU time in two seconds");
        let answer = server.fetch(Way::H1, Ask::get("/echo")).await;
        assert_eq!(answer.status, 426);
        drop(sockets);
        server.is_quiet().await;
    }
}

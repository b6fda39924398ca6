//! One server, and everything that can happen to it.

mod support;

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use roadrunner_nats::{PublishError, Server};
use rustix::process::Signal;
use support::{Member, Nats, SOON, Told, message, settings, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn pair(broker: &Nats) -> (Member, Member) {
    let settings = settings(&[broker.server()]);
    (Member::connected(settings.clone()).await, Member::connected(settings).await)
}

fn numbers(told: &[Told]) -> Vec<u64> {
    let number = |told: &Told| match told {
        Told::Message(_, Some(label), _) => label.parse().ok(),
        _ => None,
    };
    told.iter().filter_map(number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_come_once_and_in_order() {
    let Some(broker) = Nats::start("broker::messages_come_once", "").await else { return };
    let (here, there) = pair(&broker).await;
    here.hears(&there, "news").await;
    there.hears(&here, "news").await;
    assert_eq!(here.take(), [Told::Gap], "of the beginning");
    for number in 0..500 {
        assert_eq!(there.publish("news", number, b"x"), Ok(true));
    }
    assert_eq!(numbers(&here.told(500).await), (0..500).collect::<Vec<_>>());
    assert_eq!(there.take(), [Told::Gap], "its own do not come back");
    assert!(there.client.flush(Duration::from_secs(5)).await);
    assert_eq!(there.client.queued_bytes(), 0);
    let stranger = &mut broker.stranger().await;
    stranger.publish("news", b"plain").await;
    stranger.publish_with("news", b"NATS/1.0\r\nOther: x\r\n\r\n", b"other").await;
    stranger.publish_with("news", b"NATS/1.0\r\nTest-Number: 7\r\nTest-Number: 8\r\n\r\n", b"twice").await;
    stranger.publish("else", b"elsewhere").await;
    stranger.settle().await;
    let plain = |text: &'static [u8]| Told::Message("news".to_owned(), None, text.into());
    assert_eq!(here.told(3).await, [plain(b"plain"), plain(b"other"), message("news", 7, b"twice")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_costs_messages_and_comes_back() {
    let Some(mut broker) = Nats::start("broker::a_server_that_is_killed", "").await else { return };
    let (here, there) = pair(&broker).await;
    here.hears(&there, "news").await;
    here.take();
    for round in 0..3_u64 {
        broker.kill();
        here.is_connected(false).await;
        there.is_connected(false).await;
        assert_eq!(there.publish("news", "lost", b""), Ok(false));
        assert!(!there.client.flush(Duration::from_secs(5)).await, "there is nobody to flush to");
        assert_eq!(here.take(), [], "{round}");
        broker.run().await;
        here.is_connected(true).await;
        there.is_connected(true).await;
        here.heard_again(&there, "news").await;
        there.publish("news", round, b"").unwrap();
        assert_eq!(here.told(2).await, [Told::Gap, message("news", round, b"")], "{round}");
    }
    assert_eq!((here.connects(), there.connects()), (4, 4));
    assert_eq!(there.client.counters().dropped_disconnected.load(Relaxed), 3);
}

/// Messages that are published while the server is killed come at most once, in their order, and never late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_twice_or_late() {
    let Some(mut broker) = Nats::start("broker::nothing_is_sent_twice", "").await else { return };
    let (here, there) = pair(&broker).await;
    here.hears(&there, "news").await;
    here.take();
    let mut number = 0;
    for _ in 0..5 {
        let end = Instant::now() + Duration::from_millis(150);
        while there.client.is_connected() {
            assert!(end.elapsed() < SOON, "the loss is not seen");
            // Full queues are part of it.
            let _ = there.publish("news", number, &[0; 8 << 10]);
            number += 1;
            if number % 16 == 0 {
                tokio::task::yield_now().await;
            }
            if Instant::now() > end {
                broker.kill();
            }
        }
        let last_before = number;
        here.is_connected(false).await;
        let before = here.take();
        assert!(numbers(&before).is_sorted_by(|a, b| a < b), "twice, or out of order: {before:?}");
        broker.run().await;
        here.is_connected(true).await;
        there.is_connected(true).await;
        here.heard_again(&there, "news").await;
        there.publish("news", number, b"").unwrap();
        number += 1;
        let after = here.told(2).await;
        let first_after_gap = after.iter().skip_while(|told| **told != Told::Gap).cloned().collect::<Vec<_>>();
        assert_eq!(numbers(&first_after_gap), [last_before], "late: {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_read_fills_half_a_queue_for_each_account() {
    let Some(broker) = Nats::start("broker::a_server_that_does_not_read", "").await else { return };
    let (here, there) = pair(&broker).await;
    here.hears(&there, "news").await;
    here.take();
    broker.signal(Signal::STOP);
    let publish = |account: &str| {
        there.client.publish(&account.into(), &"news".into(), "1".to_owned(), vec![0; 100 << 10].into())
    };
    let mut sent = 0;
    let is_full = until(|| match publish("greedy") {
        Ok(is_connected) => {
            sent += usize::from(is_connected);
            false
        }
        Err(error) => error == PublishError::QueueFull,
    });
    assert!(is_full.await, "{sent} fit");
    assert!(there.client.queued_bytes() <= 1 << 19, "{}", there.client.queued_bytes());
    assert_eq!(publish("modest"), Ok(true), "another account has room");
    assert!(there.client.counters().dropped_queue.load(Relaxed) >= 1);
    assert!(!there.client.flush(Duration::from_millis(100)).await, "nothing is taken");
    broker.signal(Signal::CONT);
    here.is_connected(true).await;
    assert!(until(|| there.client.queued_bytes() == 0).await, "it does not recover");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_given_up_and_what_waited_with_it() {
    let Some(broker) = Nats::start("broker::a_silent_server", "").await else { return };
    let (here, there) = pair(&broker).await;
    here.hears(&there, "news").await;
    here.take();
    broker.signal(Signal::STOP);
    // Until the buffers of the system are full, too.
    let mut taken = 0;
    let mut fill = || {
        let mut count = 0;
        while there.publish("news", taken, &[0; 100 << 10]) == Ok(true) {
            (taken, count) = (taken + 1, count + 1);
        }
        count
    };
    while fill() > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    there.is_connected(false).await;
    here.is_connected(false).await;
    let dropped = there.client.counters().dropped_disconnected.load(Relaxed);
    assert!(dropped > 0 && there.client.queued_bytes() == 0);
    // The system still takes connections for it, and nobody answers on them.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!there.client.is_connected());
    broker.signal(Signal::CONT);
    here.is_connected(true).await;
    there.is_connected(true).await;
    here.heard_again(&there, "news").await;
    // What the server had in its own buffers may come, and nothing of what waited here.
    let came = numbers(&here.take());
    assert!(came.is_sorted_by(|a, b| a < b), "twice, or out of order: {came:?}");
    assert!(came.iter().all(|number| *number < taken - dropped), "late: {came:?} of {taken}, {dropped} dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_dropped_and_told() {
    let Some(broker) = Nats::start("broker::a_message_too_large", "max_payload: 300KB").await else { return };
    let small = roadrunner_nats::Settings { max_payload: 64 << 10, ..settings(&[broker.server()]) };
    let (here, there) = (Member::connected(small).await, Member::connected(settings(&[broker.server()])).await);
    here.hears(&there, "news").await;
    here.take();
    assert_eq!(there.publish("news", 1, &[0; (64 << 10) + 1]), Ok(true));
    assert_eq!(there.publish("news", 2, &[0; 64 << 10]), Ok(true));
    let told = here.told(2).await;
    assert_eq!(told, [Told::Skipped("news".to_owned()), message("news", 2, &[0; 64 << 10])]);
    let stranger = &mut broker.stranger().await;
    stranger.publish_with("news", &[b"NATS/1.0\r\nX: ", &*vec![b'x'; 200 << 10], b"\r\n\r\n"].concat(), b"").await;
    assert_eq!(here.told(1).await, [Told::Skipped("news".to_owned())]);
    assert_eq!(here.client.counters().dropped_large.load(Relaxed), 2);
    // The server's own limit holds for the headers, too.
    let Err(PublishError::TooLarge(most)) = there.publish("news", 3, &[0; 400 << 10]) else { panic!("it is taken") };
    assert_eq!(there.publish("news", 3, &vec![0; most + 1]), Err(PublishError::TooLarge(most)));
    assert_eq!(there.publish("news", 4, &vec![0; most]), Ok(true));
    assert_eq!(here.told(1).await, [Told::Skipped("news".to_owned())]);
    assert_eq!((here.connects(), there.connects()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_handler_costs_messages_and_says_so() {
    let Some(broker) = Nats::start("broker::a_slow_handler", "").await else { return };
    let (here, there) = pair(&broker).await;
    here.hears(&there, "flood").await;
    here.hears(&there, "quiet").await;
    here.take();
    here.pause(Duration::from_millis(2));
    let stranger = &mut broker.stranger().await;
    for _ in 0..1000 {
        stranger.publish("flood", &[b'f'; 16 << 10]).await;
    }
    stranger.settle().await;
    let counters = here.client.counters();
    assert!(until(|| counters.received.load(Relaxed) >= 1000).await);
    assert!(counters.dropped_overrun.load(Relaxed) > 0);
    here.pause(Duration::ZERO);
    assert!(until(|| here.publish("x", 1, b"").is_ok()).await);
    let mut told = here.take();
    here.heard_again(&there, "quiet").await;
    told.extend(here.take());
    assert!(told.contains(&Told::Overrun("flood".to_owned())));
    assert!(!told.contains(&Told::Overrun("quiet".to_owned())) && !told.contains(&Told::Gap));
    let came = told.iter().filter(|told| matches!(told, Told::Message(..))).count() as u64;
    let dropped = counters.dropped_overrun.load(Relaxed);
    assert_eq!(came + dropped, 1000, "{dropped} were dropped");
    assert_eq!(here.connects(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_that_is_wanted_anew_comes_once() {
    let Some(broker) = Nats::start("broker::a_subject", "").await else { return };
    let (here, there) = pair(&broker).await;
    here.hears(&there, "news").await;
    here.take();
    let subject = "news".into();
    for number in 0..200_u64 {
        here.client.unsubscribe(&subject);
        if number % 3 == 0 {
            tokio::task::yield_now().await;
        }
        here.client.subscribe(&subject);
        here.client.subscribe(&subject);
        there.publish("news", number, b"").unwrap();
    }
    here.heard_again(&there, "news").await;
    assert!(numbers(&here.take()).is_sorted_by(|a, b| a < b), "twice, or out of order");
    here.client.unsubscribe(&subject);
    assert!(here.client.flush(Duration::from_secs(5)).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    there.publish("news", 1000, b"").unwrap();
    assert!(there.client.flush(Duration::from_secs(5)).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(here.take(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_starts_without_its_server() {
    let Some(mut broker) = Nats::stopped("broker::a_client_starts", "") else { return };
    let settings = settings(&[broker.server()]);
    let (here, there) = (Member::start(settings.clone()), Member::start(settings));
    here.subscribe("news");
    assert_eq!(there.publish("news", 1, b""), Ok(false));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(here.take(), []);
    broker.run().await;
    here.is_connected(true).await;
    there.is_connected(true).await;
    here.heard_again(&there, "news").await;
    assert_eq!(here.take(), [Told::Gap]);
}

/// async-nats ends a connection on which headers come that are none. It comes back, and the gap is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_are_none_cost_the_connection_and_no_more() {
    let Some(broker) = Nats::start("broker::headers", "").await else { return };
    let (here, there) = pair(&broker).await;
    here.hears(&there, "news").await;
    here.take();
    let stranger = &mut broker.stranger().await;
    for headers in [&b"NATS/1.0\r\nno colon\r\n\r\n"[..], b"HTTP/1.1 200\r\n\r\n", b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n"] {
        let connects = here.connects();
        stranger.publish_with("news", headers, b"odd").await;
        stranger.settle().await;
        assert!(until(|| here.connects() > connects).await, "{headers:?}");
        here.heard_again(&there, "news").await;
        let told = here.take();
        assert!(told.contains(&Told::Gap) && told.len() == 1, "{told:?}");
    }
}

/// A server of the test's own: it greets, and takes the credentials.
async fn greet(listener: &TcpListener) -> TcpStream {
    let accepted = tokio::time::timeout(SOON, listener.accept()).await;
    let (mut socket, _) = accepted.expect("a connection is made").unwrap();
    socket.write_all(b"INFO {\"headers\":true,\"max_payload\":1000000}\r\n").await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"PING\r\n") {
        assert!(socket.read_buf(&mut read).await.unwrap() > 0);
    }
    socket.write_all(b"PONG\r\n").await.unwrap();
    socket
}

/// async-nats by itself would keep what it holds for the next connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_for_a_server_is_not_sent_to_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    let member = Member::start(settings(&[server]));
    for _ in 0..3 {
        let silent = greet(&listener).await;
        member.is_connected(true).await;
        let fill = || {
            std::iter::repeat_with(|| member.publish("news", "old", &[0; 10_000])).take_while(|sent| *sent == Ok(true))
        };
        while fill().count() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(silent);
        // Messages that come from now on, for a while.
        let mut all = Vec::new();
        let end = Instant::now() + Duration::from_millis(500);
        let mut next = greet(&listener).await;
        member.is_connected(true).await;
        member.publish("news", "new", b"").unwrap();
        while Instant::now() < end {
            tokio::select! {
                read = next.read_buf(&mut all) => assert!(read.unwrap() > 0),
                _ = listener.accept() => panic!("there are two connections"),
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
        let text = String::from_utf8_lossy(&all);
        assert_eq!((text.matches("HPUB").count(), text.matches("Test-Number: new").count()), (1, 1), "{text:.1000}");
        drop(next);
    }
}

/// A server that is none costs its own connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_ends_a_connection_and_the_next_is_made() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    let member = Member::start(settings(&[server]));
    // The first makes async-nats panic.
    for nonsense in
        ["-ERR\r\n", "HTTP/1.1 400\r\n", "MSG\r\n", "MSG a x 1\r\n", "HMSG a 1 6 5\r\n", "INFO {\r\n", "\r\n"]
    {
        let mut socket = greet(&listener).await;
        member.is_connected(true).await;
        socket.write_all(nonsense.as_bytes()).await.unwrap();
        member.is_connected(false).await;
    }
    assert_eq!(member.take().len(), 7, "a gap for each");
}

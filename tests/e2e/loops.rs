//! The shape loop: events in, pieces out, full duplex, for as long as both sides want.

use std::time::{Duration, Instant};

use roadrunner_tests::{Ask, End, Setup, Way};

#[tokio::test]
async fn timers_fire_and_can_be_cancelled() {
    let server = Setup::of("loops").start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/cancel?ms=10")).await;
        assert_eq!((answer.text().as_str(), answer.end), ("fired 3\n", End::streamed(way)), "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn each_push_is_flushed() {
    let server = Setup::of("loops").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/count?n=3&ms=500")).await;
        assert_eq!(exchange.head().await, 200);
        exchange.read_until("tick 0").await;
        let first = Instant::now();
        exchange.read_until("tick 1").await;
        assert!(first.elapsed() >= Duration::from_millis(150), "{way:?}: gathered with the one before");
        assert!(exchange.rest().await.end.is_whole(), "{way:?}");
    }
}

#[tokio::test]
async fn pieces_of_the_request_body_are_events_in_both_directions_at_once() {
    let server = Setup::of("loops").manual().start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::post_open("/echo").header("te", "trailers")).await;
        assert_eq!(exchange.head().await, 200, "{way:?}: the head comes before any of the body");
        for piece in ["one", "two", "three"] {
            assert!(exchange.send(piece).await, "{way:?}");
            assert_eq!(exchange.read_until(piece).await, piece, "{way:?}");
        }
        exchange.finish(&[("x-sum", "3")]).await;
        let answer = exchange.rest().await;
        assert_eq!(answer.end, End::streamed(way), "{way:?}");
        if way.has_streams() {
            assert_eq!(answer.trailer("x-sum"), "3", "{way:?}");
        }
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn body_events_come_in_mode_auto_too_and_not_when_the_guest_has_taken_the_body() {
    let server = Setup::of("loops").start().await;
    for way in Way::ALL {
        assert_eq!(server.fetch(way, Ask::post("/echo", "hello")).await.text(), "hello", "{way:?}");
        assert_eq!(
            server.fetch(way, Ask::get("/echo")).await.text(),
            "",
            "{way:?}: its end is an event without a body, too"
        );
        assert_eq!(
            server.fetch(way, Ask::post("/echo/taken", "hello")).await.text(),
            "read 5, body events 0\n",
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn a_held_session_has_no_deadline_and_no_slot_among_the_running() {
    let server = Setup::of("loops").limit("deadline = \"100ms\", instances = 1").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/count?n=2&ms=300")).await;
        assert_eq!(exchange.head().await, 200);
        let held = server.metrics().await;
        assert_eq!(held.sample("roadrunner_sessions_held{gate=\"component:loops\"}"), 1.0, "{way:?}");
        assert_eq!(held.sample("roadrunner_instances_running{gate=\"component:loops\"}"), 0.0, "{way:?}");
        assert_eq!(
            server.fetch(way, Ask::get("/count?n=1&ms=1")).await.text(),
            "tick 0\n",
            "{way:?}: the slot is free"
        );
        let answer = exchange.rest().await;
        assert_eq!((answer.text().as_str(), answer.end), ("tick 0\ntick 1\n", End::streamed(way)), "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn server_sent_events_are_framed() {
    let server = Setup::of("loops").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/subscribe/news")).await;
        assert_eq!(exchange.head().await, 200);
        assert_eq!(exchange.headers()["content-type"], "text/event-stream", "{way:?}");
        exchange.read_until("subscribed\n").await;
        server.fetch(way, Ask::post("/publish/news", "one\ntwo")).await;
        let event = exchange.read_until("data: two\n\n").await;
        assert!(event.contains("data: one\ndata: two\n\n"), "{way:?}: {event:?}");
    }
}

#[tokio::test]
async fn a_session_that_stops_leaves_the_connection_open() {
    let server = Setup::of("loops").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for _ in 0..3 {
            assert_eq!(client.fetch(Ask::get("/count?n=1&ms=1")).await.text(), "tick 0\n", "{way:?}");
        }
    }
}

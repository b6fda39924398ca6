//! The shape stream: the head first, then chunks as the guest writes them.

use std::time::{Duration, Instant};

use roadrunner_tests::{Ask, End, Setup, Way};

#[tokio::test]
async fn streams_end_as_they_should() {
    let server = Setup::of("streams").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for (path, wanted) in [
            ("/empty", String::new()),
            ("/empty-chunks", "ab".to_owned()),
            ("/one?size=100000", "x".repeat(100_000)),
            ("/chunks?n=40&size=1", ('a'..='z').chain('a'..='n').collect()),
        ] {
            let answer = client.fetch(Ask::get(path)).await;
            assert_eq!((answer.status, answer.text()), (200, wanted), "{way:?} {path}");
            assert_eq!(answer.end, End::streamed(way), "{way:?} {path}");
        }
        let answer = client.fetch(Ask::get("/length/24")).await;
        assert_eq!(
            (answer.text().as_str(), answer.header("content-length")),
            ("aaaaaaaabbbbbbbbcccccccc", "24"),
            "{way:?}"
        );
        assert_eq!(answer.end, End::sized(way), "{way:?}");
        let answer = client.fetch(Ask::get("/status/418")).await;
        assert_eq!((answer.status, answer.body.len()), (418, 24), "{way:?}");
        for status in [204, 304] {
            let answer = client.fetch(Ask::get(&format!("/status/{status}"))).await;
            assert_eq!((answer.status, answer.body.len()), (status, 0), "{way:?}");
        }
        assert_eq!(client.fetch(Ask::get("/empty-chunks")).await.text(), "ab", "{way:?}: in step");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn the_head_does_not_wait_for_the_body() {
    let server = Setup::of("streams").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let start = Instant::now();
        let mut exchange = client.open(Ask::get("/late?ms=1500")).await;
        assert_eq!(exchange.head().await, 200);
        assert!(start.elapsed() < Duration::from_millis(1000), "{way:?}: the head took {:?}", start.elapsed());
        assert_eq!(exchange.read_until("late").await, "late\n", "{way:?}");
        assert!(start.elapsed() >= Duration::from_millis(1490), "{way:?}");
    }
}

#[tokio::test]
async fn each_chunk_is_flushed() {
    let server = Setup::of("streams").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/chunks?n=3&size=1&delay=400")).await;
        let start = Instant::now();
        let mut times = Vec::new();
        while let Some(piece) = exchange.piece().await {
            assert_eq!(piece.len(), 1, "{way:?}: not gathered");
            times.push(start.elapsed());
        }
        assert_eq!(times.len(), 3, "{way:?}");
        assert!(times[2] - times[0] >= Duration::from_millis(400), "{way:?}: {times:?}");
        assert!(times[1] - times[0] >= Duration::from_millis(150), "{way:?}: {times:?}");
    }
}

#[tokio::test]
async fn a_stream_has_no_deadline_once_its_head_is_sent() {
    let server = Setup::of("streams").limit("deadline = \"200ms\"").start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/late?ms=500")).await;
        assert_eq!((answer.text().as_str(), answer.end), ("late\n", End::streamed(way)), "{way:?}");
    }
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let server = Setup::of("streams").host_limits("instances = 200\nheld = 10").start().await;
    for way in [Way::H2c, Way::H2Tls] {
        let mut client = server.connect(way).await;
        let mut exchanges = Vec::new();
        for _ in 0..100 {
            exchanges.push(client.h2().begin_get("/chunks?n=3&size=1000&delay=20").await);
        }
        for exchange in exchanges {
            let answer = roadrunner_tests::Exchange::H2(exchange).rest().await;
            assert_eq!((answer.status, answer.body.len(), answer.end), (200, 3000, End::EndStream), "{way:?}");
        }
    }
    server.is_quiet().await;
}

/// A guest that ignores its client's departure is stopped at a write; a guest that checks for it learns of it.
#[tokio::test]
async fn an_endless_stream_ends_with_its_client() {
    let server = Setup::of("streams").start().await;
    for way in Way::ALL {
        for path in ["/endless?delay=5", "/endless", "/endless/deaf"] {
            let mut client = server.connect(way).await;
            let mut exchange = client.open(Ask::get(path)).await;
            exchange.read_until("again").await;
            drop(exchange);
            drop(client);
            server.is_quiet().await;
        }
    }
}

//! The limits on requests: of one peer, on one listener, in the queue for an instance; and on the duration of one.

use std::time::{Duration, Instant};

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, End, Setup, Way};
use tokio::task::JoinSet;

const WAYS: f64 = Way::ALL.len() as f64;

#[tokio::test]
async fn rate_limit() {
    let server = Setup::of("hello").and("[rate-limit]\nrequests = 2\nburst = 4\npeers = 1000").start().await;
    let mut refused = 0;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut statuses = Vec::new();
        for _ in 0..6 {
            let answer = client.fetch(Ask::get("/")).await;
            assert_eq!(answer.end, End::sized(way), "{way:?}");
            if answer.status == 429 {
                assert_eq!(answer.header("retry-after"), "1", "{way:?}");
                assert!(answer.text().contains("too many requests"), "{way:?}: {answer:?}");
                refused += 1;
            }
            statuses.push(answer.status);
        }
        assert_eq!((statuses[0], statuses[5]), (200, 429), "{way:?}: {statuses:?}");
        assert_eq!(client.fetch(Ask::get("/nowhere")).await.status, 429, "{way:?}: before any route");
        refused += 1;
        // The bucket fills up again.
        tokio::time::sleep(Duration::from_millis(2100)).await;
    }
    let metrics = server.metrics().await;
    let counted = metrics.sum("roadrunner_requests_unrouted_total", "reason=\"rate-limited\"");
    assert_eq!(counted, f64::from(refused));
    let logged = server.log.wait(|line| line["target"] == "access" && line["status"] == 429).await;
    assert!(logged.is_some(), "{}", server.log);
}

#[tokio::test]
async fn rate_limit_of_routes() {
    let server = Setup::with(&component("hello"))
        .and(
            "[middleware.slow]\ntype = \"rate-limit\"\nrequests = 1\nburst = 2\n\
             [[route]]\npath = \"/free\"\ncomponent = \"hello\"\n\
             [[group]]\nmiddlewares = [\"slow\"]\n\
             [[group.route]]\npath = \"/one\"\ncomponent = \"hello\"\n\
             [[group.route]]\npath = \"/two\"\ncomponent = \"hello\"\n",
        )
        .start()
        .await;
    for way in Way::PLAIN {
        let mut client = server.connect(way).await;
        let mut seen = Vec::new();
        for path in ["/one", "/two", "/one", "/two", "/free"] {
            seen.push(client.fetch(Ask::get(path)).await.status);
        }
        assert_eq!(seen[..2], [200, 200], "{way:?}: {seen:?}");
        assert!(seen[2..4].contains(&429), "{way:?}: one bucket for both routes: {seen:?}");
        assert_eq!(seen[4], 200, "{way:?}");
        tokio::time::sleep(Duration::from_millis(2100)).await;
    }
    assert!(server.metrics().await.outcome("rate-limited") >= 2.0);
    // The guest was not called, but the log still has a line.
    let logged = server.log.wait(|line| line["outcome"] == "rate-limited").await.expect("a line");
    assert_eq!((&logged["status"], &logged["shape"]), (&429.into(), &"none".into()), "{logged}");
    server.is_quiet().await;
}

/// The table has 64 places; clients of many addresses share them, and no client is locked out for good.
#[tokio::test]
async fn more_peers_than_places() {
    let server = Setup::of("hello").and("[rate-limit]\nrequests = 1\npeers = 64").start().await;
    let port = server.address("plain").port();
    let mut served = 0;
    for index in 0..400_u32 {
        // Every address of 127.0.0.0/8 is this machine.
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        let own = std::net::Ipv4Addr::from(0x7f01_0000 + index);
        socket.bind((own, 0).into()).expect("an address of this machine");
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await.expect("it accepts");
        let mut client = roadrunner_tests::Client::on(Box::new(stream), Way::H1).await;
        let first = client.fetch(Ask::get("/")).await.status;
        assert_eq!(first, 200, "{own}: its first request");
        served += u32::from(client.fetch(Ask::get("/")).await.status == 200);
    }
    assert!(served < 40, "a second request at once is over the limit: {served} of 400 passed");
}

#[tokio::test]
async fn requests_of_a_listener() {
    let server = Setup::of("loops").listener("requests = 2").start().await;
    for way in Way::ALL {
        let before = server.metrics().await.sum("roadrunner_requests_over_cap_total", "");
        let mut clients = [server.connect(way).await, server.connect(way).await];
        let [one, two] = &mut clients;
        let (mut first, mut second) = (one.open(Ask::get("/idle")).await, two.open(Ask::get("/idle")).await);
        assert_eq!((first.head().await, second.head().await), (200, 200), "{way:?}");
        let answer = server.fetch(way, Ask::get("/count?n=1&ms=1")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{way:?}");
        let after = server.metrics().await.sum("roadrunner_requests_over_cap_total", "");
        assert_eq!(after, before + 1.0, "{way:?}");
        // The other listener has its own cap.
        let other = if way.is_tls() { Way::H1 } else { Way::H1Tls };
        assert_eq!(server.fetch(other, Ask::get("/count?n=1&ms=1")).await.status, 200, "{way:?}");
        drop((first, second));
        drop(clients);
        server.is_quiet().await;
        assert_eq!(server.fetch(way, Ask::get("/count?n=1&ms=1")).await.status, 200, "{way:?}");
    }
}

#[tokio::test]
async fn queue() {
    let server =
        Setup::of("hostile").host_limits("instances = 1\nheld = 1\nqueue = 2\nqueue-wait = \"400ms\"").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let busy = client.open(Ask::get("/sleep?ms=5000")).await;
        server.has_instances(1).await;
        let mut clients = Vec::new();
        for _ in 0..6 {
            clients.push(server.connect(way).await);
        }
        let mut waiting = JoinSet::new();
        for mut client in clients {
            waiting.spawn(async move {
                let start = Instant::now();
                let answer = client.fetch(Ask::get("/sleep?ms=1")).await;
                assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{way:?}");
                start.elapsed()
            });
        }
        let mut waited = waiting.join_all().await;
        waited.sort();
        // Two of six found a place in the queue, and waited there for the maximum time.
        let patient = waited.iter().filter(|time| **time >= Duration::from_millis(390)).count();
        assert_eq!(patient, 2, "{way:?}: {waited:?}");
        assert_eq!(server.metrics().await.sum("roadrunner_requests_waiting", ""), 0.0, "{way:?}");
        drop(busy);
        drop(client);
        server.is_quiet().await;
        assert_eq!(server.fetch(way, Ask::get("/sleep?ms=1")).await.status, 200, "{way:?}");
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_requests_overloaded_total", "gate=\"host\""), 6.0 * WAYS);
    assert_eq!(metrics.outcome("overloaded"), 6.0 * WAYS);
}

#[tokio::test]
async fn total() {
    let server = Setup::with(&["hostile", "streams", "loops", "bodies"].map(component).concat())
        .and(
            "[[group]]\nlimits = { total = \"500ms\" }\n\
             [[group.route]]\npath = \"/sleep\"\ncomponent = \"hostile\"\n\
             [[group.route]]\npath = \"/chunks\"\ncomponent = \"streams\"\n\
             [[group.route]]\npath = \"/endless\"\ncomponent = \"streams\"\n\
             [[group.route]]\npath = \"/count\"\ncomponent = \"loops\"\n\
             [[group.route]]\npath = \"/all\"\ncomponent = \"bodies\"\n",
        )
        .start()
        .await;
    for way in Way::ALL {
        let start = Instant::now();
        let mut client = server.connect(way).await;
        let answer = client.fetch(Ask::get("/sleep?ms=5000")).await;
        assert_eq!((answer.status, answer.end), (504, End::sized(way)), "{way:?}: the guest is late");
        assert!(start.elapsed() >= Duration::from_millis(490), "{way:?}: {:?}", start.elapsed());
        assert_eq!(client.fetch(Ask::get("/chunks")).await.status, 200, "{way:?}: the connection is still good");

        let mut exchange = client.open(Ask::post_open_with_length("/all", 10)).await;
        exchange.send("half").await;
        assert_eq!(exchange.head().await, 504, "{way:?}: the body is late");
        drop(exchange);

        let mut client = server.connect(way).await;
        let answer = client.fetch(Ask::get("/endless?delay=10")).await;
        assert!(answer.status == 200 && !answer.end.is_whole(), "{way:?}: the response is late: {:?}", answer.end);

        let mut client = server.connect(way).await;
        let answer = client.fetch(Ask::get("/count?n=4&ms=200")).await;
        assert_eq!((answer.status, answer.end), (200, End::streamed(way)), "{way:?}: a session may last");
        drop(client);
        server.is_quiet().await;
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.outcome("total-exceeded"), 3.0 * WAYS);
    assert_eq!(metrics.sum("roadrunner_timeouts_total", "timeout=\"total\""), WAYS);
    assert_eq!(server.access("/sleep?ms=5000").await["outcome"], "total-exceeded");
}

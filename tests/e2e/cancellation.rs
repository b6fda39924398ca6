//! A client that leaves ends its instance, whatever the guest is doing, and the place is free only when the instance is
//! gone.

use std::time::{Duration, Instant};

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Client, Server, Setup, Way, within};

/// The usual time after which an instance is gone, reached in one of several tries.
const USUAL: Duration = Duration::from_millis(50);

/// The longest time: a busy machine may be late, a leak never ends.
const LONGEST: Duration = Duration::from_millis(250);

const TRIES: usize = 5;

/// How a client leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Leave {
    /// Closes its connection; half_close.rs tests the meaning of this over HTTP/1.1.
    Close,
    /// Resets the connection.
    Abort,
    /// Resets the stream.
    Reset,
}

/// The state of client and guest when the client leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The guest sleeps; no head was sent.
    BeforeHead,
    /// The guest computes.
    Spinning,
    /// The guest computes after the head.
    SpinningInStream,
    /// The guest waits for the rest of the request body.
    Upload,
    /// The guest writes, and the client reads.
    Stream,
    /// The guest waits because the client does not read.
    StalledStream,
    /// The guest waits for an event.
    Loop,
    /// The guest waits for an event, and the client's request body is incomplete.
    LoopWithOpenBody,
}

const PHASES: [Phase; 8] = [
    Phase::BeforeHead,
    Phase::Spinning,
    Phase::SpinningInStream,
    Phase::Upload,
    Phase::Stream,
    Phase::StalledStream,
    Phase::Loop,
    Phase::LoopWithOpenBody,
];

impl Phase {
    fn ask(self) -> Ask {
        match self {
            Self::BeforeHead => Ask::get("/sleep").host("hostile"),
            Self::Spinning => Ask::get("/spin").host("hostile"),
            Self::SpinningInStream => Ask::get("/spin/stream").host("hostile"),
            Self::Upload => Ask::post_open("/all").host("bodies"),
            Self::Stream => Ask::get("/endless?delay=5").host("streams"),
            Self::StalledStream => Ask::get("/bytes?n=1000000000").host("streams"),
            Self::Loop => Ask::get("/disconnect").host("loops"),
            Self::LoopWithOpenBody => Ask::post_open("/echo").host("loops"),
        }
    }
}

async fn start() -> Server {
    let mut setup = Setup::default().host_limits("instances = 4\nheld = 4\ncpu = \"60s\"\ndeadline = \"60s\"").alone();
    for guest in ["hostile", "bodies", "streams", "loops"] {
        setup = setup.and(&component(guest)).and("limits = { instances = 1, held = 1 }").and(&format!(
            "[[group]]\nhosts = [\"{guest}\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"{guest}\"\nbody = \"manual\""
        ));
    }
    setup.start().await
}

/// Brings the exchange to its phase, leaves, and returns how long the instance still existed.
async fn leave_in(server: &Server, way: Way, phase: Phase, leave: Leave) -> Duration {
    let address = server.address(if way.is_tls() { "tls" } else { "plain" });
    let mut client = match leave {
        Leave::Abort => Client::connect_abortive(address, way).await,
        Leave::Close | Leave::Reset => Client::connect(address, way).await,
    };
    let mut exchange = client.open(phase.ask()).await;
    server.has_instances(1).await;
    match phase {
        Phase::BeforeHead | Phase::Spinning => {}
        // With more than this, quinn may wait for the congestion window when the client closes, and then forget to send
        // the close.
        Phase::Upload => assert!(exchange.send(vec![b'x'; 1000]).await),
        Phase::SpinningInStream | Phase::Stream | Phase::Loop => assert!(exchange.piece().await.is_some()),
        Phase::StalledStream => {
            assert!(exchange.piece().await.is_some());
            // Until every buffer on the way is full.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Phase::LoopWithOpenBody => {
            assert!(exchange.send("half").await);
            exchange.read_until("half").await;
        }
    }
    assert_eq!(server.instances().await.len(), 1, "{way:?} {phase:?}: it is there before");
    let left = Instant::now();
    match leave {
        Leave::Close | Leave::Abort => drop(exchange),
        Leave::Reset => exchange.reset(),
    }
    let kept = (leave == Leave::Reset).then_some(client);
    tokio::task::yield_now().await;
    let gone = within(LONGEST * 8, || async { server.instances().await.is_empty().then(Instant::now) }).await;
    let Some((gone, _)) = gone else {
        panic!("{way:?} {phase:?} {leave:?}: still there: {:?}", server.instances().await)
    };
    drop(kept);
    gone - left
}

async fn check(way: Way, leaves: &[Leave]) {
    let server = start().await;
    let mut late = Vec::new();
    for phase in PHASES {
        for leave in leaves {
            let mut times = Vec::new();
            for _ in 0..TRIES {
                times.push(leave_in(&server, way, phase, *leave).await);
            }
            times.sort();
            if times[TRIES / 2] > USUAL || times[TRIES - 1] > LONGEST {
                late.push(format!("{phase:?} {leave:?}: {times:?}"));
            }
            server.is_quiet().await;
        }
    }
    assert!(late.is_empty(), "{way:?}: gone too late:\n{}", late.join("\n"));
}

#[tokio::test]
async fn over_http1() {
    check(Way::H1, &[Leave::Abort]).await;
}

#[tokio::test]
async fn over_http1_and_tls() {
    check(Way::H1Tls, &[Leave::Abort]).await;
}

#[tokio::test]
async fn over_http2() {
    check(Way::H2c, &[Leave::Close, Leave::Abort, Leave::Reset]).await;
}

#[tokio::test]
async fn over_http2_and_tls() {
    check(Way::H2Tls, &[Leave::Close, Leave::Reset]).await;
}

#[tokio::test]
async fn over_http3() {
    check(Way::H3, &[Leave::Close, Leave::Reset]).await;
}

/// One place: a waiting request gets in when the instance is gone, and never before.
#[tokio::test]
async fn the_place_is_free_only_when_the_instance_is_gone() {
    let server = start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let exchange = client.open(Ask::get("/spin").host("hostile")).await;
        let old = server.has_instances(1).await[0]["id"].clone();
        let mut next = server.connect(way).await;
        let waiting = next.open(Ask::get("/sleep").host("hostile")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let there = server.instances().await;
        assert_eq!(there.len(), 1, "{way:?}: {there:?}");
        assert_eq!(there[0]["id"], old, "{way:?}: it waits");
        assert_eq!(server.metrics().await.sum("roadrunner_requests_waiting", "component:hostile"), 1.0, "{way:?}");
        drop(exchange);
        drop(client);
        let seen = within(Duration::from_secs(2), || async {
            let there = server.instances().await;
            assert!(there.len() <= 1, "{way:?}: two in one place: {there:?}");
            there.first().filter(|instance| instance["id"] != old).map(|_| ())
        });
        assert!(seen.await.is_some(), "{way:?}: the place is free");
        drop(waiting);
        drop(next);
        server.is_quiet().await;
    }
}

/// A flood of clients that leave at once, as in rapid reset: never more instances than places.
#[tokio::test]
async fn clients_that_come_and_go_never_have_more_than_their_places() {
    let server = start().await;
    for way in Way::EACH {
        for _ in 0..100 {
            let mut client = server.connect(way).await;
            let exchange = client.open(Ask::get("/spin").host("hostile")).await;
            let there = server.instances().await;
            assert!(there.len() <= 1, "{way:?}: {there:?}");
            drop(exchange);
            drop(client);
        }
        server.is_quiet().await;
    }
}

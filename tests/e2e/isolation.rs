//! Nothing of one request's memory is ever seen by another's. A canary writes a pattern over all memory that it has;
//! later instances in the same places of the pool look for it. A positive control shows that they would find it.

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Client, Server, Setup, Way};

/// Pairs of a writer and a scanner, for each connection.
const ROUNDS: u64 = 400;

async fn start() -> Server {
    Setup::with(&(component("canary") + &component("hostile") + &component("streams")))
        .and(
            "[[route]]\npath = \"/write\"\ncomponent = \"canary\"\n[[route]]\npath = \"/scan\"\ncomponent = \"canary\"\n\
             [[route]]\npath = \"/control\"\ncomponent = \"canary\"\n[[route]]\npath = \"/trap/before\"\ncomponent = \"streams\"\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"hostile\"\n",
        )
        // Few places, so that each is used again and again.
        .host_limits("instances = 3\nheld = 1\nmemory = \"16MiB\"")
        .start()
        .await
}

async fn number(client: &mut Client, path: &str, word: usize) -> u64 {
    let answer = client.fetch(Ask::get(path)).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    let text = answer.text();
    text.split_whitespace().nth(word).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{path}: {text}"))
}

#[tokio::test]
async fn the_canary_finds_what_is_there() {
    let server = start().await;
    let mut client = server.connect(Way::H1).await;
    for key in 0..20 {
        let path = format!("/control?key={key}");
        let wrote = number(&mut client, &path, 1).await;
        let found = number(&mut client, &path, 3).await;
        assert!(wrote > 50_000, "{wrote} words of 8 bytes");
        assert!(found > wrote / 2, "wrote {wrote}, found {found}");
    }
}

#[tokio::test]
async fn no_instance_finds_what_another_wrote() {
    let server = start().await;
    let connection = async |way: Way, from: u64| {
        let mut client = server.connect(way).await;
        for key in from..from + ROUNDS {
            assert!(number(&mut client, &format!("/write?key={key}"), 1).await > 50_000);
            for _ in 0..2 {
                assert_eq!(
                    number(&mut client, &format!("/scan?key={key}"), 1).await,
                    0,
                    "{way:?}: the memory of round {key}"
                );
            }
        }
    };
    tokio::join!(connection(Way::H1, 0), connection(Way::H2c, 1_000_000), connection(Way::H1, 2_000_000));
    server.is_quiet().await;
}

/// The places of guests that were stopped in the middle are as clean as others.
#[tokio::test]
async fn nor_after_traps_growth_and_departures() {
    let server = start().await;
    let mut client = server.connect(Way::H1).await;
    for key in 0..60 {
        assert!(number(&mut client, &format!("/write?key={key}"), 1).await > 50_000);
        for (path, status) in [
            ("/trap", 500),
            ("/memory/grow", 200),
            ("/memory/many", 503),
            ("/recursion/stack", 500),
            ("/trap/before", 500),
        ] {
            assert_eq!(client.fetch(Ask::get(path)).await.status, status, "{path}");
            assert_eq!(number(&mut client, &format!("/scan?key={key}"), 1).await, 0, "after {path}");
        }
        let mut other = server.connect(Way::H1).await;
        other.h1().write(format!("GET /write?key={key} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
        drop(other);
        assert_eq!(number(&mut client, &format!("/scan?key={key}"), 1).await, 0, "after a client left");
    }
    server.is_quiet().await;
}

/// Where a component asks for reuse, an instance still serves one route only, and never again after a fault.
#[tokio::test]
async fn a_reused_instance_stays_on_its_route_and_is_retired_by_a_fault() {
    let server = Setup::with(
        "[component.answers]\nfile = \"{guests}/answers.wasm\"\nreuse = { requests = 1000, idle = \"1m\" }\n\
         [[group]]\nhosts = [\"one\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"answers\"\n\
         [[group]]\nhosts = [\"two\"]\nlimits = { deadline = \"100ms\" }\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"answers\"\n",
    )
    .start()
    .await;
    for way in Way::ALL {
        let counter = async |host: &str| server.text_of(way, Ask::get("/counter").host(host)).await;
        let before: u32 = counter("one").await.trim().parse().expect("a number");
        assert_eq!(counter("one").await, format!("{}\n", before + 1), "{way:?}: reused");
        assert_eq!(server.fetch(way, Ask::get("/sleep/400").host("two")).await.status, 504, "{way:?}");
        assert_eq!(
            counter("two").await,
            "1\n",
            "{way:?}: neither that of the other route nor the one that was stopped"
        );
        assert_eq!(server.fetch(way, Ask::get("/status/99").host("two")).await.status, 500, "{way:?}");
        assert_eq!(counter("two").await, "1\n", "{way:?}: an answer that is not valid is a fault");
        assert_eq!(server.fetch(way, Ask::get("/sleep/400").host("two")).await.status, 504, "{way:?}");
        assert_eq!(counter("one").await, format!("{}\n", before + 2), "{way:?}: the other route's lives on");
    }
}

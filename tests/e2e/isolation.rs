//! A request never sees another's memory, tables or globals. Canaries write a pattern over everything they have; later
//! instances in the same places of the pool search for it. Positive controls show that they would find it.
//!
//! There are two: `guests/canary` in Rust, with a stack and a heap, and the core module of
//! `tests/support/core_canary.wat`, with tables and globals.

use std::time::Duration;

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Client, Server, Setup, Way, core_canary};

/// The prefixes of the canaries' paths.
const CANARIES: [&str; 2] = ["", "/core"];

/// The number of writers, each before two scanners, for each of three connections.
const ROUNDS: u64 = 400;

/// The same for runs of minutes: 100 000 searches, half of them by either canary.
const MANY_ROUNDS: u64 = 16_700;

/// The number of instances that the host can keep parked, each in a place of the pool.
const PARKED: usize = 256;

/// The number of components of the searching tenant. A place of the pool goes preferably to the component that had it
/// last; so each of these gets a place of the other tenant.
const SEARCHERS: usize = 200;

/// How long instances stay parked: long enough that all of them are parked at once.
const IDLE: &str = if cfg!(debug_assertions) { "3s" } else { "300ms" };

/// The core module's component.
const CORE: &str = "[component.core]\nfile = \"core.wasm\"\n";

/// A setup with a manifest that may name it.
fn with_core(text: &str) -> Setup {
    Setup::with(text).file("core.wasm", core_canary::component())
}

async fn start() -> Server {
    with_core(&(component("canary") + &component("hostile") + &component("streams") + CORE))
        .and(
            "[[route]]\npath = \"/core/*rest\"\ncomponent = \"core\"\n\
             [[route]]\npath = \"/core/endless\"\ncomponent = \"core\"\nlimits = { deadline = \"50ms\" }\n\
             [[route]]\npath = \"/write\"\ncomponent = \"canary\"\n[[route]]\npath = \"/scan\"\ncomponent = \"canary\"\n\
             [[route]]\npath = \"/control\"\ncomponent = \"canary\"\n[[route]]\npath = \"/trap/before\"\ncomponent = \"streams\"\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"hostile\"\n",
        )
        // Few places, so that each is reused often.
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
        for canary in CANARIES {
            let path = format!("{canary}/control?key={key}");
            let wrote = number(&mut client, &path, 1).await;
            let found = number(&mut client, &path, 3).await;
            assert!(wrote > 50_000, "{path}: {wrote} words of 8 bytes");
            assert!(found > wrote / 2, "{path}: wrote {wrote}, found {found}");
        }
    }
}

/// In a reused instance, which does keep its state, the search finds every place that another request filled in memory,
/// tables and globals, and that a table has grown.
#[tokio::test]
async fn the_core_canary_finds_all_that_another_request_left() {
    let reuse = "reuse = { requests = 1000, idle = \"1m\" }\n[[route]]\npath = \"/*rest\"\ncomponent = \"core\"\n";
    let server = with_core(&(CORE.to_owned() + reuse)).start().await;
    let mut client = server.connect(Way::H1).await;
    assert_eq!(number(&mut client, "/core/scan?key=1", 1).await, 0, "fresh");
    // The search has grown the table.
    let wrote = number(&mut client, "/core/write?key=1", 1).await;
    assert_eq!(number(&mut client, "/core/scan?key=2", 1).await, wrote + 1);
}

#[tokio::test]
async fn no_instance_finds_what_another_wrote() {
    no_instance_finds(ROUNDS).await;
}

#[tokio::test]
#[ignore = "it takes minutes"]
async fn nor_in_a_hundred_thousand_searches() {
    no_instance_finds(MANY_ROUNDS).await;
}

async fn no_instance_finds(rounds: u64) {
    let server = start().await;
    let connection = async |way: Way, from: u64| {
        let mut client = server.connect(way).await;
        for key in from..from + rounds {
            let canary = CANARIES[key as usize % 2];
            assert!(number(&mut client, &format!("{canary}/write?key={key}"), 1).await > 50_000);
            for canary in CANARIES {
                let path = format!("{canary}/scan?key={key}");
                assert_eq!(number(&mut client, &path, 1).await, 0, "{way:?} {path}");
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
            ("/core/trap?key=1", 500),
            ("/core/endless?key=1", 504),
        ] {
            assert_eq!(client.fetch(Ask::get(path)).await.status, status, "{path}");
            for canary in CANARIES {
                assert_eq!(number(&mut client, &format!("{canary}/scan?key={key}"), 1).await, 0, "after {path}");
            }
        }
        for path in ["/write", "/core/write", "/core/endless"] {
            let mut other = server.connect(Way::H1).await;
            other.h1().write(format!("GET {path}?key={key} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
            drop(other);
            for canary in CANARIES {
                let path = format!("{canary}/scan?key={key}");
                assert_eq!(number(&mut client, &path, 1).await, 0, "{path} after a client left");
            }
        }
    }
    server.is_quiet().await;
}

/// If a component asks for reuse, an instance still serves only one route, and is not used again after a fault.
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

#[tokio::test]
async fn no_tenant_finds_what_another_left() {
    no_tenant_finds(2 * SEARCHERS).await;
}

#[tokio::test]
#[ignore = "it takes minutes"]
async fn nor_in_a_hundred_thousand_searches_of_tenants() {
    no_tenant_finds(100_000).await;
}

/// One tenant writes its pattern into every place of the pool: its instances are reused, and stay parked on as many
/// routes as possible, and others trap, grow and are cancelled on the way. Then the other tenant searches.
async fn no_tenant_finds(searches: usize) {
    let server = two_tenants().await;
    let mut client = server.connect(Way::H1).await;
    let get = |host: String, path: &str| Ask::get(path).host(&host);
    let mut done = 0;
    let mut key = 7;
    while done < searches {
        key += 1;
        for route in 0..PARKED {
            let path = format!("{}/write?key={key}", CANARIES[route % 2]);
            let answer = client.fetch(get(format!("r{route}.one"), &path)).await;
            assert!(answer.text().starts_with("wrote "), "{answer:?}");
            if route % 64 < 2 {
                let faults = [("/trap", 500), ("/memory/grow", 200), ("/memory/many", 503), ("/core/trap?key=1", 500)];
                for (path, status) in faults {
                    assert_eq!(client.fetch(get("bad.one".to_owned(), path)).await.status, status, "{path}");
                }
                let mut leaves = server.connect(Way::H1).await;
                let request = format!("GET {path} HTTP/1.1\r\nhost: r{route}.one\r\n\r\n");
                leaves.h1().write(request.as_bytes()).await;
            }
        }
        // Until all of them are gone.
        let used = async || server.metrics().await.sum("roadrunner_tenant_memory_bytes", "tenant=\"one\"");
        for _ in 0..500 {
            if used().await == 0.0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(used().await, 0.0, "parked instances are left");
        for searcher in 0..SEARCHERS {
            let path = format!("{}/scan?key={key}", CANARIES[searcher % 2]);
            let answer = client.fetch(get(format!("s{searcher}.two"), &path)).await;
            assert_eq!(answer.text(), "found 0\n", "searcher {searcher} of round {key}");
            done += 1;
        }
    }
    for (searcher, canary) in CANARIES.into_iter().enumerate() {
        let path = format!("{canary}/control?key={key}");
        let text = client.fetch(get(format!("s{searcher}.two"), &path)).await.text();
        assert!(!text.ends_with("found 0\n"), "it would have found it: {text}");
    }
    server.is_quiet().await;
}

async fn two_tenants() -> Server {
    let reused = format!("tenant = \"one\"\nreuse = {{ requests = 1000, idle = \"{IDLE}\" }}\n");
    let mut text = component("hostile")
        + "tenant = \"one\"\n"
        + &component("canary")
        + &reused
        + CORE
        + &reused
        + "\
           [tenant.one]\nhosts = [\"*.one\"]\n[tenant.two]\nhosts = [\"*.two\"]\n\
           [[route]]\npath = \"/*rest\"\nhosts = [\"bad.one\"]\ncomponent = \"hostile\"\n\
           [[route]]\npath = \"/core/*rest\"\nhosts = [\"bad.one\"]\ncomponent = \"core\"\n";
    for route in 0..PARKED {
        let component = ["canary", "core"][route % 2];
        text += &format!("[[route]]\npath = \"/*rest\"\nhosts = [\"r{route}.one\"]\ncomponent = \"{component}\"\n");
    }
    for searcher in 0..SEARCHERS {
        let file = ["{guests}/canary.wasm", "core.wasm"][searcher % 2];
        text += &format!(
            "[component.s{searcher}]\nfile = \"{file}\"\ntenant = \"two\"\n\
             [[route]]\npath = \"/*rest\"\nhosts = [\"s{searcher}.two\"]\ncomponent = \"s{searcher}\"\n"
        );
    }
    // No places beyond those of parked instances and one more.
    with_core(&text)
        .server("access-log = false")
        .host_limits("instances = 1\nheld = 0\nmemory = \"16MiB\"")
        .start()
        .await
}

//! Instances that were put back to their first state: a request sees nothing of the requests before it.
//!
//! All paths of a canary are one route here, so that one instance answers them in turn. The positive controls are the
//! same searches in an instance that is reused as it is, which find what was written.

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Client, Server, Setup, Way, core_canary};

const ROUTES: &str = "[component.core]\nfile = \"core.wasm\"\n[[route]]\npath = \"/core/*rest\"\ncomponent = \"core\"\n\
    [[route]]\npath = \"/*rest\"\ncomponent = \"canary\"\n";

/// The paths that fill an instance, and the paths that search it.
const CANARIES: [(&str, &str); 2] = [("/write/within", "/scan"), ("/core/write", "/core/scan")];

async fn start(keys: &str) -> Server {
    let canary = component("canary") + keys + "\n";
    let core = ROUTES.replace("core.wasm\"\n", &format!("core.wasm\"\n{keys}\n"));
    Setup::with(&(canary + &core)).file("core.wasm", core_canary::restorable()).start().await
}

/// The number of instances that wait in their first state.
async fn waiting(server: &Server) -> f64 {
    server.metrics().await.sum("roadrunner_instances_restored", "")
}

async fn number(client: &mut Client, path: &str) -> u64 {
    let answer = client.fetch(Ask::get(path)).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    let text = answer.text();
    text.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{path}: {text}"))
}

#[tokio::test]
async fn nothing_of_an_earlier_request_is_there() {
    let server = start("").await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for key in 0..100 {
            for (write, scan) in CANARIES {
                assert!(number(&mut client, &format!("{write}?key={key}")).await > 10_000, "{way:?}");
                assert_eq!(number(&mut client, &format!("{scan}?key={key}")).await, 0, "{way:?} {scan}");
            }
        }
    }
    // One for each route: all of these requests were answered in turn.
    assert_eq!(waiting(&server).await, 2.0);
}

#[tokio::test]
async fn the_canaries_find_what_an_earlier_request_left_in_a_reused_instance() {
    let server = start("reuse = { requests = 1000, idle = \"1m\" }").await;
    let mut client = server.connect(Way::H1).await;
    for (write, scan) in CANARIES {
        assert_eq!(number(&mut client, &format!("{scan}?key=1")).await, 0, "{scan}");
        let wrote = number(&mut client, &format!("{write}?key=1")).await;
        let found = number(&mut client, &format!("{scan}?key=1")).await;
        assert!(found > wrote / 2, "{scan}: wrote {wrote}, found {found}");
    }
    assert_eq!(waiting(&server).await, 0.0, "reused as they are");
}

#[tokio::test]
async fn none_are_kept_where_the_manifest_wants_none() {
    let server = start("restore = false").await;
    let mut client = server.connect(Way::H1).await;
    for (write, scan) in CANARIES {
        number(&mut client, &format!("{write}?key=1")).await;
        assert_eq!(number(&mut client, &format!("{scan}?key=1")).await, 0, "{scan}");
    }
    assert_eq!(waiting(&server).await, 0.0);
}

/// An instance that cannot be put back whole answers nobody else.
#[tokio::test]
async fn an_instance_in_doubt_is_dropped() {
    let server = Setup::of("hostile").start().await;
    let mut client = server.connect(Way::H1).await;
    assert_eq!(client.fetch(Ask::get("/spin/for?ms=1")).await.status, 200);
    let before = waiting(&server).await;
    assert_eq!(before, 1.0);
    for (path, status) in [("/trap", 500), ("/memory/grow", 200), ("/recursion/stack", 500)] {
        let mut client = server.connect(Way::H1).await;
        assert_eq!(client.fetch(Ask::get(path)).await.status, status, "{path}");
        assert_eq!(waiting(&server).await, 0.0, "after {path}");
        assert_eq!(client.fetch(Ask::get("/spin/for?ms=1")).await.status, 200, "the next one is new");
        assert_eq!(waiting(&server).await, 1.0);
    }
}

/// The same for components of the standard and of other languages, whose counters all begin at one.
#[tokio::test]
async fn standard_components_begin_anew() {
    let server = Setup::of("standard").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for _ in 0..20 {
            assert_eq!(client.fetch(Ask::get("/counter")).await.text(), "1\n", "{way:?}");
        }
    }
    assert_eq!(waiting(&server).await, 1.0);
}

#[tokio::test]
async fn idle_instances_are_given_back() {
    let server = start("").await;
    let mut client = server.connect(Way::H1).await;
    number(&mut client, "/scan?key=1").await;
    assert_eq!(waiting(&server).await, 1.0);
    // They wait for half a minute.
    for _ in 0..60 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        if waiting(&server).await == 0.0 {
            return;
        }
    }
    panic!("it is still there");
}

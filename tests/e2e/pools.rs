//! Pools that all instances share: memories, tables, core instances, stacks. A component that needs more than its share
//! of one is refused, or takes as many places as it needs; its neighbours never notice.

use std::time::Duration;

use roadrunner_tests::command::{self, Done};
use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Server, Setup, Way, within};
use tokio::task::JoinSet;

use super::compile::{leb, section};

pub(crate) const MEMORY: &str = "(module (memory 0))";
const TABLE: &str = "(module (table 0 funcref))";
const NOTHING: &str = "(module)";

/// A guest to which this many instances of a module were added.
pub(crate) fn with_instances(guest: &str, module: &str, count: usize) -> Vec<u8> {
    let bytes = std::fs::read(command::guest(guest)).expect("a guest");
    let module = wat::parse_str(module).expect("a module");
    // Modules have their own index space, in the order of their sections.
    let index = sections(&bytes).into_iter().filter(|id| *id == 1).count();
    let instance = [&[0][..], &leb(index), &[0]].concat();
    let instances = [leb(count), instance.repeat(count)].concat();
    [bytes, section(1, &module), section(2, &instances)].concat()
}

/// The ids of a component's own sections.
fn sections(component: &[u8]) -> Vec<u8> {
    let (mut ids, mut at) = (Vec::new(), 8);
    while let Some(id) = component.get(at) {
        ids.push(*id);
        at += 1;
        let (mut size, mut shift) = (0, 0);
        loop {
            let byte = component[at];
            at += 1;
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        at += size;
    }
    ids
}

fn setup(guest: &str, wide: Vec<u8>, places: u32) -> Setup {
    Setup::with(&component("hello"))
        .and("tenant = \"victim\"\n[tenant.victim]\n")
        .and(&format!("[tenant.attacker]\nquota = {{ instances = {places} }}\n"))
        .and("[component.wide]\nfile = \"wide.wasm\"\ntenant = \"attacker\"\n")
        .and(
            "[[route]]\npath = \"/hello\"\ncomponent = \"hello\"\n[[route]]\npath = \"/*rest\"\ncomponent = \"wide\"\n",
        )
        .host_limits("instances = 40\nheld = 8\nqueue = 100\nqueue-wait = \"300ms\"")
        .server(if guest == "service" { "wasi-03 = true" } else { "" })
        .file("wide.wasm", wide)
}

async fn check(setup: &Setup) -> Done {
    let (folder, _) = setup.write();
    super::cli::run(folder.path(), &["check"]).await
}

#[track_caller]
fn is_refused(done: &Done, reason: &str) {
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains(reason), "{reason}: {done:?}");
    assert_eq!(done.stderr.trim().lines().count(), 1, "one sentence: {done:?}");
}

#[tokio::test]
async fn a_component_over_its_share_is_refused_with_the_number() {
    for guest in ["hostile", "service"] {
        for (module, count, reason) in [
            (MEMORY, 100, "101 Wasm linear memories, which exceeds the configured maximum of 16"),
            (MEMORY, 600, "core module instances, which exceeds the configured maximum of 256"),
            (TABLE, 100, "tables, which exceeds the configured maximum of 32"),
            (NOTHING, 600, "core module instances, which exceeds the configured maximum of 256"),
        ] {
            is_refused(&check(&setup(guest, with_instances(guest, module, count), 32)).await, reason);
        }
        // Within its share, but above its tenant's.
        let reason = "takes 16 places, for its memories, tables and stacks, and `instances` of tenant:attacker is 15";
        is_refused(&check(&setup(guest, with_instances(guest, MEMORY, 15), 15)).await, reason);
    }
}

/// An error that a manifest's `memory` cannot fix names the key that can.
#[tokio::test]
async fn a_component_over_the_size_of_an_instance_is_told_what_helps() {
    let globals = format!("(module {})", "(global (mut v128) (v128.const i64x2 0 0))".repeat(80_000));
    let large = check(&setup("hostile", with_instances("hostile", &globals, 1), 32)).await;
    is_refused(
        &large,
        "wide.wasm has no room in the engine: the engine keeps 1 MiB for functions, globals and imports",
    );
    assert!(large.stderr.contains("globals") && !large.stderr.contains("raise that limit"), "{large:?}");
    // The same size, over many instances.
    let globals = format!("(module {})", "(global (mut v128) (v128.const i64x2 0 0))".repeat(2000));
    let many = check(&setup("hostile", with_instances("hostile", &globals, 100), 32)).await;
    is_refused(&many, "has no room in the engine: the engine keeps 1 MiB");
    // More elements than a table can have.
    let table = "(module (table 30000 funcref))";
    let large = check(&setup("hostile", with_instances("hostile", table, 1), 32)).await;
    is_refused(&large, "a table can have 20000 elements");
    // That limit is for memory only.
    let memory = "(module (memory 20000))";
    is_refused(&check(&setup("hostile", with_instances("hostile", memory, 1), 32)).await, "raise that limit");
}

/// Sleeping requests, more than there is room for, and requests of a neighbour meanwhile.
async fn crowd(guest: &str, module: &str, count: usize, at_least: u32) {
    let server = setup(guest, with_instances(guest, module, count), 32).start().await;
    let sleep = if guest == "service" { "/sleep?1500" } else { "/sleep?ms=1500" };
    for way in Way::ALL {
        let mut clients = Vec::new();
        for _ in 0..15 {
            clients.push(server.connect(way).await);
        }
        let mut sleeping = JoinSet::new();
        for mut client in clients {
            sleeping.spawn(async move { client.fetch(Ask::get(sleep)).await.status });
        }
        let full = within(Duration::from_secs(10), async || {
            let (instances, places) = occupied(&server).await;
            (places + at_least > 32 || instances == 15).then_some((instances, places))
        });
        let ((instances, places), _) = full.await.unwrap_or_else(|| panic!("{way:?}: nobody came\n{}", server.log));
        assert!(places <= 32 && places >= instances * at_least, "{way:?}: {instances} take {places}");
        let mut victim = server.connect(way).await;
        for _ in 0..20 {
            let answer = victim.fetch(Ask::get("/hello")).await;
            assert_eq!((answer.status, answer.text()), (200, "hello, world\n".to_owned()), "{way:?}\n{}", server.log);
        }
        while let Some(status) = sleeping.join_next().await {
            let status = status.expect("no panic");
            assert!(status == 200 || status == 503, "{way:?}: {status}\n{}", server.log);
        }
        server.is_quiet().await;
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_requests_total", "trapped"), 0.0, "{}", server.log);
    let exhausted = metrics.sample("roadrunner_pool_exhausted_total{component=\"wide\",tenant=\"attacker\"}");
    assert_eq!(exhausted, 0.0, "gates admit what the pools have room for");
}

/// The attacker's instances, and the places that they take.
async fn occupied(server: &Server) -> (u32, u32) {
    let instances = server.instances().await.len() as u32;
    let metrics = server.metrics().await;
    (instances, metrics.sample("roadrunner_instances_running{gate=\"tenant:attacker\"}") as u32)
}

#[tokio::test]
async fn many_memories_take_many_places() {
    crowd("hostile", MEMORY, 15, 16).await;
}

#[tokio::test]
async fn many_tables_take_many_places() {
    crowd("hostile", TABLE, 26, 7).await;
}

#[tokio::test]
async fn many_core_instances_take_one() {
    crowd("hostile", NOTHING, 200, 1).await;
}

#[tokio::test]
async fn many_memories_take_many_places_of_wasi_03() {
    crowd("service", MEMORY, 15, 16).await;
}

#[tokio::test]
async fn many_tables_take_many_places_of_wasi_03() {
    crowd("service", TABLE, 26, 7).await;
}

#[tokio::test]
async fn many_core_instances_take_one_of_wasi_03() {
    crowd("service", NOTHING, 200, 1).await;
}

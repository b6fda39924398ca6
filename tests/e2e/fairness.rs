//! A tenant that computes without end does not slow down the short requests of another.
//!
//! Ten minutes of it: `cargo xtask soak`.

use std::time::{Duration, Instant};

use roadrunner_tests::victim::{self, Latencies};
use roadrunner_tests::{Ask, Server, Setup, Way};
use tokio::task::JoinSet;

/// Instances that spin, all of one tenant.
const SPINNING: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenant_that_spins_does_not_slow_another_down() {
    let server = start().await;
    // Other work may disturb the machine for a moment: the best of five counts.
    let mut seen = Vec::new();
    for _ in 0..5 {
        let quiet = victim::ask(server.address("plain"), "/counter", Duration::from_secs(2)).await;
        let loaded = spun(&server, Duration::from_secs(4)).await;
        println!("quiet {quiet}; loaded {loaded}");
        if loaded.are_within(&quiet, 1) {
            return;
        }
        seen.push(format!("quiet {quiet}; loaded {loaded}"));
    }
    panic!("the p99 of the other tenant more than doubled, five times: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes ten minutes"]
async fn nor_for_ten_minutes() {
    let server = start().await;
    let quiet = victim::ask(server.address("plain"), "/counter", Duration::from_secs(60)).await;
    let loaded = spun(&server, Duration::from_secs(600)).await;
    println!("quiet {quiet}; loaded {loaded}");
    assert!(loaded.are_within(&quiet, 1), "quiet {quiet}; loaded {loaded}");
}

async fn start() -> Server {
    Setup::with(
        "[tenant.hostile]\nhosts = [\"hostile\"]\nquota = { instances = 40 }\n\
         [tenant.normal]\nhosts = [\"normal\"]\n\
         [component.hostile]\nfile = \"{guests}/hostile.wasm\"\ntenant = \"hostile\"\n\
         [component.normal]\nfile = \"{guests}/answers.wasm\"\ntenant = \"normal\"\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"hostile\"\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"normal\"\n",
    )
    .server("workers = 2\naccess-log = false")
    // Forty share a thread: each reaches its limit after some ten seconds, and a client waits at most twenty.
    .host_limits("instances = 60\nheld = 4\ncpu = \"250ms\"\ndeadline = \"1m\"\nqueue-wait = \"10s\"")
    .alone()
    .start()
    .await
}

/// The latencies of a tenant while the other one computes.
async fn spun(server: &Server, time: Duration) -> Latencies {
    let mut spinners = JoinSet::new();
    for _ in 0..SPINNING {
        let address = server.address("plain");
        spinners.spawn(async move {
            loop {
                let mut client = roadrunner_tests::Client::connect(address, Way::H1).await;
                // Each ends by its limit, and is followed by the next.
                let answer = client.fetch(Ask::get("/spin").host("hostile")).await;
                assert_eq!(answer.status, 503, "{answer:?}");
            }
        });
    }
    server.has_instances(SPINNING).await;
    let before = server.metrics().await.sum("roadrunner_tenant_cpu_seconds_total", "hostile");
    let start = Instant::now();
    let latencies = victim::ask(server.address("plain"), "/counter", time).await;
    let spent = server.metrics().await.sum("roadrunner_tenant_cpu_seconds_total", "hostile") - before;
    let share = spent / start.elapsed().as_secs_f64();
    assert!(share > 0.02, "the other tenant did not compute: {share} of a processor");
    if let Some(ended) = spinners.try_join_next() {
        panic!("not all of the other tenant computed to the end: {ended:?}");
    }
    spinners.shutdown().await;
    server.is_quiet().await;
    latencies
}

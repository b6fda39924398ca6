//! aioquic against the server: an independent client that can also break every rule. Needs a Python with aioquic (`pip
//! install aioquic`) in `ROADRUNNER_PYTHON`; otherwise each test prints SKIPPED.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use roadrunner_values::TransportSettings;
use support::{Server, python, run_script};

async fn interop(part: &str, config: TransportSettings) -> Option<Server> {
    let python = python()?;
    let server = Server::start(config);
    run_script(python, "interop.py", &server, &[part]).await;
    Some(server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages() {
    let Some(python) = python() else { return };
    let server = Server::start(TransportSettings::default());
    let report = run_script(python, "malformed.py", &server, &[]).await;
    let rows = report.lines().find_map(|line| line.strip_prefix("rows ")?.parse::<usize>().ok());
    assert!(rows.is_some_and(|rows| rows >= 40), "{rows:?} rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests() {
    interop("requests", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry() {
    interop("requests", support::with(|config| config.http3.retry_above = Some(0))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies() {
    interop("bodies", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits() {
    let head_timeout = Duration::from_millis(500);
    interop(
        "limits",
        support::with(|config| {
            config.http3.max_body = Some(1_000_000);
            config.timeouts.request_head = head_timeout;
        }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamic_table() {
    interop("qpack", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancellation_drops_the_service() {
    let Some(server) = interop("cancellation", TransportSettings::default()).await else { return };
    server.dropped(2).await;
    assert_eq!(server.counters.calls.load(Ordering::SeqCst), 3, "not the requests without a whole head");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_are_budgeted() {
    interop("resets", support::with(|config| config.http3.resets_per_second = 10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_heads_within_the_clients_limit() {
    interop("fields", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goaway() {
    let Some(python) = python() else { return };
    let server = Server::start(TransportSettings::default());
    let drain = server.drain.clone();
    let counters = server.counters.clone();
    tokio::spawn(async move {
        while counters.calls.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drain.drain();
    });
    run_script(python, "interop.py", &server, &["goaway"]).await;
    tokio::time::timeout(Duration::from_secs(5), server.task).await.expect("serve returns").expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels() {
    interop("tunnels", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams() {
    interop("datagrams", TransportSettings::default()).await;
}

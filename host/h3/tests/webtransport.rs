//! WebTransport sessions as aioquic sees them; see `tests/aioquic.rs` for the requirements.

mod support;

use std::time::Duration;

use roadrunner_h3::webtransport::{Close, End};
use roadrunner_values::TransportSettings;
use support::{LAST_END, Server, python, run_script};

async fn part(part: &str, config: TransportSettings) {
    let Some(python) = python() else { return };
    let server = Server::start(config);
    run_script(python, "webtransport.py", &server, &[part]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_aioquics_own_layer() {
    part("independent", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams() {
    part("streams", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams() {
    part("datagrams", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_codes_of_applications() {
    part("codes", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closes() {
    let Some(python) = python() else { return };
    let server = Server::start(TransportSettings::default());
    run_script(python, "webtransport.py", &server, &["closes"]).await;
    let ends = LAST_END.lock().expect("no panic").clone();
    for wanted in [End::Closed(Close::new(7, "done")), End::Closed(Close::default()), End::Closed(Close::new(8, ""))] {
        assert!(ends.contains(&wanted), "{wanted:?} is not among {ends:?}");
    }
    assert_eq!(ends.iter().filter(|end| matches!(end, End::Violation(_))).count(), 4, "{ends:?}");
    assert!(ends.contains(&End::Reset), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits() {
    part("limits", support::with(|config| config.webtransport.sessions = 4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_read_stays_with_the_client() {
    part("pressure", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_goaway() {
    let Some(python) = python() else { return };
    let server = Server::start(TransportSettings::default());
    let drain = server.drain.clone();
    let counters = server.counters.clone();
    tokio::spawn(async move {
        while counters.calls.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drain.drain();
    });
    run_script(python, "webtransport.py", &server, &["goaway"]).await;
    tokio::time::timeout(Duration::from_secs(5), server.task).await.expect("serve returns").expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identifiers() {
    part("wrong_session", TransportSettings::default()).await;
    part("inside", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_waits_for_settings() {
    part("unsettled", TransportSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_offered() {
    part("off", support::with(|config| config.webtransport.sessions = 0)).await;
}

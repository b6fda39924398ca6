//! HTTP/2 below the level of libraries: Python's `h2` and frames by hand. Malformed frames are refused, and every flood
//! of frames ends with GOAWAY(ENHANCE_YOUR_CALM), if not earlier; neither creates more instances than the caps allow.
//!
//! Needs a Python with the package `h2`: `ROADRUNNER_PYTHON`, or `python3`. Without it the tests print SKIPPED.

use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use roadrunner_tests::{Ask, Server, Setup, Way, command};

/// The client's program, or none.
fn client(test: &str, server: &Server) -> Option<Command> {
    let python = std::env::var("ROADRUNNER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let packages = Command::new(&python).args(["-c", "import h2, hpack"]).output();
    if !packages.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: {test}: {python} has no h2");
        return None;
    }
    let mut run = Command::new(python);
    run.arg(command::workspace().join("tests/e2e/http2_frames.py"));
    run.args(["plain", "tls"].map(|listener| server.address(listener).port().to_string()));
    run.arg(server.certificate());
    Some(run)
}

#[tokio::test]
async fn what_no_honest_client_sends() {
    let server = Setup::of("hello").server("access-log = false").start().await;
    let Some(run) = client("what_no_honest_client_sends", &server) else { return };
    let done = command::output(run).await;
    assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("all is well"), "{}", done.stdout);
    server.is_quiet().await;
    let metrics = server.metrics().await;
    assert!(metrics.sum("roadrunner_connections_flooding_total", "") >= 10.0, "frame budgets were spent");
    assert_eq!(metrics.sum("roadrunner_panics_total", ""), 0.0);
    assert_eq!(server.fetch(Way::H2Tls, Ask::get("/")).await.status, 200);
}

/// A reset stream is gone for the client. Its instance keeps its place under the cap until it is really gone, so that
/// resets do not get a client more instances than waiting would.
#[tokio::test]
async fn resets_bring_no_more_instances_to_life() {
    const CAP: f64 = 4.0;
    let server = Setup::of("hostile")
        .server("access-log = false")
        .host_limits("instances = 4\nheld = 1\ncpu = \"10s\"\ndeadline = \"20s\"")
        .start()
        .await;
    let over = AtomicBool::new(false);
    let done = AtomicBool::new(false);
    let watching = async {
        let mut most: f64 = 0.0;
        while !done.load(SeqCst) {
            let metrics = server.metrics().await;
            most = most.max(metrics.sum("roadrunner_instances", ""));
            over.fetch_or(metrics.sum("roadrunner_instances_running", "gate=\"host\"") > CAP, SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        most
    };
    let floods = [
        "resets within the budget",
        "rapid reset",
        "made to reset by a window over 2^31",
        "made to reset by a length that is not true",
    ];
    let flooding = async {
        let run = client("resets_bring_no_more_instances_to_life", &server);
        let flooded = run.is_some();
        if let Some(mut run) = run {
            run.args(floods).env("FLOODED_PATH", "/spin");
            let result = command::output(run).await;
            assert_eq!(result.code, 0, "{}\n{}", result.stdout, result.stderr);
        }
        done.store(true, SeqCst);
        flooded
    };
    let (most, flooded) = tokio::join!(watching, flooding);
    if !flooded {
        return;
    }
    assert!(!over.load(SeqCst) && (1.0..=CAP).contains(&most), "{most} instances at once");
    // The running ones are interrupted, and everything is free again.
    server.is_quiet().await;
    assert_eq!(server.fetch(Way::H2c, Ask::get("/spin/for?ms=1")).await.status, 200);
}

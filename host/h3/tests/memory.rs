//! The memory that a hostile client can make the server hold. A separate test program, so that nothing else affects its
//! memory.

mod support;

use roadrunner_values::TransportSettings;
use support::{Server, python, run_script};

/// Resident memory of this process, in KiB. Linux only; elsewhere the test prints SKIPPED.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_flat() {
    let Some(python) = python() else { return };
    if resident().is_none() {
        eprintln!("SKIPPED: /proc/self/status does not tell the resident memory");
        return;
    }
    let server = Server::start(TransportSettings::default());
    // The cost of the first connection is not measured.
    run_script(python.clone(), "interop.py", &server, &["bodies"]).await;
    let before = resident().expect("it was there before");
    let watcher = tokio::spawn(async {
        let mut most = 0;
        loop {
            most = most.max(resident().expect("it was there before"));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            PEAK.store(most, std::sync::atomic::Ordering::SeqCst);
        }
    });
    run_script(python, "interop.py", &server, &["flood"]).await;
    watcher.abort();
    let growth = PEAK.load(std::sync::atomic::Ordering::SeqCst).saturating_sub(before);
    println!("resident before {before} KiB, growth {growth} KiB");
    assert!(growth <= 8 * 1024, "it grew by {growth} KiB");
}

static PEAK: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

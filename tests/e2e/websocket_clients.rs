//! Independent clients: Python's `websockets` over HTTP/1.1, and its `wsproto` on `h2` over HTTP/2.
//!
//! Needs a Python with these packages: `ROADRUNNER_PYTHON`, or `python3`. Without it the test prints SKIPPED.

use std::process::Command;

use roadrunner_tests::{Setup, command};

#[tokio::test]
async fn python_clients_are_served() {
    let python = std::env::var("ROADRUNNER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let packages = Command::new(&python).args(["-c", "import h2, websockets, wsproto"]).output();
    if !packages.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: python_clients_are_served: {python} has no h2, websockets and wsproto");
        return;
    }
    let server =
        Setup::of("sockets").and("[websocket]\ncompression-ratio = 100\ncompression-floor = 10_000").start().await;
    let mut run = Command::new(python);
    run.arg(command::workspace().join("tests/e2e/websocket_clients.py"));
    run.args(["plain", "tls"].map(|listener| server.address(listener).port().to_string()));
    run.arg(server.certificate());
    let done = command::output(run).await;
    assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("all is well"), "{}", done.stdout);
    server.is_quiet().await;
}

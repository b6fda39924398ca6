//! WebTransport sessions as aioquic sees them, and the server's logs and metrics of them.
//!
//! Needs a Python with aioquic: `ROADRUNNER_PYTHON`, or `python3`. Without it the tests print SKIPPED.

use std::process::{Command, Stdio};
use std::time::Duration;

use roadrunner_tests::chromium::Chromium;
use roadrunner_tests::{Server, Setup, command, within};
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::hibernation::settled;
use crate::languages::is_built;

/// Python with aioquic, if there is one. Otherwise prints that the test is skipped.
fn python(test: &str) -> Option<String> {
    let python = std::env::var("ROADRUNNER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let packages = Command::new(&python).args(["-c", "import aioquic, pylsqpack"]).output();
    if packages.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("SKIPPED: webtransport::{test}: {python} has no aioquic");
    None
}

fn script(python: &str, server: &Server, part: &str) -> Command {
    let mut command = Command::new(python);
    command.arg("-B").arg(command::workspace().join("tests/e2e/webtransport.py"));
    command.arg(server.address("tls").port().to_string()).arg(part);
    command
}

/// Runs a part of the script against a server, and checks that no session is left afterwards.
async fn run(python: &str, server: &Server, part: &str) {
    let done = command::output(script(python, server, part)).await;
    assert_eq!(done.code, 0, "{part}: {}\n{}\n{}", done.stdout, done.stderr, server.log);
    server.is_quiet().await;
}

async fn part(part: &str, setup: Setup) -> Option<Server> {
    let python = python(part)?;
    let server = setup.start().await;
    run(&python, &server, part).await;
    Some(server)
}

#[tokio::test]
async fn the_demo() {
    the_demo_of("demo").await;
}

#[tokio::test]
async fn the_demo_in_c() {
    if is_built("webtransport::the_demo_in_c", "demo-c") {
        the_demo_of("demo-c").await;
    }
}

async fn the_demo_of(guest: &str) {
    let setup = Setup::of(guest).host_limits("instances = 100\nheld = 100");
    let Some(server) = part("demo", setup).await else { return };
    let metrics = server.metrics().await;
    assert_eq!((metrics.outcome("trapped"), metrics.outcome("guest-error")), (0.0, 0.0), "{}", server.log);
}

#[tokio::test]
async fn what_a_guest_does_by_itself() {
    part("guest", Setup::of("sessions")).await;
}

#[tokio::test]
async fn what_a_guest_hears() {
    let Some(server) = part("hears", Setup::of("sessions")).await else { return };
    server.log.message("heard: Closed { code: 4711, reason: \"done\" }").await;
    server.log.message("heard: Disconnect(Closed)").await;
    server.log.message("heard: Disconnect(Reset)").await;
}

#[tokio::test]
async fn how_sessions_end() {
    let setup = Setup::of("sessions").limit("callback-cpu = \"50ms\", memory = \"16MiB\"");
    let Some(server) = part("endings", setup).await else { return };
    let metrics = server.metrics().await;
    let outcomes = ["trapped", "cpu-exceeded", "memory-exceeded", "ok"].map(|outcome| metrics.outcome(outcome));
    assert_eq!(outcomes, [2.0, 1.0, 1.0, 3.0], "{}", server.log);
}

#[tokio::test]
async fn handshakes() {
    part("handshakes", Setup::of("sessions").and("[webtransport]\norigins = [\"https://example.com\"]")).await;
}

#[tokio::test]
async fn limits() {
    let limits = "[webtransport]\nstreams = 5\ndatagram-queue = 3\nsessions = 2\nbuffered-streams = 4";
    part("limits", Setup::of("sessions").and(limits)).await;
}

#[tokio::test]
async fn held_sessions_are_counted() {
    let Some(python) = python("held") else { return };
    let server = Setup::of("sessions").limit("held = 1").start().await;
    let first = script(&python, &server, "held").stdout(Stdio::piped()).spawn().expect("it runs");
    server.has_instances(1).await;
    assert_eq!(server.instances().await[0]["shape"], "webtransport");
    let done = command::output(script(&python, &server, "held")).await;
    assert!(done.stdout.contains("expected 200, found 503"), "{done:?}");
    let id = server.instances().await[0]["id"].to_string();
    let (status, _) = server.admin_request("DELETE", &format!("/instances/{id}")).await;
    assert!((200..300).contains(&status), "{status}");
    let done = tokio::task::spawn_blocking(|| first.wait_with_output()).await.expect("no panic").expect("it is ours");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    // 1008, "the handler was stopped"
    assert!(text.contains("capsules 68431b000003f0"), "{text}");
    assert_eq!(server.metrics().await.outcome("killed"), 1.0);
    server.is_quiet().await;
}

#[tokio::test]
async fn back_pressure() {
    part("pressure", Setup::of("sessions")).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_ends_its_session() {
    let setup = Setup::of("sessions").limit("callback-cpu = \"1m\"").and("[timeouts]\nwrite-stall = \"500ms\"");
    let Some(server) = part("stall", setup).await else { return };
    assert_eq!(server.metrics().await.outcome("cancelled"), 1.0, "{}", server.log);
}

#[tokio::test]
async fn close_wait() {
    part("unread_close", Setup::of("sessions").and("[webtransport]\nclose-wait = \"300ms\"")).await;
}

#[tokio::test]
async fn idle() {
    let Some(server) = part("idle", Setup::of("sessions").limit("idle = \"1s\"")).await else { return };
    assert_eq!(server.metrics().await.outcome("idle-exceeded"), 1.0, "{}", server.log);
}

/// Datagrams that wait for a busy guest.
#[tokio::test]
async fn what_waits_counts_as_memory() {
    let setup = Setup::of("sessions").limit("memory = \"4MiB\"").and("[webtransport]\ndatagram-queue = 10000");
    let Some(server) = part("hoard", setup).await else { return };
    assert_eq!(server.metrics().await.outcome("memory-exceeded"), 1.0, "{}", server.log);
}

#[tokio::test]
async fn a_drain_tells_the_guest_and_the_client() {
    let Some(python) = python("drained") else { return };
    let mut server = Setup::of("sessions").server("drain = \"5s\"").start().await;
    let child = script(&python, &server, "drained").stdout(Stdio::piped()).spawn().expect("it runs");
    server.has_instances(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.signal(Signal::TERM);
    let done = tokio::task::spawn_blocking(|| child.wait_with_output()).await.expect("no panic").expect("it is ours");
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}\n{}", server.log);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);
}

#[tokio::test]
async fn a_session_that_ignores_the_drain_is_closed() {
    let Some(python) = python("held") else { return };
    let mut server = Setup::of("sessions").server("drain = \"1500ms\"").start().await;
    let child = script(&python, &server, "held").stdout(Stdio::piped()).spawn().expect("it runs");
    server.has_instances(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.signal(Signal::TERM);
    let done = tokio::task::spawn_blocking(|| child.wait_with_output()).await.expect("no panic").expect("it is ours");
    let text = String::from_utf8_lossy(&done.stdout);
    // DRAIN, then 1001.
    assert!(text.contains("capsules 800078ae00684317000003e9"), "{text}\n{}", server.log);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_session_at_once() {
    let Some(server) = part("leaves", Setup::of("sessions")).await else { return };
    server.log.message("heard: Disconnect(ConnectionLost)").await;
    let cancelled =
        within(Duration::from_secs(5), || async { (server.metrics().await.outcome("cancelled") == 1.0).then_some(()) });
    assert!(cancelled.await.is_some(), "{}", server.log);
}

#[tokio::test]
async fn the_access_log_says_what_went_through() {
    let Some(server) = part("many", Setup::of("sessions")).await else { return };
    let line = server.access("/echo").await;
    let found = ["shape", "protocol", "outcome"].map(|key| line[key].as_str().unwrap_or_default().to_owned());
    assert_eq!(found, ["webtransport", "http3", "ok"], "{line}");
    // 3 x (5 bytes on a stream and 3 in a datagram), each datagram there and back.
    assert_eq!((&line["bytes"], &line["streams"], &line["datagrams"]), (&24.into(), &3.into(), &6.into()), "{line}");
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let Some(python) = python("off") else { return };
    let server = Setup::of("sessions").and("[webtransport]\nsessions = 0").start().await;
    let done = command::output(script(&python, &server, "idle")).await;
    // The rest is a CONNECT for a protocol that is not served (RFC 9220, 3).
    assert!(done.stdout.contains("expected 200, found 501"), "{done:?}");
    server.is_quiet().await;
}

/// A part of the script that waits between its steps.
struct Steps {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    said: String,
}

impl Steps {
    /// Starts the part, and waits until it is done with its first step.
    async fn start(python: &str, server: &Server, part: &str) -> Self {
        let mut command = tokio::process::Command::from(script(python, server, part));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it runs");
        let stdin = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut steps = Self { child, stdin, lines, said: String::new() };
        assert!(steps.is_at_step().await, "{part} has no step: {}\n{}", steps.said, server.log);
        steps
    }

    /// Lets the script go on. Returns whether it waits again, after one more step.
    async fn next(&mut self) -> bool {
        self.go_on().await;
        self.is_at_step().await
    }

    /// Lets the script go on to its end, and returns the lines that it has said.
    async fn finish(mut self, server: &Server) -> String {
        while self.next().await {}
        let status = self.child.wait().await.expect("it is ours");
        assert!(status.success(), "{}\n{}", self.said, server.log);
        self.said
    }

    async fn go_on(&mut self) {
        // A script that has ended has no use for it.
        let _ = self.stdin.write_all(b"\n").await;
    }

    async fn is_at_step(&mut self) -> bool {
        let lines = async {
            while let Some(line) = self.lines.next_line().await.expect("text") {
                self.said += &format!("{line}\n");
                if line.starts_with("step ") {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(Duration::from_secs(60), lines).await.expect("the script goes on")
    }
}

/// The limit that lets sessions hibernate soon.
const HIBERNATE: &str = "hibernate = \"50ms\"";

#[tokio::test]
async fn a_session_that_hibernates_keeps_its_state_and_its_streams() {
    let Some(python) = python("a_session_that_hibernates_keeps_its_state_and_its_streams") else { return };
    let server = Setup::of("sessions").limit(HIBERNATE).start().await;
    let mut steps = Steps::start(&python, &server, "hibernates").await;
    settled(&server, 1, 0).await;
    let instance = &server.instances().await[0];
    assert_eq!((&instance["hibernating"], &instance["shape"]), (&true.into(), &"webtransport".into()));
    while steps.next().await {
        settled(&server, 1, 0).await;
    }
    steps.finish(&server).await;
    server.log.message("closed: 4711 done after 9").await;
    server.log.message("disconnect: Closed after 9").await;
    server.is_quiet().await;
    let line = server.access("/count/from-client?n=100").await;
    assert_eq!((&line["shape"], &line["outcome"]), (&"webtransport".into(), &"ok".into()), "{line}");
    assert_eq!(server.metrics().await.sample("roadrunner_bus_subscriptions"), 0.0);
}

#[tokio::test]
async fn a_session_in_c_hibernates() {
    let Some(python) = python("a_session_in_c_hibernates") else { return };
    if !is_built("webtransport::a_session_in_c_hibernates", "demo-c") {
        return;
    }
    let server = Setup::of("demo-c").limit(HIBERNATE).start().await;
    let mut steps = Steps::start(&python, &server, "counts").await;
    settled(&server, 1, 0).await;
    while steps.next().await {
        settled(&server, 1, 0).await;
    }
    steps.finish(&server).await;
    server.is_quiet().await;
}

#[tokio::test]
async fn sessions_that_cannot_hibernate_stay_held() {
    let Some(python) = python("sessions_that_cannot_hibernate_stay_held") else { return };
    let server = Setup::of("sessions").limit("hibernate = \"50ms\", hibernate-bytes = 1000").start().await;
    let mut steps = Steps::start(&python, &server, "stays").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    settled(&server, 0, 3).await;
    server.log.message("the session cannot hibernate: it refuses").await;
    assert!(steps.next().await, "{}\n{}", steps.said, server.log);
    // With less state one can.
    assert!(steps.next().await, "{}\n{}", steps.said, server.log);
    settled(&server, 1, 2).await;
    steps.finish(&server).await;
    server.is_quiet().await;
}

#[tokio::test]
async fn a_trap_on_the_way_out_or_in_ends_the_session() {
    let Some(python) = python("a_trap_on_the_way_out_or_in_ends_the_session") else { return };
    let server = Setup::of("sessions").limit(HIBERNATE).start().await;
    let steps = Steps::start(&python, &server, "brittle").await;
    settled(&server, 1, 0).await;
    steps.finish(&server).await;
    server.is_quiet().await;
    assert_eq!(server.metrics().await.outcome("trapped"), 2.0, "{}", server.log);
}

#[tokio::test]
async fn without_a_place_a_session_that_wakes_is_told_to_try_again() {
    let Some(python) = python("without_a_place_a_session_that_wakes_is_told_to_try_again") else { return };
    let server = Setup::of("sessions").limit(HIBERNATE).host_limits("held = 1").start().await;
    let steps = Steps::start(&python, &server, "crowded").await;
    settled(&server, 1, 0).await;
    steps.finish(&server).await;
    assert_eq!(server.metrics().await.outcome("held-exceeded"), 1.0, "{}", server.log);
}

#[tokio::test]
async fn a_session_that_hibernates_is_drained_killed_and_timed_like_any_other() {
    let Some(python) = python("a_session_that_hibernates_is_drained_killed_and_timed_like_any_other") else { return };
    let mut server = Setup::of("sessions").limit(HIBERNATE).start().await;
    let killed = Steps::start(&python, &server, "asleep").await;
    settled(&server, 1, 0).await;
    let id = server.instances().await[0]["id"].to_string();
    assert_eq!(server.admin_request("DELETE", &format!("/instances/{id}")).await.0, 204);
    let said = killed.finish(&server).await;
    assert!(said.contains("closed 1008 the handler was stopped"), "{said}");
    settled(&server, 0, 0).await;

    let drained = Steps::start(&python, &server, "asleep").await;
    settled(&server, 1, 0).await;
    server.signal(Signal::TERM);
    let said = drained.finish(&server).await;
    assert!(said.contains("closed 7 drained"), "{said}");
    assert!(server.exit().await.success(), "{}", server.log);

    let server = Setup::of("sessions").limit("hibernate = \"50ms\", idle = \"1s\"").start().await;
    let idle = Steps::start(&python, &server, "asleep").await;
    settled(&server, 1, 0).await;
    let said = idle.finish(&server).await;
    assert!(said.contains("closed 1001 the session was idle for too long"), "{said}");
    server.is_quiet().await;
    assert_eq!(server.metrics().await.outcome("idle-exceeded"), 1.0, "{}", server.log);
}

/// A stock browser: a page trusts the certificate by its hash, which requires ECDSA and less than 14 days of validity.
#[tokio::test]
async fn chromium() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let now = time::OffsetDateTime::now_utc();
    (parameters.not_before, parameters.not_after) = (now - time::Duration::DAY, now + time::Duration::DAY * 10);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let hash = Sha256::digest(certificate.der());
    let server = Setup::of("demo")
        .and(
            "[[listener]]\nname = \"short\"\naddress = \"127.0.0.1:0\"\nprotocols = [\"http2\", \"http3\"]\n\
             tls = { certificate = \"short.pem\", key = \"short-key.pem\" }",
        )
        .file("short.pem", certificate.pem())
        .private_file("short-key.pem", key.serialize_pem())
        .start()
        .await;
    let Some(mut browser) = Chromium::start_stock("webtransport::chromium") else { return };
    // Any page of a secure origin.
    let page = browser.open(&format!("https://localhost:{}/hello", server.address("tls").port())).await;
    browser.until(&page, "document.readyState === 'complete' && isSecureContext").await;
    let options = format!(
        "{{ serverCertificateHashes: [{{ algorithm: 'sha-256', value: new Uint8Array({:?}) }}] }}",
        hash.to_vec()
    );
    let url = format!("https://localhost:{}/wt", server.address("short").port());
    let script = include_str!("webtransport.js").replace("{url}", &url).replace("{options}", &options);
    let heard = browser.evaluate(&page, &script).await;
    assert_eq!(
        heard, "bidirectional, 200000 bytes, unidirectional, datagram, second session, closed",
        "{}",
        server.log
    );
    let line = server.access("/wt").await;
    let found = ["protocol", "shape", "outcome"].map(|key| line[key].as_str().unwrap_or_default().to_owned());
    assert_eq!(found, ["http3", "webtransport", "ok"], "{line}");
    // The server's message when it ends a session.
    let refused = format!(
        "(async () => {{ const session = new WebTransport('{url}/nothing', {options}); \
         try {{ await session.ready; return 'open'; }} catch (error) {{ return error.name; }} }})()"
    );
    assert_eq!(browser.evaluate(&page, &refused).await, "WebTransportError");
    drop(browser);
    server.is_quiet().await;
}

//! One tenant attacks, within its quotas; another one sits beside it and must not feel it.
//!
//! Each attack runs for some seconds here, and for a minute in `cargo xtask soak`, which writes what the victim felt and
//! what the attack took into a file of results; the table in docs/security.md is made from it. An attack names nothing
//! that an older host would not know, so that the same run can measure that one beside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use roadrunner_tests::victim::{self, Latencies};
use roadrunner_tests::{Server, Setup};
use serde_json::{Value, json};

mod bodies;
mod compression;
mod log;

/// How long an attack lasts in the suite, and how long the victim is alone before.
const SHORT: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(2));

/// The same in `cargo xtask soak`.
const LONG: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(10));

/// How often an attack may be repeated in the suite: the machine may do something else for a moment.
const TRIES: usize = 4;

/// How often the host's memory is looked at.
const SAMPLE: Duration = Duration::from_millis(50);

/// One way to hurt a neighbour.
pub struct Attack {
    /// As in the table of docs/security.md.
    name: &'static str,
    /// Keys of the attacker's quota.
    quota: &'static str,
    /// Keys of the attacker's route.
    route: &'static str,
    /// More sections, with what the attacker's component and route need.
    sections: &'static str,
    /// Attacks until it is told to stop.
    run: fn(Target) -> tokio::task::JoinHandle<()>,
    /// Where the host's log goes while it is attacked.
    log: Reader,
}

/// Who reads the host's log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reader {
    Reads,
    Stalls,
}

/// The host, as an attacker sees it.
#[derive(Clone)]
pub struct Target {
    /// The plain listener.
    pub address: std::net::SocketAddr,
    over: Arc<AtomicBool>,
}

impl Target {
    /// Whether to attack on.
    pub fn goes_on(&self) -> bool {
        !self.over.load(Relaxed)
    }
}

const ALL: [&Attack; 4] = [&log::GIANT_NAMES, &log::STALLED_READER, &bodies::UNREAD, &compression::BROTLI];

/// What an attack came to.
struct Seen {
    quiet: Latencies,
    loaded: Latencies,
    /// Bytes by which the host's resident memory grew, at most.
    memory: u64,
    /// CPU time that the process used, and how much of it was charged to the attacker, in seconds.
    cpu: (f64, f64),
    /// Bytes that the host wrote to its log.
    log: usize,
}

impl Seen {
    fn is_harmless(&self) -> bool {
        self.loaded.are_within(&self.quiet)
    }

    fn to_json(&self, name: &str) -> Value {
        json!({
            "attack": name,
            "quiet": self.quiet.to_json(),
            "loaded": self.loaded.to_json(),
            "memory_bytes": self.memory,
            "cpu_seconds": self.cpu.0,
            "cpu_charged_seconds": self.cpu.1,
            "log_bytes": self.log,
        })
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { quiet, loaded, memory, cpu: (used, charged), log } = self;
        let mib = memory >> 20;
        write!(
            f,
            "quiet {quiet}; attacked {loaded}; {mib} MiB more, {used:.1} s of CPU, {charged:.1} s charged, \
             {log} bytes of log"
        )
    }
}

impl Attack {
    async fn start(&self) -> Server {
        let Self { quota, route, sections, .. } = self;
        Setup::with(&format!(
            "[tenant.hostile]\nhosts = [\"hostile\"]\nquota = {{ {quota} }}\n\
             [tenant.normal]\nhosts = [\"normal\"]\n\
             [component.hostile]\nfile = \"{{guests}}/hostile.wasm\"\ntenant = \"hostile\"\n\
             [component.normal]\nfile = \"{{guests}}/answers.wasm\"\ntenant = \"normal\"\n\
             {sections}\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"hostile\"\n{route}\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"normal\"\n"
        ))
        .host_limits("")
        .alone()
        .start()
        .await
    }

    async fn measure(&self, server: &Server, (time, quiet): (Duration, Duration)) -> Seen {
        let address = server.address("plain");
        let quiet = victim::ask(address, quiet).await;
        if self.log == Reader::Stalls {
            server.log.stall();
        }
        let before = (server.resident(), cpu_of(server), charged(server).await, server.log.text().len());
        let target = Target { address, over: Arc::default() };
        let attacker = (self.run)(target.clone());
        let over = target.over.clone();
        let process = server.id();
        let peak = tokio::spawn(async move {
            let mut peak = 0;
            while !over.load(Relaxed) {
                peak = peak.max(roadrunner_tests::server::resident(process));
                tokio::time::sleep(SAMPLE).await;
            }
            peak
        });
        let loaded = victim::ask(address, time).await;
        target.over.store(true, Relaxed);
        let peak = peak.await.expect("it does not panic");
        attacker.abort();
        server.log.read_on();
        Seen {
            quiet,
            loaded,
            memory: peak.saturating_sub(before.0),
            cpu: (cpu_of(server) - before.1, charged(server).await - before.2),
            log: server.log.text().len() - before.3,
        }
    }

    /// The short one: the victim does not feel it.
    async fn is_harmless(&self) {
        let server = self.start().await;
        let mut seen = Vec::new();
        for _ in 0..TRIES {
            let one = self.measure(&server, SHORT).await;
            println!("{}: {one}", self.name);
            if one.is_harmless() {
                return;
            }
            seen.push(one.to_string());
        }
        panic!("the victim felt it, {TRIES} times: {}", seen.join("\n"));
    }
}

/// Seconds of CPU time that the process has used.
fn cpu_of(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).expect("the server runs");
    // Behind the name, which may have blanks: user and system time are fields 14 and 15, in hundredths.
    let (_, fields) = stat.rsplit_once(')').expect("Linux says it");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().expect("a number");
    (ticks(14) + ticks(15)) / 100.0
}

async fn charged(server: &Server) -> f64 {
    server.metrics().await.sum("roadrunner_tenant_cpu_seconds_total", "hostile")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giant_field_names_in_the_log_are_not_felt() {
    log::GIANT_NAMES.is_harmless().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_is_not_felt() {
    log::STALLED_READER.is_harmless().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_nobody_reads_are_not_felt() {
    bodies::UNREAD.is_harmless().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_is_not_felt() {
    compression::BROTLI.is_harmless().await;
}

/// Writes a row for each attack into the file that `ROADRUNNER_ATTACKS` names. An older host may be felt:
/// `ROADRUNNER_ATTACKS_FELT`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes a minute for each attack"]
async fn none_is_felt_for_a_minute() {
    let mut rows = Vec::new();
    let mut felt = Vec::new();
    for attack in ALL {
        let server = attack.start().await;
        let seen = attack.measure(&server, LONG).await;
        println!("{}: {seen}", attack.name);
        rows.push(seen.to_json(attack.name));
        if !seen.is_harmless() {
            felt.push(attack.name);
        }
    }
    if let Some(path) = std::env::var_os("ROADRUNNER_ATTACKS") {
        let text = serde_json::to_string_pretty(&rows).expect("it is JSON");
        std::fs::write(&path, text + "\n").expect("the file of results can be written");
    }
    if std::env::var_os("ROADRUNNER_ATTACKS_FELT").is_none() {
        assert!(felt.is_empty(), "the victim felt {felt:?}");
    }
}

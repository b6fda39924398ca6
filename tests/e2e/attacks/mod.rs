//! One tenant attacks, within its quotas; a neighbour must not notice.
//!
//! Each attack runs for some seconds here, and for a minute in `cargo xtask soak`. An attack uses only features that an
//! older host knows, so that the same run can measure that host: with its program in `ROADRUNNER_BIN`, and
//! `ROADRUNNER_ATTACKS_OLDER`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use roadrunner_tests::dns::{Dns, Entry};
use roadrunner_tests::victim::{self, Latencies};
use roadrunner_tests::{Ask, Client, Server, Setup, Way};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use serde_json::{Value, json};
use tokio::runtime::{self, Runtime};
use tokio::task::JoinHandle;

use super::pools::{MEMORY, with_instances};

mod bodies;
mod compression;
mod log;
mod names;
mod pools;

/// How long an attack lasts in the suite, and how long the victim is alone before it.
const SHORT: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(2));

/// The same times in `cargo xtask soak`.
const LONG: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(10));

/// How often an attack may be repeated in the suite, since other work may disturb the machine for a moment.
const TRIES: usize = 4;

/// The allowed multiple of the floors for the victim's times in the suite, whose machine has other work.
const SLACK: u32 = 3;

/// The priority of the attackers' clients, the lowest. Attackers have machines of their own, but here their clients run
/// beside the host; and what the victim feels of them must be the host's part, not theirs.
const NICENESS: i32 = 19;

/// How often the host's memory is measured.
const SAMPLE: Duration = Duration::from_millis(50);

/// One way to hurt a neighbour.
pub struct Attack {
    /// The name of the attack.
    name: &'static str,
    /// The keys of the attacker's quota.
    quota: &'static str,
    /// The attacker's component.
    guest: &'static str,
    /// The number of memories that are added to it.
    memories: usize,
    /// The victim's component, and the path that it requests.
    victim: &'static str,
    path: fn(&Surroundings) -> String,
    /// The keys of both components.
    keys: fn(&Surroundings) -> String,
    /// The keys of the attacker's route.
    route: &'static str,
    /// Further sections that components and route need.
    sections: fn(&Surroundings) -> String,
    /// Attacks until it is told to stop.
    run: fn(Target) -> JoinHandle<()>,
    /// The reader of the host's log during the attack.
    log: Reader,
    /// Whether older hosts accept its manifest.
    runs_on_older: bool,
}

/// The reader of the host's log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reader {
    Reads,
    Stalls,
}

/// The servers that hosts may contact: a DNS server that answers for `good.test` and is silent on names below
/// `silent.test`, and an HTTP server at the address of that name.
pub struct Surroundings {
    dns: Dns,
    upstream: SocketAddr,
    serving: JoinHandle<()>,
}

impl Surroundings {
    async fn start() -> Self {
        let dns = Dns::start().await;
        dns.says("good.test", &["127.0.0.1"]);
        dns.knows(".silent.test", Entry::Silence);
        let (port, serving) = super::names::upstream().await;
        Self { dns, upstream: SocketAddr::from(([127, 0, 0, 1], port)), serving }
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The host, from an attacker's view.
#[derive(Clone)]
pub struct Target {
    /// The plain listener.
    pub address: SocketAddr,
    /// The server that its guests can contact.
    pub upstream: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Target {
    /// Requests a path of the attacker's component.
    pub async fn get_of_new_connection(&self, path: &str) {
        let mut client = Client::connect(self.address, Way::H1).await;
        client.fetch(Ask::get(path).host("hostile").header("accept-encoding", "br")).await;
    }

    /// Whether the attack continues.
    pub fn goes_on(&self) -> bool {
        !self.over.load(Relaxed)
    }
}

const ALL: [&Attack; 6] =
    [&pools::MEMORIES, &log::GIANT_NAMES, &bodies::UNREAD, &compression::BROTLI, &names::SILENT, &log::STALLED_READER];

/// The measurements of an attack.
struct Seen {
    quiet: Latencies,
    loaded: Latencies,
    /// The largest growth of the host's resident memory, in bytes.
    memory: u64,
    /// The CPU time that the process used, and the part that was charged to the attacker, in seconds.
    cpu: (f64, f64),
    /// The bytes that the host wrote to its log.
    log: usize,
}

impl Seen {
    fn is_harmless(&self, floors: u32) -> bool {
        self.loaded.are_within(&self.quiet, floors)
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
    /// The defaults of an attack.
    const NONE: Self = Self {
        name: "",
        quota: "",
        guest: "hostile",
        memories: 0,
        victim: "answers",
        path: |_| "/counter".to_owned(),
        keys: |_| String::new(),
        route: "",
        sections: |_| String::new(),
        run: |_| tokio::spawn(async {}),
        log: Reader::Reads,
        runs_on_older: true,
    };

    async fn start(&self, around: &Surroundings) -> Server {
        let Self { quota, route, victim, .. } = self;
        let (keys, sections) = ((self.keys)(around), (self.sections)(around));
        Setup::with(&format!(
            "[tenant.hostile]\nhosts = [\"hostile\"]\nquota = {{ {quota} }}\n\
             [tenant.normal]\nhosts = [\"normal\"]\n\
             [component.hostile]\nfile = \"hostile.wasm\"\ntenant = \"hostile\"\n{keys}\n\
             [component.normal]\nfile = \"{{guests}}/{victim}.wasm\"\ntenant = \"normal\"\n{keys}\n\
             {sections}\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"hostile\"\n{route}\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"normal\"\n"
        ))
        .file("hostile.wasm", with_instances(self.guest, MEMORY, self.memories))
        .host_limits("")
        .alone()
        .start()
        .await
    }

    async fn measure(&self, server: &Server, around: &Surroundings, (time, quiet): (Duration, Duration)) -> Seen {
        let (address, path) = (server.address("plain"), (self.path)(around));
        let quiet = victim::ask(address, &path, quiet).await;
        if self.log == Reader::Stalls {
            server.log.pause(true);
        }
        let before = (server.resident(), cpu_of(server), charged(server).await, server.log.text().len());
        let target = Target { address, upstream: around.upstream, over: Arc::default() };
        let attackers = attackers();
        let attacker = {
            let _spawns_there = attackers.enter();
            (self.run)(target.clone())
        };
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
        let loaded = victim::ask(address, &path, time).await;
        target.over.store(true, Relaxed);
        let peak = peak.await.expect("it does not panic");
        attacker.abort();
        attackers.shutdown_background();
        server.log.pause(false);
        Seen {
            quiet,
            loaded,
            memory: peak.saturating_sub(before.0),
            cpu: (cpu_of(server) - before.1, charged(server).await - before.2),
            log: server.log.text().len() - before.3,
        }
    }

    /// Runs the short attack: the victim does not notice it.
    async fn is_harmless(&self) {
        let around = Surroundings::start().await;
        let server = self.start(&around).await;
        let mut seen = Vec::new();
        for _ in 0..TRIES {
            let one = self.measure(&server, &around, SHORT).await;
            println!("{}: {one}", self.name);
            if one.is_harmless(SLACK) {
                return;
            }
            seen.push(one.to_string());
        }
        panic!("the victim felt it, {TRIES} times: {}", seen.join("\n"));
    }
}

/// The threads of the attackers' clients.
fn attackers() -> Runtime {
    let lowers = || {
        // To lower the priority of an own thread is always allowed.
        setpriority_process(Some(gettid()), NICENESS).expect("the priority of a thread can be lowered");
    };
    runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(lowers)
        .enable_all()
        .build()
        .expect("threads can be started")
}

/// The CPU time that the process has used, in seconds.
fn cpu_of(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).expect("the server runs");
    // After the name, which may contain blanks: user and system time are fields 14 and 15, in hundredths.
    let (_, fields) = stat.rsplit_once(')').expect("Linux says it");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().expect("a number");
    (ticks(14) + ticks(15)) / 100.0
}

async fn charged(server: &Server) -> f64 {
    server.metrics().await.sum("roadrunner_tenant_cpu_seconds_total", "hostile")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_memories_are_not_felt() {
    pools::MEMORIES.is_harmless().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_nobody_answers_for_are_not_felt() {
    names::SILENT.is_harmless().await;
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

/// With `ROADRUNNER_ATTACKS`, measures and does not judge: it writes a row for each attack into that file. With
/// `ROADRUNNER_ATTACKS_OLDER`, it leaves out attacks whose manifests older hosts refuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes a minute for each attack"]
async fn none_is_felt_for_a_minute() {
    let mut rows = Vec::new();
    let mut felt = Vec::new();
    let is_older = std::env::var_os("ROADRUNNER_ATTACKS_OLDER").is_some();
    for attack in ALL.into_iter().filter(|attack| attack.runs_on_older || !is_older) {
        let around = Surroundings::start().await;
        let server = attack.start(&around).await;
        let seen = attack.measure(&server, &around, LONG).await;
        println!("{}: {seen}", attack.name);
        rows.push(seen.to_json(attack.name));
        if !seen.is_harmless(1) {
            felt.push(attack.name);
        }
    }
    let Some(path) = std::env::var_os("ROADRUNNER_ATTACKS") else {
        assert!(felt.is_empty(), "the victim felt {felt:?}");
        return;
    };
    let text = serde_json::to_string_pretty(&rows).expect("it is JSON");
    std::fs::write(&path, text + "\n").expect("the file of results can be written");
}

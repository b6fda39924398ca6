//! `cargo xtask bench --resources`: the memory of one connection, session, instance, route and component; the time of a
//! start; the size of the program.

use std::fmt::Write as _;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Bench;
use super::client;
use super::contenders::{self, Contender, FRESH};
use super::load::Load;
use super::manifest::{self, MANY, Written};
use super::results::{Files, Machine};
use super::scenarios::Protocol;
use super::single::file_manifest;
use super::statistics::median;
use crate::toolchain::say;
use crate::tree::{Profile, Tree, quoted};

/// The results of the last run.
pub const FILES: Files = Files { results: "bench/results/resources.json", page: "docs/performance.md" };

/// How long a server may settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);

/// The number of starts of each kind.
const STARTS: usize = 25;

/// The limits of a start that reserves few slots.
const FEW: &str = "held = 8\ninstances = 8";

/// A run.
#[derive(Debug, Deserialize, Serialize)]
pub struct Resources {
    /// The machine of the run.
    pub machine: Machine,
    /// The memory of things.
    pub rows: Vec<Row>,
    /// Starts.
    pub start: Option<Start>,
    /// Bytes of the program.
    pub program_bytes: Option<u64>,
}

/// The memory of one kind of thing.
#[derive(Debug, Deserialize, Serialize)]
pub struct Row {
    /// What it is one of.
    pub name: String,
    /// The server that holds it.
    pub server: String,
    /// How many there were.
    pub count: u64,
    /// Resident memory for each.
    pub kib_each: f64,
    /// Resident memory without them.
    pub before_mib: f64,
    /// Resident memory with them.
    pub during_mib: f64,
    /// Two seconds after the last one was gone, where they go.
    pub after_mib: Option<f64>,
    /// The server's CPU usage while they are idle, as a percentage of one processor.
    pub idle_cpu_percent: Option<f64>,
}

/// Starts of the program; medians of several.
#[derive(Debug, Deserialize, Serialize)]
pub struct Start {
    /// From the start of the program to its first answer, by a component whose code is cached.
    pub start_ms: f64,
    /// The component's part of it: loading it from the cache, and its first instance and answer. The median of
    /// differences between neighbouring starts with and without a component, both with few instance slots, since
    /// reserving many takes longer than the measured part.
    pub component_ms: f64,
    /// The answer after the first, on a new connection.
    pub next_ms: f64,
}

/// Things that connections hold: name, scenario, protocol, number.
const HELD: [(&str, &str, Protocol, u64); 6] = [
    ("connection, h1", "hello", Protocol::H1, 7_500),
    ("connection, h2 over TLS", "hello", Protocol::H2, 2_000),
    ("connection, h3", "hello", Protocol::H3, 2_000),
    (IDLE_LOOP, "idle", Protocol::H1, 7_500),
    ("WebSocket, h1, with its connection", "websocket_msg_throughput", Protocol::H1, 7_500),
    ("event loop that hibernates, h1, with its connection", "hibernated", Protocol::H1, 7_500),
];

/// The name of a row that has a target.
pub const IDLE_LOOP: &str = "event loop, h1, with its connection";

/// Measures, and keeps the results of a whole run.
///
/// # Errors
/// A server does not start, or does not hold what it should.
pub fn run(bench: &Bench<'_>) -> Result<Resources> {
    let mut rows = Vec::new();
    for (name, scenario, protocol, count) in HELD {
        let count = if bench.quick { count / 10 } else { count };
        say(&format!("{count} times: {name}"));
        if scenario != "hibernated" {
            rows.push(held(bench, &contenders::native(bench, "held")?, name, scenario, protocol, count)?);
        }
        let own = if scenario == "hibernated" {
            let manifest = manifest::write(bench, "hibernated", MANY, &hibernating(bench)?)?;
            Contender::with_manifest(bench, FRESH, "held", &bench.tree.server(Profile::Release), &manifest)?
        } else {
            contenders::roadrunner(bench, "held", FRESH, &bench.workload(), "")?
        };
        rows.push(held(bench, &own, name, scenario, protocol, count)?);
    }
    let (routes, components) = if bench.quick { (1_000, 20) } else { (10_000, 200) };
    rows.push(route(bench, routes)?);
    rows.push(component(bench, components)?);
    let program = bench.tree.server(Profile::Release);
    let bytes = fs::metadata(&program).with_context(|| format!("there is no {}", program.display()))?.len();
    Ok(Resources { machine: bench.machine(), rows, start: Some(start(bench)?), program_bytes: Some(bytes) })
}

/// The results of the last whole run.
///
/// # Errors
/// The file is not understood.
pub fn read(tree: &Tree) -> Result<Option<Resources>> {
    FILES.read_if_kept(tree)
}

/// The native server holds the same connections without instances, so the difference is the instance.
fn held(
    bench: &Bench<'_>,
    server: &Contender,
    name: &str,
    scenario: &'static str,
    protocol: Protocol,
    count: u64,
) -> Result<Row> {
    let address = server.address(protocol).context("the server lacks the protocol")?;
    let load = Load::closed(scenario, protocol, 0);
    // One first, for one-time allocations.
    drop(load.hold(bench, address, 1)?);
    sleep(SETTLE / 4);
    let process = server.process()?;
    let before = process.memory()?.resident;
    let holder = load.hold(bench, address, count)?;
    sleep(SETTLE);
    let cpu = process.cpu()?;
    let during = process.memory()?.resident;
    sleep(SETTLE / 2);
    let idle_cpu = (process.cpu()? - cpu) / (SETTLE / 2).as_secs_f64();
    drop(holder);
    sleep(SETTLE);
    let after = process.memory()?.resident;
    Ok(Row {
        name: name.to_owned(),
        server: server.name.clone(),
        count,
        kib_each: during.saturating_sub(before) as f64 / count as f64,
        before_mib: mib(before),
        during_mib: mib(during),
        after_mib: Some(mib(after)),
        idle_cpu_percent: Some(idle_cpu * 100.0),
    })
}

/// A session that hibernates after a tenth of a second.
fn hibernating(bench: &Bench<'_>) -> Result<String> {
    Ok(format!(
        "[component.loops]\nfile = {}\nlimits = {{ hibernate = \"100ms\" }}\n\n\
         [component.workload]\nfile = {}\n\n\
         [[route]]\npath = \"/\"\ncomponent = \"workload\"\n\n\
         [[route]]\npath = \"/tally/*topic\"\ncomponent = \"loops\"\n",
        quoted(&bench.loops())?,
        quoted(&bench.workload())?
    ))
}

fn route(bench: &Bench<'_>, count: u64) -> Result<Row> {
    say(&format!("{count} routes"));
    let manifest = |count: u64| -> Result<Written> {
        let mut text = format!("[component.workload]\nfile = {}\n", quoted(&bench.workload())?);
        text.push_str("\n[[route]]\npath = \"/\"\ncomponent = \"workload\"\n");
        for number in 1..=count {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[[route]]\npath = \"/c/{number}\"\ncomponent = \"workload\"\n");
        }
        manifest::write(bench, "routes", MANY, &text)
    };
    difference(bench, "route", count, &manifest(0)?, &manifest(count)?)
}

fn component(bench: &Bench<'_>, count: u64) -> Result<Row> {
    say(&format!("{count} components"));
    let first = super::scale::components(bench, 1)?;
    let all = super::scale::components(bench, count + 1)?;
    difference(bench, "component, each called once", count, &first, &all)
}

/// The difference between two hosts, each after one request to each of its routes.
fn difference(bench: &Bench<'_>, name: &str, count: u64, without: &Written, with: &Written) -> Result<Row> {
    let resident = |written: &Written| -> Result<u64> {
        let server = Contender::with_manifest(bench, FRESH, "routes", &bench.tree.server(Profile::Release), written)?;
        let text = fs::read_to_string(&written.path)?;
        for number in 1..=text.matches("\"/c/").count() {
            client::get(server.http1()?, &format!("/c/{number}"))?;
        }
        sleep(SETTLE);
        Ok(server.process()?.memory()?.resident)
    };
    let (before, during) = (resident(without)?, resident(with)?);
    Ok(Row {
        name: name.to_owned(),
        server: FRESH.to_owned(),
        count,
        kib_each: during.saturating_sub(before) as f64 / count as f64,
        before_mib: mib(before),
        during_mib: mib(during),
        after_mib: None,
        idle_cpu_percent: None,
    })
}

/// Measures the time from the start of the program to its first answer, with the component's code in the cache, and the
/// same for a route that needs no component: the difference is the component's cost.
fn start(bench: &Bench<'_>) -> Result<Start> {
    let count = if bench.quick { 3 } else { STARTS };
    say(&format!("starting {} times", 3 * count));
    let text = format!(
        "[component.workload]\nfile = {}\n\n[[route]]\npath = \"/\"\ncomponent = \"workload\"\n",
        quoted(&bench.workload())?
    );
    let few = || manifest::write(bench, "few", FEW, &text);
    // The first start compiles it.
    answers(bench, &few()?)?;
    let (mut starts, mut differences, mut next) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let own = answers(bench, &few()?)?;
        differences.push(own[0] - answers(bench, &file_manifest(bench)?)?[0]);
        next.push(own[1]);
        starts.push(answers(bench, &manifest::write(bench, "many", MANY, &text)?)?[0]);
    }
    Ok(Start { start_ms: median(starts), component_ms: median(differences), next_ms: median(next) })
}

/// Milliseconds to the first answer of a program, and to the next answer.
fn answers(bench: &Bench<'_>, manifest: &Written) -> Result<[f64; 2]> {
    let program = bench.tree.server(Profile::Release);
    let started = Instant::now();
    let server = Contender::started(bench, "start", "start", &program, manifest)?;
    let first = started.elapsed();
    let again = Instant::now();
    client::get(server.http1()?, "/")?;
    Ok([first.as_secs_f64() * 1e3, again.elapsed().as_secs_f64() * 1e3])
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

//! `cargo xtask bench`: the cost of an instance per request, compared with native hyper and with other hosts.
//!
//! | option | what is measured | committed results |
//! |---|---|---|
//! | none | every scenario (bench/tools/src/scenarios.rs) in a closed loop; large bodies | bench/results/latest.json |
//! | `--open-loop` | latencies at fixed rates | bench/results/open-loop.json |
//! | `--resources` | memory of one connection, session, route and so on; starts | bench/results/resources.json |
//! | `--scale` | more components, more connections | bench/results/scale.json |
//! | `--instructions` | instructions of one request, with a baseline | bench/results/instructions.json, with `--bless` |
//! | `--instructions --against REV` | the same, with another revision as the baseline | none |
//! | `--against REV` | the rates of the working tree beside another revision's | none |
//!
//! All servers of a scenario run at the same time, and the load visits them in short turns, so that a machine that slows
//! down affects all of them. The result is the median over rounds of the ratio within a round. Everything runs on
//! loopback, and is bounded in time and count.
//!
//! A whole run writes its results, and docs/performance.md and docs/comparison.md from all results. A run that leaves
//! something out (`--quick`, `--only`, `--server`) writes below `target/bench` and changes no committed file.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::toolchain::{self, cargo, run as run_command, say};
use crate::tree::{GUEST_TARGET, Profile, Tree};

mod against;
mod client;
mod comparison;
mod contenders;
mod instructions;
mod load;
mod manifest;
mod open_loop;
mod page;
mod plot;
pub mod process;
mod resources;
pub mod results;
mod rounds;
mod scale;
#[path = "../../../bench/tools/src/scenarios.rs"]
mod scenarios;
mod single;
mod statistics;

use contenders::Foreign;
use load::Load;
use results::{Files, Machine, Plan, Results};
use scenarios::{Protocol, SCENARIOS};

pub use statistics::median;

/// The descriptors that held connections need, on either side.
const DESCRIPTORS: u64 = 40_000;

/// The rounds of a comparison of two revisions, which looks for smaller differences.
const AGAINST_ROUNDS: u32 = 21;

/// The rounds at each fixed rate.
const OPEN_ROUNDS: u32 = 3;

/// The value of `--only` for large bodies.
const BODIES: &str = "bodies";

/// The options of a run.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("mode"))]
pub struct Options {
    /// One short round and fewer of everything: shows that the harness works, not how fast anything is
    #[arg(long)]
    quick: bool,
    /// Measure only this scenario, or `bodies`
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Measure only this server; can be repeated
    #[arg(long, value_name = "NAME")]
    server: Vec<String>,
    /// Measure a running server, too: `http://ADDRESS` for HTTP/1.1, `https://` for HTTP/2, `h3://` for HTTP/3
    #[arg(long, value_name = "NAME=URL")]
    contender: Vec<Foreign>,
    /// Write the pages from the committed results, without measurements
    #[arg(long, group = "mode")]
    render: bool,
    /// Measure latencies at 50, 75, 90 and 95 % of each server's peak rate
    #[arg(long, group = "mode")]
    open_loop: bool,
    /// Measure the memory of one of everything, and starts
    #[arg(long, group = "mode")]
    resources: bool,
    /// Measure with more components, and with more connections
    #[arg(long, group = "mode")]
    scale: bool,
    /// Count the instructions of one request, and fail if they grew by more than 2 %
    #[arg(long, group = "mode")]
    instructions: bool,
    /// Compare the working tree with this revision, and fail if it is slower; with --instructions, if it does more
    #[arg(long, value_name = "REV", conflicts_with_all = ["render", "open_loop", "resources", "scale", "bless"])]
    against: Option<String>,
    /// Make the counted instructions the baseline
    #[arg(long, requires = "instructions")]
    bless: bool,
    /// Measure the existing programs and guests, even if the sources have changed
    #[arg(long)]
    no_build: bool,
    /// How often each load is repeated: by default 5 times, 3 times for --open-loop, 21 times for --against
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200))]
    rounds: Option<u32>,
}

/// What all measurements share.
#[derive(Debug)]
struct Bench<'a> {
    tree: &'a Tree,
    scratch: PathBuf,
    quick: bool,
    rounds: u32,
    only: Option<&'a str>,
    servers: &'a [String],
    foreign: Vec<Foreign>,
}

/// Measures, writes the results, and shows the page.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    if options.render {
        page::write(tree)?;
        return Ok(ExitCode::SUCCESS);
    }
    let bench = Bench::new(tree, options)?;
    if !options.no_build {
        toolchain::prepare()?;
        toolchain::build_guests(tree)?;
        toolchain::build_server(tree, Profile::Release)?;
        build(tree)?;
    }
    let certificate = bench.certificate();
    run_command(Command::new(bench.tool("bench-load")).arg("certificate").arg(&certificate))?;
    if options.instructions {
        return instructions::run(&bench, options.against.as_deref(), options.bless);
    }
    if let Some(revision) = &options.against {
        return against::run(&bench, revision);
    }
    if options.open_loop {
        let results = open_loop::run(&bench, &|name| bench.only(name))?;
        return bench.keep(&open_loop::FILES, &results, || page::open_loop(&results));
    }
    if options.resources {
        let results = resources::run(&bench)?;
        return bench.keep(&resources::FILES, &results, || page::resources(&results));
    }
    if options.scale {
        let results = scale::run(&bench)?;
        return bench.keep(&scale::FILES, &results, || page::scale(&results));
    }
    let results = scenarios(&bench)?;
    bench.keep(&page::FILES, &results, || page::scenarios(&results))
}

/// Every scenario, and large bodies.
fn scenarios(bench: &Bench<'_>) -> Result<Results> {
    let (mut notes, mut throughput) = (Vec::new(), Vec::new());
    for scenario in SCENARIOS.iter().filter(|scenario| bench.only(scenario.name)) {
        throughput.extend(rounds::measure(bench, scenario, &mut notes)?);
    }
    let bodies = if bench.only(BODIES) { single::bodies(bench)? } else { Vec::new() };
    let plan = Plan { rounds: bench.rounds, seconds: bench.turn_milliseconds() as f64 / 1e3 };
    Ok(Results { machine: bench.machine(), plan, throughput, bodies, notes })
}

/// Builds the compared programs and guests.
fn build(tree: &Tree) -> Result<()> {
    say("building what is compared");
    let guests = tree.bench_guests();
    let mut command = cargo(&guests);
    command.args(["build", "--release", "--target", GUEST_TARGET, "--target-dir"]).arg(guests.join("target"));
    run_command(&mut command)?;
    let mut command = cargo(&tree.root);
    command.args(["build", "--release", "--workspace", "--bin", "bench-native", "--bin", "bench-load"]);
    run_command(&mut command)
}

impl<'a> Bench<'a> {
    /// Checks names, and makes room for connections and files.
    fn new(tree: &'a Tree, options: &'a Options) -> Result<Self> {
        let only = options.only.as_deref();
        if let Some(name) = only {
            let known = SCENARIOS.iter().map(|scenario| scenario.name).chain([BODIES]);
            let known = known.chain(instructions::names());
            ensure!(
                known.clone().any(|known| known == name),
                "there is no {name}: choose from {}",
                known.collect::<Vec<_>>().join(", ")
            );
        }
        for name in &options.server {
            let known = contenders::KINDS.iter().map(|kind| kind.name);
            ensure!(
                known.clone().any(|known| known == name),
                "there is no {name}: choose from {}",
                known.collect::<Vec<_>>().join(", ")
            );
        }
        let limit = getrlimit(Resource::Nofile);
        let room = limit.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
        if limit.current.is_some_and(|current| current < room) {
            setrlimit(Resource::Nofile, Rlimit { current: Some(room), maximum: limit.maximum })
                .context("cannot raise the number of open files")?;
        }
        let rounds = match options {
            Options { against: Some(_), .. } => AGAINST_ROUNDS,
            Options { open_loop: true, .. } => OPEN_ROUNDS,
            _ => 5,
        };
        Ok(Self {
            tree,
            scratch: tree.scratch("bench")?,
            quick: options.quick,
            rounds: if options.quick { 1 } else { options.rounds.unwrap_or(rounds) },
            only,
            servers: &options.server,
            foreign: options.contender.clone(),
        })
    }

    /// Keeps the results of a whole run and writes the pages, or keeps those of a part for a look. Prints `shown`.
    fn keep(&self, files: &Files, results: &impl Serialize, shown: impl FnOnce() -> String) -> Result<ExitCode> {
        if self.quick || self.only.is_some() || !self.servers.is_empty() {
            let path = self.scratch.join(files.results.rsplit('/').next().unwrap_or(files.results));
            let text = serde_json::to_string_pretty(results).context("the results are not JSON")?;
            fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        } else {
            files.keep(self.tree, results)?;
            page::write(self.tree)?;
        }
        println!("{}", shown());
        Ok(ExitCode::SUCCESS)
    }

    /// Whether something of this name is to be measured.
    fn only(&self, name: &str) -> bool {
        self.only.is_none_or(|only| only == name)
    }

    /// Whether this server is to be measured. Without the native one there are no ratios.
    fn wants(&self, server: &str) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|wanted| wanted == server)
    }

    /// The length of a turn.
    fn turn_milliseconds(&self) -> u64 {
        if self.quick { 500 } else { 1000 }
    }

    /// The length of a turn at a fixed rate.
    fn open_milliseconds(&self) -> u64 {
        if self.quick { 1000 } else { 3000 }
    }

    /// Hello, in a closed loop.
    fn hello(&self, protocol: Protocol) -> Load {
        Load::closed("hello", protocol, self.turn_milliseconds())
    }

    /// The machine, and the versions of what is installed on it.
    fn machine(&self) -> Machine {
        let mut machine = Machine::describe(self.tree);
        for (program, flag) in
            [("wasmtime", "--version"), ("wash", "--version"), ("workerd", "--version"), ("nginx", "-v")]
        {
            if let Ok(path) = contenders::installed(self, program) {
                machine.programs.push(results::text(Command::new(path).arg(flag)));
            }
        }
        machine
    }

    /// The folder of the certificate of all servers.
    fn certificate(&self) -> PathBuf {
        self.scratch.join("certificate")
    }

    /// The answers of the scenarios as a component.
    fn workload(&self) -> PathBuf {
        self.guest("workload.wasm")
    }

    /// The answers of the scenarios as a component of wasi:http 0.2.
    fn standard(&self) -> PathBuf {
        self.guest("standard.wasm")
    }

    /// The guest with a session that can hibernate.
    fn loops(&self) -> PathBuf {
        self.tree.components().join("loops.wasm")
    }

    fn guest(&self, file: &str) -> PathBuf {
        self.tree.bench_guests().join("target").join(GUEST_TARGET).join("release").join(file)
    }

    /// A program that was built together with the server.
    fn tool(&self, name: &str) -> PathBuf {
        self.tree.target.join("release").join(name)
    }
}

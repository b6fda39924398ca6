//! `cargo xtask bench`: the cost of an instance per request, compared with native hyper and `wasmtime serve`.
//!
//! All servers run at the same time, and the load visits them in short turns, so that a machine that slows down affects
//! all of them. The result is the median over rounds of the ratio within a round. Loads are wrk for HTTP/1.1 and h2load
//! for HTTP/2, with 32 requests in flight on one thread; bench-load for held sessions. Everything runs on loopback, and
//! is bounded in time and count.
//!
//! A whole run writes bench/results/latest.json, and docs/performance.md from it. A run that leaves something out
//! (`--quick`, `--only`) writes below `target/bench` and changes no committed file.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::toolchain::{self, cargo, run as run_command, say};
use crate::tree::{GUEST_TARGET, Profile, Tree};

mod client;
mod contenders;
mod load;
mod page;
pub mod process;
pub mod results;
mod rounds;
mod single;

use results::{Machine, Plan, Results};

pub use rounds::median;

/// The descriptors that the held sessions need, on either side.
const DESCRIPTORS: u64 = 16_384;

/// The options of a run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// One short round and fewer held sessions: shows that the harness works, not how fast anything is
    #[arg(long)]
    quick: bool,
    /// Measure only this: a workload, `held`, `bodies` or `cold`
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Write docs/performance.md from the committed results, without measurements
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    render: bool,
    /// Measure the existing programs and guests, even if the sources have changed
    #[arg(long)]
    no_build: bool,
    /// How often each load is repeated
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
}

/// The paths of the parts.
struct Bench<'a> {
    tree: &'a Tree,
    scratch: PathBuf,
    quick: bool,
    rounds: u32,
}

/// Measures, writes the results, and shows the page.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    if options.render {
        page::write(tree)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (program, package) in [("wrk", "wrk"), ("h2load", "nghttp2-client")] {
        ensure!(
            toolchain::find(program).is_some(),
            "there is no {program}: install it, on Debian and Ubuntu with `apt-get install {package}`"
        );
    }
    let only = options.only.as_deref();
    if let Some(name) = only {
        let known = rounds::names().chain(single::NAMES);
        ensure!(
            known.clone().any(|known| known == name),
            "there is no {name}: choose from {}",
            known.collect::<Vec<_>>().join(", ")
        );
    }
    if !options.no_build {
        toolchain::prepare()?;
        toolchain::build_guests(tree)?;
        toolchain::build_server(tree, Profile::Release)?;
        build(tree)?;
    }
    let bench = Bench::new(tree, options)?;

    let mut notes = Vec::new();
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    let mut results = Results {
        machine: Machine::describe(tree),
        plan: Plan { rounds: bench.rounds, seconds: load::SECONDS },
        throughput: rounds::measure(&bench, &wanted, &mut notes)?,
        held: None,
        bodies: Vec::new(),
        cold: None,
        notes: Vec::new(),
    };
    if wanted("held") {
        results.held = Some(single::held(&bench)?);
    }
    if wanted("bodies") {
        results.bodies = single::bodies(&bench)?;
    }
    if wanted("cold") {
        results.cold = Some(single::cold(&bench)?);
    }
    results.notes = notes;

    let text = serde_json::to_string_pretty(&results).context("the results are not JSON")? + "\n";
    if options.quick || only.is_some() {
        let path = bench.scratch.join("latest.json");
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", page::render(&results, None));
        return Ok(ExitCode::SUCCESS);
    }
    let path = tree.root.join(page::RESULTS);
    fs::create_dir_all(path.parent().context("the results have no folder")?)?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    page::write(tree)?;
    println!("{}", page::render(&results, None));
    Ok(ExitCode::SUCCESS)
}

/// Builds the compared programs and guests.
fn build(tree: &Tree) -> Result<()> {
    say("building what is compared");
    let guests = tree.bench_guests();
    let mut command = cargo(&guests);
    command.args(["build", "--release", "--target", GUEST_TARGET, "--target-dir"]).arg(guests.join("target"));
    run_command(&mut command)?;
    // The same guest as the toolchain links it by default: the empty flags replace those of .cargo/config.toml.
    let mut command = cargo(&tree.guests());
    command.args(["build", "--release", "--target", GUEST_TARGET, "--package", "hello", "--target-dir"]);
    command.arg(guests.join("target/stock")).env("CARGO_ENCODED_RUSTFLAGS", "");
    run_command(&mut command)?;
    let mut command = cargo(&tree.root);
    command.args(["build", "--release", "--workspace", "--bin", "bench-native", "--bin", "bench-load"]);
    run_command(&mut command)
}

impl<'a> Bench<'a> {
    /// Makes room for the held sessions, and for files.
    fn new(tree: &'a Tree, options: &Options) -> Result<Self> {
        let limit = getrlimit(Resource::Nofile);
        let room = limit.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
        if limit.current.is_some_and(|current| current < room) {
            setrlimit(Resource::Nofile, Rlimit { current: Some(room), maximum: limit.maximum })
                .context("cannot raise the number of open files")?;
        }
        let rounds = if options.quick { 1 } else { options.rounds };
        Ok(Self { tree, scratch: tree.scratch("bench")?, quick: options.quick, rounds })
    }

    /// The answers of the benchmark as a component.
    fn workload(&self) -> PathBuf {
        self.guest("workload.wasm")
    }

    /// The hello of wasi:http 0.2.
    fn wasi_hello(&self) -> PathBuf {
        self.guest("wasi_hello.wasm")
    }

    /// The hello guest as `roadrunner new` would build it.
    fn hello(&self) -> PathBuf {
        self.tree.components().join("hello.wasm")
    }

    /// The guest whose `/idle` is a silent event loop.
    fn loops(&self) -> PathBuf {
        self.tree.components().join("loops.wasm")
    }

    /// The hello guest with the toolchain's own link arguments.
    fn stock_hello(&self) -> PathBuf {
        let target = self.tree.bench_guests().join("target/stock");
        target.join(GUEST_TARGET).join("release/hello.wasm")
    }

    fn guest(&self, file: &str) -> PathBuf {
        self.tree.bench_guests().join("target").join(GUEST_TARGET).join("release").join(file)
    }

    /// A program that was built together with the server.
    fn tool(&self, name: &str) -> PathBuf {
        self.tree.target.join("release").join(name)
    }
}

//! `cargo xtask bench --instructions`: the instructions of one request, which do not depend on how busy the machine is.
//!
//! The released program runs under callgrind, once with N exchanges and once with 2N. The difference, divided by N, is
//! one exchange: starts, loading and the first request cancel out. It is compared with the committed baseline, which
//! `--bless` writes, or with another revision. An exchange that grew by more than [`TOLERANCE`] fails, and the functions
//! that grew most are named.
//!
//! # Not covered
//! - Code of guests is one function: callgrind has no names for it.
//! - The program has one worker thread here, since callgrind runs one thread at a time.
//! - Counts depend on the compiler and on the processor's features: bless again after a change of either, and compare
//!   revisions on a machine that has not the baseline's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::Bench;
use super::client;
use super::load::Load;
use super::manifest;
use super::process::Process;
use super::results::{Files, Machine};
use super::scenarios::Protocol;
use crate::toolchain::{self, say};
use crate::tree::{Profile, Tree};

/// The baseline.
pub const FILES: Files = Files { results: "bench/results/instructions.json", page: "docs/performance.md" };

/// The growth that is not a failure.
const TOLERANCE: f64 = 0.02;

/// The part of a case that a function must have to be in the baseline.
const SHOWN: f64 = 0.001;

/// The functions that a failure names.
const NAMED: usize = 12;

/// The name of all code of guests.
const GUEST: &str = "code of the guest";

/// Exchanges of the shorter run.
const EXCHANGES: u64 = 1000;

const CASES: [(&str, &str, Protocol); 6] = [
    ("hello", "hello", Protocol::H1),
    ("echo", "echo", Protocol::H1),
    ("json", "json", Protocol::H1),
    ("WebSocket message", "websocket_msg_throughput", Protocol::H1),
    ("HTTP/3 request", "hello", Protocol::H3),
    ("server-sent event", "events", Protocol::H1),
];

/// All cases.
#[derive(Debug, Deserialize, Serialize)]
pub struct Instructions {
    /// The machine and the compiler.
    pub machine: Machine,
    /// See [`Case`].
    pub cases: Vec<Case>,
}

/// One kind of exchange.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Instructions of one exchange.
    pub instructions: f64,
    /// The functions with a notable part, and their own instructions.
    pub functions: BTreeMap<String, f64>,
}

/// The names of the cases.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    CASES.iter().map(|(name, ..)| *name)
}

/// Counts, and compares with another revision or with the baseline, or writes that.
///
/// # Errors
/// valgrind is missing, or a server does not start.
pub fn run(bench: &Bench<'_>, revision: Option<&str>, bless: bool) -> Result<ExitCode> {
    ensure!(
        toolchain::find("valgrind").is_some(),
        "there is no valgrind: install it, on Debian and Ubuntu with `apt-get install valgrind`"
    );
    let base = match revision {
        Some(revision) => Some(all(bench, &super::against::build(bench, revision)?)?),
        None => read(bench.tree)?,
    };
    let head = all(bench, &bench.tree.server(Profile::Release))?;
    let report = compare(base.as_ref(), &head);
    print!("{}", report.text);
    if bless {
        FILES.keep(bench.tree, &head)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if report.grew { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The committed baseline.
///
/// # Errors
/// The file is not understood.
pub fn read(tree: &Tree) -> Result<Option<Instructions>> {
    FILES.read_if_kept(tree)
}

/// All cases of a program.
fn all(bench: &Bench<'_>, program: &Path) -> Result<Instructions> {
    let mut cases = Vec::new();
    for (name, scenario, protocol) in CASES.into_iter().filter(|(name, ..)| bench.only(name)) {
        say(&format!("counting the instructions of one {name}"));
        let load = Load::closed(scenario, protocol, 0);
        let exchanges = if bench.quick { EXCHANGES / 5 } else { EXCHANGES };
        let [short, long] = [count(bench, program, &load, exchanges)?, count(bench, program, &load, 2 * exchanges)?];
        cases.push(case(name, &short, &long, exchanges as f64));
    }
    Ok(Instructions { machine: bench.machine(), cases })
}

/// Each function's own instructions in a run with so many exchanges.
fn count(bench: &Bench<'_>, program: &Path, load: &Load, exchanges: u64) -> Result<BTreeMap<String, f64>> {
    // callgrind has little room for reserved addresses, and runs one thread at a time.
    let manifest = manifest::single(bench, "counted")?;
    let output = bench.scratch.join("callgrind.out");
    if output.exists() {
        fs::remove_file(&output)?;
    }
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no", "--dump-line=no"]);
    command.arg(format!("--callgrind-out-file={}", output.display())).arg(program);
    command.arg("serve").arg(&manifest.path);
    let mut process = Process::start(command, &bench.scratch.join("callgrind.log"))?;
    process.ready(manifest.plain, "/").context("the program does not start under callgrind")?;
    client::get(manifest.plain, "/").context("no second answer")?;
    let address = if load.protocol == Protocol::H1 { manifest.plain } else { manifest.secure };
    load.count(bench, address, exchanges)?;
    process.terminate()?;
    let text = fs::read_to_string(&output).context("callgrind wrote no counts")?;
    Ok(functions(&text))
}

/// Each function's own instructions, from callgrind's output.
fn functions(text: &str) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    let (mut function, mut called) = (String::new(), false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = short(name);
        } else if line.starts_with("calls=") {
            // The next line has what the called function took, which is counted there.
            called = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split_whitespace().nth(1).and_then(|cost| cost.parse::<f64>().ok());
            if let Some(cost) = cost.filter(|_| !called) {
                *counts.entry(function.clone()).or_insert(0.0) += cost;
            }
            called = false;
        }
    }
    counts
}

/// A function's name without what changes from build to build.
fn short(name: &str) -> String {
    if name.starts_with("0x") {
        return GUEST.to_owned();
    }
    let name = name.split(".llvm.").next().unwrap_or(name);
    let name = name.strip_suffix("'2").unwrap_or(name);
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path.to_owned(),
        _ => name.to_owned(),
    }
}

fn case(name: &str, short: &BTreeMap<String, f64>, long: &BTreeMap<String, f64>, exchanges: f64) -> Case {
    let each = |name: &String| (long.get(name).unwrap_or(&0.0) - short.get(name).unwrap_or(&0.0)) / exchanges;
    let all: BTreeMap<String, f64> = long.keys().map(|name| (name.clone(), each(name))).collect();
    let instructions: f64 = all.values().sum();
    let functions = all.into_iter().filter(|(_, count)| count.abs() >= instructions * SHOWN);
    let functions = functions.map(|(name, count)| (name, count.round())).collect();
    Case { name: name.to_owned(), instructions: instructions.round(), functions }
}

struct Comparison {
    text: String,
    grew: bool,
}

fn compare(base: Option<&Instructions>, head: &Instructions) -> Comparison {
    let mut comparison = Comparison { text: String::new(), grew: false };
    for case in &head.cases {
        let known = base.and_then(|base| base.cases.iter().find(|known| known.name == case.name));
        let Some(known) = known else {
            // Writing to a string cannot fail.
            let _ = writeln!(comparison.text, "{}: {:.0} instructions, no baseline", case.name, case.instructions);
            continue;
        };
        let growth = case.instructions / known.instructions - 1.0;
        let (before, now) = (known.instructions, case.instructions);
        let verdict = if growth > TOLERANCE { "FAILED" } else { "ok" };
        let _ = writeln!(
            comparison.text,
            "{}: {now:.0} instructions, {before:.0} before: {:+.2} %, {verdict}",
            case.name,
            growth * 100.0
        );
        if growth > TOLERANCE {
            comparison.grew = true;
            for (name, more) in grown(known, case) {
                let _ = writeln!(comparison.text, "    {more:+.0}  {name}");
            }
        }
    }
    comparison
}

/// The functions that grew most.
fn grown<'a>(base: &'a Case, head: &'a Case) -> Vec<(&'a str, f64)> {
    let names = base.functions.keys().chain(head.functions.keys().filter(|name| !base.functions.contains_key(*name)));
    let of = |case: &Case, name: &String| case.functions.get(name).copied().unwrap_or(0.0);
    let mut grown: Vec<_> = names.map(|name| (name.as_str(), of(head, name) - of(base, name))).collect();
    grown.retain(|(_, more)| *more > 0.0);
    grown.sort_by(|left, right| right.1.total_cmp(&left.1));
    grown.truncate(NAMED);
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_instructions_are_counted_once() {
        let text = "fn=main\n3 10\ncfn=serve::h0123456789abcdef\ncalls=2 7\n4 900\n5 1\n\n\
                    fl=other\nfn=serve::h0123456789abcdef\n7 400\n+1 500\nfn=0x0000000004001000\n0 70\nfn=0x04\n0 7\n\
                    totals: 988\n";
        let counts = functions(text);
        assert_eq!(counts["main"], 11.0);
        assert_eq!(counts["serve"], 900.0);
        assert_eq!(counts[GUEST], 77.0);
        assert_eq!(counts.values().sum::<f64>(), 988.0);
    }

    #[test]
    fn the_difference_is_one_exchange() {
        let run =
            |exchanges: f64| BTreeMap::from([("start".to_owned(), 5e6), ("answer".to_owned(), 20_000.0 * exchanges)]);
        let case = case("hello", &run(100.0), &run(200.0), 100.0);
        assert_eq!(case.instructions, 20_000.0);
        assert_eq!(case.functions, BTreeMap::from([("answer".to_owned(), 20_000.0)]));
    }

    #[test]
    fn growth_over_the_tolerance_fails_and_names_the_function() {
        let all = |parse: f64| Instructions {
            machine: Machine::default(),
            cases: vec![Case {
                name: "hello".to_owned(),
                instructions: 10_000.0 + parse,
                functions: BTreeMap::from([("write".to_owned(), 10_000.0), ("parse".to_owned(), parse)]),
            }],
        };
        let fails = |head: f64| compare(Some(&all(1000.0)), &all(head));
        assert!(!fails(1000.0).grew);
        assert!(!fails(1200.0).grew, "below 2 %");
        assert!(!fails(10.0).grew, "less is no failure");
        let failed = fails(1300.0);
        assert!(failed.grew);
        assert!(failed.text.contains("+300  parse") && !failed.text.contains("write"), "{}", failed.text);
        assert!(!compare(None, &all(1.0)).grew);
    }
}

//! `cargo xtask bench --against REV`: the working tree beside another revision, built and run in turns on one machine.
//!
//! Both programs are up at once and take turns; a round is one turn of each. The result is the median over rounds of the
//! difference within a round, with its interval by the bootstrap. A scenario that is slower by more than [`MARGIN`],
//! whatever end of the interval is true, is a failure. A faster one is not looked for here.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use super::Bench;
use super::contenders::Contender;
use super::load::Load;
use super::manifest;
use super::scenarios::{Protocol, SCENARIOS, Scenario};
use super::statistics::{interval, median};
use crate::toolchain::{self, cargo, say};
use crate::tree::Profile;

/// The slowdown, in percent, that an interval must exceed as a whole.
const MARGIN: f64 = 1.0;

/// The scenarios.
const NAMES: [&str; 6] = ["hello", "echo", "json", "large_response", "websocket_msg_throughput", "multi_stream"];

/// Differences in percent over the rounds.
#[derive(Debug, Default)]
struct Differences {
    rate: Vec<f64>,
    cpu: Vec<f64>,
}

/// Builds both, measures, and prints a table.
///
/// # Errors
/// The revision is not one, or does not build; a server does not start.
pub fn run(bench: &Bench<'_>, revision: &str) -> Result<ExitCode> {
    let base = build(bench, revision)?;
    let head = bench.tree.server(Profile::Release);
    println!("Difference of the working tree to {revision}, {} rounds:\n", bench.rounds);
    println!("| scenario | protocol | rate, % | interval | CPU of a request, % | interval | |");
    println!("|---|---|---:|---|---:|---|---|");
    let mut slower = false;
    for scenario in SCENARIOS.iter().filter(|scenario| NAMES.contains(&scenario.name) && bench.only(scenario.name)) {
        for &protocol in scenario.protocols {
            let differences = compare(bench, scenario, protocol, &base, &head)?;
            let fails = differences.fails();
            slower |= fails;
            println!("{}", differences.row(scenario.name, protocol.label(), fails));
        }
    }
    Ok(if slower { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The program of a revision, in a worktree and a build folder of its own.
///
/// # Errors
/// The revision is not one, or does not build.
pub fn build(bench: &Bench<'_>, revision: &str) -> Result<PathBuf> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git").args(arguments).current_dir(&bench.tree.root).output()?;
        if !output.status.success() {
            bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--verify", &format!("{revision}^{{commit}}")])?;
    let folder = bench.tree.scratch("against")?;
    let tree = folder.join("tree");
    let path = tree.to_str().context("the build folder is not UTF-8")?;
    if tree.is_dir() {
        let mut checkout = Command::new("git");
        toolchain::run(checkout.args(["checkout", "--quiet", "--detach", &commit]).current_dir(&tree))?;
    } else {
        git(&["worktree", "prune"])?;
        git(&["worktree", "add", "--detach", path, &commit])?;
    }
    say(&format!("building {revision}"));
    let target = folder.join("target");
    let mut command = cargo(&tree);
    command.args(["build", "--release", "--workspace", "--bin", "roadrunner"]).env("CARGO_TARGET_DIR", &target);
    toolchain::run(&mut command)?;
    Ok(target.join("release/roadrunner"))
}

fn compare(
    bench: &Bench<'_>,
    scenario: &'static Scenario,
    protocol: Protocol,
    base: &Path,
    head: &Path,
) -> Result<Differences> {
    let start = |name: &str, program: &Path| -> Result<Contender> {
        let manifest = manifest::scenarios(bench, &format!("against {name}"), &bench.workload(), "")?;
        Contender::with_manifest(bench, name, "against", program, &manifest)
    };
    let servers = [start("base", base)?, start("head", head)?];
    let load = Load::closed(scenario.name, protocol, bench.turn_milliseconds());
    for server in &servers {
        load.check(bench, server.address(protocol).context("the server lacks the protocol")?)?;
    }
    let mut differences = Differences::default();
    for round in 0..bench.rounds {
        let mut turns = [[0.0; 2]; 2];
        // The state of the machine differs between the first and the second.
        for turn in 0..2 {
            let index = (turn + round as usize) % 2;
            let server = &servers[index];
            let (process, mut before) = (server.process()?, 0.0);
            let report = load.run(bench, server.address(protocol).context("no address")?, || {
                before = process.cpu()?;
                Ok(())
            })?;
            turns[index] = [report.requests / report.seconds, (process.cpu()? - before) / report.worked];
        }
        let [base, head] = turns;
        differences.rate.push((head[0] / base[0] - 1.0) * 100.0);
        differences.cpu.push((head[1] / base[1] - 1.0) * 100.0);
    }
    Ok(differences)
}

impl Differences {
    /// Whether the head is slower, at either end of the interval.
    fn fails(&self) -> bool {
        interval(&self.rate)[1] < -MARGIN || interval(&self.cpu)[0] > MARGIN
    }

    fn row(&self, scenario: &str, protocol: &str, fails: bool) -> String {
        let cells = [&self.rate, &self.cpu].map(|values| {
            let [low, high] = interval(values);
            format!("{:+.1} | {low:+.1} to {high:+.1}", median(values.clone()))
        });
        let verdict = if fails { "SLOWER" } else { "" };
        format!("| {scenario} | {protocol} | {} | {} | {verdict} |", cells[0], cells[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty rounds that scatter by 3 % around a difference.
    fn around(middle: f64) -> Differences {
        let scatter = |index: usize| ((index * 7 % 20) as f64 - 9.5) / 9.5 * 3.0;
        let rate: Vec<f64> = (0..20).map(|index| middle + scatter(index)).collect();
        let cpu = rate.iter().map(|rate| -rate).collect();
        Differences { rate, cpu }
    }

    #[test]
    fn only_a_difference_beyond_the_scatter_fails() {
        assert!(!around(0.0).fails());
        assert!(!around(-1.5).fails());
        assert!(!around(20.0).fails(), "faster is no failure");
        assert!(around(-5.0).fails());
        assert!(around(-5.0).row("hello", "h1", true).starts_with("| hello | h1 | -5.0 | -"));
    }
}

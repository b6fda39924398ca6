//! The results of runs, as kept in bench/results.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::tree::Tree;

/// A run of the scenarios.
#[derive(Debug, Deserialize, Serialize)]
pub struct Results {
    /// The machine of the run.
    pub machine: Machine,
    /// The duration of the loads.
    pub plan: Plan,
    /// The interleaved part.
    pub throughput: Vec<Row>,
    /// Large bodies.
    pub bodies: Vec<BodyRow>,
    /// The parts that were left out, and why.
    pub notes: Vec<String>,
}

/// The machine and the programs of a run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Machine {
    /// The day, UTC.
    pub date: String,
    /// The commit, with `+` when files differed from it.
    pub commit: String,
    /// The processor's name.
    pub cpu: String,
    /// The number of usable processors.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Versions of the compiler and of the compared servers.
    pub programs: Vec<String>,
}

/// How often and how long each load ran.
#[derive(Debug, Deserialize, Serialize)]
pub struct Plan {
    /// Turns of each load against each server.
    pub rounds: u32,
    /// Length of a turn.
    pub seconds: f64,
}

/// One scenario against one server over one protocol.
#[derive(Debug, Deserialize, Serialize)]
pub struct Row {
    /// The scenario's name.
    pub workload: String,
    /// `h1`, `h2` or `h3`.
    pub protocol: String,
    /// The server's name.
    pub server: String,
    /// Requests or events a second: the median of the rounds.
    pub rate: f64,
    /// The slowest round.
    pub slowest: f64,
    /// The fastest round.
    pub fastest: f64,
    /// Rate over the native server's in the same round: the median of the rounds.
    pub of_native: Option<f64>,
    /// The interval of that median, with a confidence of 95 %.
    #[serde(default)]
    pub of_native_interval: Option<[f64; 2]>,
    /// CPU time of the server for each request or event, in microseconds, over all rounds.
    pub cpu_micros: Option<f64>,
    /// Latencies in microseconds, the median of the rounds.
    pub p50_micros: Option<f64>,
    /// See above.
    pub p99_micros: Option<f64>,
    /// See above.
    pub p999_micros: Option<f64>,
    /// The most resident memory that was seen after a turn.
    pub resident_mib: Option<f64>,
}

/// One large exchange.
#[derive(Debug, Deserialize, Serialize)]
pub struct BodyRow {
    /// The name of the exchange.
    pub name: String,
    /// The size in MiB.
    pub mib: f64,
    /// The rate in MiB per second.
    pub mib_per_second: f64,
    /// The growth of the resident memory at its peak.
    pub growth_mib: f64,
}

/// The paths of a benchmark's results and of the page that is made of them; both relative to the root.
pub struct Files {
    /// JSON.
    pub results: &'static str,
    /// Markdown.
    pub page: &'static str,
}

impl Files {
    /// Keeps these results.
    pub fn keep(&self, tree: &Tree, results: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(results).context("the results are not JSON")? + "\n";
        write(&tree.root.join(self.results), &text)
    }

    /// The results of the last run, if there was one.
    pub fn read_if_kept<T: DeserializeOwned>(&self, tree: &Tree) -> Result<Option<T>> {
        if tree.root.join(self.results).is_file() { self.read(tree).map(Some) } else { Ok(None) }
    }

    /// The results of the last run.
    pub fn read<T: DeserializeOwned>(&self, tree: &Tree) -> Result<T> {
        let path = tree.root.join(self.results);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not understood", path.display()))
    }

    /// Writes the page.
    pub fn write_page(&self, tree: &Tree, page: &str) -> Result<()> {
        write(&tree.root.join(self.page), page)
    }

    /// Fails a test if the page does not match the results.
    #[cfg(test)]
    pub fn assert_current<T: DeserializeOwned>(&self, page: impl Fn(&T) -> String) {
        let tree = Tree::find().unwrap();
        let written = fs::read_to_string(tree.root.join(self.page)).unwrap_or_default();
        let Files { results, page: name } = self;
        assert!(written == page(&self.read(&tree).unwrap()), "{name} is not what {results} says: run it with --render");
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

impl Machine {
    /// The time and place of the run, as a sentence.
    pub fn line(&self) -> String {
        let Self { date, commit, cpu, cores, memory_gib, kernel, .. } = self;
        format!("Run on {date} at commit {commit}: {cpu}, {cores} processors, {memory_gib} GiB, Linux {kernel}.")
    }

    /// This machine, now.
    pub fn describe(tree: &Tree) -> Self {
        let git = |arguments: &[&str]| text(Command::new("git").args(arguments).current_dir(&tree.root));
        let commit = git(&["rev-parse", "--short=12", "HEAD"]);
        let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let programs = vec![text(Command::new("rustc").arg("--version"))];
        Self {
            date: text(Command::new("date").args(["-u", "+%Y-%m-%d"])),
            commit: commit + if changed { "+" } else { "" },
            cpu: proc_field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: proc_field("/proc/meminfo", "MemTotal")
                .and_then(|value| value.trim_end_matches(" kB").parse::<u64>().ok())
                .map_or(0, |kib| kib.div_ceil(1 << 20)),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            programs,
        }
    }
}

/// The first line that a command prints, or nothing.
pub fn text(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return String::new() };
    // nginx tells its version on standard error.
    let printed = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&printed).lines().next().unwrap_or_default().trim().to_owned()
}

fn proc_field(file: impl AsRef<Path>, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

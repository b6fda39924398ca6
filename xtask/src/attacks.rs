//! `cargo xtask attacks`: how much one tenant's attacks take from another, for a minute each, and how much an older
//! host let them take.
//!
//! The attacks are the end-to-end tests `attacks::`. A run writes bench/results/attacks.json, and from it the table
//! between two marks in docs/security.md; `--render` only writes the table.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::bench::results::Machine;
use crate::toolchain::{self, cargo, say};
use crate::tree::{Profile, Tree};

const RESULTS: &str = "bench/results/attacks.json";
const PAGE: &str = "docs/security.md";

/// The marks around the table.
const MARKS: (&str, &str) = ("<!-- attacks: made by `cargo xtask attacks` -->\n", "<!-- end of attacks -->");

/// The options of a run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Also attack this older program, for the columns "before"
    #[arg(long)]
    before: Option<PathBuf>,
    /// The name of that older version in the table
    #[arg(long, default_value = "before")]
    before_name: String,
    /// Write the table from the committed results, without attacks
    #[arg(long)]
    render: bool,
}

/// All runs.
#[derive(Debug, Deserialize, Serialize)]
struct Results {
    machine: Machine,
    /// The older version's name; `None` if it was not attacked.
    before_name: Option<String>,
    before: Vec<Row>,
    now: Vec<Row>,
}

/// One attack on one host.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Row {
    attack: String,
    quiet: Victim,
    loaded: Victim,
    memory_bytes: u64,
    cpu_seconds: f64,
    cpu_charged_seconds: f64,
    log_bytes: u64,
}

/// The neighbour's measurements; times in microseconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Victim {
    requests: u64,
    errors: u64,
    p50_us: u64,
    p99_us: u64,
    most_us: u64,
}

/// Runs the attacks, and writes the table.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    if !options.render {
        toolchain::prepare()?;
        toolchain::build_guests(tree)?;
        toolchain::build_server(tree, Profile::Release)?;
        let now = attack(tree, &tree.server(Profile::Release), false)?;
        let before = match &options.before {
            Some(program) => attack(tree, program, true)?,
            None => Vec::new(),
        };
        let before_name = options.before.as_ref().map(|_| options.before_name.clone());
        let results = Results { machine: Machine::describe(tree), before_name, before, now };
        let text = serde_json::to_string_pretty(&results).context("the results are not JSON")? + "\n";
        write(&tree.root.join(RESULTS), &text)?;
    }
    let path = tree.root.join(PAGE);
    write(&path, &with_table(&read(&path)?, &table(&results(tree)?))?)?;
    Ok(ExitCode::SUCCESS)
}

fn attack(tree: &Tree, program: &Path, is_older: bool) -> Result<Vec<Row>> {
    say(&format!("attacking {}", program.display()));
    let program = fs::canonicalize(program).with_context(|| format!("there is no {}", program.display()))?;
    let rows = tree.scratch("attacks")?.join("rows.json");
    let mut command = cargo(&tree.root);
    command.env("CARGO_TARGET_DIR", &tree.target);
    command.args(["test", "--workspace"]).args(Profile::Release.arguments()).args(["--test", "e2e", "--"]);
    command.args(["--ignored", "--nocapture", "--test-threads=1", "attacks::"]);
    command.env("ROADRUNNER_BIN", program).env("ROADRUNNER_GUESTS", tree.components());
    command.env("ROADRUNNER_ATTACKS", &rows);
    if is_older {
        command.env("ROADRUNNER_ATTACKS_OLDER", "yes");
    }
    toolchain::run(&mut command)?;
    serde_json::from_str(&read(&rows)?).context("the rows are not understood")
}

fn results(tree: &Tree) -> Result<Results> {
    let path = tree.root.join(RESULTS);
    serde_json::from_str(&read(&path)?).with_context(|| format!("{} is not understood", path.display()))
}

/// A table with one line for each attack, for both hosts.
fn table(results: &Results) -> String {
    let before = results.before_name.as_deref().unwrap_or("before");
    let mut text = format!(
        "{} Each attack ran for a minute, under the default settings, by a tenant within its quotas; times are those \
         of the other\ntenant's requests, first without the attack and then with it.\n\n\
         | attack | host | p99 of the victim, quiet | attacked | longest | errors | memory of the host | CPU used, of it charged | log |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|\n",
        results.machine.line()
    );
    for now in &results.now {
        let older = results.before.iter().find(|row| row.attack == now.attack);
        for (name, row) in older.map(|row| (before, row)).into_iter().chain([("now", now)]) {
            let Row { attack, quiet, loaded, memory_bytes, cpu_seconds, cpu_charged_seconds, log_bytes } = row;
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {attack} | {name} | {} | {} | {} | {} of {} | +{} MiB | {cpu_seconds:.1} s, {cpu_charged_seconds:.1} s | {} KiB |",
                millis(quiet.p99_us),
                millis(loaded.p99_us),
                millis(loaded.most_us),
                loaded.errors,
                loaded.requests,
                memory_bytes >> 20,
                log_bytes >> 10,
            );
        }
    }
    text
}

fn millis(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1000.0)
}

/// Returns the page with this table between its marks.
fn with_table(page: &str, table: &str) -> Result<String> {
    let (start, end) = MARKS;
    let (head, rest) = page.split_once(start).with_context(|| format!("{PAGE} has no {start:?}"))?;
    let (_, tail) = rest.split_once(end).with_context(|| format!("{PAGE} has no {end:?}"))?;
    ensure!(!tail.contains(start), "{PAGE} has two tables of attacks");
    Ok(format!("{head}{start}{table}{end}{tail}"))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_page_is_the_one_of_the_results() {
        let tree = Tree::find().expect("this is the repository");
        let page = read(&tree.root.join(PAGE)).expect("the page is there");
        let made = with_table(&page, &table(&results(&tree).expect("there are results"))).expect("it has marks");
        assert_eq!(page, made, "run `cargo xtask attacks --render`");
    }
}

//! The results of the fuzzing client: read from its report, kept in a committed file, and shown as a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::install::VERSION;
use super::{SAMPLE, Transport};
use crate::bench::results::Machine;
use crate::tree::Tree;

/// The last run of each transport, of all cases and of the sample.
const RESULTS: &str = "tests/conformance/autobahn.json";

/// The page.
const PAGE: &str = "docs/autobahn.md";

/// The suite's groups.
const GROUPS: [(u32, &str); 11] = [
    (1, "framing"),
    (2, "pings and pongs"),
    (3, "reserved bits"),
    (4, "opcodes"),
    (5, "fragmentation"),
    (6, "UTF-8"),
    (7, "close handshake"),
    (9, "limits, performance"),
    (10, "miscellaneous"),
    (12, "compression"),
    (13, "compression, negotiated"),
];

/// A run over one transport.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Run {
    /// How the WebSockets were opened.
    pub transport: Transport,
    /// Whether all cases ran, or the sample of 12 and 13.
    pub all: bool,
    /// The day, UTC.
    pub date: String,
    /// The commit, with `+` when files differed from it.
    pub commit: String,
    /// The duration of the run.
    pub seconds: u64,
    /// The number of passed cases of each group, including informational ones.
    pub passed: BTreeMap<u32, usize>,
    /// Cases that the suite does not judge.
    pub informational: Vec<String>,
    /// Cases that did not pass.
    pub failed: Vec<Failure>,
}

/// A case that did not pass.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Failure {
    /// Its number: `5.15`.
    pub case: String,
    /// The suite's verdict on the behaviour.
    pub behavior: String,
    /// The suite's verdict on the close of the connection.
    pub behavior_close: String,
}

/// A case of index.json.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    behavior: String,
    behavior_close: String,
}

impl Run {
    /// Reads index.json.
    pub fn read(text: &str, agent: &str, transport: Transport, all: bool, seconds: u64, tree: &Tree) -> Result<Self> {
        let Machine { date, commit, .. } = Machine::describe(tree);
        let mut run = Self {
            transport,
            all,
            date,
            commit,
            seconds,
            passed: BTreeMap::new(),
            informational: Vec::new(),
            failed: Vec::new(),
        };
        run.judge(text, agent)?;
        Ok(run)
    }

    /// The number of cases that ran.
    pub fn count(&self) -> usize {
        self.passed.values().sum::<usize>() + self.failed.len()
    }

    fn judge(&mut self, text: &str, agent: &str) -> Result<()> {
        let mut agents: BTreeMap<String, BTreeMap<String, Case>> =
            serde_json::from_str(text).context("index.json is not understood")?;
        let cases = agents.remove(agent).with_context(|| format!("index.json does not know {agent}"))?;
        let mut cases: Vec<_> = cases.into_iter().collect();
        cases.sort_by_key(|(case, _)| numbers(case));
        for (case, Case { behavior, behavior_close }) in cases {
            let good = |word: &str| matches!(word, "OK" | "INFORMATIONAL");
            if !good(&behavior) || !good(&behavior_close) {
                self.failed.push(Failure { case, behavior, behavior_close });
                continue;
            }
            *self.passed.entry(group(&case)?).or_default() += 1;
            if behavior != "OK" || behavior_close != "OK" {
                self.informational.push(case);
            }
        }
        Ok(())
    }

    fn cells(&self, number: u32) -> String {
        let passed = self.passed.get(&number).copied().unwrap_or(0);
        let failed = self.failed.iter().filter(|failure| group(&failure.case).ok() == Some(number)).count();
        if failed == 0 { passed.to_string() } else { format!("{passed}, **{failed} failed**") }
    }
}

/// Keeps these runs in place of earlier ones of the same kind, and writes the page.
pub fn keep(tree: &Tree, runs: &[Run]) -> Result<()> {
    let path = tree.root.join(RESULTS);
    let mut kept = if path.is_file() { read(tree)? } else { Vec::new() };
    let kind = |run: &Run| (run.transport, !run.all);
    kept.retain(|old| runs.iter().all(|new| kind(new) != kind(old)));
    kept.extend_from_slice(runs);
    kept.sort_by_key(kind);
    let text = serde_json::to_string_pretty(&kept).context("the results are not JSON")? + "\n";
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    write_page(tree)
}

/// Writes the page from the committed results.
pub fn write_page(tree: &Tree) -> Result<()> {
    let path = tree.root.join(PAGE);
    fs::write(&path, page(&read(tree)?)).with_context(|| format!("cannot write {}", path.display()))
}

/// A table with a row for each group, and a column for each run; failures are listed below.
pub fn table(runs: &[Run]) -> String {
    let mut text = String::from("| cases |");
    // Writing to a string cannot fail.
    for run in runs {
        let _ = write!(text, " {}{} |", run.transport.text(), if run.all { ", all" } else { "" });
    }
    let _ = write!(text, "\n|---|{}", "---:|".repeat(runs.len()));
    for (number, name) in GROUPS {
        let _ = write!(text, "\n| {number} {name} |");
        for run in runs {
            let _ = write!(text, " {} |", run.cells(number));
        }
    }
    let row = |text: &mut String, name: &str, cell: &dyn Fn(&Run) -> String| {
        let _ = write!(text, "\n| {name} |");
        for run in runs {
            let _ = write!(text, " {} |", cell(run));
        }
    };
    row(&mut text, "**passed**", &|run| format!("{} of {}", run.count() - run.failed.len(), run.count()));
    row(&mut text, "of them informational", &|run| run.informational.len().to_string());
    text.push('\n');
    for run in runs.iter().filter(|run| !run.failed.is_empty()) {
        let _ = write!(text, "\nFailed over {}:\n\n", run.transport.text());
        for Failure { case, behavior, behavior_close } in &run.failed {
            let _ = writeln!(text, "- {case}: {behavior}, closed {behavior_close}");
        }
    }
    text
}

fn page(runs: &[Run]) -> String {
    let mut text = String::from("# WebSocket conformance\n\n");
    let _ = write!(
        text,
        "Made by `cargo xtask autobahn`, which runs the fuzzing client of the Autobahn test suite {VERSION} against a\n\
         component that echoes, and `cargo xtask autobahn --render`, which only writes this page.\n\n\
         A case passes when it is OK or INFORMATIONAL in its behaviour and in how it closed. Over HTTP/2 a relay turns the\n\
         client's Upgrade into extended CONNECT (RFC 8441), with a connection for each WebSocket or one for all. Over HTTP/3\n\
         (RFC 9220) another does, which is made of aioquic. A run of\n\
         `all` has every case of the suite; the others leave out all of 12 and 13 but a fixed sample: {}.\n\n\
         Cases that the suite calls informational: it does not judge what a server does there.\n\n",
        SAMPLE.join(", ")
    );
    text.push_str(&table(runs));
    text.push_str("\n| run | date | commit | seconds | informational |\n|---|---|---|---:|---|\n");
    for run in runs {
        let _ = writeln!(
            text,
            "| {}{} | {} | {} | {} | {} |",
            run.transport.text(),
            if run.all { ", all" } else { "" },
            run.date,
            run.commit,
            run.seconds,
            run.informational.join(", ")
        );
    }
    text
}

fn read(tree: &Tree) -> Result<Vec<Run>> {
    let path = tree.root.join(RESULTS);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not understood", path.display()))
}

fn group(case: &str) -> Result<u32> {
    numbers(case).first().copied().with_context(|| format!("{case:?} is not a case"))
}

fn numbers(case: &str) -> Vec<u32> {
    case.split('.').map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(index: &str) -> Run {
        let mut run = Run {
            transport: Transport::H2,
            all: false,
            date: String::new(),
            commit: String::new(),
            seconds: 0,
            passed: BTreeMap::new(),
            informational: Vec::new(),
            failed: Vec::new(),
        };
        run.judge(index, "h2").unwrap();
        run
    }

    fn index(cases: &[(&str, &str, &str)]) -> String {
        let cases: BTreeMap<_, _> = cases
            .iter()
            .map(|(case, behavior, close)| (case, serde_json::json!({ "behavior": behavior, "behaviorClose": close })))
            .collect();
        serde_json::json!({ "h2": cases }).to_string()
    }

    #[test]
    fn ok_and_informational_pass() {
        let run = run(&index(&[("7.1.6", "INFORMATIONAL", "INFORMATIONAL"), ("10.1.1", "OK", "OK")]));
        assert!(run.failed.is_empty());
        assert_eq!(run.passed, BTreeMap::from([(7, 1), (10, 1)]));
        assert_eq!(run.informational, ["7.1.6"]);
    }

    #[test]
    fn everything_else_fails() {
        for word in ["FAILED", "NON-STRICT", "UNIMPLEMENTED", "UNCLEAN", "WRONG CODE", ""] {
            for (behavior, close) in [(word, "OK"), ("OK", word)] {
                let run = run(&index(&[("1.1.1", "OK", "OK"), ("13.7.1", behavior, close)]));
                assert_eq!(run.failed.len(), 1, "{behavior}, {close}");
                assert_eq!(run.failed[0].case, "13.7.1");
                assert!(table(&[run]).contains("| 13 compression, negotiated | 0, **1 failed** |"));
            }
        }
    }

    #[test]
    fn cases_are_in_the_order_of_their_numbers() {
        let run = run(&index(&[("10.1.1", "FAILED", "OK"), ("2.10", "FAILED", "OK"), ("2.9", "FAILED", "OK")]));
        let cases: Vec<_> = run.failed.iter().map(|failure| failure.case.as_str()).collect();
        assert_eq!(cases, ["2.9", "2.10", "10.1.1"]);
    }

    #[test]
    fn the_page_is_current() {
        let tree = Tree::find().unwrap();
        let written = fs::read_to_string(tree.root.join(PAGE)).unwrap_or_default();
        let current = written == page(&read(&tree).unwrap());
        assert!(current, "{PAGE} is not what {RESULTS} says: run `cargo xtask autobahn --render`");
    }
}

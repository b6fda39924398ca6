//! docs/performance.md, made from the committed results: no number in it is typed by hand.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::comparison;
use super::contenders::{FRESH, KINDS, NATIVE, REUSE, WASMTIME};
use super::instructions::{self, Instructions};
use super::open_loop::{self, OpenLoop};
use super::resources::{self, IDLE_LOOP, Resources};
use super::results::{BodyRow, Files, Machine, Results, Row};
use super::scale::{self, Scale};
use super::scenarios::find;
use super::single::{DOWNLOAD_STREAM, UPLOAD_MANUAL};
use crate::tree::Tree;

/// The results of the last whole run of the scenarios, and the page.
pub const FILES: Files = Files { results: "bench/results/latest.json", page: "docs/performance.md" };

/// The settings that were tried, and their effects.
const TUNING: Files = Files { results: "bench/results/tuning.json", page: FILES.page };

/// All committed results. Those of a kind that was never measured are missing.
pub struct Everything {
    /// The scenarios.
    pub scenarios: Results,
    /// Latencies at fixed rates.
    pub open_loop: Option<OpenLoop>,
    /// The memory of one of everything.
    pub resources: Option<Resources>,
    /// Many components and connections.
    pub scale: Option<Scale>,
    /// Instructions of one request.
    pub instructions: Option<Instructions>,
    tuning: Option<Tuning>,
}

/// A table of settings.
#[derive(Debug, Deserialize)]
struct Tuning {
    /// The subject and place of the measurement.
    about: String,
    /// One setting each.
    rows: Vec<TuningRow>,
}

#[derive(Debug, Deserialize)]
struct TuningRow {
    setting: String,
    /// With its unit.
    value: String,
    #[serde(default)]
    note: String,
}

/// Writes both pages and their pictures from the committed results.
pub fn write(tree: &Tree) -> Result<()> {
    let everything = Everything::read(tree)?;
    if let Some(open_loop) = &everything.open_loop {
        open_loop::plots(tree, open_loop)?;
    }
    FILES.write_page(tree, &everything.page())?;
    let path = tree.root.join(comparison::PAGE);
    let text = comparison::page(tree, &everything)?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The section of the scenarios.
pub fn scenarios(results: &Results) -> String {
    let mut page = Page(String::new());
    page.throughput(results);
    page.bodies(&results.bodies);
    page.0
}

/// The section of the latencies at fixed rates.
pub fn open_loop(results: &OpenLoop) -> String {
    let mut page = Page(String::new());
    page.open_loop(results);
    page.0
}

/// The section of memory and starts.
pub fn resources(results: &Resources) -> String {
    let mut page = Page(String::new());
    page.resources(results);
    page.0
}

/// The section of many components and connections.
pub fn scale(results: &Scale) -> String {
    let mut page = Page(String::new());
    page.scale(results);
    page.0
}

impl Everything {
    /// Reads all results.
    pub fn read(tree: &Tree) -> Result<Self> {
        Ok(Self {
            scenarios: FILES.read(tree)?,
            open_loop: open_loop::read(tree)?,
            resources: resources::read(tree)?,
            scale: scale::read(tree)?,
            instructions: instructions::read(tree)?,
            tuning: TUNING.read_if_kept(tree)?,
        })
    }

    /// The servers that others make, where one is faster than a fresh instance, with how many times as fast it is.
    pub fn lost(&self) -> Vec<(&Row, f64)> {
        let rows = &self.scenarios.throughput;
        let fresh = |row: &Row| {
            let same = |other: &&Row| (&other.workload, &other.protocol) == (&row.workload, &row.protocol);
            rows.iter().filter(same).find(|other| other.server == FRESH)
        };
        let foreign = rows.iter().filter(|row| !KINDS.iter().any(|kind| kind.name == row.server && kind.is_own()));
        // Ratios within a round where there are some, and not of rates from different moments.
        let times = |row: &Row, fresh: &Row| match (row.of_native, fresh.of_native) {
            (Some(theirs), Some(ours)) => theirs / ours,
            _ => row.rate / fresh.rate,
        };
        foreign.filter_map(|row| Some((row, times(row, fresh(row)?)))).filter(|(_, times)| *times > 1.0).collect()
    }

    fn page(&self) -> String {
        let mut page = Page(String::new());
        page.line("# Performance\n");
        page.line(
            "Made by `cargo xtask bench --render` from the files in bench/results. Each part says its command, its machine and\n\
             its versions.\n",
        );
        page.lost(self);
        page.targets(self);
        page.throughput(&self.scenarios);
        page.bodies(&self.scenarios.bodies);
        if let Some(open_loop) = &self.open_loop {
            page.open_loop(open_loop);
        }
        if let Some(resources) = &self.resources {
            page.resources(resources);
        }
        if let Some(scale) = &self.scale {
            page.scale(scale);
        }
        if let Some(instructions) = &self.instructions {
            page.instructions(instructions);
        }
        if let Some(tuning) = &self.tuning {
            page.tuning(tuning);
        }
        page.0
    }
}

struct Page(String);

impl Page {
    fn line(&mut self, text: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn table(&mut self, head: &[&str], numbers: usize, rows: impl IntoIterator<Item = Vec<String>>) {
        self.0.push_str(&table(head, numbers, rows));
    }

    fn machine(&mut self, command: &str, machine: &Machine) {
        self.line(format_args!("`{command}`. {} {}.\n", machine.line(), machine.programs.join(", ")));
    }

    /// What is slower here than elsewhere, before anything else.
    fn lost(&mut self, everything: &Everything) {
        self.line("## What it costs, and who is faster\n");
        let mut costs: Vec<&Row> = everything
            .scenarios
            .throughput
            .iter()
            .filter(|row| row.server == FRESH && row.of_native.is_some_and(|ratio| ratio < 1.0))
            .collect();
        costs.sort_by(|left, right| left.of_native.unwrap_or(1.0).total_cmp(&right.of_native.unwrap_or(1.0)));
        self.line(
            "A fresh instance for each request takes most from the rate of a native server in these scenarios:\n",
        );
        for row in costs.iter().take(5) {
            let ratio = row.of_native.unwrap_or(1.0);
            self.line(format_args!("- {}, {}: {ratio:.2} of native hyper's rate", row.workload, row.protocol));
        }
        self.line("");
        let lost = everything.lost();
        if lost.is_empty() {
            self.line("No other server in this run is faster than a fresh instance.\n");
            return;
        }
        self.line("These servers are faster than a fresh instance:\n");
        for (row, times) in lost {
            self.line(format_args!("- {}, {}: {}, {times:.2} times", row.workload, row.protocol, row.server));
        }
        self.line("");
    }

    /// The project's targets, and the results.
    fn targets(&mut self, everything: &Everything) {
        let hello = |server: &str| {
            let row = |row: &&Row| row.workload == "hello" && row.protocol == "h1" && row.server == server;
            everything.scenarios.throughput.iter().find(row).and_then(|row| row.of_native)
        };
        let (fresh, reuse, wasmtime) = (hello(FRESH), hello(REUSE), hello(WASMTIME));
        let growth =
            |name: &str| everything.scenarios.bodies.iter().find(|body| body.name == name).map(|body| body.growth_mib);
        // Ratios within a round, and not of rates from different moments.
        let over = fresh.zip(wasmtime).map(|(fresh, wasmtime)| fresh / wasmtime);
        let resources = everything.resources.as_ref();
        let held = resources.and_then(|resources| {
            let row = resources.rows.iter().find(|row| row.name == IDLE_LOOP && row.server == FRESH)?;
            Some(row.kib_each)
        });
        let cold = resources.and_then(|resources| Some(resources.start.as_ref()?.component_ms));
        let least =
            |what, target: f64, value: Option<f64>| (what, format!("at least {target}"), value, value >= Some(target));
        let most = |what, target: f64, value: Option<f64>| {
            (what, format!("at most {target}"), value, value.is_some_and(|value| value <= target))
        };
        let targets = [
            least("hello, h1, fresh instance: part of native hyper's rate", 0.55, fresh),
            least("the same: times the rate of wasmtime serve", 4.5, over),
            least("hello, h1, reuse: part of native hyper's rate", 0.75, reuse),
            most("idle held loop with its connection: KiB", 64.0, held),
            most("manual upload of 20 MiB: growth, MiB", 8.0, growth(UPLOAD_MANUAL)),
            most("streamed download of 1 GiB: growth, MiB", 8.0, growth(DOWNLOAD_STREAM)),
            most("cold start of a cached component: ms", 5.0, cold),
        ];
        self.line("## Targets\n");
        let rows = targets.into_iter().filter_map(|(what, target, value, met)| {
            let value = value?;
            Some(vec![what.to_owned(), target, format!("{value:.2}"), if met { "yes" } else { "no" }.to_owned()])
        });
        self.table(&["what", "target", "measured", "met"], 0, rows);
    }

    fn throughput(&mut self, results: &Results) {
        self.line("## Scenarios\n");
        self.machine("cargo xtask bench", &results.machine);
        let plan = &results.plan;
        self.line(format_args!(
            "Servers, loaders and the rest of the machine share its processors. Each scenario has servers of its own; all are\n\
             up at once and take {} turns of {} s. Rates and latencies are medians of the turns; `of native` is the median of\n\
             the ratios within a round, with its interval (bootstrap, 95 %) where there is one. Numbers of different runs are\n\
             not to be compared, their ratios are. `CPU` is the server's own for each request, in microseconds; RSS is what is\n\
             resident after a turn. Access logs are off.\n",
            plan.rounds, plan.seconds
        ));
        for kind in KINDS {
            if results.throughput.iter().any(|row| row.server == kind.name) {
                self.line(format_args!("- **{}**: {}", kind.name, kind.about));
            }
        }
        self.line("");
        for note in &results.notes {
            self.line(format_args!("- {note}"));
        }
        if !results.notes.is_empty() {
            self.line("");
        }
        let mut shown: Vec<&str> = Vec::new();
        for row in &results.throughput {
            if shown.contains(&row.workload.as_str()) {
                continue;
            }
            shown.push(&row.workload);
            self.line(format_args!("### {}\n", row.workload));
            if let Some(scenario) = find(&row.workload) {
                self.line(format_args!("{}; {} connections.\n", scenario.about, scenario.connections));
            }
            let head = [
                "",
                "server",
                "a second",
                "slowest - fastest",
                "of native",
                "CPU us",
                "p50 us",
                "p99 us",
                "p99.9 us",
                "RSS MiB",
            ];
            let rows = results.throughput.iter().filter(|other| other.workload == row.workload);
            self.table(&head, 8, rows.map(cells));
        }
    }

    fn bodies(&mut self, bodies: &[BodyRow]) {
        if bodies.is_empty() {
            return;
        }
        self.line("### Large bodies\n");
        self.line(
            "One exchange on a server that is otherwise idle; growth is the peak of RSS over what it was before.\n",
        );
        let head = ["exchange", "MiB", "MiB/s", "growth MiB"];
        let row = |row: &BodyRow| {
            vec![
                row.name.clone(),
                format!("{:.0}", row.mib),
                format!("{:.0}", row.mib_per_second),
                format!("{:.1}", row.growth_mib),
            ]
        };
        self.table(&head, 3, bodies.iter().map(row));
    }

    fn open_loop(&mut self, results: &OpenLoop) {
        self.line("## Latency at fixed rates\n");
        self.machine("cargo xtask bench --open-loop", &results.machine);
        self.line(format_args!(
            "Requests start at fixed times, at a part of each server's own peak rate, however long the answers take; {} turns\n\
             of {} s each. A latency counts from the time when the request was due, and in brackets from when it was sent,\n\
             which leaves out the requests that a stall held up (coordinated omission). Microseconds.\n",
            results.rounds, results.seconds
        ));
        for note in &results.notes {
            self.line(format_args!("- {note}\n"));
        }
        for (name, plot) in open_loop::draw(results) {
            self.line(format_args!("![{}](pictures/{name})\n", plot.title));
        }
        let head = ["", "", "server", "peak/s", "of it", "p50", "p99", "p99.9", "p99.99", "never sent"];
        let rows = results.rows.iter().map(|row| {
            let both = |pick: fn(&super::load::Latency) -> f64| {
                format!("{:.0} ({:.0})", pick(&row.corrected), pick(&row.uncorrected))
            };
            vec![
                row.scenario.clone(),
                row.protocol.clone(),
                row.server.clone(),
                rate(row.peak),
                format!("{} %", row.percent),
                both(|latency| latency.p50),
                both(|latency| latency.p99),
                both(|latency| latency.p999),
                both(|latency| latency.p9999),
                format!("{:.0}", row.unsent),
            ]
        });
        self.table(&head, 7, rows);
    }

    fn resources(&mut self, results: &Resources) {
        self.line("## Memory, starts, size\n");
        self.machine("cargo xtask bench --resources", &results.machine);
        self.line(
            "Resident memory for one of each, from the difference with many of them. The native server holds the same\n\
             connections without instances. `idle CPU` is of one processor, for all of them together.\n",
        );
        let head = ["one of", "server", "number", "KiB each", "RSS before, MiB", "with them", "after", "idle CPU %"];
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        let rows = results.rows.iter().map(|row| {
            vec![
                row.name.clone(),
                row.server.clone(),
                row.count.to_string(),
                format!("{:.1}", row.kib_each),
                format!("{:.1}", row.before_mib),
                format!("{:.1}", row.during_mib),
                number(row.after_mib),
                number(row.idle_cpu_percent),
            ]
        });
        self.table(&head, 6, rows);
        if let Some(start) = &results.start {
            self.line(format_args!(
                "With the component's code in the cache, the first answer comes {:.1} ms after the start of the program, most of\n\
                 which reserves the instance slots. Loading the component and its first instance take {:.1} ms of it: the median\n\
                 difference to a neighbouring start of a program that serves a file and has no component, both with few slots.\n\
                 The answer after it, on a connection of its own, takes {:.2} ms.\n",
                start.start_ms, start.component_ms, start.next_ms
            ));
        }
        if let Some(bytes) = results.program_bytes {
            self.line(format_args!("The program has {:.1} MiB.\n", bytes as f64 / f64::from(1 << 20)));
        }
    }

    fn scale(&mut self, results: &Scale) {
        self.line("## More components, more connections\n");
        self.machine("cargo xtask bench --scale", &results.machine);
        self.line(format_args!(
            "Hello over h1, {} turns of {} s. Components differ by their content, have a route each and are asked in turn, with\n\
             50 connections. Each connection has one request under way.\n",
            results.rounds, results.seconds
        ));
        let head = ["of", "number", "server", "a second", "CPU us", "p50 us", "p99 us", "RSS MiB"];
        let rows = results.rows.iter().map(|row| {
            vec![
                row.of.clone(),
                row.count.to_string(),
                row.server.clone(),
                rate(row.rate),
                format!("{:.1}", row.cpu_micros),
                format!("{:.0}", row.p50_micros),
                format!("{:.0}", row.p99_micros),
                format!("{:.1}", row.resident_mib),
            ]
        });
        self.table(&head, 5, rows);
    }

    fn instructions(&mut self, results: &Instructions) {
        self.line("## Instructions\n");
        self.machine("cargo xtask bench --instructions --bless", &results.machine);
        self.line(
            "Instructions of the whole program for one exchange, without those of the kernel. A change that adds more than 2 %\n\
             fails `cargo xtask bench --instructions`.\n",
        );
        let rows = results.cases.iter().map(|case| {
            let most = case.functions.iter().max_by(|left, right| left.1.total_cmp(right.1));
            let most = most.map_or_else(String::new, |(name, count)| format!("`{name}`: {count:.0}"));
            vec![case.name.clone(), format!("{:.0}", case.instructions), most]
        });
        self.table(&["exchange", "instructions", "the most in one function"], 0, rows);
    }

    fn tuning(&mut self, tuning: &Tuning) {
        self.line("## Settings\n");
        self.line(format_args!("{}\n", tuning.about));
        let row = |row: &TuningRow| vec![row.setting.clone(), row.value.clone(), row.note.clone()];
        self.table(&["setting", "value", "note"], 0, tuning.rows.iter().map(row));
    }
}

/// A table whose last columns, so many, have numbers.
pub fn table(head: &[&str], numbers: usize, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rule = (0..head.len()).map(|column| if column + numbers < head.len() { "---" } else { "---:" });
    let mut text = format!("| {} |\n|{}|\n", head.join(" | "), rule.collect::<Vec<_>>().join("|"));
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text + "\n"
}

fn rate(value: f64) -> String {
    if value < 1000.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn cells(row: &Row) -> Vec<String> {
    let number =
        |value: Option<f64>, digits: usize| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
    let interval = match row.of_native_interval {
        Some([low, high]) if row.server != NATIVE => format!(" ({low:.2} - {high:.2})"),
        _ => String::new(),
    };
    vec![
        row.protocol.clone(),
        row.server.clone(),
        rate(row.rate),
        format!("{} - {}", rate(row.slowest), rate(row.fastest)),
        number(row.of_native, 2) + &interval,
        number(row.cpu_micros, 1),
        number(row.p50_micros, 0),
        number(row.p99_micros, 0),
        number(row.p999_micros, 0),
        number(row.resident_mib, 1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_current() {
        let tree = Tree::find().unwrap();
        let written = fs::read_to_string(tree.root.join(FILES.page)).unwrap_or_default();
        let everything = Everything::read(&tree).unwrap();
        let current = written == everything.page();
        assert!(current, "{} is not what bench/results says: run `cargo xtask bench --render`", FILES.page);
        for (name, plot) in everything.open_loop.iter().flat_map(open_loop::draw) {
            let drawn = fs::read_to_string(tree.root.join("docs/pictures").join(&name)).unwrap_or_default();
            assert!(drawn == plot.svg(), "{name} is not current: run `cargo xtask bench --render`");
        }
    }

    #[test]
    fn a_faster_server_is_named_first() {
        let row = |server: &str, rate: f64| Row {
            workload: "hello".to_owned(),
            protocol: "h1".to_owned(),
            server: server.to_owned(),
            rate,
            slowest: rate,
            fastest: rate,
            of_native: Some(rate / 100.0),
            of_native_interval: None,
            cpu_micros: None,
            p50_micros: None,
            p99_micros: None,
            p999_micros: None,
            resident_mib: None,
        };
        let everything = Everything {
            scenarios: Results {
                machine: Machine::default(),
                plan: super::super::results::Plan { rounds: 1, seconds: 1.0 },
                throughput: vec![row(NATIVE, 100.0), row(FRESH, 40.0), row("erlang", 60.0), row("slow", 4.0)],
                bodies: Vec::new(),
                notes: Vec::new(),
            },
            open_loop: None,
            resources: None,
            scale: None,
            instructions: None,
            tuning: None,
        };
        let page = everything.page();
        let (lost, scenarios) =
            (page.find("- hello, h1: erlang, 1.50 times").unwrap(), page.find("## Scenarios").unwrap());
        assert!(lost < scenarios);
        assert!(!page.contains("slow, "), "{page}");
    }

    #[test]
    fn settings_are_a_table() {
        let text = r#"{"about": "hello, one run", "rows": [{"setting": "lto", "value": "7 us"}]}"#;
        let mut page = Page(String::new());
        page.tuning(&serde_json::from_str(text).unwrap());
        assert!(page.0.contains("hello, one run\n\n| setting | value | note |\n|---|---|---|\n| lto | 7 us |  |\n"));
    }
}

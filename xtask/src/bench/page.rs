//! docs/performance.md, made from the committed results: no number in it is typed by hand.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::contenders::{FRESH, REUSE, WASMTIME};
use super::load::EVENT_SESSIONS;
use super::results::{BodyRow, Cold, Held, Machine, Results, Row};
use super::single::{DOWNLOAD_STREAM, UPLOAD_MANUAL};
use crate::tree::Tree;

/// The results of the last whole run.
pub const RESULTS: &str = "bench/results/latest.json";

/// The settings that were tried, and their effects; the file may be missing.
const TUNING: &str = "bench/results/tuning.json";

/// The page.
const PAGE: &str = "docs/performance.md";

/// A table of settings.
#[derive(Debug, Deserialize)]
pub struct Tuning {
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

/// Writes the page from the committed results.
pub fn write(tree: &Tree) -> Result<()> {
    let path = tree.root.join(PAGE);
    fs::write(&path, from_results(tree)?).with_context(|| format!("cannot write {}", path.display()))
}

/// The page from the committed results.
fn from_results(tree: &Tree) -> Result<String> {
    let path = tree.root.join(RESULTS);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let results = serde_json::from_str(&text).with_context(|| format!("{} is not understood", path.display()))?;
    let path = tree.root.join(TUNING);
    let tuning = match fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).with_context(|| format!("{} is not understood", path.display()))?),
        Err(_) => None,
    };
    Ok(render(&results, tuning.as_ref()))
}

/// The page from any results.
pub fn render(results: &Results, tuning: Option<&Tuning>) -> String {
    let mut page = Page(String::new());
    page.head(results);
    page.targets(results);
    page.throughput(&results.throughput);
    if let Some(held) = &results.held {
        page.held(held);
    }
    if !results.bodies.is_empty() {
        page.bodies(&results.bodies);
    }
    if let Some(cold) = &results.cold {
        page.cold(cold);
    }
    if let Some(tuning) = tuning {
        page.tuning(tuning);
    }
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, text: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn table(&mut self, head: &[&str], numbers: usize, rows: impl IntoIterator<Item = Vec<String>>) {
        self.line(format_args!("| {} |", head.join(" | ")));
        let rule = (0..head.len()).map(|column| if column + numbers < head.len() { "---" } else { "---:" });
        self.line(format_args!("|{}|", rule.collect::<Vec<_>>().join("|")));
        for row in rows {
            self.line(format_args!("| {} |", row.join(" | ")));
        }
        self.line("");
    }

    fn head(&mut self, results: &Results) {
        let Machine { date, commit, cpu, cores, memory_gib, kernel, programs } = &results.machine;
        self.line("# Performance\n");
        self.line("Made by `cargo xtask bench`, which measures, and `cargo xtask bench --render`, which only writes this page.\n");
        self.line(format_args!(
            "Run on {date} at commit {commit}: {cpu}, {cores} processors, {memory_gib} GiB, Linux {kernel}; {}.\n",
            programs.join(", ")
        ));
        let plan = &results.plan;
        self.line(format_args!(
            "Servers, loaders and the rest of the machine share its processors. Each load has servers of its own; all are up at\n\
             once and take turns of {} s, {} for each load; rates and latencies are medians of the turns, `of native` is the median of the ratios\n\
             within a round. Numbers of different runs are not to be compared, their ratios are. 32 requests are in flight,\n\
             2 for uploads; the loaders use one thread: wrk for h1, h2load for h2c (8 connections with 4 streams). `CPU` is\n\
             the server's own for each request, in microseconds; RSS is what is resident after a turn. Access logs are off.\n",
            plan.seconds, plan.rounds
        ));
        let servers = [
            "**native hyper**: the same answers without a sandbox, limits, router or metrics: the ceiling",
            "**fresh instance**: Roadrunner as it is by default, guests as `roadrunner new` builds them",
            "**fresh, stock link arguments**: the same with the toolchain's own stack and memory sizes",
            "**reuse up to 1000**: with `reuse = { requests = 1000 }`",
            "**wasmtime serve**: with its defaults and `-Scli`, and a wasi:http 0.2 guest",
        ];
        for server in servers {
            self.line(format_args!("- {server}"));
        }
        self.line("");
        for note in &results.notes {
            self.line(format_args!("Note: {note}\n"));
        }
    }

    /// The project's targets, and the results of this run.
    fn targets(&mut self, results: &Results) {
        let hello = |server: &str| {
            let row = |row: &&Row| row.workload == "hello" && row.protocol == "h1" && row.server == server;
            results.throughput.iter().find(row)
        };
        let (fresh, reuse, wasmtime) = (hello(FRESH), hello(REUSE), hello(WASMTIME));
        let growth = |name: &str| results.bodies.iter().find(|body| body.name == name).map(|body| body.growth_mib);
        // Ratios within a round, and not of rates from different moments.
        let over = fresh.zip(wasmtime).map(|(fresh, wasmtime)| fresh.of_native / wasmtime.of_native);
        let least =
            |what, target: f64, value: Option<f64>| (what, format!("at least {target}"), value, value >= Some(target));
        let most = |what, target: f64, value: Option<f64>| {
            (what, format!("at most {target}"), value, value.is_some_and(|value| value <= target))
        };
        let targets = [
            least("hello, h1, fresh instance: part of native hyper's rate", 0.55, fresh.map(|row| row.of_native)),
            least("the same: times the rate of wasmtime serve", 4.5, over),
            least("hello, h1, reuse: part of native hyper's rate", 0.75, reuse.map(|row| row.of_native)),
            most("idle held loop with its connection: KiB", 64.0, results.held.as_ref().map(|held| held.own.kib_each)),
            most("manual upload of 20 MiB: growth, MiB", 8.0, growth(UPLOAD_MANUAL)),
            most("streamed download of 1 GiB: growth, MiB", 8.0, growth(DOWNLOAD_STREAM)),
            most("cold start of a cached component: ms", 5.0, results.cold.as_ref().map(|cold| cold.component_ms)),
        ];
        self.line("## Targets\n");
        let rows = targets.into_iter().filter_map(|(what, target, value, met)| {
            let value = value?;
            Some(vec![what.to_owned(), target, format!("{value:.2}"), if met { "yes" } else { "no" }.to_owned()])
        });
        self.table(&["what", "target", "this run", "met"], 0, rows);
    }

    fn throughput(&mut self, rows: &[Row]) {
        let mut shown: Vec<&str> = Vec::new();
        for row in rows {
            if shown.contains(&row.workload.as_str()) {
                continue;
            }
            shown.push(&row.workload);
            self.line(format_args!("## {}\n", heading(&row.workload)));
            let unit = if row.workload == "server-sent events" {
                self.line(format_args!(
                    "{EVENT_SESSIONS} held sessions with a timer of a millisecond each; what counts is how many events get through.\n"
                ));
                "events/s"
            } else {
                "requests/s"
            };
            let head = [
                "",
                "server",
                unit,
                "slowest - fastest",
                "of native",
                "CPU us",
                "p50 us",
                "p99 us",
                "p99.9 us",
                "RSS MiB",
            ];
            let rows = rows.iter().filter(|other| other.workload == row.workload);
            self.table(&head, 8, rows.map(cells));
        }
    }

    fn held(&mut self, held: &Held) {
        let Held { sessions, native, own } = held;
        self.line("## Held sessions\n");
        self.line(format_args!(
            "{sessions} idle HTTP/1.1 event loops at once. The native server holds the same connections without instances.\n\
             Each session takes {:.1} KiB: {:.1} for the connection, {:.1} for the instance.\n",
            own.kib_each,
            native.kib_each,
            own.kib_each - native.kib_each
        ));
        let head = ["server", "KiB each", "RSS before, MiB", "with them", "2 s after", "idle CPU %"];
        let row = |name: &str, row: &super::results::HeldRow| {
            let numbers = [row.kib_each, row.before_mib, row.during_mib, row.after_mib, row.idle_cpu_percent];
            std::iter::once(name.to_owned()).chain(numbers.map(|number| format!("{number:.1}"))).collect()
        };
        self.table(&head, 5, [row("native hyper", native), row("fresh instance", own)]);
    }

    fn bodies(&mut self, bodies: &[BodyRow]) {
        self.line("## Large bodies\n");
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

    fn cold(&mut self, cold: &Cold) {
        let Cold { start_ms, component_ms, next_ms } = cold;
        self.line("## Cold start\n");
        self.line(format_args!(
            "With the component's code in the cache, the first answer comes {start_ms:.1} ms after the start of the program, most of\n\
             which reserves the instance slots. Loading the component and its first instance take {component_ms:.1} ms of it: the median\n\
             difference to a neighbouring start of a program that serves a file and has no component, both with few slots.\n\
             The answer after it, on a connection of its own, takes {next_ms:.2} ms.\n",
        ));
    }

    fn tuning(&mut self, tuning: &Tuning) {
        self.line("## Settings\n");
        self.line(format_args!("{}\n", tuning.about));
        let row = |row: &TuningRow| vec![row.setting.clone(), row.value.clone(), row.note.clone()];
        self.table(&["setting", "value", "note"], 0, tuning.rows.iter().map(row));
    }
}

fn heading(workload: &str) -> String {
    let mut letters = workload.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn cells(row: &Row) -> Vec<String> {
    let micros = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
    let rate = |value: f64| if value < 1000.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    vec![
        row.protocol.clone(),
        row.server.clone(),
        rate(row.rate),
        format!("{} - {}", rate(row.slowest), rate(row.fastest)),
        format!("{:.2}", row.of_native),
        format!("{:.1}", row.cpu_micros),
        micros(row.p50_micros),
        micros(row.p99_micros),
        micros(row.p999_micros),
        format!("{:.1}", row.resident_mib),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_current() {
        let tree = Tree::find().unwrap();
        let written = fs::read_to_string(tree.root.join(PAGE)).unwrap_or_default();
        let current = written == from_results(&tree).unwrap();
        assert!(current, "{PAGE} is not what {RESULTS} says: run `cargo xtask bench --render`");
    }

    #[test]
    fn settings_are_a_table() {
        let text = r#"{"about": "hello, one run", "rows": [{"setting": "lto", "value": "7 us"}]}"#;
        let mut page = Page(String::new());
        page.tuning(&serde_json::from_str(text).unwrap());
        assert!(page.0.contains("hello, one run\n\n| setting | value | note |\n|---|---|---|\n| lto | 7 us |  |\n"));
    }
}

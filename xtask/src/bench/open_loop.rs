//! `cargo xtask bench --open-loop`: latencies at fixed rates, 50, 75, 90 and 95 % of what each server can do at most.
//!
//! The peak is that of a closed loop right before. Then the servers take turns at each rate. bench-load counts a latency
//! from the moment when the request was due (corrected), and from when it was sent (uncorrected).

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Bench;
use super::contenders::{Contender, Kind};
use super::load::{Latency, Load, Report};
use super::plot::{Line, Plot};
use super::results::{Files, Machine};
use super::rounds::{answers, start};
use super::scenarios::{Protocol, SCENARIOS, Scenario};
use super::statistics::median;
use crate::toolchain::say;
use crate::tree::Tree;

/// The results of the last run.
pub const FILES: Files = Files { results: "bench/results/open-loop.json", page: "docs/performance.md" };

/// Parts of the peak, in percent.
const PARTS: [u32; 4] = [50, 75, 90, 95];

/// The scenarios with a published figure of the origin, and the protocols of which each is measured.
const NAMES: [&str; 9] = [
    "hello",
    "json",
    "echo",
    "headers_heavy",
    "large_response",
    "multi_request_body",
    "post_4kb_form",
    "large_post_streaming",
    "gzip_response",
];

/// Servers that differ from another one only in what a closed loop shows as well.
const LEFT_OUT: [&str; 2] = ["fresh, never restored", "standard component"];

/// A run.
#[derive(Debug, Deserialize, Serialize)]
pub struct OpenLoop {
    /// The machine of the run.
    pub machine: Machine,
    /// Turns of each row.
    pub rounds: u32,
    /// Length of a turn.
    pub seconds: f64,
    /// The measurements.
    pub rows: Vec<Row>,
    /// The parts that were left out, and why.
    pub notes: Vec<String>,
}

/// One server at one rate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// The protocol.
    pub protocol: String,
    /// The server.
    pub server: String,
    /// Requests a second at most.
    pub peak: f64,
    /// Percent of it that were asked for.
    pub percent: u32,
    /// Requests a second that were answered.
    pub rate: f64,
    /// Exchanges that were due and never sent, of all turns.
    pub unsent: f64,
    /// Microseconds from the intended start: medians of the turns.
    pub corrected: Latency,
    /// Microseconds from the moment of sending.
    pub uncorrected: Latency,
}

/// Measures.
///
/// # Errors
/// A server of this repository does not start, or does not answer.
pub fn run(bench: &Bench<'_>, wanted: &dyn Fn(&str) -> bool) -> Result<OpenLoop> {
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    let known = |scenario: &&Scenario| NAMES.contains(&scenario.name) && wanted(scenario.name);
    for scenario in SCENARIOS.iter().filter(known) {
        let kinds = |kind: &Kind| bench.wants(kind.name) && !LEFT_OUT.contains(&kind.name);
        let servers = start(bench, scenario, &kinds, &mut notes)?;
        // A quick run shows that each protocol works, with one scenario.
        for &protocol in scenario.protocols.iter().filter(|_| !bench.quick || scenario.name == "hello") {
            say(&format!("{} over {}", scenario.name, protocol.label()));
            rows.extend(measure(bench, scenario, protocol, &servers, &mut notes)?);
        }
    }
    let seconds = bench.open_milliseconds() as f64 / 1e3;
    Ok(OpenLoop { machine: bench.machine(), rounds: bench.rounds, seconds, rows, notes })
}

/// The results of the last whole run.
///
/// # Errors
/// The file is not understood.
pub fn read(tree: &Tree) -> Result<Option<OpenLoop>> {
    FILES.read_if_kept(tree)
}

/// Writes a plot for each scenario and protocol, and returns their paths below `docs`.
///
/// # Errors
/// A file cannot be written.
pub fn plots(tree: &Tree, results: &OpenLoop) -> Result<Vec<String>> {
    let folder = tree.root.join("docs/pictures");
    let mut names = Vec::new();
    for (name, plot) in draw(results) {
        let path = folder.join(&name);
        fs::write(&path, plot.svg()).with_context(|| format!("cannot write {}", path.display()))?;
        names.push(format!("pictures/{name}"));
    }
    Ok(names)
}

/// The plots and their file names: the 99th percentile at each part of the peak.
pub fn draw(results: &OpenLoop) -> Vec<(String, Plot)> {
    let mut plots: Vec<(String, Plot)> = Vec::new();
    for row in &results.rows {
        let name = format!("open-loop-{}-{}.svg", row.scenario.replace('_', "-"), row.protocol);
        let index = plots.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            plots.push((name, empty(row)));
            plots.len() - 1
        });
        let plot = &mut plots[index].1;
        if plot.lines.iter().any(|line| line.name == row.server) {
            continue;
        }
        let colour = plot.lines.len() / 2;
        let own = || results.rows.iter().filter(|other| same(row, other));
        let line = |kind: &str, pick: fn(&Row) -> f64, dashed: bool| Line {
            name: format!("{}{kind}", row.server),
            points: own().map(|row| (f64::from(row.percent), pick(row).max(1.0))).collect(),
            dashed,
            colour,
        };
        plot.lines.push(line("", |row| row.corrected.p99, false));
        plot.lines.push(line(", uncorrected", |row| row.uncorrected.p99, true));
    }
    plots
}

fn same(row: &Row, other: &Row) -> bool {
    (&row.scenario, &row.protocol, &row.server) == (&other.scenario, &other.protocol, &other.server)
}

fn empty(row: &Row) -> Plot {
    Plot {
        title: format!("{}, {}: 1 of 100 requests takes longer", row.scenario, row.protocol),
        x_label: "part of the server's own peak rate".to_owned(),
        y_label: "microseconds".to_owned(),
        x_marks: PARTS.iter().map(|part| (f64::from(*part), format!("{part} %"))).collect(),
        lines: Vec::new(),
    }
}

fn measure(
    bench: &Bench<'_>,
    scenario: &'static Scenario,
    protocol: Protocol,
    servers: &[Contender],
    notes: &mut Vec<String>,
) -> Result<Vec<Row>> {
    let closed = Load::closed(scenario.name, protocol, bench.turn_milliseconds());
    let mut cells = checked(bench, scenario, protocol, servers, notes)?;
    for _ in 0..bench.rounds {
        for cell in &mut cells {
            let report = closed.run(bench, cell.address, || Ok(()))?;
            cell.peaks.push(report.requests / report.seconds);
        }
    }
    let mut rows = Vec::new();
    for percent in PARTS {
        for _ in 0..bench.rounds {
            for cell in &mut cells {
                let rate = Some(median(cell.peaks.clone()) * f64::from(percent) / 100.0);
                let load = Load { rate, milliseconds: bench.open_milliseconds(), ..closed.clone() };
                cell.reports.push(load.run(bench, cell.address, || Ok(()))?);
            }
        }
        rows.extend(cells.iter_mut().map(|cell| cell.row(scenario, protocol, percent)));
    }
    Ok(rows)
}

/// The servers that speak the protocol and give the right answer.
fn checked<'a>(
    bench: &Bench<'_>,
    scenario: &'static Scenario,
    protocol: Protocol,
    servers: &'a [Contender],
    notes: &mut Vec<String>,
) -> Result<Vec<Cell<'a>>> {
    let mut cells = Vec::new();
    for server in servers {
        if let Some(address) = answers(bench, scenario, protocol, server, notes)? {
            cells.push(Cell { name: &server.name, address, peaks: Vec::new(), reports: Vec::new() });
        }
    }
    Ok(cells)
}

/// A server, its peaks, and its turns at the rate that is measured now.
struct Cell<'a> {
    name: &'a str,
    address: SocketAddr,
    peaks: Vec<f64>,
    reports: Vec<Report>,
}

impl Cell<'_> {
    fn row(&mut self, scenario: &Scenario, protocol: Protocol, percent: u32) -> Row {
        let reports = std::mem::take(&mut self.reports);
        let corrected: Vec<_> = reports.iter().filter_map(|report| report.corrected).collect();
        let uncorrected: Vec<_> = reports.iter().map(|report| report.uncorrected).collect();
        Row {
            scenario: scenario.name.to_owned(),
            protocol: protocol.label().to_owned(),
            server: self.name.to_owned(),
            peak: median(self.peaks.clone()),
            percent,
            rate: median(reports.iter().map(|report| report.requests / report.seconds).collect()),
            unsent: reports.iter().map(|report| report.unsent).sum(),
            corrected: Latency::median(&corrected),
            uncorrected: Latency::median(&uncorrected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_two_lines_for_each_server() {
        let latency = Latency { mean: 1.0, p50: 1.0, p75: 1.0, p90: 1.0, p99: 9.0, p999: 1.0, p9999: 1.0, max: 1.0 };
        let row = |server: &str, percent| Row {
            scenario: "hello".to_owned(),
            protocol: "h1".to_owned(),
            server: server.to_owned(),
            peak: 100.0,
            percent,
            rate: 50.0,
            unsent: 0.0,
            corrected: latency,
            uncorrected: latency,
        };
        let rows = vec![row("native", 50), row("native", 95), row("fresh", 50), row("fresh", 95)];
        let results = OpenLoop { machine: Machine::default(), rounds: 1, seconds: 1.0, rows, notes: Vec::new() };
        let plots = draw(&results);
        assert_eq!(plots.len(), 1);
        let names: Vec<_> = plots[0].1.lines.iter().map(|line| (line.name.as_str(), line.points.len())).collect();
        assert_eq!(names, [("native", 2), ("native, uncorrected", 2), ("fresh", 2), ("fresh, uncorrected", 2)]);
        assert_ne!(plots[0].1.lines[1].colour, plots[0].1.lines[2].colour);
    }
}

//! The interleaved part: scenario by scenario, every server in turns.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use super::Bench;
use super::contenders::{Contender, Foreign, KINDS, Kind, NATIVE};
use super::load::{Latency, Load};
use super::results::Row;
use super::scenarios::{Does, Protocol, Scenario};
use super::statistics::{interval, median};
use crate::toolchain::say;

/// One scenario against one server over one protocol, and its turns so far.
struct Cell<'a> {
    scenario: &'static Scenario,
    protocol: Protocol,
    server: &'a Contender,
    rates: Vec<f64>,
    worked: f64,
    cpu: f64,
    resident: u64,
    latencies: Vec<Latency>,
}

/// Runs one scenario, and notes missing comparisons.
///
/// # Errors
/// A server of this repository does not start, or does not answer.
pub fn measure(bench: &Bench<'_>, scenario: &'static Scenario, notes: &mut Vec<String>) -> Result<Vec<Row>> {
    let servers = start(bench, scenario, &|kind| bench.wants(kind.name), notes)?;
    let mut cells = cells(bench, scenario, &servers, notes)?;
    for round in 0..bench.rounds {
        say(&format!("{}: round {} of {}, {} turns", scenario.name, round + 1, bench.rounds, cells.len()));
        // The state of the machine differs between the first and the last turn.
        let order = (0..cells.len()).map(|turn| (turn + round as usize * 7) % cells.len()).collect::<Vec<_>>();
        for index in order {
            cells[index].turn(bench)?;
        }
    }
    rows(&cells)
}

/// Starts the servers of a scenario, the native one first.
///
/// # Errors
/// One of this repository does not start. Another one is noted, and left out.
pub fn start(
    bench: &Bench<'_>,
    scenario: &'static Scenario,
    wanted: &dyn Fn(&Kind) -> bool,
    notes: &mut Vec<String>,
) -> Result<Vec<Contender>> {
    let mut servers = Vec::new();
    for kind in KINDS.iter().filter(|kind| wanted(kind)) {
        match kind.start(bench, scenario) {
            Ok(server) => servers.extend(server),
            Err(error) if kind.is_own() => return Err(error),
            Err(error) => {
                let error = format!("{error:#}");
                let line = error.lines().next().unwrap_or_default();
                let note = format!("SKIPPED {}: {line} (`{}`)", kind.name, kind.hint());
                if !notes.contains(&note) {
                    say(&note);
                    notes.push(note);
                }
            }
        }
    }
    servers.extend(Foreign::join(&bench.foreign));
    Ok(servers)
}

/// The address at which a server gives the right answer, if it speaks the protocol. All must give the same answers, byte
/// for byte, so that the same work is compared.
///
/// # Errors
/// A server of this repository does not. Another one is noted, and left out.
pub fn answers(
    bench: &Bench<'_>,
    scenario: &'static Scenario,
    protocol: Protocol,
    server: &Contender,
    notes: &mut Vec<String>,
) -> Result<Option<SocketAddr>> {
    let Some(address) = server.address(protocol) else { return Ok(None) };
    let Err(error) = Load::closed(scenario.name, protocol, 0).check(bench, address) else { return Ok(Some(address)) };
    if KINDS.iter().any(|kind| kind.name == server.name && kind.is_own()) {
        return Err(error.context(server.name.clone()));
    }
    let note = format!("SKIPPED {}, {}", server.name, format!("{error:#}").replace('\n', " "));
    say(&note);
    notes.push(note);
    Ok(None)
}

fn cells<'a>(
    bench: &Bench<'_>,
    scenario: &'static Scenario,
    servers: &'a [Contender],
    notes: &mut Vec<String>,
) -> Result<Vec<Cell<'a>>> {
    let mut cells = Vec::new();
    for &protocol in scenario.protocols {
        for server in servers {
            if answers(bench, scenario, protocol, server, notes)?.is_some() {
                cells.push(Cell::new(scenario, protocol, server));
            }
        }
    }
    Ok(cells)
}

fn rows(cells: &[Cell<'_>]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for cell in cells {
        let native = cells.iter().find(|other| other.server.name == NATIVE && other.protocol == cell.protocol);
        let ratios = |native: &Cell<'_>| -> Vec<f64> {
            cell.rates.iter().zip(&native.rates).map(|(own, native)| own / native).collect()
        };
        let ratios = native.map(ratios);
        // A latency between two events of a stream says nothing of the server.
        let timed = !cell.latencies.is_empty() && cell.scenario.does != Does::Listen;
        let latency = |pick: fn(&Latency) -> f64| timed.then(|| median(cell.latencies.iter().map(pick).collect()));
        let process = cell.server.process.is_some();
        rows.push(Row {
            workload: cell.scenario.name.to_owned(),
            protocol: cell.protocol.label().to_owned(),
            server: cell.server.name.clone(),
            rate: median(cell.rates.clone()),
            slowest: cell.rates.iter().copied().fold(f64::INFINITY, f64::min),
            fastest: cell.rates.iter().copied().fold(0.0, f64::max),
            of_native: ratios.clone().map(median),
            of_native_interval: ratios.map(|ratios| interval(&ratios)),
            cpu_micros: process.then(|| cell.cpu / cell.worked * 1e6),
            p50_micros: latency(|latency| latency.p50),
            p99_micros: latency(|latency| latency.p99),
            p999_micros: latency(|latency| latency.p999),
            resident_mib: process.then(|| cell.resident as f64 / 1024.0),
        });
    }
    ensure!(!rows.is_empty(), "no server answers");
    Ok(rows)
}

impl<'a> Cell<'a> {
    fn new(scenario: &'static Scenario, protocol: Protocol, server: &'a Contender) -> Self {
        let (rates, latencies) = (Vec::new(), Vec::new());
        Self { scenario, protocol, server, rates, worked: 0.0, cpu: 0.0, resident: 0, latencies }
    }

    /// Runs a turn, and repeats a failed one once, since other programs may have disturbed it.
    fn turn(&mut self, bench: &Bench<'_>) -> Result<()> {
        self.try_turn(bench).or_else(|error| {
            say(&format!("once more: {error:#}"));
            self.try_turn(bench)
        })
    }

    fn try_turn(&mut self, bench: &Bench<'_>) -> Result<()> {
        let address = self.server.address(self.protocol).context("the server lacks the protocol")?;
        let process = self.server.process.as_ref();
        let mut before = 0.0;
        let load = Load::closed(self.scenario.name, self.protocol, bench.turn_milliseconds());
        let report = load
            .run(bench, address, || {
                before = process.map_or(Ok(0.0), |process| process.cpu())?;
                Ok(())
            })
            .with_context(|| self.server.name.clone())?;
        ensure!(report.requests > 0.0, "{}, {}: nothing came", self.scenario.name, self.server.name);
        if let Some(process) = process {
            self.cpu += process.cpu()? - before;
            self.resident = self.resident.max(process.memory()?.resident);
        }
        self.worked += report.worked;
        self.rates.push(report.requests / report.seconds);
        self.latencies.push(report.uncorrected);
        Ok(())
    }
}

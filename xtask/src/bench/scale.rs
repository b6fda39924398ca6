//! `cargo xtask bench --scale`: what a request costs with more components and with more connections.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Bench;
use super::contenders::{self, Contender, FRESH};
use super::load::Load;
use super::manifest::{self, MANY, Written};
use super::results::{Files, Machine};
use super::scenarios::Protocol;
use super::statistics::median;
use crate::toolchain::say;
use crate::tree::{Profile, Tree, quoted};

/// The results of the last run.
pub const FILES: Files = Files { results: "bench/results/scale.json", page: "docs/performance.md" };

/// Components that are asked in turn.
const COMPONENTS: [u64; 4] = [1, 10, 200, 1000];

/// Connections, each with one request under way.
const CONNECTIONS: [u64; 5] = [1, 16, 256, 4096, 16_000];

/// A run.
#[derive(Debug, Deserialize, Serialize)]
pub struct Scale {
    /// The machine of the run.
    pub machine: Machine,
    /// Turns of each row.
    pub rounds: u32,
    /// Length of a turn.
    pub seconds: f64,
    /// The measurements.
    pub rows: Vec<Row>,
}

/// One number of things.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// `components` or `connections`.
    pub of: String,
    /// The number.
    pub count: u64,
    /// The server.
    pub server: String,
    /// Requests a second.
    pub rate: f64,
    /// CPU time of the server for each request.
    pub cpu_micros: f64,
    /// Latencies.
    pub p50_micros: f64,
    /// See above.
    pub p99_micros: f64,
    /// The most resident memory that was seen after a turn.
    pub resident_mib: f64,
}

/// Measures.
///
/// # Errors
/// A server does not start, or does not answer.
pub fn run(bench: &Bench<'_>) -> Result<Scale> {
    let (components, connections) =
        if bench.quick { (&COMPONENTS[..2], &CONNECTIONS[..3]) } else { (&COMPONENTS[..], &CONNECTIONS[..]) };
    let mut rows = Vec::new();
    for &count in components {
        say(&format!("{count} components"));
        let manifest = self::components(bench, count)?;
        let server = Contender::with_manifest(bench, FRESH, "scale", &bench.tree.server(Profile::Release), &manifest)?;
        let load = Load { components: u32::try_from(count).ok(), ..bench.hello(Protocol::H1) };
        // The first round makes the instances that the others find.
        row(bench, &server, &load, "components", count)?;
        rows.push(row(bench, &server, &load, "components", count)?);
    }
    for &count in connections {
        say(&format!("{count} connections"));
        let load = Load { connections: u32::try_from(count).ok(), ..bench.hello(Protocol::H1) };
        for server in
            [contenders::native(bench, "scale")?, contenders::roadrunner(bench, "scale", FRESH, &bench.workload(), "")?]
        {
            rows.push(row(bench, &server, &load, "connections", count)?);
        }
    }
    let seconds = bench.turn_milliseconds() as f64 / 1e3;
    Ok(Scale { machine: bench.machine(), rounds: bench.rounds, seconds, rows })
}

/// The results of the last whole run.
///
/// # Errors
/// The file is not understood.
pub fn read(tree: &Tree) -> Result<Option<Scale>> {
    FILES.read_if_kept(tree)
}

/// A manifest with so many components, which differ by a custom section, below `/c/`.
///
/// # Errors
/// A file cannot be written.
pub fn components(bench: &Bench<'_>, count: u64) -> Result<Written> {
    let mut text = String::new();
    for number in 1..=count {
        let file = copy(bench, number)?;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "[component.c{number}]\nfile = {}\n\n[[route]]\npath = \"/c/{number}\"\ncomponent = \"c{number}\"\n\n",
            quoted(&file)?
        );
    }
    text.push_str("[[route]]\npath = \"/\"\ncomponent = \"c1\"\n");
    manifest::write(bench, &format!("{count} components"), MANY, &text)
}

/// A copy of the guest with a custom section of its own at its end.
fn copy(bench: &Bench<'_>, number: u64) -> Result<PathBuf> {
    let folder = bench.scratch.join("copies");
    fs::create_dir_all(&folder)?;
    let source = bench.workload();
    let mut bytes = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
    bytes.extend_from_slice(&custom_section(&number.to_string()));
    let path = folder.join(format!("{number}.wasm"));
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A custom section (id 0) without content, whose name makes one component differ from the next. All its lengths are
/// below 128, and so one byte each.
fn custom_section(name: &str) -> Vec<u8> {
    let length = name.len() as u8;
    let mut section = vec![0, length + 1, length];
    section.extend_from_slice(name.as_bytes());
    section
}

fn row(bench: &Bench<'_>, server: &Contender, load: &Load, of: &str, count: u64) -> Result<Row> {
    let address = server.http1()?;
    let process = server.process()?;
    let (mut rates, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    let (mut cpu, mut worked, mut resident) = (0.0, 0.0, 0);
    for _ in 0..bench.rounds {
        let mut before = 0.0;
        let report = load.run(bench, address, || {
            before = process.cpu()?;
            Ok(())
        })?;
        cpu += process.cpu()? - before;
        worked += report.worked;
        resident = resident.max(process.memory()?.resident);
        rates.push(report.requests / report.seconds);
        p50.push(report.uncorrected.p50);
        p99.push(report.uncorrected.p99);
    }
    Ok(Row {
        of: of.to_owned(),
        count,
        server: server.name.clone(),
        rate: median(rates),
        cpu_micros: cpu / worked * 1e6,
        p50_micros: median(p50),
        p99_micros: median(p99),
        resident_mib: resident as f64 / 1024.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_section_says_its_lengths() {
        assert_eq!(custom_section("17"), [0, 3, 2, b'1', b'7']);
    }
}

//! `cargo xtask bench-websocket`: messages echoed by a component, compared with a native server with the same codec.
//!
//! Both servers run at the same time and take turns, load by load; the result is the median over rounds of the ratio
//! within a round. A whole run writes bench/results/websocket.json, and docs/websocket-performance.md from it;
//! `--quick` only prints.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::bench::median;
use crate::bench::process::{Process, free_address};
use crate::bench::results::{Files, Machine};
use crate::toolchain::{self, cargo, say};
use crate::tree::{Profile, Tree, quoted};

/// The files of a run.
const FILES: Files = Files { results: "bench/results/websocket.json", page: "docs/websocket-performance.md" };

/// The length of a turn in milliseconds. Eight loads, two servers and five rounds take a minute in total.
const MILLISECONDS: u64 = 700;

/// Turns of each load against each server.
const ROUNDS: u32 = 5;

/// Message sizes in bytes, numbers of connections, and messages in flight on each.
const SIZES: [u32; 2] = [64, 1024];
const CONNECTIONS: [u32; 2] = [1, 64];
const DEPTHS: [u32; 2] = [1, 16];

/// The options of a run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// One round: shows that the harness works, not how fast anything is
    #[arg(long)]
    quick: bool,
    /// Write docs/websocket-performance.md from the committed results, without measurements
    #[arg(long, conflicts_with = "quick")]
    render: bool,
}

/// A run.
#[derive(Debug, Deserialize, Serialize)]
struct Results {
    machine: Machine,
    rounds: u32,
    milliseconds: u64,
    rows: Vec<Row>,
}

/// One load.
#[derive(Debug, Deserialize, Serialize)]
struct Row {
    size: u32,
    connections: u32,
    depth: u32,
    native: Side,
    own: Side,
    /// Rate over the native server's in the same round: the median of the rounds.
    of_native: f64,
}

/// One load against one server.
#[derive(Debug, Deserialize, Serialize)]
struct Side {
    /// Messages a second, there and back: the median of the rounds.
    rate: f64,
    /// CPU time of the server for each message, in microseconds, over all rounds.
    cpu_micros: f64,
}

/// Measures, writes the results, and shows the page.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    if options.render {
        FILES.write_page(tree, &page(&FILES.read(tree)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    toolchain::prepare()?;
    toolchain::build_guests(tree)?;
    toolchain::build_server(tree, Profile::Release)?;
    let mut loader = cargo(&tree.root);
    loader.args(["build", "--release", "--workspace", "--bin", "bench-websocket"]);
    toolchain::run(&mut loader)?;
    let mut native = cargo(&tree.root);
    native.args(["build", "--release", "--package", "roadrunner-websocket", "--example", "echo"]);
    toolchain::run(&mut native)?;

    let rounds = if options.quick { 1 } else { ROUNDS };
    let rows = measure(tree, rounds)?;
    let results = Results { machine: Machine::describe(tree), rounds, milliseconds: MILLISECONDS, rows };
    if !options.quick {
        FILES.keep(tree, &results)?;
        FILES.write_page(tree, &page(&FILES.read(tree)?))?;
    }
    println!("{}", page(&results));
    Ok(ExitCode::SUCCESS)
}

fn measure(tree: &Tree, rounds: u32) -> Result<Vec<Row>> {
    let servers = [Server::native(tree)?, Server::own(tree)?];
    let loader = tree.server(Profile::Release).with_file_name("bench-websocket");
    let mut cells: Vec<_> = SIZES
        .into_iter()
        .flat_map(|size| {
            CONNECTIONS
                .into_iter()
                .flat_map(move |connections| DEPTHS.into_iter().map(move |depth| Cell::new(size, connections, depth)))
        })
        .collect();
    for round in 0..rounds {
        say(&format!("round {} of {rounds}", round + 1));
        for cell in &mut cells {
            // The state of the machine differs between the first and the second server.
            for turn in 0..2 {
                let index = (turn + round as usize) % 2;
                cell.turn(&loader, &servers[index], index)?;
            }
        }
    }
    Ok(cells.into_iter().map(Cell::row).collect())
}

/// A running server. It is killed when this is dropped.
struct Server {
    process: Process,
    address: SocketAddr,
    path: &'static str,
}

impl Server {
    fn native(tree: &Tree) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(tree.server(Profile::Release).with_file_name("examples").join("echo"));
        command.args([&address.to_string(), "--no-deflate"]);
        let process = Process::start(command, &tree.scratch("bench")?.join("native-websocket.log"))?;
        process.accepts(address)?;
        Ok(Self { process, address, path: "/" })
    }

    fn own(tree: &Tree) -> Result<Self> {
        let scratch = tree.scratch("bench")?;
        let address = free_address()?;
        let text = format!(
            "[server]\naccess-log = false\ncache-dir = {}\n\n[[listener]]\naddress = \"{address}\"\n\n\
             [component.sockets]\nfile = {}\n\n[[route]]\npath = \"/echo\"\ncomponent = \"sockets\"\n",
            quoted(&scratch.join("cache"))?,
            quoted(&tree.components().join("sockets.wasm"))?
        );
        let process = Process::serve(tree, Profile::Release, "websocket", &text)?;
        process.accepts(address)?;
        Ok(Self { process, address, path: "/echo" })
    }
}

/// One load, and its results on either server, the native one first.
struct Cell {
    size: u32,
    connections: u32,
    depth: u32,
    rates: [Vec<f64>; 2],
    cpu: [f64; 2],
    messages: [f64; 2],
}

impl Cell {
    fn new(size: u32, connections: u32, depth: u32) -> Self {
        Self { size, connections, depth, rates: [Vec::new(), Vec::new()], cpu: [0.0; 2], messages: [0.0; 2] }
    }

    fn turn(&mut self, loader: &Path, server: &Server, index: usize) -> Result<()> {
        #[derive(Deserialize)]
        struct Turn {
            messages: f64,
            seconds: f64,
        }
        let mut command = Command::new(loader);
        command.args(["--address", &server.address.to_string(), "--path", server.path]);
        command.args(["--size", &self.size.to_string(), "--connections", &self.connections.to_string()]);
        command.args(["--depth", &self.depth.to_string(), "--milliseconds", &MILLISECONDS.to_string()]);
        let before = server.process.cpu()?;
        let output = command.stderr(Stdio::inherit()).output().context("cannot start bench-websocket")?;
        if !output.status.success() {
            bail!("bench-websocket failed ({})", output.status);
        }
        let turn: Turn =
            serde_json::from_slice(&output.stdout).context("bench-websocket's result is not understood")?;
        ensure!(turn.messages > 0.0, "no message came back");
        self.cpu[index] += server.process.cpu()? - before;
        self.messages[index] += turn.messages;
        self.rates[index].push(turn.messages / turn.seconds);
        Ok(())
    }

    fn row(self) -> Row {
        let [native, own] = &self.rates;
        let of_native = median(own.iter().zip(native).map(|(own, native)| own / native).collect());
        let side = |index: usize| Side {
            rate: median(self.rates[index].clone()),
            cpu_micros: self.cpu[index] / self.messages[index] * 1e6,
        };
        Row {
            size: self.size,
            connections: self.connections,
            depth: self.depth,
            native: side(0),
            own: side(1),
            of_native,
        }
    }
}

fn page(results: &Results) -> String {
    let machine = results.machine.line();
    let mut text = String::from("# WebSocket performance\n\n");
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "Made by `cargo xtask bench-websocket`, which measures, and `cargo xtask bench-websocket --render`, which only writes\n\
         this page.\n\n\
         {machine}\n\n\
         A component that echoes each message, beside a native tokio server with the same codec\n\
         (host/websocket/examples/echo.rs): HTTP/1.1 on loopback, binary messages, no compression. Both are up at once and\n\
         take turns of {} ms, {} for each load; the loader has one thread and shares the processors with them. Rates are\n\
         medians of the turns, `of native` is the median of the ratios within a round. `CPU` is the server's own for each\n\
         message, in microseconds.\n\n",
        results.milliseconds, results.rounds
    );
    text.push_str(
        "| bytes | connections | in flight on each | native, messages/s | component | of native | native CPU | CPU |\n",
    );
    text.push_str("|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for Row { size, connections, depth, native, own, of_native } in &results.rows {
        let _ = writeln!(
            text,
            "| {size} | {connections} | {depth} | {:.0} | {:.0} | {of_native:.2} | {:.1} | {:.1} |",
            native.rate, own.rate, native.cpu_micros, own.cpu_micros
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_current() {
        FILES.assert_current(page);
    }

    #[test]
    fn the_ratio_is_that_of_a_round() {
        let mut cell = Cell::new(64, 1, 1);
        // The machine got twice as slow in the second round.
        cell.rates = [vec![100.0, 50.0, 80.0], vec![60.0, 30.0, 48.0]];
        cell.messages = [1.0; 2];
        assert!((cell.row().of_native - 0.6).abs() < 1e-9);
    }
}

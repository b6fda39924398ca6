//! `cargo xtask bench-windows`: the gain of HTTP/2's receive windows for an upload, and their cost in memory.
//!
//! For each window: an upload on loopback, one with a round trip of 100 ms, and the server's resident memory while many
//! clients have filled their windows without a reader. A run writes bench/results/windows.json, and
//! docs/http2-windows.md from it.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::bench::median;
use crate::bench::process::{Process, free_address};
use crate::bench::results::{Files, Machine};
use crate::toolchain::{self, cargo, say};
use crate::tree::{Profile, Tree, quoted};

/// The files of a run.
const FILES: Files = Files { results: "bench/results/windows.json", page: "docs/http2-windows.md" };

/// The compared windows, in KiB, both of a stream and of its connection.
const WINDOWS: [u64; 5] = [64, 256, 1024, 2048, 4096];

/// The default of `http2.stream-window` and `http2.connection-window`, in KiB.
const DEFAULT: u64 = 1024;

/// The size of an upload without and with a delay, in MiB.
const NEAR: u64 = 200;
const FAR: u64 = 16;

/// The round trip, in milliseconds.
const ROUND_TRIP: u64 = 100;

/// The number of held connections.
const CONNECTIONS: u64 = 1000;

/// Uploads of each kind; the median counts.
const ROUNDS: usize = 3;

/// The options of a run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Write docs/http2-windows.md from the committed results, without measurements
    #[arg(long)]
    render: bool,
}

/// A run.
#[derive(Debug, Deserialize, Serialize)]
struct Results {
    machine: Machine,
    rows: Vec<Row>,
}

/// One window.
#[derive(Debug, Deserialize, Serialize)]
struct Row {
    window_kib: u64,
    /// MiB a second.
    near: f64,
    far: f64,
    /// Resident memory for each connection, in KiB: with a held request, and with its window filled.
    idle_kib: f64,
    filled_kib: f64,
}

/// Measures, writes the results, and shows the page.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    if !options.render {
        toolchain::prepare()?;
        toolchain::build_guests(tree)?;
        toolchain::build_server(tree, Profile::Release)?;
        let mut tool = cargo(&tree.root);
        tool.args(["build", "--release", "--workspace", "--bin", "bench-windows"]);
        toolchain::run(&mut tool)?;
        let mut rows = Vec::new();
        for window in WINDOWS {
            say(&format!("a window of {window} KiB"));
            rows.push(measure(tree, window)?);
        }
        let results = Results { machine: Machine::describe(tree), rows };
        FILES.keep(tree, &results)?;
    }
    let page = page(&FILES.read(tree)?);
    FILES.write_page(tree, &page)?;
    println!("{page}");
    Ok(ExitCode::SUCCESS)
}

fn measure(tree: &Tree, window: u64) -> Result<Row> {
    let tool = tree.server(Profile::Release).with_file_name("bench-windows");
    let (server, address) = start(tree, window)?;
    let rate = |mebibytes: u64, round_trip: u64| -> Result<f64> {
        let one = || -> Result<f64> {
            #[derive(Deserialize)]
            struct Upload {
                seconds: f64,
            }
            let mut command = Command::new(&tool);
            command.args(["upload", "--path", "/upload", "--address", &address.to_string()]);
            command.args(["--bytes", &(mebibytes << 20).to_string(), "--round-trip", &round_trip.to_string()]);
            let output = command.stderr(Stdio::inherit()).output().context("cannot start bench-windows")?;
            ensure!(output.status.success(), "bench-windows failed ({})", output.status);
            let Upload { seconds } = serde_json::from_slice(&output.stdout).context("its result is not understood")?;
            Ok(mebibytes as f64 / seconds)
        };
        Ok(median((0..ROUNDS).map(|_| one()).collect::<Result<Vec<_>>>()?))
    };
    let near = rate(NEAR, 0)?;
    let far = rate(FAR, ROUND_TRIP)?;
    drop(server);
    Ok(Row {
        window_kib: window,
        near,
        far,
        idle_kib: held(tree, window, false)?,
        filled_kib: held(tree, window, true)?,
    })
}

/// Measures the resident memory for each of many clients, in KiB, on a separate server.
fn held(tree: &Tree, window: u64, fill: bool) -> Result<f64> {
    let (server, address) = start(tree, window)?;
    let before = server.memory()?.resident;
    let mut command = Command::new(tree.server(Profile::Release).with_file_name("bench-windows"));
    command.args(["hold", "--path", "/clock", "--address", &address.to_string()]);
    command.args(["--connections", &CONNECTIONS.to_string()]);
    if fill {
        command.arg("--fill");
    }
    let mut client =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start the clients")?;
    let mut line = String::new();
    let output = client.stdout.take().context("it has no output")?;
    BufReader::new(output).read_line(&mut line).context("the clients say nothing")?;
    let after = server.memory();
    // It ends with its input.
    drop(client.stdin.take());
    let status = client.wait()?;
    if line.is_empty() || !status.success() {
        bail!("the clients failed ({status})");
    }
    Ok(after?.resident.saturating_sub(before) as f64 / CONNECTIONS as f64)
}

/// A server with these windows. It is killed when it is dropped.
fn start(tree: &Tree, window: u64) -> Result<(Process, SocketAddr)> {
    let scratch = tree.scratch("bench")?;
    let address = free_address()?;
    let text = format!(
        "[server]\naccess-log = false\ncache-dir = {}\n\n[limits]\nheld = 2000\n\n[http2]\n\
         stream-window = \"{window}KiB\"\nconnection-window = \"{window}KiB\"\n\n[[listener]]\naddress = \"{address}\"\n\n\
         [component.demo]\nfile = {}\n\n[[route]]\npath = \"/upload\"\ncomponent = \"demo\"\nbody = \"manual\"\n\n\
         [[route]]\npath = \"/clock\"\ncomponent = \"demo\"\nbody = \"manual\"\n",
        quoted(&scratch.join("cache"))?,
        quoted(&tree.components().join("demo.wasm"))?
    );
    let process = Process::serve(tree, Profile::Release, "windows", &text)?;
    process.accepts(address)?;
    Ok((process, address))
}

fn page(results: &Results) -> String {
    let machine = results.machine.line();
    let mut text = String::from("# Receive windows of HTTP/2\n\n");
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "Made by `cargo xtask bench-windows`, which measures, and `cargo xtask bench-windows --render`, which only writes\n\
         this page.\n\n\
         {machine}\n\n\
         `stream-window` and `connection-window` are the same in each row. Uploads go to a component that reads them piece by\n\
         piece: {NEAR} MiB on loopback, and {FAR} MiB through a relay that makes a round trip of {ROUND_TRIP} ms; medians of\n\
         {ROUNDS}. Memory is the server's, for each of {CONNECTIONS} connections with one held event loop that reads nothing:\n\
         without a body, and with a client that has sent all that its window takes.\n\n"
    );
    text.push_str("| window | loopback, MiB/s | 100 ms, MiB/s | held, KiB each | held and filled, KiB each |\n");
    text.push_str("|---:|---:|---:|---:|---:|\n");
    for Row { window_kib, near, far, idle_kib, filled_kib } in &results.rows {
        let mark = if *window_kib == DEFAULT { " (default)" } else { "" };
        let _ = writeln!(text, "| {window_kib} KiB{mark} | {near:.0} | {far:.1} | {idle_kib:.0} | {filled_kib:.0} |");
    }
    text.push_str(
        "\nOver a long way a window is the rate: one window a round trip. In memory it is what a client that sends into the void\n\
         can make the host hold, on each of its connections. The default is 1 MiB for both: a single upload from far away gets\n\
         ten windows a second, and a thousand clients that fill theirs cost a gibibyte, which `connections` and\n\
         `connections-per-peer` bound. Whoever takes large uploads from afar sets more; whoever has many connections, less.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_current() {
        FILES.assert_current(page);
    }
}

//! `cargo xtask bench-http3`: a fresh instance per request over HTTP/3, compared with a native handler on the same
//! layer.
//!
//! Both servers run at the same time and take turns; the result is the median over rounds of the ratio within a round.
//! The load comes from the client of the crate h3, and from gtlsclient (ngtcp2) if tests/clients/http3.sh has installed
//! it. Then a browser's requests are sent with and without the dynamic table of QPACK, and their header bytes are
//! counted. A whole run writes bench/results/http3.json, and docs/http3-performance.md from it; `--quick` only prints.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::bench::median;
use crate::bench::process::{Process, free_address};
use crate::bench::results::{Files, Machine};
use crate::toolchain::{self, cargo, say};
use crate::tree::{Profile, Tree, quoted};

/// The files of a run.
const FILES: Files = Files { results: "bench/results/http3.json", page: "docs/http3-performance.md" };

/// Length of a turn, and turns of each load against each server.
const MILLISECONDS: u64 = 1500;
const ROUNDS: u32 = 5;

/// The numbers of connections, and of requests in flight on each.
const LOADS: [(u32, u32); 3] = [(1, 1), (8, 8), (64, 4)];

/// Requests of gtlsclient in one turn, over one connection.
const GTLSCLIENT_REQUESTS: u32 = 10_000;

/// The number of browser requests whose header bytes are counted.
const REQUESTS: u64 = 50;

/// How long a server may take to its first answer.
const START: Duration = Duration::from_secs(60);

/// The options of a run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// One round: shows that the harness works, not how fast anything is
    #[arg(long)]
    quick: bool,
    /// Measure an unoptimised build, one round
    #[arg(long)]
    dev: bool,
    /// Write docs/http3-performance.md from the committed results, without measurements
    #[arg(long, conflicts_with_all = ["quick", "dev"])]
    render: bool,
}

/// A run.
#[derive(Debug, Deserialize, Serialize)]
struct Results {
    machine: Machine,
    rounds: u32,
    milliseconds: u64,
    rows: Vec<Row>,
    /// `None` if gtlsclient was not installed.
    #[serde(default)]
    gtlsclient: Option<Gtlsclient>,
    headers: Headers,
}

/// The load of gtlsclient.
#[derive(Debug, Deserialize, Serialize)]
struct Gtlsclient {
    requests: u32,
    native: Rate,
    own: Rate,
    /// Rate over the native server's in the same round: the median of the rounds.
    of_native: f64,
}

/// One load against one server, without the times of its requests.
#[derive(Debug, Deserialize, Serialize)]
struct Rate {
    /// Requests a second, the handshake included: the median of the rounds.
    rate: f64,
    /// Requests for each second of CPU time that the server used, over all rounds.
    rate_per_core: f64,
}

/// One load.
#[derive(Debug, Deserialize, Serialize)]
struct Row {
    connections: u32,
    streams: u32,
    native: Side,
    own: Side,
    /// Rate over the native server's in the same round: the median of the rounds.
    of_native: f64,
}

/// One load against one server.
#[derive(Debug, Deserialize, Serialize)]
struct Side {
    /// Requests a second: the median of the rounds.
    rate: f64,
    /// Requests for each second of CPU time that the server used, over all rounds.
    rate_per_core: f64,
    /// Medians of the rounds.
    p50_micros: f64,
    p99_micros: f64,
}

/// Header bytes for each request, with the first request separate.
#[derive(Debug, Deserialize, Serialize)]
struct Headers {
    with_table: Bytes,
    static_only: Bytes,
}

/// Means in bytes, including the bytes on QPACK's streams.
#[derive(Debug, Deserialize, Serialize)]
struct Bytes {
    first_up: f64,
    first_down: f64,
    later_up: f64,
    later_down: f64,
}

/// Measures, writes the results, and shows the page.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    if options.render {
        FILES.write_page(tree, &page(&FILES.read(tree)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let profile = if options.dev { Profile::Dev } else { Profile::Release };
    toolchain::prepare()?;
    toolchain::build_guests(tree)?;
    toolchain::build_server(tree, profile)?;
    let mut loader = cargo(&tree.root);
    loader.arg("build").args(profile.arguments()).args(["--workspace", "--bin", "bench-http3"]);
    toolchain::run(&mut loader)?;

    let is_short = options.quick || options.dev;
    let rounds = if is_short { 1 } else { ROUNDS };
    let tool = tree.server(profile).with_file_name("bench-http3");
    let servers = [Server::native(tree, &tool)?, Server::own(tree, profile)?];
    for server in &servers {
        server.is_ready(&tool)?;
    }
    let rows = measure(&tool, &servers, rounds)?;
    let gtlsclient = gtlsclient(tree, &servers, rounds)?;
    let headers = Headers {
        with_table: Bytes::count(&tool, &servers[1], &[])?,
        static_only: Bytes::count(&tool, &servers[1], &["--static-only"])?,
    };
    let results =
        Results { machine: Machine::describe(tree), rounds, milliseconds: MILLISECONDS, rows, gtlsclient, headers };
    if !is_short {
        FILES.keep(tree, &results)?;
        FILES.write_page(tree, &page(&FILES.read(tree)?))?;
    }
    println!("{}", page(&results));
    Ok(ExitCode::SUCCESS)
}

fn measure(tool: &Path, servers: &[Server; 2], rounds: u32) -> Result<Vec<Row>> {
    let mut cells: Vec<_> = LOADS.into_iter().map(|(connections, streams)| Cell::new(connections, streams)).collect();
    for round in 0..rounds {
        say(&format!("round {} of {rounds}", round + 1));
        for cell in &mut cells {
            // The state of the machine differs between the first and the second server.
            for turn in 0..2 {
                let index = (turn + round as usize) % 2;
                cell.turn(tool, &servers[index], index)?;
            }
        }
    }
    Ok(cells.into_iter().map(Cell::row).collect())
}

/// Runs the load of a client that shares no code with the servers; `None` if it is not installed.
fn gtlsclient(tree: &Tree, servers: &[Server; 2], rounds: u32) -> Result<Option<Gtlsclient>> {
    let program = tree.root.join("target/http3-clients/gtlsclient");
    if !program.is_file() {
        say("SKIPPED gtlsclient: tests/clients/http3.sh target/http3-clients brings it");
        return Ok(None);
    }
    let load = |server: &Server, requests: u32, more: &[&str]| {
        let mut command = Command::new(&program);
        let port = server.address.port().to_string();
        command.args(more).args(["--exit-on-all-streams-close", "-n", &requests.to_string(), "localhost", &port]);
        command.arg(format!("https://localhost:{port}/hello"));
        command
    };
    for server in servers {
        let output =
            load(server, 100, &["--no-quic-dump", "--no-http-dump"]).output().context("cannot start gtlsclient")?;
        let answered = String::from_utf8_lossy(&output.stderr).matches("[:status: 200]").count();
        ensure!(answered == 100, "gtlsclient has {answered} answers to 100 requests");
    }
    let (mut rates, mut cpu) = ([Vec::new(), Vec::new()], [0.0; 2]);
    for round in 0..rounds {
        for turn in 0..2 {
            let index = (turn + round as usize) % 2;
            let (before, started) = (servers[index].process.cpu()?, Instant::now());
            toolchain::run(load(&servers[index], GTLSCLIENT_REQUESTS, &["--quiet"]).stdout(Stdio::null()))?;
            rates[index].push(f64::from(GTLSCLIENT_REQUESTS) / started.elapsed().as_secs_f64());
            cpu[index] += servers[index].process.cpu()? - before;
        }
    }
    let of_native = median(rates[1].iter().zip(&rates[0]).map(|(own, native)| own / native).collect());
    let rate = |index: usize| Rate {
        rate: median(rates[index].clone()),
        rate_per_core: f64::from(GTLSCLIENT_REQUESTS * rounds) / cpu[index],
    };
    Ok(Some(Gtlsclient { requests: GTLSCLIENT_REQUESTS, native: rate(0), own: rate(1), of_native }))
}

/// A running server. It is killed when this is dropped.
struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    fn native(tree: &Tree, tool: &Path) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(tool);
        command.args(["native", "--address", &address.to_string()]);
        let log = tree.scratch("bench")?.join("native-http3.log");
        Ok(Self { process: Process::start(command, &log)?, address })
    }

    fn own(tree: &Tree, profile: Profile) -> Result<Self> {
        let scratch = tree.scratch("bench")?;
        let address = free_address()?;
        let text = format!(
            "[server]\naccess-log = false\ncache-dir = {}\n\n[[listener]]\naddress = \"{address}\"\n\
             protocols = [\"http3\"]\ntls = \"self-signed\"\n\n[component.hello]\nfile = {}\n\n\
             [[route]]\npath = \"/hello\"\ncomponent = \"hello\"\n",
            quoted(&scratch.join("cache"))?,
            quoted(&tree.components().join("hello.wasm"))?
        );
        Ok(Self { process: Process::serve(tree, profile, "http3", &text)?, address })
    }

    /// Waits for the first answer.
    fn is_ready(&self, tool: &Path) -> Result<()> {
        let started = Instant::now();
        loop {
            let mut command = load(tool, self.address, 1, 1, 1);
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            if status.context("cannot start bench-http3")?.success() {
                return Ok(());
            }
            ensure!(
                started.elapsed() < START,
                "no answer in {} s; see {}",
                START.as_secs(),
                self.process.log().display()
            );
        }
    }
}

fn load(tool: &Path, address: SocketAddr, connections: u32, streams: u32, milliseconds: u64) -> Command {
    let mut command = Command::new(tool);
    command.args(["load", "--address", &address.to_string(), "--path", "/hello"]);
    command.args(["--connections", &connections.to_string(), "--streams", &streams.to_string()]);
    command.args(["--milliseconds", &milliseconds.to_string()]);
    command
}

/// One load, and its results on either server, the native one first.
struct Cell {
    connections: u32,
    streams: u32,
    rates: [Vec<f64>; 2],
    p50: [Vec<f64>; 2],
    p99: [Vec<f64>; 2],
    cpu: [f64; 2],
    requests: [f64; 2],
}

impl Cell {
    fn new(connections: u32, streams: u32) -> Self {
        let none = || [Vec::new(), Vec::new()];
        Self { connections, streams, rates: none(), p50: none(), p99: none(), cpu: [0.0; 2], requests: [0.0; 2] }
    }

    fn turn(&mut self, tool: &Path, server: &Server, index: usize) -> Result<()> {
        #[derive(Deserialize)]
        struct Turn {
            requests: f64,
            seconds: f64,
            p50_micros: f64,
            p99_micros: f64,
        }
        let before = server.process.cpu()?;
        let command = load(tool, server.address, self.connections, self.streams, MILLISECONDS);
        let turn: Turn = result(command)?;
        self.cpu[index] += server.process.cpu()? - before;
        self.requests[index] += turn.requests;
        self.rates[index].push(turn.requests / turn.seconds);
        self.p50[index].push(turn.p50_micros);
        self.p99[index].push(turn.p99_micros);
        Ok(())
    }

    fn row(self) -> Row {
        let [native, own] = &self.rates;
        let of_native = median(own.iter().zip(native).map(|(own, native)| own / native).collect());
        let side = |index: usize| Side {
            rate: median(self.rates[index].clone()),
            rate_per_core: self.requests[index] / self.cpu[index],
            p50_micros: median(self.p50[index].clone()),
            p99_micros: median(self.p99[index].clone()),
        };
        Row { connections: self.connections, streams: self.streams, native: side(0), own: side(1), of_native }
    }
}

impl Bytes {
    fn count(tool: &Path, server: &Server, more: &[&str]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Counted {
            up: Vec<u64>,
            down: Vec<u64>,
        }
        let mut command = Command::new(tool);
        command.args(["headers", "--address", &server.address.to_string(), "--path", "/hello"]);
        command.args(["--requests", &REQUESTS.to_string()]).args(more);
        let Counted { up, down } = result(command)?;
        ensure!(up.len() as u64 == REQUESTS && down.len() == up.len(), "not every request was counted");
        let later = |bytes: &[u64]| bytes[1..].iter().sum::<u64>() as f64 / (bytes.len() - 1) as f64;
        Ok(Self { first_up: up[0] as f64, first_down: down[0] as f64, later_up: later(&up), later_down: later(&down) })
    }
}

fn result<T: for<'de> Deserialize<'de>>(mut command: Command) -> Result<T> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot start bench-http3")?;
    if !output.status.success() {
        bail!("bench-http3 failed ({})", output.status);
    }
    serde_json::from_slice(&output.stdout).context("bench-http3's result is not understood")
}

fn page(results: &Results) -> String {
    let machine = results.machine.line();
    let mut text = String::from("# HTTP/3 performance\n\n");
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "Made by `cargo xtask bench-http3`, which measures, and `cargo xtask bench-http3 --render`, which only writes this\n\
         page.\n\n\
         {machine}\n\n\
         ## Hello, from a fresh instance each\n\n\
         Beside a native server on the same HTTP/3 layer (host/h3 on quinn), whose handler is a function. Both are up at once\n\
         and take turns of {} ms, {} for each load; the loader, the client of the crate h3, shares the processors with them.\n\
         Rates and times are medians of the turns, `of native` is the median of the ratios within a round. `a core` is\n\
         requests for each second of the server's own CPU time.\n\n",
        results.milliseconds, results.rounds
    );
    text.push_str(
        "| connections | requests at once on each | native, requests/s | component | of native | native, a core | component, \
         a core | native p50, p99 | component p50, p99 |\n",
    );
    text.push_str("|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for Row { connections, streams, native, own, of_native } in &results.rows {
        let _ = writeln!(
            text,
            "| {connections} | {streams} | {:.0} | {:.0} | {of_native:.2} | {:.0} | {:.0} | {:.0} us, {:.0} us | {:.0} us, \
             {:.0} us |",
            native.rate,
            own.rate,
            native.rate_per_core,
            own.rate_per_core,
            native.p50_micros,
            native.p99_micros,
            own.p50_micros,
            own.p99_micros
        );
    }
    if let Some(Gtlsclient { requests, native, own, of_native }) = &results.gtlsclient {
        let _ = write!(
            text,
            "\nThe same from gtlsclient (ngtcp2), which shares no code with the servers: {requests} requests on one\n\
             connection in each turn, the handshake included.\n\n\
             | native, requests/s | component | of native | native, a core | component, a core |\n|---:|---:|---:|---:|---:|\n\
             | {:.0} | {:.0} | {of_native:.2} | {:.0} | {:.0} |\n",
            native.rate, own.rate, native.rate_per_core, own.rate_per_core
        );
    }
    let Headers { with_table, static_only } = &results.headers;
    let _ = write!(
        text,
        "\n## Header bytes\n\n\
         {REQUESTS} requests of a browser for a page and its parts, one after the other on one connection, with the dynamic\n\
         table of QPACK and without. Bytes are field sections and what went over the encoder streams for them.\n\n\
         | | first request | first answer | each later request | each later answer |\n|---|---:|---:|---:|---:|\n"
    );
    for (name, bytes) in [("static table only", static_only), ("dynamic table, 4 KiB", with_table)] {
        let Bytes { first_up, first_down, later_up, later_down } = bytes;
        let _ = writeln!(text, "| {name} | {first_up:.0} | {first_down:.0} | {later_up:.1} | {later_down:.1} |");
    }
    let fewer = |with: f64, without: f64| 100.0 * (1.0 - with / without);
    let _ = writeln!(
        text,
        "\nFrom the second request on, requests have {:.0} % fewer header bytes, and answers {:.0} % fewer.",
        fewer(with_table.later_up, static_only.later_up),
        fewer(with_table.later_down, static_only.later_down)
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

    #[test]
    fn the_ratio_is_that_of_a_round() {
        let mut cell = Cell::new(1, 1);
        // The machine got twice as slow in the second round.
        cell.rates = [vec![100.0, 50.0, 80.0], vec![60.0, 30.0, 48.0]];
        (cell.p50, cell.p99) = (cell.rates.clone(), cell.rates.clone());
        (cell.requests, cell.cpu) = ([1.0; 2], [1.0; 2]);
        assert!((cell.row().of_native - 0.6).abs() < 1e-9);
    }
}

//! Calls of bench-load, the load generator in bench/tools.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::Bench;
use super::scenarios::Protocol;
use super::statistics::median;

/// What one run of bench-load asks for.
#[derive(Clone, Debug)]
pub struct Load {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The protocol.
    pub protocol: Protocol,
    /// Connections, unless those of the scenario.
    pub connections: Option<u32>,
    /// Requests a second, for an open loop.
    pub rate: Option<f64>,
    /// Components that are asked in turn, below `/c/`.
    pub components: Option<u32>,
    /// Milliseconds that are counted.
    pub milliseconds: u64,
}

/// What came of a load, as bench-load says it.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Answers in the counted time.
    pub requests: f64,
    /// The counted time.
    pub seconds: f64,
    /// All answers.
    pub worked: f64,
    /// Exchanges that were due and never sent.
    pub unsent: f64,
    /// Latencies from the moment of sending.
    pub uncorrected: Latency,
    /// Latencies from the intended start.
    pub corrected: Option<Latency>,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Latency {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// 1 of 4 is longer.
    pub p75: f64,
    /// 1 of 10 is longer.
    pub p90: f64,
    /// 1 of 100 is longer.
    pub p99: f64,
    /// 1 of 1000 is longer.
    pub p999: f64,
    /// 1 of 10 000 is longer.
    pub p9999: f64,
    /// The longest.
    pub max: f64,
}

impl Load {
    /// A closed loop with the scenario's own connections.
    pub fn closed(scenario: &'static str, protocol: Protocol, milliseconds: u64) -> Self {
        Self { scenario, protocol, connections: None, rate: None, components: None, milliseconds }
    }

    /// Runs it. `ready` is called when all connections are open. Any wrong answer, and any broken connection, is an
    /// error.
    ///
    /// # Errors
    /// See above.
    pub fn run(&self, bench: &Bench<'_>, address: SocketAddr, ready: impl FnOnce() -> Result<()>) -> Result<Report> {
        let mut command = self.command(bench, "run", address);
        command.args(["--milliseconds", &self.milliseconds.to_string()]);
        // Long enough for the first answers, which are slower.
        command.args(["--warm-up", &(self.milliseconds / 5).min(2000).to_string()]);
        if let Some(rate) = self.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        if let Some(connections) = self.connections {
            command.args(["--connections", &connections.to_string()]);
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start bench-load")?;
        let mut child = Ended(child);
        let mut output = BufReader::new(child.0.stdout.take().context("bench-load has no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.trim() != "ready" {
            let mut why = String::new();
            child.0.stderr.take().context("bench-load has no errors")?.read_to_string(&mut why)?;
            bail!("{} over {}: {}", self.scenario, self.protocol.label(), why.trim());
        }
        ready()?;
        let mut text = String::new();
        output.read_to_string(&mut text)?;
        let status = child.0.wait()?;
        if !status.success() {
            let mut why = String::new();
            child.0.stderr.take().context("bench-load has no errors")?.read_to_string(&mut why)?;
            bail!("{} over {}: {}", self.scenario, self.protocol.label(), why.trim());
        }
        serde_json::from_str(&text).context("the result of bench-load is not understood")
    }

    /// Asks once, and fails unless the answer is right.
    ///
    /// # Errors
    /// The answer is another one.
    pub fn check(&self, bench: &Bench<'_>, address: SocketAddr) -> Result<()> {
        let output = self.command(bench, "check", address).output().context("cannot start bench-load")?;
        let why = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} over {}: {}", self.scenario, self.protocol.label(), why.trim());
        Ok(())
    }

    /// Makes so many exchanges on one connection, one after the other.
    ///
    /// # Errors
    /// An answer is another one.
    pub fn count(&self, bench: &Bench<'_>, address: SocketAddr, exchanges: u64) -> Result<()> {
        let mut command = self.command(bench, "count", address);
        let output =
            command.args(["--exchanges", &exchanges.to_string()]).output().context("cannot start bench-load")?;
        let why = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} over {}: {}", self.scenario, self.protocol.label(), why.trim());
        Ok(())
    }

    /// Opens so many connections and keeps them.
    ///
    /// # Errors
    /// The server does not take them.
    pub fn hold(&self, bench: &Bench<'_>, address: SocketAddr, connections: u64) -> Result<Holder> {
        let mut command = self.command(bench, "hold", address);
        command.args(["--connections", &connections.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Holder(command.spawn().context("cannot start bench-load")?);
        let mut line = String::new();
        let output = holder.0.stdout.as_mut().context("bench-load has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.starts_with("holding"), "bench-load could not open {connections} connections");
        Ok(holder)
    }

    fn command(&self, bench: &Bench<'_>, name: &str, address: SocketAddr) -> Command {
        let mut command = Command::new(bench.tool("bench-load"));
        command.args([name, "--scenario", self.scenario, "--protocol", self.protocol.label()]);
        command.args(["--address", &address.to_string()]).stdin(Stdio::null());
        if let Some(components) = self.components {
            command.args(["--components", &components.to_string()]);
        }
        command
    }
}

impl Latency {
    /// The median of each.
    pub fn median(turns: &[Self]) -> Self {
        let of = |pick: fn(&Self) -> f64| median(turns.iter().map(pick).collect());
        Self {
            mean: of(|turn| turn.mean),
            p50: of(|turn| turn.p50),
            p75: of(|turn| turn.p75),
            p90: of(|turn| turn.p90),
            p99: of(|turn| turn.p99),
            p999: of(|turn| turn.p999),
            p9999: of(|turn| turn.p9999),
            max: of(|turn| turn.max),
        }
    }
}

/// bench-load with its connections open; they close when this is dropped.
pub struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        // It ends with its input; it may have ended by itself.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A run of bench-load, which ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It has ended by itself, unless something went wrong.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

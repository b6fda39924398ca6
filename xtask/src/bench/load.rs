//! One turn of a load against one server, and its results.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::Bench;

/// The length of a turn.
pub const SECONDS: u32 = 1;

/// Held sessions that send events.
pub const EVENT_SESSIONS: u32 = 1024;

/// Requests in flight, except for large uploads.
const IN_FLIGHT: u32 = 32;

/// Uploads in flight.
const UPLOADS: u32 = 2;

/// Prints the values that wrk's own summary rounds or leaves out.
const WRK_SCRIPT: &str = r#"
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"micros":%d,"errors":%d,"p50":%d,"p99":%d,"p999":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"#;

/// The protocol of a load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1 over TCP.
    H1,
    /// HTTP/2 over TCP, with prior knowledge.
    H2c,
}

/// The requests of a load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Load {
    /// Held sessions whose events are counted.
    Events,
    /// Requests without a body.
    Get,
    /// Requests with a body of this many bytes.
    Post(usize),
}

/// The result of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Requests or events.
    pub count: f64,
    /// The amount that the server worked for, including requests or events before the clock started.
    pub worked: f64,
    /// The duration in seconds.
    pub seconds: f64,
    /// Latencies, if the loader reports them.
    pub latency: Option<Latency>,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// The latency that 1 of 100 exceeds.
    pub p99: f64,
    /// The latency that 1 of 1000 exceeds.
    pub p999: f64,
}

impl Protocol {
    /// The name of the load in results.
    pub fn label(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2c => "h2c",
        }
    }
}

impl Load {
    /// Runs one turn. Any answer but a 200, and any broken connection, is an error. `latency` asks h2load for
    /// latencies, which costs it time; wrk reports them in any case.
    pub fn turn(
        self,
        bench: &Bench<'_>,
        protocol: Protocol,
        address: SocketAddr,
        path: &str,
        latency: bool,
    ) -> Result<Turn> {
        let turn = match (self, protocol) {
            (Self::Events, _) => events(bench, protocol, address, path),
            (_, Protocol::H1) => self.wrk(bench, address, path),
            (_, Protocol::H2c) => self.h2load(bench, address, path, latency),
        };
        turn.with_context(|| format!("{} {path}", protocol.label()))
    }

    /// The request body.
    pub fn body(self) -> Vec<u8> {
        match self {
            Self::Post(size) => vec![b'x'; size],
            _ => Vec::new(),
        }
    }

    fn connections(self) -> u32 {
        match self {
            Self::Post(size) if size > 1 << 20 => UPLOADS,
            _ => IN_FLIGHT,
        }
    }

    fn wrk(self, bench: &Bench<'_>, address: SocketAddr, path: &str) -> Result<Turn> {
        let script = bench.scratch.join("turn.lua");
        let body = match self {
            Self::Post(size) => format!("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", {size})\n"),
            _ => String::new(),
        };
        fs::write(&script, body + WRK_SCRIPT)?;
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{}", self.connections()), &format!("-d{SECONDS}s"), "-s"]);
        command.arg(&script).arg(format!("http://{address}{path}"));
        let output = output(&mut command)?;

        #[derive(Deserialize)]
        struct Summary {
            requests: f64,
            micros: f64,
            errors: u64,
            p50: f64,
            p99: f64,
            p999: f64,
        }
        let line = output.lines().find_map(|line| line.strip_prefix("RESULT ")).context("wrk told no result")?;
        let summary: Summary = serde_json::from_str(line).context("wrk's result is not understood")?;
        ensure!(summary.errors == 0, "{} of {} requests failed", summary.errors, summary.requests);
        let latency = Latency { p50: summary.p50, p99: summary.p99, p999: summary.p999 };
        Ok(Turn {
            count: summary.requests,
            worked: summary.requests,
            seconds: summary.micros / 1e6,
            latency: Some(latency),
        })
    }

    fn h2load(self, bench: &Bench<'_>, address: SocketAddr, path: &str, latency: bool) -> Result<Turn> {
        // The same number in flight as with wrk, on a quarter of the connections.
        let streams = if self.connections() == IN_FLIGHT { 4 } else { 1 };
        let clients = self.connections() / streams;
        let mut command = Command::new("h2load");
        command.args(["-t1", &format!("-c{clients}"), &format!("-m{streams}"), &format!("-D{SECONDS}")]);
        if let Self::Post(size) = self {
            let file = bench.scratch.join("body");
            fs::write(&file, vec![b'x'; size])?;
            command.arg("-d").arg(&file);
        }
        let log = bench.scratch.join("h2load.log");
        if latency {
            // It appends.
            if log.exists() {
                fs::remove_file(&log)?;
            }
            command.arg(format!("--log-file={}", log.display()));
        }
        command.arg(format!("http://{address}{path}"));
        let output = output(&mut command)?;
        let (count, failed) = h2load_counts(&output).context("h2load's summary is not understood")?;
        ensure!(failed == 0, "{failed} requests failed");
        let latency = if latency { Some(read_latencies(&log)?) } else { None };
        Ok(Turn { count, worked: count, seconds: f64::from(SECONDS), latency })
    }
}

fn events(bench: &Bench<'_>, protocol: Protocol, address: SocketAddr, path: &str) -> Result<Turn> {
    let mut command = Command::new(bench.tool("bench-load"));
    command.args(["events", "--protocol", protocol.label(), "--address", &address.to_string(), "--path", path]);
    command.args(["--sessions", &EVENT_SESSIONS.to_string(), "--milliseconds", &(SECONDS * 1000).to_string()]);
    let output = output(&mut command)?;
    let numbers = output.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
    let [count, micros, worked] = numbers.unwrap_or_default()[..] else { bail!("bench-load told no result") };
    Ok(Turn { count, worked, seconds: micros / 1e6, latency: None })
}

fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{:?} failed: {} {}", command.get_program(), text.trim(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(text)
}

/// The number of requests with a 2xx, and of all others that ended, from h2load's summary.
fn h2load_counts(output: &str) -> Option<(f64, u64)> {
    let number = |line: &str, word: &str| -> Option<u64> {
        let part = line.split([':', ',']).find(|part| part.trim_end().ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    let requests = output.lines().find(|line| line.starts_with("requests:"))?;
    let statuses = output.lines().find(|line| line.starts_with("status codes:"))?;
    let failed = number(requests, "failed")? + number(requests, "errored")? + number(requests, "timeout")?;
    let other = number(statuses, "3xx")? + number(statuses, "4xx")? + number(statuses, "5xx")?;
    Some((number(statuses, "2xx")? as f64, failed + other))
}

/// Latencies from h2load's log: start, status and microseconds on each line.
fn read_latencies(log: &Path) -> Result<Latency> {
    let text = fs::read_to_string(log).context("h2load wrote no log")?;
    let mut micros: Vec<f64> = text.lines().filter_map(|line| line.rsplit('\t').next()?.parse().ok()).collect();
    micros.sort_by(f64::total_cmp);
    ensure!(!micros.is_empty(), "h2load's log is empty");
    let at = |part: f64| micros[((micros.len() as f64 * part) as usize).min(micros.len() - 1)];
    Ok(Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_h2load_is_read() {
        let text = "finished in 1.01s, 13793.00 req/s, 526.30KB/s\n\
            requests: 13793 total, 13825 started, 13793 done, 13790 succeeded, 1 failed, 1 errored, 0 timeout\n\
            status codes: 13790 2xx, 0 3xx, 1 4xx, 0 5xx\n";
        assert_eq!(h2load_counts(text), Some((13790.0, 3)));
        assert_eq!(h2load_counts("finished"), None);
    }
}

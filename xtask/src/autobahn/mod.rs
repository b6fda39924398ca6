//! `cargo xtask autobahn`: the Autobahn fuzzing client against a component that echoes, on every transport.
//!
//! | transport | how |
//! |---|---|
//! | h1 | HTTP/1.1 Upgrade |
//! | tls | the same over TLS |
//! | h2 | extended CONNECT through h2-relay, a connection for each WebSocket |
//! | h2-shared | the same, all WebSockets on one connection |
//! | h3 | extended CONNECT through h3_relay.py, which uses aioquic, a connection for each WebSocket |
//!
//! A case passes when its behaviour and its close are OK or INFORMATIONAL. The tool's exit code has no meaning, so its
//! report is read; a report that lacks cases is a failure too. Cases 12 and 13 (compression) take a quarter of an hour;
//! a fixed sample of them runs unless `--all` is given.
//!
//! The results are kept in tests/conformance/autobahn.json, and docs/autobahn.md is made from it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::bench::process::{Process, free_address};
use crate::toolchain::{self, cargo, say};
use crate::tree::{Profile, Tree, quoted};

mod install;
mod report;

use install::Installed;
use report::Run;

/// The exit code when the machine lacks what the tool needs.
const SKIPPED: u8 = 77;

/// Every case except those of compression, as the tool selects them.
const BASIC: [&str; 9] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"];

/// Cases of compression: every kind, with sizes from 16 bytes to 128 KiB, that take at most a second.
const SAMPLE: [&str; 14] = [
    "12.1.1", "12.1.12", "12.2.4", "12.3.5", "12.4.12", "12.5.3", "13.1.1", "13.2.4", "13.3.8", "13.4.12", "13.5.7",
    "13.6.4", "13.7.1", "13.7.11",
];

/// The number of the tool's cases that [`BASIC`] selects, and in total.
const BASIC_COUNT: usize = 301;
const ALL_COUNT: usize = 517;

/// The largest message of a case is 16 MiB.
const MANIFEST: &str = r#"
[server]
access-log = false
cache-dir = {cache}

[limits]
memory = "256MiB"
callback-cpu = "1m"
host-call-bytes = "32MiB"

[websocket]
frame-size = "16MiB"
message-size = "16MiB"
outgoing-message = "16MiB"

[[listener]]
address = "{plain}"

[[listener]]
address = "{tls}"
protocols = ["http1", "http2", "http3"]
tls = "self-signed"

[component.hello]
file = {hello}

[component.sockets]
file = {sockets}

[[route]]
path = "/hello"
component = "hello"

[[route]]
path = "/echo"
component = "sockets"
"#;

/// The options of a run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Run every case, including the other 202 cases of compression: a quarter of an hour per transport
    #[arg(long)]
    all: bool,
    /// Test only this transport
    #[arg(long)]
    only: Option<Transport>,
    /// Test an unoptimised build
    #[arg(long)]
    dev: bool,
    /// Write docs/autobahn.md from the committed results, without tests
    #[arg(long, conflicts_with_all = ["all", "only", "dev"])]
    render: bool,
}

/// A way to open a WebSocket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// HTTP/1.1
    H1,
    /// HTTP/1.1 over TLS
    Tls,
    /// HTTP/2, a connection for each WebSocket
    H2,
    /// HTTP/2, all WebSockets on one connection
    H2Shared,
    /// HTTP/3, a connection for each WebSocket
    H3,
}

/// The result of a run.
pub enum Verdict {
    /// Every case passed.
    Passed,
    /// At least one case failed; the table was printed.
    Failed,
    /// The machine lacks a required tool, which the text names.
    Skipped(String),
}

/// Runs the cases, and keeps the results.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    if options.render {
        report::write_page(tree)?;
        return Ok(ExitCode::SUCCESS);
    }
    let profile = if options.dev { Profile::Dev } else { Profile::Release };
    toolchain::prepare()?;
    toolchain::build_guests(tree)?;
    toolchain::build_server(tree, profile)?;
    let transports = options.only.map_or_else(|| Transport::value_variants().to_vec(), |only| vec![only]);
    Ok(match test(tree, profile, &transports, options.all, true)? {
        Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Failed => ExitCode::FAILURE,
        Verdict::Skipped(reason) => {
            println!("SKIPPED {reason}");
            ExitCode::from(SKIPPED)
        }
    })
}

/// Runs the sample on every transport, and changes no committed file. Guests and server are already built.
pub fn check(tree: &Tree, profile: Profile) -> Result<Verdict> {
    test(tree, profile, Transport::value_variants(), false, false)
}

fn test(tree: &Tree, profile: Profile, transports: &[Transport], all: bool, keep: bool) -> Result<Verdict> {
    let scratch = tree.scratch("autobahn")?;
    let tool = match install::wstest(&scratch)? {
        Installed::Tool(path) => path,
        Installed::Missing(reason) => return Ok(Verdict::Skipped(reason)),
    };
    let mut relay = cargo(&tree.root);
    relay.arg("build").args(profile.arguments()).args(["--workspace", "--bin", "h2-relay"]);
    toolchain::run(&mut relay)?;

    let python = transports.contains(&Transport::H3).then(install::aioquic).transpose();
    let python = match python {
        Ok(python) => python,
        Err(reason) => return Ok(Verdict::Skipped(reason)),
    };
    let server = Server::start(tree, profile, &scratch, python)?;
    let mut runs = Vec::new();
    for &transport in transports {
        say(&format!("the Autobahn fuzzing client over {}", transport.text()));
        let run = server.fuzz(tree, transport, all, &tool).with_context(|| transport.text().to_owned())?;
        say(&format!("{} cases in {} s", run.count(), run.seconds));
        runs.push(run);
    }
    println!("{}", report::table(&runs));
    if keep {
        report::keep(tree, &runs)?;
    }
    Ok(if runs.iter().all(|run| run.failed.is_empty()) { Verdict::Passed } else { Verdict::Failed })
}

impl Transport {
    /// A description of the transport in a few words.
    pub fn text(self) -> &'static str {
        match self {
            Self::H1 => "HTTP/1.1",
            Self::Tls => "HTTP/1.1 with TLS",
            Self::H2 => "HTTP/2, a connection each",
            Self::H2Shared => "HTTP/2, one connection",
            Self::H3 => "HTTP/3, a connection each",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::Tls => "tls",
            Self::H2 => "h2",
            Self::H2Shared => "h2-shared",
            Self::H3 => "h3",
        }
    }
}

/// A server that echoes. It is killed when this is dropped.
struct Server {
    _process: Process,
    plain: SocketAddr,
    tls: SocketAddr,
    relay: PathBuf,
    /// A Python with aioquic; only set for HTTP/3.
    python: Option<PathBuf>,
    scratch: PathBuf,
}

impl Server {
    fn start(tree: &Tree, profile: Profile, scratch: &Path, python: Option<PathBuf>) -> Result<Self> {
        let (plain, tls) = (free_address()?, free_address()?);
        let text = MANIFEST
            .replace("{plain}", &plain.to_string())
            .replace("{tls}", &tls.to_string())
            .replace("{cache}", &quoted(&scratch.join("cache"))?)
            .replace("{hello}", &quoted(&tree.components().join("hello.wasm"))?)
            .replace("{sockets}", &quoted(&tree.components().join("sockets.wasm"))?);
        let manifest = scratch.join("roadrunner.toml");
        fs::write(&manifest, text).with_context(|| format!("cannot write {}", manifest.display()))?;
        let mut command = Command::new(tree.server(profile));
        command.arg("serve").arg(&manifest);
        let mut process = Process::start(command, &scratch.join("server.log"))?;
        process.ready(plain, "/hello")?;
        let relay = tree.server(profile).with_file_name("h2-relay");
        Ok(Self { _process: process, plain, tls, relay, python, scratch: scratch.to_owned() })
    }

    fn fuzz(&self, tree: &Tree, transport: Transport, all: bool, tool: &Path) -> Result<Run> {
        // Held until the cases are over.
        let mut _relay = None;
        let url = match transport {
            Transport::H1 => format!("ws://{}/echo", self.plain),
            Transport::Tls => format!("wss://{}/echo", self.tls),
            Transport::H2 | Transport::H2Shared => {
                let address = free_address()?;
                _relay = Some(self.start_relay(address, transport == Transport::H2Shared)?);
                format!("ws://{address}/echo")
            }
            Transport::H3 => {
                let address = free_address()?;
                _relay = Some(self.start_h3_relay(tree, address)?);
                format!("ws://{address}/echo")
            }
        };
        let folder = self.scratch.join(transport.name());
        // A report of an earlier run must not pass for this run's.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)?;
        let mut cases = BASIC.to_vec();
        cases.extend(if all { &["12.*", "13.*"][..] } else { &SAMPLE[..] });
        let expected = if all { ALL_COUNT } else { BASIC_COUNT + SAMPLE.len() };
        let agent = transport.name();
        let plan = serde_json::json!({
            "outdir": folder,
            "servers": [{ "agent": agent, "url": url }],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        });
        let file = folder.join("plan.json");
        fs::write(&file, plan.to_string())?;
        let mut command = Command::new(tool);
        command.args(["-m", "fuzzingclient", "-s"]).arg(&file).current_dir(&folder);
        let started = Instant::now();
        let patience = Duration::from_secs(if all { 3600 } else { 600 });
        run_quietly(&mut command, &folder.join("wstest.log"), patience)?;
        let seconds = started.elapsed().as_secs();
        let index = folder.join("index.json");
        let text = fs::read_to_string(&index).with_context(|| format!("the tool wrote no {}", index.display()))?;
        let run = Run::read(&text, agent, transport, all, seconds, tree)?;
        ensure!(
            run.count() == expected,
            "the tool reports {} cases and not {expected}; see {}",
            run.count(),
            folder.display()
        );
        Ok(run)
    }

    fn start_relay(&self, address: SocketAddr, shared: bool) -> Result<Process> {
        let mut command = Command::new(&self.relay);
        command.arg(address.to_string()).arg(self.plain.to_string());
        if shared {
            command.arg("--shared");
        }
        let relay = Process::start(command, &self.scratch.join("h2-relay.log"))?;
        relay.accepts(address)?;
        Ok(relay)
    }

    fn start_h3_relay(&self, tree: &Tree, address: SocketAddr) -> Result<Process> {
        let python = self.python.as_ref().context("the relay needs Python with aioquic")?;
        let mut command = Command::new(python);
        command.arg("-B").arg(tree.root.join("tests/conformance/h3_relay.py"));
        command.arg(address.to_string()).arg(self.tls.to_string());
        let relay = Process::start(command, &self.scratch.join("h3-relay.log"))?;
        relay.accepts(address)?;
        Ok(relay)
    }
}

/// Runs a command with its output in a file, and ends it when it takes too long.
fn run_quietly(command: &mut Command, log: &Path, patience: Duration) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = Killed(command.spawn().context("cannot start wstest")?);
    let started = Instant::now();
    while child.0.try_wait()?.is_none() {
        ensure!(started.elapsed() < patience, "not done in {} s; see {}", patience.as_secs(), log.display());
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A process that does not outlive this.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

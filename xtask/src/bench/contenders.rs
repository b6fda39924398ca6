//! The servers that are compared, each with the same answers. Each purpose has its own servers, so that the effects of
//! one load, such as resident memory, do not affect the next.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Bench;
use super::process::{Process, free_address};
use crate::toolchain;
use crate::tree::{Profile, quoted};

/// Native hyper, the upper bound.
pub const NATIVE: &str = "native hyper";
/// Roadrunner with its defaults.
pub const FRESH: &str = "fresh instance";
/// The same with a guest that was linked without the template's arguments.
pub const STOCK: &str = "fresh, stock link arguments";
/// Roadrunner with a component that asks for reuse.
pub const REUSE: &str = "reuse up to 1000";
/// `wasmtime serve` with its defaults.
pub const WASMTIME: &str = "wasmtime serve";

/// The limits of nearly all: held sessions for the measurement, and some to spare.
pub const MANY: &str = "held = 10_100";

/// A running server.
pub struct Contender {
    /// One of the names above.
    pub name: &'static str,
    /// The server.
    pub process: Process,
    /// The address for HTTP/1.1.
    pub http1: SocketAddr,
    /// The address for HTTP/2 without TLS, if supported.
    pub http2: Option<SocketAddr>,
}

impl Contender {
    /// Native hyper.
    pub fn native(bench: &Bench<'_>, purpose: &str) -> Result<Self> {
        let (http1, http2) = (free_address()?, free_address()?);
        let mut command = Command::new(bench.tool("bench-native"));
        command.args(["--h1", &http1.to_string(), "--h2", &http2.to_string()]);
        Self::start(bench, purpose, NATIVE, command, http1, Some(http2))
    }

    /// Roadrunner with a fresh instance for each request.
    pub fn fresh(bench: &Bench<'_>, purpose: &str) -> Result<Self> {
        Self::roadrunner(bench, purpose, FRESH, &bench.hello(), "")
    }

    /// Roadrunner with a guest that has the toolchain's own link arguments.
    pub fn stock(bench: &Bench<'_>, purpose: &str) -> Result<Self> {
        Self::roadrunner(bench, purpose, STOCK, &bench.stock_hello(), "")
    }

    /// Roadrunner with reuse.
    pub fn reuse(bench: &Bench<'_>, purpose: &str) -> Result<Self> {
        Self::roadrunner(bench, purpose, REUSE, &bench.hello(), "reuse = { requests = 1000 }")
    }

    /// `wasmtime serve`, if it is on the machine.
    pub fn wasmtime(bench: &Bench<'_>, purpose: &str) -> Result<Option<Self>> {
        let Some(program) = toolchain::find("wasmtime") else { return Ok(None) };
        let address = free_address()?;
        let mut command = Command::new(program);
        // The standard library of the guest imports the environment, which is not offered by default.
        command.args(["serve", "-Scli", "--addr", &address.to_string()]).arg(bench.wasi_hello());
        Self::start(bench, purpose, WASMTIME, command, address, None).map(Some)
    }

    /// Roadrunner with its own manifest.
    pub fn with_manifest(
        bench: &Bench<'_>,
        purpose: &str,
        name: &'static str,
        manifest: &Path,
        address: SocketAddr,
    ) -> Result<Self> {
        let mut command = Command::new(bench.tree.server(Profile::Release));
        command.arg("serve").arg(manifest);
        Self::start(bench, purpose, name, command, address, Some(address))
    }

    fn roadrunner(bench: &Bench<'_>, purpose: &str, name: &'static str, hello: &Path, component: &str) -> Result<Self> {
        let address = free_address()?;
        let manifest = write_manifest(
            bench,
            &format!("{purpose} {name}"),
            address,
            MANY,
            &workload_manifest(bench, hello, component)?,
        )?;
        let mut check = Command::new(bench.tree.server(Profile::Release));
        let output = check.arg("check").arg("--manifest").arg(&manifest).output().context("cannot start roadrunner")?;
        ensure!(
            output.status.success(),
            "roadrunner refuses {}: {}",
            manifest.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Self::with_manifest(bench, purpose, name, &manifest, address)
    }

    fn start(
        bench: &Bench<'_>,
        purpose: &str,
        name: &'static str,
        command: Command,
        http1: SocketAddr,
        http2: Option<SocketAddr>,
    ) -> Result<Self> {
        let log = bench.scratch.join(format!("{}.log", file_name(&format!("{purpose} {name}"))));
        let mut process = Process::start(command, &log).with_context(|| format!("{name} does not start"))?;
        process.ready(http1, "/hello").with_context(|| format!("{name} does not start"))?;
        Ok(Self { name, process, http1, http2 })
    }
}

/// Writes a manifest for one address and these limits, without an access log, with the benchmark's own cache
/// of compiled code.
pub fn write_manifest(bench: &Bench<'_>, name: &str, address: SocketAddr, limits: &str, rest: &str) -> Result<PathBuf> {
    let path = bench.scratch.join(format!("{}.toml", file_name(name)));
    let cache = quoted(&bench.scratch.join("cache"))?;
    let text = format!(
        "[server]\naccess-log = false\ncache-dir = {cache}\n\n[limits]\n{limits}\n\n[[listener]]\naddress = \"{address}\"\n\n{rest}"
    );
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn workload_manifest(bench: &Bench<'_>, hello: &Path, component: &str) -> Result<String> {
    let (hello, workload, loops) = (quoted(hello)?, quoted(&bench.workload())?, quoted(&bench.loops())?);
    let mut text = format!(
        "[component.hello]\nfile = {hello}\n{component}\n\n[component.workload]\nfile = {workload}\n{component}\n\n\
         [component.loops]\nfile = {loops}\n\n\
         [[route]]\npath = \"/hello\"\ncomponent = \"hello\"\n\n\
         [[route]]\npath = \"/idle\"\ncomponent = \"loops\"\n"
    );
    let routes = [
        ("/echo", ""),
        ("/bytes", ""),
        ("/json", ""),
        ("/events", ""),
        ("/collect", "limits = { body = \"32MiB\" }"),
        ("/count", "body = \"manual\""),
        ("/download", "limits = { cpu = \"1m\" }"),
    ];
    for (path, more) in routes {
        text.push_str(&format!("\n[[route]]\npath = \"{path}\"\ncomponent = \"workload\"\n{more}\n"));
    }
    Ok(text)
}

fn file_name(name: &str) -> String {
    name.replace([' ', ','], "-")
}

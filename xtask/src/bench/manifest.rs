//! The manifests of the measured hosts.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Bench;
use super::contenders;
use super::process::free_address;
use super::scenarios::{SCENARIOS, Scenario};
use crate::tree::quoted;

/// The limits of nearly all: the defaults, with a wait for an instance where more connections ask at once than there are
/// instances.
pub const MANY: &str = "queue = 20_000\nqueue-wait = \"30s\"";

/// A manifest on disk.
#[derive(Debug)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// Where the host will speak HTTP/1.1.
    pub plain: SocketAddr,
    /// Where it will speak HTTP/2 over TLS, and HTTP/3.
    pub secure: SocketAddr,
}

/// A manifest with a route for everything that the scenarios ask for.
///
/// # Errors
/// There is no free address, or the file cannot be written.
pub fn scenarios(bench: &Bench<'_>, name: &str, component: &Path, settings: &str) -> Result<Written> {
    write(bench, name, MANY, &routes(bench, component, settings)?)
}

/// The same, with one thread of everything and few slots.
///
/// # Errors
/// See [`scenarios`].
pub fn single(bench: &Bench<'_>, name: &str) -> Result<Written> {
    let rest = format!("[http3]\nendpoints = 1\n\n{}", routes(bench, &bench.workload(), "")?);
    write_with(bench, name, "workers = 1", "held = 8\ninstances = 8", &rest)
}

/// Writes a manifest with these limits, without an access log, and with the benchmark's own cache of compiled code.
///
/// # Errors
/// There is no free address, or the file cannot be written.
pub fn write(bench: &Bench<'_>, name: &str, limits: &str, rest: &str) -> Result<Written> {
    write_with(bench, name, "", limits, rest)
}

fn routes(bench: &Bench<'_>, component: &Path, settings: &str) -> Result<String> {
    let mut text = format!(
        "[component.workload]\nfile = {}\n{settings}\n\n\
         [middleware.compressed]\ntype = \"compression\"\nencodings = [\"gzip\"]\n\n\
         [directory.files]\npath = {}\n\n\
         [[route]]\npath = \"/files/*path\"\nstatic = {{ directory = \"files\" }}\n",
        quoted(component)?,
        quoted(&contenders::files(bench)?.join("files"))?
    );
    let more = [
        ("/gzip", "middlewares = [\"compressed\"]"),
        ("/collect", "limits = { body = \"32MiB\" }"),
        ("/count", "body = \"manual\""),
        ("/drain", "body = \"manual\""),
        ("/download", "limits = { cpu = \"1m\" }"),
        ("/idle", ""),
    ];
    let asked = SCENARIOS.iter().flat_map(Scenario::paths).filter(|path| !path.starts_with("/files/"));
    let mut paths: Vec<String> = asked.chain(more.iter().map(|(path, _)| (*path).to_owned())).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        let more = more.iter().find(|(known, _)| *known == path).map_or("", |(_, more)| more);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n[[route]]\npath = \"{path}\"\ncomponent = \"workload\"\n{more}");
    }
    Ok(text)
}

fn write_with(bench: &Bench<'_>, name: &str, server: &str, limits: &str, rest: &str) -> Result<Written> {
    let path = bench.scratch.join(format!("{}.toml", file_name(name)));
    let (plain, secure) = (free_address()?, free_address()?);
    let certificate = bench.certificate();
    let text = format!(
        "[server]\naccess-log = false\ncache-dir = {}\n{server}\n\n[limits]\n{limits}\n\n\
         [[listener]]\naddress = \"{plain}\"\n\n\
         [[listener]]\naddress = \"{secure}\"\nprotocols = [\"http1\", \"http2\", \"http3\"]\n\
         tls = {{ certificate = {}, key = {} }}\n\n{rest}",
        quoted(&bench.scratch.join("cache"))?,
        quoted(&certificate.join("certificate.pem"))?,
        quoted(&certificate.join("key.pem"))?
    );
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Written { path, plain, secure })
}

/// A name without characters that make file names unhandy.
pub fn file_name(name: &str) -> String {
    name.replace([' ', ',', '/'], "-")
}

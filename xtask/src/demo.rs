//! `cargo xtask demo`: examples/demo, built and served.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};

use crate::languages::{self, Demo, Language};
use crate::toolchain::{self, say};
use crate::tree::{Profile, Tree};

/// The committed manifest, relative to the root.
const MANIFEST: &str = "examples/demo/roadrunner.toml";

/// The options of the demo.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// The port for HTTP/1.1 and HTTP/2 without TLS
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The port for HTTP/1.1 and HTTP/2 with TLS, and for HTTP/3 on UDP
    #[arg(long, default_value_t = 8443)]
    tls_port: u16,
    /// The port for metrics, health and live instances
    #[arg(long, default_value_t = 9090)]
    admin_port: u16,
    /// The standard component (wasi:http/proxy 0.2) to serve below /wasi02/; the default is our own
    #[arg(long, value_name = "FILE")]
    wasi02: Option<PathBuf>,
    /// The standard component of WASI 0.3 (wasi:http/service) to serve below /wasi03/; the default is our own
    #[arg(long, value_name = "FILE")]
    wasi03: Option<PathBuf>,
    /// Serve an unoptimised build
    #[arg(long, conflicts_with = "release")]
    debug: bool,
    /// Serve an optimised build; the default
    #[arg(long)]
    release: bool,
}

/// Builds and serves the demo. Returns only on failure: the server replaces this process, so that it handles signals
/// and exit codes itself.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    let profile = if options.debug { Profile::Dev } else { Profile::Release };
    options.check_ports()?;
    toolchain::prepare()?;
    toolchain::build_guests(tree)?;
    let demos = languages::build(tree)?;
    toolchain::build_server(tree, profile)?;
    let manifest = options.write_manifest(tree, &demos)?;

    let Options { port, tls_port, admin_port, .. } = options;
    say("serving; Ctrl-C stops it");
    eprintln!("    http://127.0.0.1:{port}/             each response shape, live");
    eprintln!("    https://127.0.0.1:{tls_port}/            the same with TLS; the certificate is made at each start");
    eprintln!(
        "    UDP port {tls_port}                      the same over HTTP/3, for curl --http3-only -k or a browser"
    );
    eprintln!("    http://127.0.0.1:{admin_port}/metrics      metrics; also /instances, /live and /ready");
    eprintln!(
        "    curl http://127.0.0.1:{port}/hello   also /json /stream /clock /files/small.txt /echo /upload /wasi02/hello /wasi03/hello"
    );
    for (language, demo) in &demos {
        let name = language.name();
        match demo {
            Demo::Built(_) => eprintln!("    curl http://127.0.0.1:{port}/{name}/hello   the same paths in {name}"),
            Demo::Missing(reason) => eprintln!("    /{name}/* is missing: {reason}"),
        }
    }
    let error = Command::new(tree.server(profile)).arg("serve").arg(&manifest).exec();
    Err(error).with_context(|| format!("cannot start {}", tree.server(profile).display()))
}

impl Options {
    /// Checks the ports before a build of ten minutes.
    fn check_ports(&self) -> Result<()> {
        let ports = [("--port", self.port), ("--tls-port", self.tls_port), ("--admin-port", self.admin_port)];
        for (option, port) in ports {
            if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                bail!("cannot listen on 127.0.0.1:{port} ({error}): choose another port with {option}");
            }
        }
        let port = self.tls_port;
        if let Err(error) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            bail!("cannot listen on UDP 127.0.0.1:{port} ({error}): choose another port with --tls-port");
        }
        Ok(())
    }

    /// Writes the committed manifest with these ports, with absolute paths, and with the demo in every language that
    /// was built.
    fn write_manifest(&self, tree: &Tree, demos: &[(Language, Demo)]) -> Result<PathBuf> {
        let source = tree.root.join(MANIFEST);
        let text = fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let root = tree.root.to_str().context("the repository's path is not UTF-8, which a manifest has to be")?;
        let mut text = fill(&text, root, [self.port, self.tls_port, self.admin_port])?;
        for (own, file) in [("standard", &self.wasi02), ("service", &self.wasi03)] {
            let Some(file) = file else { continue };
            let file = file.canonicalize().with_context(|| format!("there is no component {}", file.display()))?;
            let file = file.to_str().context("the component's path is not UTF-8, which a manifest has to be")?;
            text = other_standard(&text, root, own, file)?;
        }
        for (language, demo) in demos {
            if let Demo::Built(component) = demo {
                text += &sections(*language, component);
            }
        }
        let path = tree.scratch("demo")?.join("roadrunner.toml");
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// The same routes as those of the committed manifest, under the language's name.
fn sections(language: Language, component: &Path) -> String {
    let name = language.name();
    format!(
        "\n[component.demo-{name}]\nfile = {component:?}\ndirectories = [\"files\"]\n\n\
         [[route]]\npath = \"/{name}/*rest\"\ncomponent = \"demo-{name}\"\nbody = \"manual\"\n\
         limits = {{ cpu = \"1m\", deadline = \"10m\" }}\n"
    )
}

fn fill(text: &str, root: &str, ports: [u16; 3]) -> Result<String> {
    let mut text = text.replace("\"../../", &format!("\"{root}/"));
    for (default, port) in [8080, 8443, 9090].into_iter().zip(ports) {
        let from = format!("\"127.0.0.1:{default}\"");
        ensure!(text.matches(&from).count() == 1, "{MANIFEST} should say {from} once");
        // The mark keeps an inserted port from being replaced as the next default.
        text = text.replace(&from, &format!("\"127.0.0.1:\0{port}\""));
    }
    Ok(text.replace('\0', ""))
}

/// Replaces our own standard component with another.
fn other_standard(text: &str, root: &str, own: &str, file: &str) -> Result<String> {
    let own = format!("\"{root}/guests/target/wasm32-wasip2/release/{own}.wasm\"");
    ensure!(text.matches(&own).count() == 1, "{MANIFEST} should name the standard component once");
    // A literal string in TOML has no escapes.
    ensure!(!file.contains(['\'', '\n']), "a manifest cannot name the file {file}");
    Ok(text.replace(&own, &format!("'{file}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_manifest_takes_other_ports_and_paths() {
        let text = include_str!("../../examples/demo/roadrunner.toml");
        let filled = fill(text, "/a/clone", [8443, 9090, 8080]).unwrap();
        let addresses: Vec<_> = filled.lines().filter(|line| line.starts_with("address")).collect();
        let expected = ["\"127.0.0.1:8443\"", "\"127.0.0.1:9090\"", "\"127.0.0.1:8080\""];
        assert_eq!(addresses, expected.map(|address| format!("address = {address}")));
        assert!(filled.contains("\"/a/clone/guests/demo/files\""));
        assert!(!filled.contains("\"../.."));
    }

    #[test]
    fn another_standard_component_takes_the_place_of_ours() {
        let text = fill(include_str!("../../examples/demo/roadrunner.toml"), "/root", [1, 2, 3]).unwrap();
        for (own, name) in [("standard", "wasi02"), ("service", "wasi03")] {
            let text = other_standard(&text, "/root", own, "/theirs/app.wasm").unwrap();
            assert!(text.contains(&format!("[component.{name}]\nfile = '/theirs/app.wasm'\n")), "{text}");
            assert!(other_standard(&text, "/root", own, "/theirs/app.wasm").is_err());
        }
    }

    #[test]
    fn a_manifest_without_the_default_ports_is_refused() {
        assert!(fill("address = \"127.0.0.1:1\"", "/", [1, 2, 3]).is_err());
    }
}

//! The command line.

use std::io::{ErrorKind, IsTerminal as _, Write as _, stderr};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use roadrunner_child::Stop;
use roadrunner_manifest::{
    Address, BodyMode, ComponentName, ComponentOptions, DirectoryName, Language, Listener, LogFormat, Manifest, Sdk,
    json_schema, new_project, routes_table, summary,
};
use roadrunner_sandbox::{CompileOrder, Component, inspect};

use crate::admin::{BuffersInfo, InstanceInfo};
use crate::client::{Body, Client, Place};
use crate::deploy::ComponentInfo;
use crate::source::Sources;
use crate::{boot, child, serve, token, transport};

/// The default manifest.
const DEFAULT_MANIFEST: &str = "roadrunner.toml";

/// Serves WebAssembly components: a fresh, isolated instance for every request.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a component, or what a manifest says
    Serve(Serve),
    /// Check a manifest, and that every component in it loads
    Check(ManifestOption),
    /// Show the routes of a manifest
    Routes(ManifestOption),
    /// Compile the components of a manifest, or one component, into the cache
    Compile {
        /// A component; without it, those of the manifest
        component: Option<PathBuf>,
        #[command(flatten)]
        manifest: ManifestOption,
    },
    /// Make a component of a core module, as compilers of C make them with the SDK
    Componentize {
        /// The core module
        module: PathBuf,
        /// The component to write; without it, the module is replaced
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Show what a component exports, imports and needs
    Inspect {
        /// The component
        component: PathBuf,
    },
    /// Make a project for a handler
    New {
        /// Its name, and the folder to make
        name: String,
        /// What it is written in
        #[arg(long, default_value = "rust", value_parser = languages())]
        lang: String,
        /// Where the SDK is: a path; without it, the one that this program was built with
        #[arg(long)]
        sdk: Option<PathBuf>,
    },
    /// Compile the component on standard input, for a host that waits for it
    #[command(name = child::COMPILE, hide = true)]
    CompileComponent { order: Vec<String> },
    /// Fetch what the order on standard input says from a registry, for a host that waits for it
    #[command(name = child::FETCH, hide = true)]
    FetchComponent { bounds: Vec<String> },
    /// Print the JSON Schema of the manifest, for editors
    Schema,
    /// List the live instances of a running host
    Ps {
        #[command(flatten)]
        admin: AdminOption,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a component in the place of the one that a running host serves
    Deploy {
        /// Its name in the manifest
        name: String,
        /// The component: a file, with its signature in FILE.sig if there is one; or oci://REGISTRY/REPOSITORY:TAG, which
        /// the host pulls
        file: PathBuf,
        #[command(flatten)]
        admin: AdminOption,
    },
    /// Make a running host go back to the version that a component had before
    Rollback {
        /// Its name in the manifest
        name: String,
        #[command(flatten)]
        admin: AdminOption,
    },
    /// List the components of a running host, and the versions that they can go back to
    Components {
        #[command(flatten)]
        admin: AdminOption,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a running host load its manifest again, as SIGHUP does
    Reload(AdminOption),
    /// End one instance of a running host
    Kill {
        /// Its id, as `roadrunner ps` shows it
        id: u64,
        #[command(flatten)]
        admin: AdminOption,
    },
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// A component (.wasm) to serve without a manifest, or a manifest; default: ./roadrunner.toml
    file: Option<PathBuf>,
    /// Where to listen, without a manifest [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<SocketAddr>,
    /// Let the guest read request bodies from the wire, without a manifest
    #[arg(long)]
    manual_body: bool,
    /// Grant a directory for sendfile, without a manifest
    #[arg(long = "dir", value_name = "NAME=PATH", value_parser = parse_directory)]
    directories: Vec<(DirectoryName, PathBuf)>,
    /// A configuration value for the guest, without a manifest
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
    config: Vec<(String, String)>,
    /// Where to serve metrics and health, without a manifest
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Serve a component of wasi:http/service 0.3, without a manifest; the engine's support for it is experimental
    #[arg(long)]
    wasi_03: bool,
}

#[derive(Debug, clap::Args)]
struct ManifestOption {
    /// The manifest
    #[arg(long, default_value = DEFAULT_MANIFEST)]
    manifest: PathBuf,
}

#[derive(Debug, clap::Args)]
struct AdminOption {
    /// The host's admin address: IP:PORT, unix:PATH or https://NAME:PORT; without it, what the manifest says
    #[arg(long)]
    admin: Option<String>,
    /// The file with a token, the host's or a tenant's; without it, what the manifest says, unless --admin is given
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The PEM file of the authorities that sign the certificate of https://; without it, those that Mozilla trusts
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The PEM file of the certificate to show to https://
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    #[command(flatten)]
    manifest: ManifestOption,
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let ended = run(Cli::parse().command);
    // The messages below come after the lines of the log.
    roadrunner_log::flush(serve::LAST_LINES);
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    if matches!(command, Command::Check(_) | Command::Compile { .. } | Command::Inspect { .. })
        && stderr().is_terminal()
    {
        // Compiling takes a while, and the log shows its progress.
        serve::start_log(LogFormat::Human)?;
    }
    let text = match command {
        Command::Serve(options) => return serve::run(&options.manifest()?),
        Command::Check(option) => check(&option.manifest)?,
        Command::Routes(option) => routes_table(&Manifest::load(&option.manifest)?),
        Command::Compile { component, manifest } => compile(component.as_deref(), &manifest.manifest)?,
        Command::CompileComponent { order } => {
            let order = CompileOrder::parse(&order).context("this command is the host's own")?;
            return Ok(order.run());
        }
        Command::Componentize { module, output } => make_component(&module, output.as_deref())?,
        Command::Inspect { component } => interfaces(&component)?,
        Command::New { name, lang, sdk } => new(&name, &lang, sdk)?,
        Command::Schema => json_schema(),
        Command::Ps { admin, json } => ps(&admin.client()?, json)?,
        Command::FetchComponent { bounds } => return Ok(roadrunner_registry::fetch(&bounds)),
        Command::Deploy { name, file, admin } => {
            let path = format!("/components/{}", named(&name)?);
            let (method, path, body) = match file.to_str().filter(|text| text.starts_with("oci://")) {
                Some(reference) => ("POST", path + "/pull", Body::text(reference)),
                None => ("PUT", path, Body::file(&file)?),
            };
            deployed(admin.client()?.deploy(method, &path, Some(body))?)?
        }
        Command::Rollback { name, admin } => {
            deployed(admin.client()?.deploy("POST", &format!("/components/{}/rollback", named(&name)?), None)?)?
        }
        Command::Components { admin, json } => components(&admin.client()?, json)?,
        Command::Reload(admin) => reload(&admin.client()?)?,
        Command::Kill { id, admin } => kill(&admin.client()?, id)?,
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader has closed the pipe, and wants no more.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.map(|()| ExitCode::SUCCESS).context("cannot write to standard output"),
    }
}

impl Serve {
    fn manifest(&self) -> Result<Manifest> {
        let file = self.file.as_deref().unwrap_or(Path::new(DEFAULT_MANIFEST));
        if file.extension().is_some_and(|extension| extension == "toml") {
            if !self.listen.is_empty()
                || !self.directories.is_empty()
                || !self.config.is_empty()
                || self.manual_body
                || self.admin.is_some()
                || self.wasi_03
            {
                bail!(
                    "--listen, --dir, --config, --manual-body, --admin and --wasi-03 go with a component; a manifest says all that itself"
                );
            }
            if self.file.is_none() && !file.exists() {
                bail!("there is no {DEFAULT_MANIFEST} here; name a component (.wasm) or a manifest (.toml)");
            }
            return Ok(Manifest::load(file)?);
        }
        let options = ComponentOptions {
            listeners: self.listen.iter().map(|address| Listener::plain(Address::Tcp(*address))).collect(),
            config: self.config.iter().cloned().collect(),
            directories: self.directories.iter().cloned().collect(),
            body: if self.manual_body { BodyMode::Manual } else { BodyMode::Auto },
            admin: self.admin.map(Address::Tcp),
            wasi_03: self.wasi_03,
        };
        Ok(Manifest::for_component(file, options))
    }
}

impl AdminOption {
    fn client(&self) -> Result<Client> {
        let (place, token_file) = match &self.admin {
            Some(text) => (self.place(text)?, self.token_file.clone()),
            None => {
                let manifest = Manifest::load(&self.manifest.manifest)
                    .with_context(|| format!("--admin is not given, and {}", self.manifest.manifest.display()))?;
                let missing = || format!("{} has no [admin] address", self.manifest.manifest.display());
                let admin = manifest.admin.with_context(missing)?;
                if admin.tls.is_some() {
                    bail!(
                        "the admin listener has TLS: give the name of its certificate, with --admin https://NAME:PORT"
                    );
                }
                (Place::Plain(admin.address), self.token_file.clone().or(admin.keys.token))
            }
        };
        let token = token_file.as_deref().map(token::read).transpose()?;
        Ok(Client { place, token })
    }

    fn place(&self, text: &str) -> Result<Place> {
        let Some(authority) = text.strip_prefix("https://") else {
            if self.ca_file.is_some() || self.certificate.is_some() {
                bail!("--ca-file, --certificate and --key go with --admin https://NAME:PORT");
            }
            return Ok(Place::Plain(parse_address(text)?));
        };
        let shown = self.certificate.as_deref().zip(self.key.as_deref());
        Place::tls(authority.trim_end_matches('/'), self.ca_file.as_deref(), shown)
    }
}

/// Loads everything that serving would load, and starts nothing.
fn check(path: &Path) -> Result<String> {
    let manifest = Manifest::load(path)?;
    for listener in &manifest.listeners {
        transport::tls(listener)?;
    }
    if let Some(admin) = &manifest.admin {
        transport::admin_tls(admin)?;
    }
    let serving = boot::checked(&manifest)?.current();
    let kinds = serving.loaded.components.iter().map(|(name, component)| format!("{name} is {}\n", component.kind()));
    Ok(format!("{}\n{}", summary(&manifest), kinds.collect::<String>()))
}

/// The values of `--lang`.
fn languages() -> PossibleValuesParser {
    PossibleValuesParser::new(Language::ALL.map(|(name, _)| name))
}

fn new(name: &str, language: &str, sdk: Option<PathBuf>) -> Result<String> {
    let language = Language::named(language).with_context(|| format!("there are no projects in {language}"))?;
    let sdk = match sdk {
        Some(_) if language.holds_sdk() => {
            bail!("--sdk is of no use here: a project in {} holds the SDK that this program has", language.name())
        }
        Some(path) => Sdk::Path(path.canonicalize().with_context(|| format!("there is no SDK at {}", path.display()))?),
        None => own_sdk(language),
    };
    let project = new_project(Path::new(""), name, language, &sdk)?;
    let mut text = format!("made {}; next:\n", project.folder.display());
    for command in project.next {
        text += &format!("    {command}\n");
    }
    Ok(text)
}

/// The SDK of the source tree that this program was built from, if it still exists; otherwise the released SDK.
fn own_sdk(language: Language) -> Sdk {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk").join(language.name());
    match path.canonicalize() {
        Ok(path) => Sdk::Path(path),
        Err(_) => Sdk::Version(env!("CARGO_PKG_VERSION").to_owned()),
    }
}

fn compile(component: Option<&Path>, manifest: &Path) -> Result<String> {
    let manifest = match component {
        Some(file) => Manifest::for_component(file, ComponentOptions { wasi_03: true, ..ComponentOptions::default() }),
        None => Manifest::load(manifest)?,
    };
    let stop = Stop::default();
    let (sandbox, puller) = (boot::sandbox(&manifest, &stop)?, child::puller(&manifest, &stop));
    let mut text = String::new();
    for source in Sources::read(&manifest)?.iter() {
        let component = source.load(&sandbox, &puller)?;
        text += &format!("{} sha256:{}\n", source.origin, component.digest);
    }
    Ok(text)
}

fn make_component(module: &Path, output: Option<&Path>) -> Result<String> {
    let bytes = std::fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = roadrunner_componentize::componentize(&bytes)
        .with_context(|| format!("cannot make a component of {}", module.display()))?;
    let output = output.unwrap_or(module);
    std::fs::write(output, component).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(String::new())
}

fn interfaces(path: &Path) -> Result<String> {
    // The component is not run.
    let options = ComponentOptions { wasi_03: true, ..ComponentOptions::default() };
    let sandbox = boot::sandbox(&Manifest::for_component(path, options), &Stop::default())?;
    let interfaces = inspect(&sandbox, path)?;
    let mut text = format!("digest   sha256:{}\n", interfaces.digest);
    for (name, kind) in &interfaces.exports {
        text += &format!("exports  {name} ({kind})\n");
    }
    for (name, kind, offered) in &interfaces.imports {
        let refused = if *offered { "" } else { ", which this host does not offer" };
        text += &format!("imports  {name} ({kind}){refused}\n");
    }
    text += &match interfaces.not_restored {
        None => "restored yes\n".to_owned(),
        Some(reason) => format!("restored no: {reason}\n"),
    };
    text += &match Component::load(&sandbox, path) {
        Ok(component) => format!("kind     {}\nshapes   {}\n", component.kind(), component.shapes().join(", ")),
        Err(error) => format!("refused  {error}\n"),
    };
    Ok(text)
}

fn ps(client: &Client, json: bool) -> Result<String> {
    let body = expect_ok(client.request("GET", "/instances")?)?;
    if json {
        return Ok(body + "\n");
    }
    let instances: Vec<InstanceInfo> =
        serde_json::from_str(&body).context("the admin listener's answer is not understood")?;
    let row = |cells: [&str; 11]| {
        let [id, tenant, component, route, shape, state, age, cpu, memory, peer, request] = cells;
        format!(
            "{id:>10}  {tenant:<12} {component:<16} {route:<24} {shape:<9} {state:<11} {age:>10} {cpu:>10} {memory:>9}  {peer:<21} \
             {request}\n"
        )
    };
    let mut text =
        row(["ID", "TENANT", "COMPONENT", "ROUTE", "SHAPE", "STATE", "AGE", "CPU", "MEMORY", "PEER", "REQUEST"]);
    for instance in instances {
        text += &row([
            &instance.id.to_string(),
            instance.tenant.as_deref().unwrap_or("-"),
            &instance.component,
            &instance.route,
            &instance.shape,
            if instance.hibernating { "hibernating" } else { "live" },
            &format!("{:.1}s", instance.age_ms as f64 / 1000.0),
            &format!("{:.1}ms", instance.cpu_us as f64 / 1000.0),
            &format!("{}K", instance.memory / 1024),
            &instance.peer,
            &instance.request,
        ]);
    }
    // A host of another version may not have this endpoint.
    if let Ok(buffers) = expect_ok(client.request("GET", "/buffers")?)
        && let Ok(BuffersInfo { host, tenants }) = serde_json::from_str(&buffers)
    {
        let of = host.map(|(held, limit)| format!(" {}K of {}K", held / 1024, limit / 1024));
        let tenants = tenants.iter().map(|(name, held)| format!(" {name} {}K", held / 1024));
        text += &format!("held for requests:{}\n", of.into_iter().chain(tenants).collect::<Vec<_>>().join(","));
    }
    Ok(text)
}

fn components(client: &Client, json: bool) -> Result<String> {
    let body = expect_ok(client.request("GET", "/components")?)?;
    if json {
        return Ok(body + "\n");
    }
    let components: Vec<ComponentInfo> =
        serde_json::from_str(&body).context("the admin listener's answer is not understood")?;
    let row = |cells: [&str; 4]| format!("{:<24} {:<9} {:<64}  {}\n", cells[0], cells[1], cells[2], cells[3]);
    let mut text = row(["COMPONENT", "SOURCE", "DIGEST", "PREVIOUS"]);
    for component in components {
        let previous: Vec<&str> = component.previous.iter().map(|digest| digest.get(..12).unwrap_or(digest)).collect();
        text += &row([&component.name, &component.source, &component.digest, &previous.join(" ")]);
    }
    Ok(text)
}

/// Interprets the answer to a deployment.
fn deployed(answer: (u16, String)) -> Result<String> {
    let info: ComponentInfo =
        serde_json::from_str(&expect_ok(answer)?).context("the admin listener's answer is not understood")?;
    Ok(format!("{} serves sha256:{} ({})\n", info.name, info.digest, info.source))
}

fn expect_ok((status, body): (u16, String)) -> Result<String> {
    if status != 200 {
        bail!("the admin listener answered {status}: {}", body.trim());
    }
    Ok(body)
}

/// Checks that a name can stand in a path unescaped.
fn named(name: &str) -> Result<&str> {
    ComponentName::new(name).map_err(|error| anyhow::anyhow!("{name:?} is not the name of a component: {error}"))?;
    Ok(name)
}

fn reload(client: &Client) -> Result<String> {
    match client.request("POST", "/reload")? {
        (200, text) => Ok(text),
        (422, text) => bail!("refused, and the one before keeps serving: {}", text.trim()),
        (status, body) => bail!("the admin listener answered {status}: {}", body.trim()),
    }
}

fn kill(client: &Client, id: u64) -> Result<String> {
    match client.request("DELETE", &format!("/instances/{id}"))? {
        (204, _) => Ok(String::new()),
        (404, _) => bail!("no live instance has the id {id}"),
        (status, body) => bail!("the admin listener answered {status}: {}", body.trim()),
    }
}

fn parse_address(text: &str) -> Result<Address> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Address::Unix(path.into()));
    }
    let address = text
        .parse()
        .with_context(|| format!("{text:?} is not an address: write IP:PORT, unix:PATH or https://NAME:PORT"))?;
    Ok(Address::Tcp(address))
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_directory(text: &str) -> Result<(DirectoryName, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=PATH")?;
    let name = DirectoryName::new(name).map_err(|error| error.to_string())?;
    Ok((name, path.into()))
}

//! Runs a host until it is told to stop.

use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use roadrunner_child::Stop;
use roadrunner_manifest::{self as manifest, Address, LogFormat, Manifest};
use roadrunner_sandbox::Registry;
use roadrunner_wire::{ListenAddress, ListenerConfig, Server, Settings};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::admin::Admin;
use crate::boot;
use crate::broker::LAST_MESSAGES;
use crate::deploy::{self, Deploy};
use crate::inherited::Inherited;
use crate::reload::{self, Reload, Servers};
use crate::swap;

/// What is logged where the environment does not say it. What a DNS server sends is not the operator's business, and the
/// look-up that fails for it is logged.
const DEFAULT_FILTER: &str = "info,hickory_net=off,hickory_resolver=off";

/// The exit code when connections were cut, at the drain's deadline or by a second signal.
const CUT: u8 = 3;

/// How long instances that lose their connection in a cut may take to be dropped.
const LAST_DROPS: Duration = Duration::from_secs(2);

/// How long work off the threads that serve may go on after the last connection.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Serves a manifest until SIGTERM or SIGINT, and loads it again on SIGHUP. Exits with 0 when everything ended by itself,
/// with 3 when connections had to be cut, and as if by the signal when it comes before anything serves.
pub fn run(manifest: &Manifest) -> Result<ExitCode> {
    // SAFETY: nothing has been opened yet, so the descriptors from 3 on are those that the environment speaks of.
    let inherited = unsafe { Inherited::from_environment() }?;
    start_log(manifest.server.log);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = manifest.server.workers {
        builder.worker_threads(workers as usize);
    }
    builder.max_blocking_threads(roadrunner_threads::MAX);
    let runtime = builder.enable_all().build().context("cannot start the runtime")?;
    let ended = runtime.block_on(serve(manifest, inherited));
    // A compiler, or a file that does not answer, holds up nobody who wants it to end.
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

async fn serve(manifest: &Manifest, mut inherited: Inherited) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    let hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    let stop = Stop::default();
    let loading = {
        let (manifest, stop) = (manifest.clone(), stop.clone());
        tokio::task::spawn_blocking(move || boot::app(&manifest, stop))
    };
    // Compiling takes up to minutes.
    let (app, broker) = tokio::select! {
        loaded = loading => loaded.context("loading the components panicked")??,
        signal = signals.next() => {
            stop.stop();
            tracing::info!("{}: ending before anything was served", signal.name);
            return Ok(ExitCode::from(signal.code()));
        }
    };
    // Without the broker, sessions of this host still hear each other: nothing waits for it.
    if let Some(driver) = broker {
        tokio::spawn(driver.run());
    }
    let servers = Servers::default();
    let (reload, reloader) = reload::reloader(app.clone(), Arc::new(manifest.clone()), servers.clone());
    if let Some(store) = &app.current().host.deployed {
        store.sweep();
    }
    let tidied = app.clone();
    tokio::task::spawn_blocking(move || deploy::tidy(&tidied.current()));
    if let Some(settings) = &manifest.admin {
        let deploy = Deploy::new(app.clone(), reload.clone(), manifest.compile.max_wasm);
        let admin = Admin::new(app.clone(), servers.public.clone(), reload.clone(), deploy);
        let _ = servers.admin.set(open_admin(settings, &mut inherited, admin).await?);
    }
    let listeners = boot::listeners(manifest, &mut inherited)?;
    let server = Server::bind(listeners, boot::settings(manifest), Arc::new(app.clone())).await?;
    let server = Arc::new(server);
    for listener in server.addresses() {
        let transport = if listener.is_quic { "/udp" } else { "" };
        eprintln!("listening on {}{transport} ({})", listener.address, listener.name);
    }
    for listener in servers.admin.get().into_iter().flat_map(Server::addresses) {
        eprintln!("admin on {}", listener.address);
    }
    let _ = servers.public.set(server.clone());
    tokio::spawn(reloader.run());
    tokio::spawn(swap::watch(app.clone(), reload.clone()));

    let name = tokio::select! {
        signal = signals.next() => signal.name,
        never = reload_on(hangup, &reload) => match never {},
    };
    let inner = app.current();
    let (delay, time, drain) = (inner.drain_delay, inner.drain_time, &inner.host.drain);
    let registry = inner.host.sandbox.registry().clone();
    drain.announce();
    // What is deployed now would not serve any more.
    stop.stop();
    let drained = async {
        if !delay.is_zero() {
            tracing::info!("{name}: not ready any more, and serving for another {delay:?}");
            server.retire();
            tokio::time::sleep(delay).await;
        }
        tracing::info!("{name}: draining for up to {time:?}");
        drain.begin(time, &registry);
        server.drain(time).await
    };
    let clean = tokio::select! {
        outcome = drained => {
            if !outcome.is_clean() {
                tracing::warn!("{} connections were cut at the deadline", outcome.cut);
            }
            outcome.is_clean()
        }
        signal = signals.next() => {
            tracing::warn!("{} again: cutting every connection", signal.name);
            server.cut();
            false
        }
    };
    wait_for_drops(&registry).await;
    if let Some(broker) = &inner.host.broker
        && !broker.client().flush(LAST_MESSAGES).await
    {
        tracing::warn!("the last messages of the bus may not have reached the NATS server");
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(CUT) })
}

/// Orders a reload at every SIGHUP.
async fn reload_on(mut hangup: Signal, reload: &Reload) -> Infallible {
    loop {
        hangup.recv().await;
        reload.order();
    }
}

async fn open_admin(settings: &manifest::Admin, inherited: &mut Inherited, admin: Admin) -> Result<Server> {
    if let Some((message, fix)) = settings.exposed() {
        bail!("{message}: {fix}");
    }
    let address = match &settings.address {
        // Whoever wrote the socket unit has decided who reaches it.
        Address::Systemd(name) => {
            ListenAddress::Inherited(inherited.take(name).context("cannot open the admin listener")?)
        }
        Address::Tcp(address) => ListenAddress::Tcp(*address),
        Address::Unix(path) => ListenAddress::Unix(path.clone()),
    };
    // On a unix socket, the file's mode says who may ask.
    let plain = ListenerConfig::plain(boot::ADMIN, address);
    let listener = ListenerConfig { unix_mode: Some(0o600), tls: boot::admin_tls(settings)?, ..plain };
    Ok(Server::bind(vec![listener], Settings::default(), Arc::new(admin)).await?)
}

/// Instances are dropped by the tasks of their connections; the process ends after them.
async fn wait_for_drops(registry: &Registry) {
    let deadline = tokio::time::Instant::now() + LAST_DROPS;
    while !registry.is_empty() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The next signal to end.
    async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending { name: "SIGTERM", number: 15 },
            _ = self.interrupt.recv() => Ending { name: "SIGINT", number: 2 },
        }
    }
}

/// A signal to end.
struct Ending {
    name: &'static str,
    number: u8,
}

impl Ending {
    /// The exit code of shells for a process that the signal has ended.
    fn code(&self) -> u8 {
        128 + self.number
    }
}

/// Log lines go to standard error. `RUST_LOG` filters them (default: info).
pub fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, in a test, keeps the first one's settings.
    let _ = match format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

//! Runs a host until it is told to stop.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use roadrunner_account::Instances;
use roadrunner_child::Stop;
use roadrunner_log::Owner;
use roadrunner_manifest::{LogFormat, Manifest};
use roadrunner_wire::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::Admin;
use crate::app::App;
use crate::boot;
use crate::deploy::{Deploy, code};
use crate::inherited::Inherited;
use crate::memory;
use crate::orders::Orders;
use crate::reload::{Reloader, Servers};
use crate::swap;
use crate::transport::Opening;

/// The exit code when connections were cut, at the drain's deadline or by a second signal.
const CUT: u8 = 3;

/// The longest time that the last lines of the log may wait for their reader.
pub const LAST_LINES: Duration = Duration::from_secs(1);

/// The longest time to drop instances that lose their connection in a cut.
const LAST_DROPS: Duration = Duration::from_secs(2);

/// The longest time for work off the threads that serve after the last connection.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Serves a manifest until SIGTERM or SIGINT, and loads it again on SIGHUP. Exits with 0 when everything ended by
/// itself, with 3 when connections had to be cut, and as if killed by the signal when it comes before anything is
/// served.
pub fn run(manifest: &Manifest) -> Result<ExitCode> {
    // SAFETY: nothing has been opened yet, so the descriptors from 3 on are those that the environment announces.
    let inherited = unsafe { Inherited::from_environment() }?;
    start_log(manifest.server.log)?;
    let served = run_logged(manifest, inherited);
    if let Err(error) = &served {
        say(&format!("error: {error:#}"));
    }
    Ok(served.unwrap_or(ExitCode::FAILURE))
}

fn run_logged(manifest: &Manifest, inherited: Inherited) -> Result<ExitCode> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = manifest.server.workers {
        builder.worker_threads(workers as usize);
    }
    builder.max_blocking_threads(roadrunner_threads::MAX);
    builder.on_thread_park(memory::tidy);
    let runtime = builder.enable_all().build().context("cannot start the runtime")?;
    let ended = runtime.block_on(serve(manifest, inherited));
    // A compiler, or a file that does not answer, must not hold up the end.
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
    let app = tokio::select! {
        loaded = loading => loaded.context("loading the components panicked")??,
        signal = signals.next() => {
            stop.stop();
            tracing::info!("{}: ending before anything was served", signal.name);
            return Ok(ExitCode::from(signal.code()));
        }
    };
    // Without the broker, sessions of this host still hear each other, so nothing waits for it.
    if let Some(driver) = app.current().capabilities.bus.driver() {
        tokio::spawn(driver.run());
    }
    let servers = Servers::default();
    let (orders, reloader) = Reloader::new(app.clone(), Arc::new(manifest.clone()), servers.clone());
    if let Some(store) = &app.current().host.deployed {
        store.sweep();
        store.served.settle();
    }
    let tidied = app.clone();
    tokio::task::spawn_blocking(move || code::tidy(&tidied.current()));
    if let Some(opening) = Opening::admin(manifest, &mut inherited)? {
        let deploy = Deploy::new(app.clone(), orders.clone(), manifest.compile.max_wasm);
        let admin = Admin::new(app.clone(), servers.public.clone(), orders.clone(), deploy);
        let _ = servers.admin.set(opening.open(Arc::new(admin)).await?);
    }
    let server = Arc::new(Opening::public(manifest, &mut inherited)?.open(Arc::new(app.clone())).await?);
    for listener in server.addresses() {
        let transport = if listener.is_quic { "/udp" } else { "" };
        say(&format!("listening on {}{transport} ({})", listener.address, listener.name));
    }
    for listener in servers.admin.get().into_iter().flat_map(Server::addresses) {
        say(&format!("admin on {}", listener.address));
    }
    let _ = servers.public.set(server.clone());
    tokio::spawn(reloader.run());
    tokio::spawn(swap::watch(app.clone(), orders.clone()));

    let name = tokio::select! {
        signal = signals.next() => signal.name,
        never = reload_on(hangup, &orders) => match never {},
    };
    // A component that is deployed from now on would not serve any more.
    stop.stop();
    Ok(end(&app, &server, name, &mut signals).await)
}

/// Drains the listeners, and waits for everything that ends with them.
async fn end(app: &App, server: &Server, name: &str, signals: &mut Signals) -> ExitCode {
    let serving = app.current();
    let (delay, time, drain) = (serving.drain_delay, serving.drain_time, &serving.host.drain);
    let registry = serving.host.sandbox.accounts().instances.clone();
    drain.announce();
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
    if !serving.capabilities.bus.flush().await {
        tracing::warn!("the last messages of the bus may not have reached the NATS server");
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::from(CUT) }
}

/// Orders a reload at every SIGHUP.
async fn reload_on(mut hangup: Signal, orders: &Orders) -> Infallible {
    loop {
        hangup.recv().await;
        orders.reload_later();
    }
}

/// Waits until connection tasks have dropped their instances; the process ends after them.
async fn wait_for_drops(registry: &Instances) {
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

    /// Waits for the next signal to end.
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
    /// The exit code that shells use for a process that the signal has ended.
    fn code(&self) -> u8 {
        128 + self.number
    }
}

/// Starts the log; from here on all messages of the host go through it, including panics.
pub fn start_log(format: LogFormat) -> Result<()> {
    let format = match format {
        LogFormat::Human => roadrunner_log::Format::Human { colours: std::io::stderr().is_terminal() },
        LogFormat::Json => roadrunner_log::Format::Json,
    };
    roadrunner_log::start(format).context("cannot start the log")?;
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(backtrace = backtrace.map(tracing::field::display), "{panic}");
    }));
    Ok(())
}

/// Prints a message as it is, whatever the format of the log.
fn say(text: &str) {
    roadrunner_log::raw(Owner::Host, format!("{text}\n").as_bytes());
}

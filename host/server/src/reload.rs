//! Reloads of the manifest on a running host: on SIGHUP, by the admin listener, or when a file has changed.
//!
//! A reload is all or nothing: a manifest that is wrong, or whose components cannot be loaded, is refused with its
//! error, and the current manifest keeps serving. Requests and sessions in flight end with the state that they started
//! with. A warning names settings that only a start can change; they stay as they were.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use roadrunner_manifest::{Admin, Listener, Manifest, Origin, Secret, Tls};
use roadrunner_wire::Server;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::bind;
use crate::deploy::code;
use crate::deploy::switch::Switch;
use crate::orders::{self, Order, OrderError, Orders, Reloaded};
use crate::serving::Loaded;
use crate::source::signature_of;
use crate::transport;

/// The interval at which files are checked, where that is on.
const WATCH: Duration = Duration::from_secs(1);

/// The task that carries out orders, one at a time.
pub(crate) struct Reloader {
    app: App,
    /// The manifest that the host was started with.
    started: Arc<Manifest>,
    /// The manifest that it serves.
    current: Arc<Manifest>,
    servers: Servers,
    orders: mpsc::Receiver<Order>,
}

/// The servers whose certificates a reload replaces; each is set once its listeners are open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Servers {
    pub(crate) public: Arc<OnceLock<Arc<Server>>>,
    pub(crate) admin: Arc<OnceLock<Server>>,
}

impl Reloader {
    /// Creates a reloader for an app that serves this manifest, and the handle for its orders.
    pub(crate) fn new(app: App, manifest: Arc<Manifest>, servers: Servers) -> (Orders, Self) {
        let (handle, orders) = orders::queue();
        (handle, Self { app, started: manifest.clone(), current: manifest, servers, orders })
    }

    pub(crate) async fn run(mut self) {
        let mut clock = interval(WATCH);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut served = stamps(&self.current);
        let mut seen = served.clone();
        loop {
            let reply = tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Reload(reply)) => reply,
                    Some(Order::Switch(switch, reply)) => {
                        let _ = reply.send(self.switch(*switch).await);
                        continue;
                    }
                    Some(Order::Relink(reply)) => {
                        let _ = reply.send(self.change(relink).await);
                        continue;
                    }
                    None => return,
                },
                _ = clock.tick(), if self.current.server.watch => {
                    let now = stamps(&self.current);
                    // The reload waits until no file has changed since the last check, so that no half-written file is
                    // loaded.
                    let is_settled = now == seen;
                    seen = now;
                    if !is_settled || seen == served {
                        continue;
                    }
                    None
                }
            };
            // The stamps are taken before the files are read: a change meanwhile is seen the next time.
            served = stamps(&self.current);
            let reloaded = self.reload().await;
            if stamps_of(&self.current) != served.iter().map(|stamp| stamp.path.clone()).collect() {
                served = stamps(&self.current);
            }
            seen = served.clone();
            if let Some(reply) = reply {
                let _ = reply.send(reloaded);
            }
        }
    }

    async fn switch(&self, switch: Switch) -> Result<(), OrderError> {
        self.change(move |manifest, app| switch_component(manifest, app, switch)).await?;
        self.app.current().host.counters.switched(true);
        Ok(())
    }

    /// Changes the app's state, off the threads that serve.
    async fn change(
        &self,
        change: impl FnOnce(&Manifest, &App) -> Result<()> + Send + 'static,
    ) -> Result<(), OrderError> {
        let (manifest, app) = (self.current.clone(), self.app.clone());
        let done = tokio::task::spawn_blocking(move || change(&manifest, &app)).await;
        Ok(done.map_err(anyhow::Error::from).flatten()?)
    }

    async fn reload(&mut self) -> Result<Reloaded, OrderError> {
        let (current, app, servers) = (self.current.clone(), self.app.clone(), self.servers.clone());
        // Compiling takes a while, and files may be slow.
        let loaded = tokio::task::spawn_blocking(move || load(&current, &app, &servers)).await;
        let loaded = loaded.map_err(anyhow::Error::from).flatten();
        self.app.current().host.counters.reloaded(loaded.is_ok());
        let manifest = loaded.inspect_err(|error| {
            tracing::error!("the manifest is refused, and the one before keeps serving: {error:#}");
        })?;
        let reloaded = Reloaded { unchanged: needs_restart(&self.started, &manifest) };
        reloaded.warnings().for_each(|warning| tracing::warn!("{warning}"));
        tracing::info!("reloaded");
        let app = self.app.clone();
        let _ = tokio::task::spawn_blocking(move || code::tidy(&app.current())).await;
        self.current = Arc::new(manifest);
        Ok(reloaded)
    }
}

/// Moves the same components to the engine that new instances now run on.
fn relink(manifest: &Manifest, app: &App) -> Result<()> {
    let before = app.current();
    let moved = before.loaded.components.iter().map(|(name, component)| Ok((name.clone(), component.relink()?)));
    let loaded = Loaded { components: moved.collect::<Result<_>>()?, ..before.loaded.clone() };
    let serving = bind::bind(manifest, before.host.clone(), Some(&before), loaded)?;
    app.replace(serving);
    Ok(())
}

/// Switches a component, on disk and then for requests.
fn switch_component(manifest: &Manifest, app: &App, switch: Switch) -> Result<()> {
    let before = app.current();
    let mut loaded = before.loaded.clone();
    // A reload may have come first.
    let known = loaded.components.insert(switch.name.clone(), switch.component.clone());
    let known = known.with_context(|| format!("the manifest does not have the component {} any more", switch.name))?;
    // This manifest does not ask for a component that was verified by other keys.
    let is_current = loaded.sources.of(&switch.name).is_some_and(|source| source.asks_as(&switch.source));
    ensure!(is_current, "by whom {} must be signed has changed meanwhile; try again", switch.name);
    let serving = bind::bind(manifest, before.host.clone(), Some(&before), loaded)?;
    switch.commit(known.digest)?;
    app.replace(serving);
    Ok(())
}

/// Loads the manifest, and returns it once the app serves it.
fn load(current: &Manifest, app: &App, servers: &Servers) -> Result<Manifest> {
    let manifest = match &current.file {
        Some(file) => Manifest::load(file)?,
        None => current.clone(),
    };
    let before = app.current();
    // Components that are loaded now have to run on the right engine.
    before.host.sandbox.look_for_swap()?;
    let serving = bind::load(&manifest, before.host.clone(), Some(&before))?;
    let mut certificates = Vec::new();
    for listener in &manifest.listeners {
        // A self-signed certificate stays: clients that trust it by its fingerprint would be locked out.
        if !matches!(listener.tls, Some(Tls::SelfSigned)) {
            certificates.extend(transport::tls(listener)?.map(|tls| (&listener.name, tls)));
        }
    }
    let started = before.host.admin.as_ref();
    let of_admin = manifest.admin.as_ref().filter(|admin| {
        !matches!(admin.tls, Some(Tls::SelfSigned)) && started.is_some_and(|started| started.is_where(admin))
    });
    let of_admin = of_admin.map(transport::admin_tls).transpose()?.flatten();
    if let (Some(tls), Some(server)) = (of_admin, servers.admin.get()) {
        server.replace_tls(transport::ADMIN, tls).context("cannot set up TLS for the admin listener")?;
    }
    for (name, tls) in certificates {
        if let Some(server) = servers.public.get() {
            server.replace_tls(name, tls).with_context(|| format!("cannot set up TLS for the listener {name}"))?;
        }
    }
    app.replace(serving);
    if let Some(store) = &before.host.deployed {
        store.served.settle();
    }
    Ok(manifest)
}

/// The changed settings that only a start can apply, by their place in the manifest.
fn needs_restart(started: &Manifest, new: &Manifest) -> Vec<&'static str> {
    let (a, b) = (started, new);
    let differ = [
        (
            "[[listener]]",
            !a.listeners.iter().map(but_for_certificates).eq(b.listeners.iter().map(but_for_certificates)),
        ),
        ("`address` and whether there is `tls` in [admin]", !same_place(a.admin.as_ref(), b.admin.as_ref())),
        ("[compile]", a.compile != b.compile),
        ("[deploy]", a.deploy != b.deploy),
        ("[timeouts]", a.timeouts != b.timeouts),
        ("[bus]", a.bus != b.bus),
        ("[dns]", a.dns != b.dns),
        ("[http2]", a.http2 != b.http2),
        ("[http3]", a.http3 != b.http3),
        ("`instances` in [limits]", a.caps.instances != b.caps.instances),
        ("`held` in [limits]", a.caps.held != b.caps.held),
        ("`hibernated` in [limits]", a.caps.hibernated != b.caps.hibernated),
        ("`connections` and `connections-per-peer` in [limits]", a.connections != b.connections),
        ("`sessions` and `buffered-streams` in [webtransport]", a.webtransport_caps != b.webtransport_caps),
        ("`deflate-memory` in [websocket]", a.deflate_memory != b.deflate_memory),
        ("`workers` in [server]", a.server.workers != b.server.workers),
        ("`cache-dir` in [server]", a.server.cache_dir != b.server.cache_dir),
        ("`log` in [server]", a.server.log != b.server.log),
        ("`wasi-03` in [server]", a.server.wasi_03 != b.server.wasi_03),
        ("`path` in [server]", a.server.path != b.server.path),
    ];
    differ.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

fn same_place(one: Option<&Admin>, other: Option<&Admin>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is_where(other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// A copy of a listener without its certificates, for comparison.
fn but_for_certificates(listener: &Listener) -> Listener {
    let tls = listener.tls.as_ref().map(|_| Tls::SelfSigned);
    Listener { tls, ..listener.clone() }
}

/// The stamp of a file, which tells whether the file has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    /// Inode, size and time of the last change; none when the file cannot be inspected.
    state: Option<(u64, u64, Option<SystemTime>)>,
}

fn stamps(manifest: &Manifest) -> Vec<Stamp> {
    let stamp = |path: PathBuf| {
        let state = fs::metadata(&path).ok().map(|data| (data.ino(), data.len(), data.modified().ok()));
        Stamp { path, state }
    };
    stamps_of(manifest).into_iter().map(stamp).collect()
}

/// The files that are watched.
fn stamps_of(manifest: &Manifest) -> BTreeSet<PathBuf> {
    let components = manifest.components.values().flat_map(|component| match &component.origin {
        Origin::File(path) if component.keys.is_empty() => vec![path.clone()],
        Origin::File(path) => [&[path.clone(), signature_of(path)], &component.keys[..]].concat(),
        Origin::Registry(_) => component.keys.clone(),
    });
    let secrets = manifest.secrets.values().filter_map(|secret| match secret {
        Secret::File(path) => Some(path.clone()),
        Secret::Environment(_) => None,
    });
    manifest.file.clone().into_iter().chain(components).chain(secrets).collect()
}

//! Another manifest for a host that runs: on SIGHUP, by the admin listener, or when a file has changed.
//!
//! It is all or nothing: a manifest that is wrong, or whose components cannot be loaded, is refused with its error, and
//! the one before keeps serving. Requests and sessions in flight end with what they started with. What only a start can
//! change is named in a warning, and stays as it was.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use roadrunner_manifest::{Admin, Listener, Manifest, Origin, Secret, Tls};
use roadrunner_wire::Server;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::boot;
use crate::deploy::{self, Switch};
use crate::source::signature_of;

/// How often files are looked at, where that is asked for.
const WATCH: Duration = Duration::from_secs(1);

/// Orders that may wait; more of them would say the same.
const ORDERS: usize = 16;

/// What became of an order: a text for the operator either way.
pub(crate) type Outcome = Result<String, String>;

/// Asks for a reload. Cheap to clone.
#[derive(Clone)]
pub struct Reload(mpsc::Sender<Order>);

/// What is to be done, and whom to tell what became of it.
enum Order {
    Reload(Option<oneshot::Sender<Outcome>>),
    /// Every component moves to the engine that new instances run on by now.
    Relink(oneshot::Sender<Result<(), String>>),
    /// One component is another one, and everything else stays.
    Switch(Box<Switch>, oneshot::Sender<Result<(), String>>),
}

impl Reload {
    /// Reloads, sooner or later; the log says what became of it.
    pub(crate) fn order(&self) {
        // A full queue means that there will be a reload anyway.
        let _ = self.0.try_send(Order::Reload(None));
    }

    /// Reloads, and tells what became of it.
    pub(crate) async fn ask(&self) -> Outcome {
        self.hear(|tell| Order::Reload(Some(tell))).await
    }

    /// Moves every component to the engine that new instances run on by now.
    pub(crate) async fn relink(&self) -> Result<(), String> {
        self.hear(Order::Relink).await
    }

    /// Puts one component in the place of another, when it is its turn.
    pub(crate) async fn switch(&self, switch: Switch) -> Result<(), String> {
        self.hear(|tell| Order::Switch(Box::new(switch), tell)).await
    }

    async fn hear<T>(&self, order: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Order) -> Result<T, String> {
        let (tell, told) = oneshot::channel();
        let gone = || "the host is shutting down".to_owned();
        self.0.send(order(tell)).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

/// Does what is asked for, one order at a time.
pub(crate) struct Reloader {
    app: App,
    /// What the host was started with.
    started: Arc<Manifest>,
    /// What it serves.
    current: Arc<Manifest>,
    servers: Servers,
    orders: mpsc::Receiver<Order>,
}

/// Those whose certificates are loaded again; not there until their listeners are open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Servers {
    pub(crate) public: Arc<OnceLock<Arc<Server>>>,
    pub(crate) admin: Arc<OnceLock<Server>>,
}

/// For an app that serves this manifest.
pub(crate) fn reloader(app: App, manifest: Arc<Manifest>, servers: Servers) -> (Reload, Reloader) {
    let (sender, orders) = mpsc::channel(ORDERS);
    (Reload(sender), Reloader { app, started: manifest.clone(), current: manifest, servers, orders })
}

impl Reloader {
    pub(crate) async fn run(mut self) {
        let mut clock = interval(WATCH);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut served = stamps(&self.current);
        let mut seen = served.clone();
        loop {
            let order = tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Reload(tell)) => tell,
                    Some(Order::Switch(switch, tell)) => {
                        let _ = tell.send(self.switch(*switch).await);
                        continue;
                    }
                    Some(Order::Relink(tell)) => {
                        let _ = tell.send(self.change(relink).await);
                        continue;
                    }
                    None => return,
                },
                _ = clock.tick(), if self.current.server.watch => {
                    let now = stamps(&self.current);
                    // Only what has not changed since the last look, so that no half-written file is loaded.
                    let is_settled = now == seen;
                    seen = now;
                    if !is_settled || seen == served {
                        continue;
                    }
                    None
                }
            };
            // As they are before they are read: what changes meanwhile is seen the next time.
            served = stamps(&self.current);
            let outcome = self.reload().await;
            if stamps_of(&self.current) != served.iter().map(|stamp| stamp.path.clone()).collect() {
                served = stamps(&self.current);
            }
            seen = served.clone();
            if let Some(tell) = order {
                let _ = tell.send(outcome);
            }
        }
    }

    async fn switch(&self, switch: Switch) -> Result<(), String> {
        let done = self.change(move |manifest, app| exchange(manifest, app, switch)).await;
        if done.is_ok() {
            self.app.current().host.metrics.switched(true);
        }
        done
    }

    /// Changes what the app serves, off the threads that serve.
    async fn change(&self, change: impl FnOnce(&Manifest, &App) -> Result<()> + Send + 'static) -> Result<(), String> {
        let (manifest, app) = (self.current.clone(), self.app.clone());
        let done = tokio::task::spawn_blocking(move || change(&manifest, &app)).await;
        let done = done.unwrap_or_else(|panic| Err(anyhow::anyhow!("{panic}")));
        done.map_err(|error| format!("{error:#}"))
    }

    async fn reload(&mut self) -> Outcome {
        let (current, app, servers) = (self.current.clone(), self.app.clone(), self.servers.clone());
        // Compiling takes a while, and files may be slow.
        let loaded = tokio::task::spawn_blocking(move || load(&current, &app, &servers)).await;
        let metrics = || self.app.current().host.clone();
        match loaded.unwrap_or_else(|panic| Err(anyhow::anyhow!("{panic}"))) {
            Ok(manifest) => {
                metrics().metrics.reloaded(true);
                let mut text = "reloaded\n".to_owned();
                for key in needs_restart(&self.started, &manifest) {
                    let warning = format!("{key} cannot change without a restart, and stays as it was");
                    tracing::warn!("{warning}");
                    text += &format!("warning: {warning}\n");
                }
                tracing::info!("reloaded");
                let app = self.app.clone();
                let _ = tokio::task::spawn_blocking(move || deploy::tidy(&app.current())).await;
                self.current = Arc::new(manifest);
                Ok(text)
            }
            Err(error) => {
                metrics().metrics.reloaded(false);
                tracing::error!("the manifest is refused, and the one before keeps serving: {error:#}");
                Err(format!("{error:#}\n"))
            }
        }
    }
}

/// The same components on the engine that new instances run on by now.
fn relink(manifest: &Manifest, app: &App) -> Result<()> {
    let before = app.current();
    let moved = before.components.iter().map(|(name, component)| Ok((name.clone(), component.relink()?)));
    let components = moved.collect::<Result<_>>()?;
    let (sources, access) = (before.sources.clone(), before.access.clone());
    let inner = boot::assemble(manifest, before.host.clone(), Some(&before), sources, components, access)?;
    app.replace(inner);
    Ok(())
}

/// Puts a component in the place of another, on disk and then for requests.
fn exchange(manifest: &Manifest, app: &App, switch: Switch) -> Result<()> {
    let before = app.current();
    let mut components = before.components.clone();
    // A reload may have come before.
    let known = components.insert(switch.name.clone(), switch.component.clone());
    let known = known.with_context(|| format!("the manifest does not have the component {} any more", switch.name))?;
    // A component that was verified by other keys is not what this manifest asks for.
    let is_current = before.sources.of(&switch.name).is_some_and(|source| source.asks_as(&switch.source));
    ensure!(is_current, "by whom {} must be signed has changed meanwhile; try again", switch.name);
    let (sources, access) = (before.sources.clone(), before.access.clone());
    let inner = boot::assemble(manifest, before.host.clone(), Some(&before), sources, components, access)?;
    switch.commit(known.digest)?;
    app.replace(inner);
    Ok(())
}

/// The new manifest, once the app serves it.
fn load(current: &Manifest, app: &App, servers: &Servers) -> Result<Manifest> {
    let manifest = match &current.file {
        Some(file) => Manifest::load(file)?,
        None => current.clone(),
    };
    let before = app.current();
    // Components that are loaded now are to run on the right engine.
    before.host.sandbox.look_for_swap()?;
    let inner = boot::inner(&manifest, before.host.clone(), Some(&before))?;
    let mut certificates = Vec::new();
    for listener in &manifest.listeners {
        // One that is made at the start stays: who trusts it by its fingerprint would be locked out.
        if !matches!(listener.tls, Some(Tls::SelfSigned)) {
            certificates.extend(boot::tls(listener)?.map(|tls| (&listener.name, tls)));
        }
    }
    let started = before.host.admin.as_ref();
    let of_admin = manifest.admin.as_ref().filter(|admin| {
        !matches!(admin.tls, Some(Tls::SelfSigned)) && started.is_some_and(|started| started.is_where(admin))
    });
    let of_admin = of_admin.map(boot::admin_tls).transpose()?.flatten();
    if let (Some(tls), Some(server)) = (of_admin, servers.admin.get()) {
        server.replace_tls(boot::ADMIN, tls).context("cannot set up TLS for the admin listener")?;
    }
    for (name, tls) in certificates {
        if let Some(server) = servers.public.get() {
            server.replace_tls(name, tls).with_context(|| format!("cannot set up TLS for the listener {name}"))?;
        }
    }
    app.replace(inner);
    if let Some(store) = &before.host.deployed {
        store.served.settle();
    }
    Ok(manifest)
}

/// The settings that differ and that only a start can change, by their place in the manifest.
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
        ("`connections` in [limits]", a.caps.connections != b.caps.connections),
        ("`connections-per-peer` in [limits]", a.caps.connections_per_peer != b.caps.connections_per_peer),
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

/// A listener whose certificates are as good as any others.
fn but_for_certificates(listener: &Listener) -> Listener {
    let tls = listener.tls.as_ref().map(|_| Tls::SelfSigned);
    Listener { tls, ..listener.clone() }
}

/// What tells whether a file is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    /// Inode, size and time of the last change; none when it cannot be looked at.
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

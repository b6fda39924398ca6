//! The start of a host from a manifest.

use std::sync::{Arc, Weak};

use anyhow::Result;
use roadrunner_child::Stop;
use roadrunner_files::FileCache;
use roadrunner_manifest::{self as manifest, Manifest};
use roadrunner_names::Resolver;
use roadrunner_sandbox::{EngineSettings, PARKED, RESTORED, Sandbox, missing_maps};
use tokio::sync::watch;

use crate::app::App;
use crate::bind::{self, max_memory};
use crate::child;
use crate::context::Ids;
use crate::counters::HostCounters;
use crate::deploy::store::Store;
use crate::drain::Drain;
use crate::machine;
use crate::serving::Host;
use crate::shapes::websocket::DeflateMemory;

/// Bytes of small files that are kept in memory.
const FILE_CACHE: u64 = 16 << 20;

/// Slots for instances that wait for a request, in addition to those that the caps allow.
const SPARE_SLOTS: u32 = (PARKED + RESTORED) as u32;

/// The same for components of WASI 0.3, which are not restored.
const SPARE_WASI03_SLOTS: u32 = PARKED as u32;

/// Creates the engine of a manifest: its slots, and its cache of compiled code. `stop` ends compilations.
pub fn sandbox(manifest: &Manifest, stop: &Stop) -> Result<Sandbox> {
    let defaults = EngineSettings::default();
    let settings = EngineSettings {
        slots: manifest.caps.pool_size().saturating_add(SPARE_SLOTS),
        // Standard components hold no sessions.
        wasi03_slots: if manifest.server.wasi_03 {
            manifest.caps.instances.saturating_add(SPARE_WASI03_SLOTS)
        } else {
            0
        },
        max_memory: max_memory(manifest),
        buffers: machine::buffers(manifest.caps.buffered),
        threads: manifest.server.workers.map_or(defaults.threads, |workers| workers as usize),
        ..defaults
    };
    if let Some((needed, allowed)) = missing_maps(manifest.caps.pool_size(), SPARE_SLOTS) {
        tracing::warn!(
            "the kernel allows {allowed} maps of memory, and `instances` and `held` under [limits] may need {needed}: raise \
             it, `sysctl -w vm.max_map_count={needed}`, or lower them; requests over it are answered with 503"
        );
    }
    Ok(Sandbox::new(&settings, Some(child::compiler(manifest, stop)?))?)
}

fn names(settings: &manifest::Dns) -> Resolver {
    Resolver::new(roadrunner_names::Settings {
        servers: settings.servers.clone(),
        most: settings.lookups as usize,
        most_of_share: settings.lookups_per_tenant as usize,
    })
}

/// Loads every component, opens every store and binds every route. `stop` ends compilations and pulls, now and later.
pub fn app(manifest: &Manifest, stop: Stop) -> Result<App> {
    app_with(manifest, true, stop)
}

/// Does the same for a manifest that is only checked: no store is opened.
pub fn checked(manifest: &Manifest) -> Result<App> {
    app_with(manifest, false, Stop::default())
}

fn app_with(manifest: &Manifest, opens_stores: bool, stop: Stop) -> Result<App> {
    let sandbox = sandbox(manifest, &stop)?;
    let puller = child::puller(manifest, &stop);
    let deployed = manifest.deploy.as_ref().map(|deploy| Store::open(&deploy.directory, deploy.keep as usize));
    let host = Host {
        sandbox,
        admin: manifest.admin.clone(),
        names: names(&manifest.dns),
        puller,
        deployed: deployed.transpose()?.map(Arc::new),
        max_memory: max_memory(manifest),
        files: FileCache::new(FILE_CACHE),
        counters: HostCounters::default(),
        drain: Drain::default(),
        latest: watch::Sender::new(Weak::new()),
        deflate: DeflateMemory::new(manifest.deflate_memory),
        ids: Ids::new(),
        opens_stores,
    };
    Ok(App::new(bind::load(manifest, Arc::new(host), None)?))
}

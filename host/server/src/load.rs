//! The components of a manifest: what was deployed last, or else what the manifest names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use roadrunner_manifest::Manifest;
use roadrunner_sandbox::{Component, Digest};

use crate::app::{Host, Inner};
use crate::boot;
use crate::source::{Asking, Source, Sources};

/// Every component of a manifest: what was deployed last, or else what the manifest names. As many are loaded at once as
/// may be compiled at once.
pub(crate) fn components(
    manifest: &Manifest,
    host: &Host,
    before: Option<&Inner>,
    sources: &Sources,
) -> Result<BTreeMap<String, Arc<Component>>> {
    let left = Mutex::new(sources.iter());
    let load = || {
        let mut loaded = Vec::new();
        loop {
            let Some(source) = left.lock().next() else { return loaded };
            let known = before.and_then(|before| before.components.get(&source.name));
            loaded.push((source.name.clone(), component(source, host, known)));
        }
    };
    let at_once = boot::compile(&manifest.compile).concurrency.min(manifest.components.len());
    let loaded = thread::scope(|scope| {
        let others: Vec<_> = (1..at_once).map(|_| scope.spawn(load)).collect();
        let mut loaded = load();
        for other in others {
            loaded.extend(other.join().map_err(|_| anyhow::anyhow!("loading a component panicked"))?);
        }
        anyhow::Ok(loaded)
    })?;
    // In the order of their names, so that of several errors it is always the same that is told.
    let loaded: BTreeMap<_, _> = loaded.into_iter().collect();
    loaded.into_iter().map(|(name, component)| Ok((name, component?))).collect()
}

fn component(source: &Source, host: &Host, known: Option<&Arc<Component>>) -> Result<Arc<Component>> {
    let name = &source.name;
    let deployed = host.deployed.as_ref().and_then(|store| Some((store, store.history(name).pop()?)));
    let Some((store, version)) = deployed else { return source.load(&host.sandbox, &host.puller, known) };
    let path = store.path(&version.digest);
    let fix = "remove its history below the directory of [deploy] to go back to the manifest's file";
    let load = || {
        let bytes = Component::read(&host.sandbox, &path, &path)?;
        anyhow::ensure!(Digest::of(&bytes) == version.digest, "{} is damaged", path.display());
        source.prepare(&host.sandbox, &path, &bytes, &version.proof, Asking::Operator, known)
    };
    let component =
        load().with_context(|| format!("the deployed version of the component {name} does not load: {fix}"))?;
    tracing::info!(component = name, digest = %version.digest, "serving what was deployed, and not {}", source.origin);
    Ok(component)
}

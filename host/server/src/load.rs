//! Loading of a manifest's components: the last deployed version, or else the origin that the manifest names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use roadrunner_account::Digest;
use roadrunner_manifest::Manifest;
use roadrunner_sandbox::Component;

use crate::deploy::served::{Copy, Other};
use crate::serving::{Host, Serving};
use crate::source::{Asking, Proof, Source, Sources};

/// Loads every component of a manifest: its last deployed version, or else the origin that the manifest names. Loading
/// runs in parallel, up to the number of compilations at once.
pub(crate) fn components(
    manifest: &Manifest,
    host: &Host,
    before: Option<&Serving>,
    sources: &Sources,
) -> Result<BTreeMap<String, Arc<Component>>> {
    if let Some(store) = &host.deployed {
        store.served.begin();
    }
    let left = Mutex::new(sources.iter());
    let load = || {
        let mut loaded = Vec::new();
        loop {
            let Some(source) = left.lock().next() else { return loaded };
            let known = before.and_then(|before| before.loaded.components.get(&source.name));
            loaded.push((source.name.clone(), component(source, host, known)));
        }
    };
    let at_once = manifest.compile.at_once().min(manifest.components.len());
    let loaded = thread::scope(|scope| {
        let others: Vec<_> = (1..at_once).map(|_| scope.spawn(load)).collect();
        let mut loaded = load();
        for other in others {
            loaded.extend(other.join().map_err(|_| anyhow::anyhow!("loading a component panicked"))?);
        }
        anyhow::Ok(loaded)
    })?;
    // Sorting by name makes the reported error the same every time, if there are several.
    let loaded: BTreeMap<_, _> = loaded.into_iter().collect();
    loaded.into_iter().map(|(name, component)| Ok((name, component?))).collect()
}

fn component(source: &Source, host: &Host, known: Option<&Arc<Component>>) -> Result<Arc<Component>> {
    let name = &source.name;
    let deployed = host.deployed.as_ref().and_then(|store| Some((store, store.history(name).pop()?)));
    let Some((store, version)) = deployed else { return never_deployed(source, host, known) };
    let fix = "remove its history below the directory of [deploy] to go back to the manifest's file";
    let component = kept(source, host, &store.path(&version.digest), version.digest, &version.proof, known)
        .with_context(|| format!("the deployed version of the component {name} does not load: {fix}"))?;
    tracing::info!(component = name, digest = %version.digest, "serving what was deployed, and not {}", source.origin);
    Ok(component)
}

/// Loads the origin that the manifest names. A copy of an earlier version takes its place where the component went back
/// to that copy, or where nothing can be read now.
fn never_deployed(source: &Source, host: &Host, known: Option<&Arc<Component>>) -> Result<Arc<Component>> {
    let (name, label) = (&source.name, source.origin.to_string());
    let read = source.read(&host.sandbox, &host.puller);
    let copy = host.deployed.as_ref().and_then(|store| Some((store, store.served.copy(name)?)));
    if let Some((store, copy)) = copy.filter(|(_, copy)| copy.serves_for(&source.origin, &Other::of(&read))) {
        let fix = "remove its record from `served` below the directory of [deploy] to serve the manifest's file";
        let path = store.served.path(&copy.digest);
        let component = kept(source, host, &path, copy.digest, &copy.proof, known)
            .with_context(|| format!("the copy of what the component {name} served before does not load: {fix}"))?;
        let digest = copy.digest;
        match read {
            Ok(_) => tracing::info!(component = name, %digest, "serving what it went back to, and not {label}"),
            Err(error) => tracing::warn!(component = name, %digest, "serving a copy of what served before: {error:#}"),
        }
        return Ok(component);
    }
    let (bytes, proof) = read?;
    let component = source.prepare(&host.sandbox, label.as_ref(), &bytes, &proof, Asking::Operator, known)?;
    if let Some(store) = host.deployed.as_ref().filter(|_| host.opens_stores) {
        store.served.keep(name, &bytes, Copy::new(&bytes, component.digest, proof, label));
    }
    Ok(component)
}

/// Loads a version from the directory of [deploy].
fn kept(
    source: &Source,
    host: &Host,
    path: &Path,
    digest: Digest,
    proof: &Proof,
    known: Option<&Arc<Component>>,
) -> Result<Arc<Component>> {
    let bytes = Component::read(&host.sandbox, path, path)?;
    anyhow::ensure!(Digest::of(&bytes) == digest, "{} is damaged", path.display());
    source.prepare(&host.sandbox, path, &bytes, proof, Asking::Operator, known)
}

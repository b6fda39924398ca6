//! The directories that WASI guests have open at their start.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use roadrunner_account::Tenant;
use roadrunner_disk::{Disk, Limits, Owner, Usage};
use roadrunner_manifest::{self as manifest, Manifest};
use roadrunner_sandbox::Preopen;

use super::provider::{Granted, Grantee, Opening, Provider};
use crate::access::Caller;
use crate::accounts;
use crate::metrics::Text;

/// The directories that some component has open.
pub(crate) struct Preopens {
    /// The directories, by name.
    disks: Disks,
    /// The open directories of each component.
    of_components: BTreeMap<String, Vec<Preopen>>,
}

impl Provider for Preopens {
    fn open(opening: &Opening<'_>, before: Option<&Self>) -> Result<Self> {
        let disks = open(opening.manifest, opening.tenants, before.map_or(&Disks::new(), |before| &before.disks))?;
        let components = opening.manifest.components.iter();
        let opened = components.map(|(name, settings)| Ok((name.to_string(), preopens(settings, &disks)?)));
        let of_components = opened.collect::<Result<_>>()?;
        Ok(Self { disks, of_components })
    }

    fn grant(&self, component: Grantee<'_>, granted: &mut Granted) {
        granted.grants.preopens = self.of_components.get(component.name.as_str()).cloned().unwrap_or_default();
    }

    /// Shows the directories whose size is measured.
    fn show(&self, caller: &Caller, text: &mut Text) {
        if caller.tenant().is_some() {
            return;
        }
        type Value = fn(&Usage) -> u64;
        let families: [(&'static str, &str, &str, Value); 3] = [
            ("roadrunner_directory_bytes", "gauge", "Files below it, as `size` counts them.", |usage| usage.bytes),
            ("roadrunner_directory_files", "gauge", "Files, directories and links below it.", |usage| usage.files),
            ("roadrunner_directory_refused_total", "counter", "Changes of guests that did not fit.", |usage| {
                usage.refused
            }),
        ];
        for (family, kind, help, value) in families {
            text.family(family, kind, help);
            for (name, disk) in self.disks.iter().filter(|(_, disk)| disk.is_measured()) {
                text.sample(&[("directory", name)], value(&disk.usage()));
            }
        }
    }
}

/// The directories that some component has open, by name.
type Disks = BTreeMap<String, Disk>;

/// Opens the directories that components are granted. A directory that has not moved stays open, with its known size; a
/// directory that was replaced by another at its path, or now belongs to another tenant, is opened again.
fn open(manifest: &Manifest, tenants: &BTreeMap<String, Arc<Tenant>>, before: &Disks) -> Result<Disks> {
    let mut disks = Disks::new();
    for (name, directory) in &manifest.directories {
        let preopens = manifest.components.values().flat_map(|component| &component.preopens);
        let mut grants = preopens.filter(|preopen| preopen.directory == *name).peekable();
        if grants.peek().is_none() {
            continue;
        }
        let owner = accounts::owner(&format!("directory:{name}"), directory.tenant.as_ref());
        let known = before.get(name.as_str()).filter(|known| known.is_at(&directory.path) && known.is_of(&owner));
        let disk = match known {
            Some(known) => known.clone(),
            None => Disk::open(name.as_str(), &directory.path, &owner)?,
        };
        if grants.any(|preopen| preopen.is_writable) {
            let limits = Limits { bytes: directory.size, files: directory.files.into() };
            let owner = directory.tenant.as_ref().and_then(|tenant| tenants.get(tenant.as_str()));
            disk.hold_to(limits, owner.map(|owner| owner.clone() as Arc<dyn Owner>))?;
        }
        disks.insert(name.to_string(), disk);
    }
    Ok(disks)
}

/// The directories that a component has open at its start.
fn preopens(component: &manifest::Component, disks: &Disks) -> Result<Vec<Preopen>> {
    let preopen = |granted: &manifest::Preopen| {
        let disk = disks[granted.directory.as_str()].clone();
        let preopen = Preopen::new(disk, &granted.path, granted.is_writable);
        preopen.with_context(|| format!("cannot open the directory {}", granted.directory))
    };
    component.preopens.iter().map(preopen).collect()
}

//! The contract of a capability.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use roadrunner_account::Tenant;
use roadrunner_files::Directory;
use roadrunner_manifest::{self as manifest, ComponentName, Manifest};
use roadrunner_names::Resolver;
use roadrunner_sandbox::{Grants, Sandbox, Secret};

use crate::access::Caller;
use crate::metrics::Text;

/// A capability, open for one manifest.
pub(crate) trait Provider: Sized {
    /// Opens what the manifest names. What has not changed is taken from `before`.
    fn open(opening: &Opening<'_>, before: Option<&Self>) -> Result<Self>;

    /// Grants a component of the manifest what is there for it.
    fn grant(&self, component: Grantee<'_>, granted: &mut Granted);

    /// Shows counters and gauges to a caller.
    fn show(&self, _caller: &Caller, _text: &mut Text) {}
}

/// The parts that capabilities are opened with.
pub(crate) struct Opening<'o> {
    pub(crate) manifest: &'o Manifest,
    pub(crate) sandbox: &'o Sandbox,
    pub(crate) names: &'o Resolver,
    /// The tenants of the manifest, by name.
    pub(crate) tenants: &'o BTreeMap<String, Arc<Tenant>>,
    /// The secrets of the manifest, by name.
    pub(crate) secrets: &'o BTreeMap<String, Secret>,
    /// Whether stores are opened: not where a manifest is only checked.
    pub(crate) opens_stores: bool,
}

/// A component of the manifest.
#[derive(Clone, Copy)]
pub(crate) struct Grantee<'g> {
    pub(crate) name: &'g ComponentName,
    pub(crate) settings: &'g manifest::Component,
}

/// The part of a host that a component may use.
#[derive(Default)]
pub(crate) struct Granted {
    /// The part that its instances see.
    pub(crate) grants: Grants,
    /// The directories that the host sends files from for it.
    pub(crate) directories: BTreeMap<String, Arc<Directory>>,
}

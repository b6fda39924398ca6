//! The versions that are kept, and the code that is compiled from them.

use std::collections::BTreeSet;

use roadrunner_account::Digest;

use crate::access::Caller;
use crate::metrics::{Shows, Text};
use crate::serving::Serving;

/// The versions that are kept for tenants, and the code that is compiled from them.
pub(crate) struct Kept<'s>(pub(crate) &'s Serving);

impl Shows for Kept<'_> {
    fn show(&self, caller: &Caller, text: &mut Text) {
        let Self(serving) = self;
        let tenants: Vec<_> = serving.accounts.tenants.keys().filter(|name| caller.sees(Some(name))).collect();
        text.family("roadrunner_tenant_deployed_bytes", "gauge", "Versions of components that are kept.");
        for tenant in &tenants {
            let owned = serving.accounts.owners.components_of(tenant);
            let kept = serving.host.deployed.as_ref().map(|store| owned.map(|name| store.bytes(name)).sum::<u64>());
            text.sample(&[("tenant", tenant)], kept.unwrap_or_default());
        }
        text.family("roadrunner_tenant_compiled_bytes", "gauge", "What is compiled from these versions.");
        for tenant in &tenants {
            // Code of several versions is counted once.
            text.sample(&[("tenant", tenant)], bytes_of(serving, versions_of(serving, Some(tenant), None)));
        }
    }
}

/// The digests of the versions of a tenant's components, except those of the component `but`.
pub(super) fn versions_of(serving: &Serving, tenant: Option<&str>, but: Option<&str>) -> BTreeSet<Digest> {
    let Some(store) = &serving.host.deployed else { return BTreeSet::new() };
    let owned = serving.loaded.components.keys().filter(|name| serving.accounts.owners.of_component(name) == tenant);
    let others = owned.filter(|name| but != Some(name.as_str()));
    others.flat_map(|name| store.history(name)).map(|version| version.digest).collect()
}

/// Bytes of the code that is compiled from these versions.
pub(super) fn bytes_of(serving: &Serving, digests: BTreeSet<Digest>) -> u64 {
    digests.iter().map(|digest| serving.host.sandbox.compiled_bytes(digest)).sum()
}

/// Removes compiled code that no component and no version uses.
pub(crate) fn tidy(serving: &Serving) {
    let kept = serving.host.deployed.as_ref().map(|store| store.digests()).unwrap_or_default();
    serving.host.sandbox.tidy(&kept);
}

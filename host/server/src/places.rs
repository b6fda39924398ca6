//! A check that every component has room in the caps that its instances pass.
//!
//! An instance that needs more of the engine than a place is worth takes several places in each cap. Under a cap with
//! fewer places it would wait forever, so the component is refused when it is loaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use roadrunner_account::Gate;
use roadrunner_manifest::{Manifest, Target};
use roadrunner_sandbox::Component;

use crate::accounts::gates_passed;

/// Fails for the first component that has no room, with the number of places that it needs.
pub(crate) fn check(
    manifest: &Manifest,
    gates: &BTreeMap<String, Arc<Gate>>,
    components: &BTreeMap<String, Arc<Component>>,
) -> Result<()> {
    for route in manifest.routes.routes() {
        let Target::Component(name) = &route.target else { continue };
        let component = &manifest.components[name];
        let places = components[name.as_str()].places as usize;
        for gate in gates_passed(route, name, component.tenant.as_ref()) {
            let most = gates.get(&gate).map_or(usize::MAX, |gate| gate.settings().instances);
            ensure!(
                places <= most,
                "an instance of the component {name} takes {places} places, for its memories, tables and stacks, and \
                 `instances` of {gate} is {most}: raise it, or let the component's parts share them"
            );
        }
    }
    Ok(())
}

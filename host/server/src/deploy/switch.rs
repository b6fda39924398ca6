//! A component that is about to serve in the place of another.

use std::sync::Arc;

use roadrunner_account::Digest;
use roadrunner_sandbox::Component;

use super::served::Other;
use super::store::{Store, StoreError, Version, Whole};
use crate::source::Source;

/// A component that is ready to serve, and its history from then on.
pub(crate) struct Switch {
    pub(crate) name: String,
    pub(crate) component: Arc<Component>,
    /// The source by whose keys it was verified.
    pub(crate) source: Arc<Source>,
    pub(super) versions: Vec<Version>,
    /// Its bytes, when they are not kept yet.
    pub(super) whole: Option<Whole>,
    /// The state of the manifest's origin, where something from before serves in its place.
    pub(super) instead_of: Option<Other>,
    pub(super) store: Arc<Store>,
}

impl Switch {
    /// Makes the switch permanent: from here on a restart serves the component.
    pub(crate) fn commit(self, serving: Digest) -> Result<(), StoreError> {
        let Self { name, store, .. } = &self;
        // A copy of anything other than the serving component is no version to go back to.
        if store.history(name).is_empty() && store.served.copy(name).is_some_and(|copy| copy.digest != serving) {
            store.served.forget(name);
        }
        if self.versions.is_empty() {
            store.served.go_back(name, self.instead_of.clone());
        }
        self.store.commit(&self.name, self.versions, self.whole.as_ref())
    }
}

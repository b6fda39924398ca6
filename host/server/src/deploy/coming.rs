//! Uploads in progress: their bytes count against the tenant's `deployed-bytes` before they are versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use roadrunner_account::Tenant;

/// The bytes of uploads in progress, by tenant.
pub(super) type All = Arc<Mutex<BTreeMap<Arc<str>, u64>>>;

/// The share of an upload in its tenant's quota, until it is dropped.
#[derive(Debug)]
pub(super) struct Coming {
    all: All,
    /// The tenant whose quota is charged; none for a component of the host, which has no quota.
    tenant: Option<Arc<Tenant>>,
    bytes: u64,
}

impl Coming {
    pub(super) fn new(all: &All, tenant: Option<Arc<Tenant>>) -> Self {
        Self { all: all.clone(), tenant, bytes: 0 }
    }

    /// Grows the share to `bytes`. `kept` are the bytes of all versions that stay in addition to this one.
    ///
    /// # Errors
    ///
    /// The quota, if it has no room for the bytes.
    pub(super) fn grow(&mut self, bytes: u64, kept: impl FnOnce() -> u64) -> Result<(), u64> {
        let Some(tenant) = self.tenant.as_ref().filter(|_| bytes > self.bytes) else { return Ok(()) };
        let mut all = self.all.lock();
        let coming = all.entry(tenant.name.clone()).or_default();
        let others = *coming - self.bytes;
        if let Some(limit) = tenant.deployed_bytes.limit()
            && kept().saturating_add(others).saturating_add(bytes) > limit
        {
            tenant.deployed_bytes.count();
            return Err(limit);
        }
        *coming = others + bytes;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let Some(tenant) = &self.tenant else { return };
        let mut all = self.all.lock();
        if let Some(coming) = all.get_mut(&tenant.name) {
            *coming -= self.bytes;
            if *coming == 0 {
                all.remove(&tenant.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use roadrunner_manifest::Quota;

    use super::*;

    #[test]
    fn what_comes_counts_together_with_what_is_kept() {
        let tenant = Tenant::new("one", Quota { deployed_bytes: Some(100), ..Quota::default() });
        let all = All::default();
        let mut one = Coming::new(&all, Some(tenant.clone()));
        let mut two = Coming::new(&all, Some(tenant.clone()));
        assert_eq!(one.grow(40, || 30), Ok(()));
        assert_eq!(two.grow(31, || 30), Err(100));
        assert_eq!((two.grow(30, || 30), two.grow(20, || 100)), (Ok(()), Ok(())), "what is there already is there");
        assert_eq!((one.grow(41, || 30), tenant.deployed_bytes.exceeded()), (Err(100), 2));
        drop(two);
        assert_eq!((one.grow(70, || 30), one.grow(71, || 30)), (Ok(()), Err(100)));
        drop(one);
        assert!(all.lock().is_empty());
        assert_eq!(Coming::new(&all, None).grow(u64::MAX, || u64::MAX), Ok(()), "the host's own");
    }
}

//! The memory limit of one instance: linear memories, tables and host buffers, added up; and its part of what its
//! tenant may use.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, Result};

use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::tenant::Tenant;

/// Bytes that one table element costs the host.
const TABLE_ELEMENT: u64 = size_of::<usize>() as u64;

/// The account that [`wasmtime`] asks before it grows anything, and that the host asks before it buffers anything.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    used: u64,
    /// What of it is linear memories and tables.
    guest: u64,
    /// A growth was refused, by this limit. The guest usually aborts right after it, which then counts as out of
    /// memory.
    denied: Option<Outcome>,
    tenant: Option<Arc<Tenant>>,
    meter: Arc<Meter>,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64, meter: Arc<Meter>) -> Self {
        Self { limit, used: 0, guest: 0, denied: None, tenant: meter.subject.tenant.clone(), meter }
    }

    /// Counts on for another request: what the guest holds stays charged, what the host held for it does not.
    pub(crate) fn start_over(&mut self, meter: &Arc<Meter>) {
        self.meter = meter.clone();
        self.give_back(self.used.saturating_sub(self.guest));
        self.used = self.guest;
        self.meter.set_memory(self.used);
    }

    /// Charges bytes that the host is about to hold for the guest; false when they do not fit.
    pub(crate) fn charge(&mut self, bytes: u64) -> bool {
        let Some(used) = self.used.checked_add(bytes).filter(|used| *used <= self.limit - self.held()) else {
            self.denied = Some(Outcome::MemoryExceeded);
            return false;
        };
        if let Some(tenant) = &self.tenant
            && !tenant.memory.take(bytes)
        {
            self.denied = Some(Outcome::TenantMemoryExceeded);
            return false;
        }
        self.used = used;
        self.meter.set_memory(used);
        true
    }

    fn grow(&mut self, bytes: u64) -> bool {
        let fits = self.charge(bytes);
        if fits {
            self.guest += bytes;
        }
        fits
    }

    /// Gives back bytes that were charged.
    pub(crate) fn release(&mut self, bytes: u64) {
        let bytes = bytes.min(self.used);
        self.give_back(bytes);
        self.used -= bytes;
        self.meter.set_memory(self.used);
    }

    /// Bytes that may still be charged.
    pub(crate) fn left(&self) -> u64 {
        (self.limit - self.held()).saturating_sub(self.used)
    }

    fn give_back(&self, bytes: u64) {
        if let Some(tenant) = &self.tenant {
            tenant.memory.give_back(bytes);
        }
    }

    /// What the driver holds, as far as it is within the limit.
    fn held(&self) -> u64 {
        self.meter.held().min(self.limit)
    }

    /// The limit that refused something, if one has.
    pub(crate) fn denied(&self) -> Option<Outcome> {
        self.denied
    }

    /// What to tell when a charge was refused.
    pub(crate) fn exceeded(&self) -> Outcome {
        self.denied.unwrap_or(Outcome::MemoryExceeded)
    }
}

impl ResourceLimiter for MemoryBudget {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow((desired - current) as u64))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow((desired - current) as u64 * TABLE_ELEMENT))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.denied = self.denied.or(Some(Outcome::MemoryExceeded));
        Ok(())
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.denied = self.denied.or(Some(Outcome::MemoryExceeded));
        Ok(())
    }
}

impl Drop for MemoryBudget {
    fn drop(&mut self) {
        self.give_back(self.used);
    }
}

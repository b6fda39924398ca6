//! The memory limit of one instance: the sum of linear memories, tables and host buffers; and its share of the tenant's
//! memory.

use std::sync::Arc;

use roadrunner_account::{Charge, Meter, Outcome, Tenant};
use wasmtime::{ResourceLimiter, Result};

/// Bytes that one table element costs the host.
const TABLE_ELEMENT: u64 = size_of::<usize>() as u64;

/// The account that [`wasmtime`] asks before it grows anything, and that the host asks before it buffers anything.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    /// Linear memories and tables.
    guest: u64,
    /// Bytes that the host holds during a guest's call, except those with a charge of their own.
    buffers: Charge,
    /// The limit that refused a growth, if any. The guest usually aborts right after it, which then counts as out of
    /// memory.
    denied: Option<Outcome>,
    tenant: Option<Arc<Tenant>>,
    meter: Arc<Meter>,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64, meter: Arc<Meter>) -> Self {
        let (tenant, buffers) = (meter.subject.tenant.clone(), Charge::none(meter.clone()));
        Self { limit, guest: 0, buffers, denied: None, tenant, meter }
    }

    /// Continues the account for another request: the guest's memory stays charged.
    pub(crate) fn start_over(&mut self, meter: &Arc<Meter>) {
        self.meter = meter.clone();
        self.buffers = Charge::none(meter.clone());
        self.meter.set_memory(self.guest);
    }

    /// Bytes of linear memories and tables.
    pub(crate) fn guest(&self) -> u64 {
        self.guest
    }

    /// Charges the memory of an instance that was restored, as if it was made now.
    pub(crate) fn take_over(&mut self, guest: u64) -> std::result::Result<(), Outcome> {
        if self.grow(guest) { Ok(()) } else { Err(self.exceeded()) }
    }

    /// Gives back all host buffers, except those with a charge of their own.
    pub(crate) fn rest(&mut self) {
        self.buffers.shrink(self.buffers.bytes());
    }

    /// Charges bytes that the host is about to hold for the guest; false when they do not fit.
    pub(crate) fn charge(&mut self, bytes: u64) -> bool {
        let charged = self.buffers.grow(bytes);
        self.is_granted(charged).is_some()
    }

    /// Unwraps the charge for bytes that outlive the call; if it was refused, records the limit and returns none.
    pub(crate) fn is_granted<T>(&mut self, charged: Result<T, Outcome>) -> Option<T> {
        charged.map_err(|outcome| self.denied = Some(outcome)).ok()
    }

    fn grow(&mut self, bytes: u64) -> bool {
        let Some(guest) = self.guest.checked_add(bytes).filter(|guest| *guest <= self.limit - self.held()) else {
            self.denied = Some(Outcome::MemoryExceeded);
            return false;
        };
        if let Some(tenant) = &self.tenant
            && !tenant.memory.take(bytes)
        {
            self.denied = Some(Outcome::TenantMemoryExceeded);
            return false;
        }
        self.guest = guest;
        self.meter.set_memory(guest);
        true
    }

    /// Gives back bytes that were charged.
    pub(crate) fn release(&mut self, bytes: u64) {
        self.buffers.shrink(bytes);
    }

    /// Bytes that may still be charged.
    pub(crate) fn left(&self) -> u64 {
        (self.limit - self.held()).saturating_sub(self.guest)
    }

    /// Bytes that the host holds for the request, capped at the limit.
    fn held(&self) -> u64 {
        self.meter.held().min(self.limit)
    }

    /// The limit that refused something, if one has.
    pub(crate) fn denied(&self) -> Option<Outcome> {
        self.denied
    }

    /// The outcome to report when a charge was refused.
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
        if let Some(tenant) = &self.tenant {
            tenant.memory.give_back(self.guest);
        }
        self.meter.set_memory(0);
    }
}

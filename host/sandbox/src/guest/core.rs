//! The state that every capability of a guest shares, and the contract of a capability.
//!
//! A capability is a set of interfaces that guests can import. Its module implements them for a [`Call`], which has
//! what the manifest grants, what the instance holds, and the [`Core`]. It knows no other capability. The list in
//! `state` puts them together.

use std::marker::PhantomData;
use std::sync::Arc;

use roadrunner_account::{Meter, Outcome};
use roadrunner_values::Limits;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, ResourceTable};

use super::memory::MemoryBudget;
use crate::engine::Wasi;

/// Interfaces that guests can import.
pub trait Capability: Sized + 'static {
    /// What a component may use, from the manifest. The default is nothing.
    type Grant: Default + Send + Sync;
    /// What one instance holds. It is empty until the guest first needs it, so that a fresh instance costs nothing.
    type Held: Default + Send;

    /// Adds the interfaces to a linker.
    fn link<T: Carries<Self>>(linker: &mut Linker<T>, wasi: Wasi) -> Result<()>;

    /// Clears what an instance holds for the request that was answered, while it waits for another.
    fn rest(held: &mut Self::Held) {
        *held = Self::Held::default();
    }
}

/// The host's state of a guest, seen by one capability.
pub trait Carries<C: Capability>: Send + 'static {
    /// Counts a call of the guest into the host, and gives the capability its part of the state.
    fn call(&mut self) -> Call<'_, C>;
}

/// A call of a guest to a capability.
pub struct Call<'a, C: Capability> {
    pub(crate) grant: &'a C::Grant,
    pub(crate) held: &'a mut C::Held,
    pub(crate) core: &'a mut Core,
}

/// The key with which the engine finds a capability's part of the state.
pub struct Of<C>(PhantomData<C>);

impl<C: Capability> HasData for Of<C> {
    type Data<'a> = Call<'a, C>;
}

/// The state of one instance that all capabilities share.
pub struct Core {
    pub(crate) memory: MemoryBudget,
    pub(crate) meter: Arc<Meter>,
    pub(crate) table: ResourceTable,
    pub(crate) limits: Arc<Limits>,
}

impl Core {
    pub(crate) fn new(limits: Arc<Limits>, meter: Arc<Meter>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self { memory: MemoryBudget::new(limits.memory, meter.clone()), meter, table, limits }
    }

    /// Charges memory that the host holds for a while.
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<()> {
        match self.memory.charge(bytes) {
            true => Ok(()),
            false => Err(self.exceeded()),
        }
    }

    /// Unwraps a charge; the error ends the guest.
    pub(crate) fn granted<T>(&mut self, charged: Result<T, Outcome>) -> Result<T> {
        self.memory.is_granted(charged).ok_or_else(|| self.exceeded())
    }

    fn exceeded(&self) -> wasmtime::Error {
        Stop(self.memory.exceeded()).into()
    }
}

/// The outcome of a limit that the guest ran into inside a host function; carried through the engine as an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stop(pub(crate) Outcome);

//! Instances that are put back to their first state after an answer, in the place of instances that are made for each
//! request.
//!
//! A restored instance shows its next request bit for bit what a new instance would show: memory, globals and tables
//! are those of an instance that was just made, and the host's state is new. That is not reuse, which keeps state.
//!
//! The first state of a component's memory is taken once, from its first instance ([`Image`]). After an answer, the
//! pages that were written since are copied back from it ([`pages`]). Globals are put back by functions that were added
//! to the component when it was compiled (`roadrunner-restore`), and tables cannot change in the components that it
//! accepts. An instance is dropped instead, and never restored:
//!
//! - after a trap, a limit, a kill, a cancellation, or an answer that was not sent whole;
//! - when its memory has grown, or more of it was written than [`MAX_WRITTEN`];
//! - when it holds a resource that it was to drop;
//! - when it was held as a session;
//! - when its component called the host while it started, since the next start could see something else.
//!
//! It serves one route of one tenant, as long as it lives. Not restored: the numbers that the guest's next handles get,
//! which depend on the order in which it has dropped others.

mod pages;

use std::sync::Arc;

use roadrunner_restore::{GLOBALS, MEMORY};
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc, WasmList};

use crate::state::State;

/// The largest memory whose first state is kept, in bytes.
const MAX_MEMORY: usize = 64 << 20;

/// The most bytes that are copied back. An instance that has written more is dropped.
const MAX_WRITTEN: usize = 16 << 20;

/// The exports of a component by which its instances are put back.
#[derive(Clone)]
pub(crate) struct Exports {
    memory: ComponentExportIndex,
    globals: Vec<ComponentExportIndex>,
}

impl Exports {
    /// Finds the exports; none for a component that cannot be restored.
    pub(crate) fn of(component: &Component) -> Option<Self> {
        let memory = component.get_export_index(None, MEMORY)?;
        let names = (0..).map(|number| format!("{GLOBALS}{number}"));
        let globals = names.map_while(|name| component.get_export_index(None, &name)).collect();
        Some(Self { memory, globals })
    }
}

/// Whether an export was added to the component.
pub(crate) fn is_added(export: &str) -> bool {
    export == MEMORY || export.starts_with(GLOBALS)
}

/// The memory of a component's instances in their first state.
pub(crate) struct Image {
    /// The bytes up to the last that is not zero.
    bytes: Box<[u8]>,
    /// The size of the memory.
    size: usize,
}

/// The first state of one instance.
pub(crate) struct First {
    image: Arc<Image>,
    memory: pages::Memory,
    globals: Vec<TypedFunc<(), ()>>,
    /// Bytes of memories and tables on the guest's account.
    charged: u64,
}

impl First {
    /// Looks at an instance that was just made; none where it cannot be restored.
    ///
    /// `known` is the image of the component, if there is one.
    pub(crate) async fn of(
        store: &mut Store<State>,
        instance: &Instance,
        exports: &Exports,
        known: Option<&Arc<Image>>,
    ) -> wasmtime::Result<Option<Self>> {
        if !pages::can_scan() {
            return Ok(None);
        }
        let charged = store.data().core.memory.guest();
        let lend = instance.get_typed_func::<(), (WasmList<u8>,)>(&mut *store, exports.memory)?;
        // The limit on the bytes of a call is for calls of the guest, and nothing is copied here.
        store.set_hostcall_fuel(usize::MAX);
        let (lent,) = lend.call_async(&mut *store, ()).await?;
        store.set_hostcall_fuel(store.data().core.limits.host_call_bytes);
        let bytes = lent.as_le_slice(&*store);
        let image = match known {
            Some(image) if image.size == bytes.len() => image.clone(),
            Some(_) => return Ok(None),
            None if bytes.len() > MAX_MEMORY => return Ok(None),
            None => {
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                Arc::new(Image { bytes: bytes[..used].into(), size: bytes.len() })
            }
        };
        let memory = pages::Memory::of(bytes);
        let mut globals = Vec::with_capacity(exports.globals.len());
        for index in &exports.globals {
            let save = instance.get_typed_func::<(), ()>(&mut *store, *index)?;
            save.call_async(&mut *store, ()).await?;
            globals.push(save);
        }
        Ok(Some(Self { image, memory, globals, charged }))
    }

    /// The memory's first state.
    pub(crate) fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// Bytes of memories and tables on the account of the guest.
    pub(crate) fn charged(&self) -> u64 {
        self.charged
    }

    /// Puts the memory back, and returns the number of bytes that were copied; none where the instance has to be
    /// dropped. The guest must not run.
    pub(crate) fn restore(&self, store: &mut Store<State>) -> Option<usize> {
        let state = store.data();
        if state.core.memory.guest() != self.charged || !state.core.table.is_empty() {
            return None;
        }
        self.memory.restore(&self.image.bytes, MAX_WRITTEN)
    }

    /// Gives the memory's pages back to the kernel, before the instance is dropped.
    ///
    /// The engine keeps some pages of each slot, so that the next instance finds them there. Many held instances at
    /// once have many slots, whose pages nobody would need again for long.
    pub(crate) fn release(&self, store: &Store<State>) {
        // Its one memory is all that can grow: tables cannot.
        let grown = store.data().core.memory.guest().saturating_sub(self.charged);
        self.memory.release(usize::try_from(grown).unwrap_or(0));
    }

    /// Puts back the globals of modules that do not do so by themselves.
    pub(crate) async fn restore_globals(&self, store: &mut Store<State>) -> wasmtime::Result<()> {
        for restore in &self.globals {
            restore.call_async(&mut *store, ()).await?;
        }
        Ok(())
    }
}

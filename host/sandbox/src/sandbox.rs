//! The part of the host that runs components: its engines with their imports, its accounts and its bus.
//!
//! Components run on one engine, without the machinery for concurrent calls. Components of WASI 0.3 need that
//! machinery, and run on another engine, which exists only where [`EngineSettings::wasi03_slots`] asks for it. Upstream
//! calls its support for WASI 0.3 experimental; a fault in it affects only hosts that have chosen it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use roadrunner_account::{Accounts, Digest, Instances};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::capability::bus::Bus;
use crate::engine::{Compiler, EngineError, EngineSettings, Exhaustion, Reset, Scan, Wasi, engine};
use crate::parking::Lots;
use crate::state::{State, link};

/// Places of instances that may be parked at once on the whole host, in addition to those of the caps.
pub const PARKED: usize = 256;

/// Restored instances that may wait at once on the whole host, in addition to all others.
pub const RESTORED: usize = 2048;

/// An engine, and the imports that it offers to components.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
}

impl Runtime {
    fn new(settings: &EngineSettings, wasi: Wasi, slots: u32, instances: &Instances) -> Result<Self, EngineError> {
        let engine = engine(settings, wasi, slots, instances)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker, wasi).map_err(|source| EngineError { slots, source })?;
        Ok(Self { engine, linker })
    }
}

/// The engines of a host.
struct Runtimes {
    preview2: Runtime,
    preview3: Option<Runtime>,
}

impl Runtimes {
    fn new(settings: &EngineSettings, instances: &Instances) -> Result<Self, EngineError> {
        let preview3 = match settings.wasi03_slots {
            0 => None,
            slots => Some(Runtime::new(settings, Wasi::Preview3, slots, instances)?),
        };
        Ok(Self { preview2: Runtime::new(settings, Wasi::Preview2, settings.slots, instances)?, preview3 })
    }
}

/// The part of the host that runs components. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    settings: EngineSettings,
    pooled: Runtimes,
    /// Engines without slots, which take over when slots can no longer be trusted.
    unpooled: OnceLock<Runtimes>,
    scan: Scan,
    exhaustion: Exhaustion,
    compiler: Option<Compiler>,
    accounts: Accounts,
    bus: Bus,
    /// Places for parked instances of all components together.
    parked: Arc<Semaphore>,
    /// Lots of restored instances.
    restored: Arc<Lots>,
    next_instance: AtomicU64,
}

impl Sandbox {
    /// Reserves the instance slots and starts the epoch clock. `compiler` compiles components; without it, this process
    /// compiles them, without bounds.
    pub fn new(settings: &EngineSettings, compiler: Option<Compiler>) -> Result<Self, EngineError> {
        let accounts = Accounts::new(settings.threads, settings.buffers);
        Ok(Self(Arc::new(Inner {
            pooled: Runtimes::new(settings, &accounts.instances)?,
            unpooled: OnceLock::new(),
            scan: Scan::new(settings),
            exhaustion: Exhaustion::default(),
            settings: settings.clone(),
            compiler,
            accounts,
            bus: Bus::default(),
            parked: Arc::new(Semaphore::new(PARKED)),
            restored: Lots::new(RESTORED, settings.restored_bytes),
            next_instance: AtomicU64::new(1),
        })))
    }

    /// The accounts that all requests share.
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// The bus that all components of this host share, each owner with its own topics.
    pub fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// Removes compiled code without a use. The code of loaded components, and of those in `kept`, stays.
    pub fn tidy(&self, kept: &BTreeSet<Digest>) {
        if let Some(compiler) = &self.0.compiler {
            compiler.cache().tidy(kept);
        }
    }

    /// The number of components that are compiled now, and the number that wait.
    pub fn compilations(&self) -> (usize, usize) {
        self.0.compiler.as_ref().map_or((0, 0), Compiler::counts)
    }

    /// The size of a component's compiled code in the cache, in bytes.
    pub fn compiled_bytes(&self, digest: &Digest) -> u64 {
        let Some(compiler) = &self.0.compiler else { return 0 };
        let runtimes = [Some(&self.0.pooled.preview2), self.0.pooled.preview3.as_ref()];
        runtimes.into_iter().flatten().map(|runtime| compiler.cache().bytes(&runtime.engine, digest)).sum()
    }

    /// The runtime for new instances of components of this version; none where this host does not run them.
    pub(crate) fn runtime(&self, wasi: Wasi) -> Option<&Runtime> {
        let runtimes = self.0.unpooled.get().unwrap_or(&self.0.pooled);
        match wasi {
            Wasi::Preview2 => Some(&runtimes.preview2),
            Wasi::Preview3 => runtimes.preview3.as_ref(),
        }
    }

    /// Counts of empty pools of the engine, by the component with most of the places at that moment.
    pub fn exhaustion(&self) -> &Exhaustion {
        &self.0.exhaustion
    }

    pub(crate) fn compiler(&self) -> Option<&Compiler> {
        self.0.compiler.as_ref()
    }

    pub(crate) fn parked(&self) -> &Arc<Semaphore> {
        &self.0.parked
    }

    /// The number of restored instances that wait for a request, and the bytes that they have written.
    pub fn restored_used(&self) -> (usize, usize) {
        self.0.restored.used()
    }

    pub(crate) fn restored(&self) -> &Arc<Lots> {
        &self.0.restored
    }

    pub(crate) fn next_instance(&self) -> u64 {
        self.0.next_instance.fetch_add(1, Relaxed)
    }

    /// Checks whether swap was turned on since the start. If it was, no component gets a new instance before it is
    /// [linked again](crate::Component::relink), and every call returns `true`.
    pub fn look_for_swap(&self) -> Result<bool, EngineError> {
        let inner = &self.0;
        // From here on there are no new instances, even if the other engines cannot be made.
        if !inner.scan.look() {
            return Ok(false);
        }
        if inner.unpooled.get().is_none() {
            let settings = EngineSettings { reset: Reset::Unmap, ..inner.settings.clone() };
            let made = Runtimes::new(&settings, &inner.accounts.instances)?;
            // Of two concurrent checks, the first sets the engines.
            let _ = inner.unpooled.set(made);
        }
        Ok(true)
    }

    /// Whether engines without slots exist.
    pub(crate) fn has_taken_over(&self) -> bool {
        self.0.unpooled.get().is_some()
    }

    /// Whether swap was turned on since the start, so that new instances have no slots.
    pub fn is_swapped(&self) -> bool {
        self.0.scan.is_unsafe()
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use wasmtime::{Engine, PoolingAllocationConfig};

    use super::*;
    use crate::component::Component;
    use crate::engine::Whose;

    const TITLES: &str = "Filename\tType\tSize\tUsed\tPriority\n";

    /// The smallest component with a handler.
    const HANDLER: &str = "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) \
        (func $f (canon lift (core func $i \"f\"))) (instance $h (export \"handle\" (func $f))) \
        (export \"roadrunner:handler/handler@0.1.0\" (instance $h)))";

    fn swaps(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("roadrunner-swaps-{name}-{}", std::process::id()));
        fs::write(&path, text).expect("a file");
        path
    }

    fn sandbox(swaps: &Path) -> Sandbox {
        let settings = EngineSettings { slots: 4, wasi03_slots: 4, swaps: swaps.into(), ..EngineSettings::default() };
        Sandbox::new(&settings, None).expect("engines")
    }

    #[test]
    fn components_move_to_engines_without_slots_when_swap_comes_on() {
        if !PoolingAllocationConfig::is_pagemap_scan_available() {
            println!("SKIPPED: swap: the kernel cannot tell which pages were written");
            return;
        }
        let swaps = swaps("later", TITLES);
        let sandbox = sandbox(&swaps);
        let bytes = wat::parse_str(HANDLER).expect("a component");
        let whose = Whose { component: "c", tenant: None };
        let before = Component::from_bytes(&sandbox, &bytes, "c".as_ref(), whose, None).expect("a component");
        assert!(!sandbox.look_for_swap().expect("engines") && before.may_start());

        fs::write(&swaps, format!("{TITLES}/swapfile file 1 0 -2\n")).expect("a file");
        assert!(sandbox.look_for_swap().expect("engines"));
        assert!(!before.may_start(), "its slots may keep what was written");
        let after = before.relink().expect("the same component");
        assert!(after.may_start() && !Engine::same(before.pre.engine(), after.pre.engine()));
        let loaded = Component::from_bytes(&sandbox, &bytes, "c".as_ref(), whose, Some(&before)).expect("a component");
        assert!(loaded.may_start(), "one that is known is loaded again");
        assert!(Engine::same(&sandbox.runtime(Wasi::Preview3).expect("both").engine, {
            let unpooled = sandbox.0.unpooled.get().expect("they were made");
            &unpooled.preview3.as_ref().expect("both").engine
        }));

        // Swapped-out pages may stay there.
        fs::write(&swaps, TITLES).expect("a file");
        assert!(sandbox.look_for_swap().expect("engines") && sandbox.is_swapped() && !before.may_start());
        fs::remove_file(swaps).expect("our own file");
    }

    #[test]
    fn slots_that_are_cleared_stay_when_swap_is_on_from_the_start() {
        let swaps = swaps("before", &format!("{TITLES}/swapfile file 1 0 -2\n"));
        let sandbox = sandbox(&swaps);
        assert!(!sandbox.look_for_swap().expect("engines") && !sandbox.is_swapped());
        fs::remove_file(swaps).expect("our own file");
    }
}

//! The engines: compiler settings, the pools of instance slots, the epoch clock, and the linkers.
//!
//! Components run on one engine, without the machinery for concurrent calls. Components of WASI 0.3 need that
//! machinery, and run on another engine, which exists only where [`EngineSettings::wasi03_slots`] asks for it. Upstream
//! calls its support for WASI 0.3 experimental; a fault in it affects only hosts that have chosen it.
//!
//! The settings were chosen by measurement; docs/performance.md has the table.

mod pool;
mod swap;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy};

use crate::account::Buffers;
use crate::bindings::roadrunner::handler as imports;
use crate::capability::{Bus, fields, filesystem};
use crate::compile::Compiler;
use crate::component::Digest;
use crate::exhaustion::Exhaustion;
use crate::parking::PARKED;
use crate::registry::Registry;
use crate::state::State;
use crate::turns::Turns;

/// The interval at which the epoch advances while there are instances: the longest that a guest runs before it yields
/// the thread.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// The interval at which the epoch advances while there are no instances. The first slice of the next guest can be as
/// long.
pub(crate) const IDLE_TICK: Duration = Duration::from_millis(10);

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Slots for instances, running and held together. Each reserves address space and nothing else. Default 11 000.
    pub slots: u32,
    /// Slots for instances of WASI 0.3, on an engine of their own. Default 0: there is no such engine, and such
    /// components are refused.
    pub wasi03_slots: u32,
    /// The largest linear memory that any instance may have, in bytes. Default 4 GiB.
    pub max_memory: u64,
    /// Bytes of native stack that wasm code may use. Default 512 KiB.
    pub stack: usize,
    /// Bytes that the host may hold for all requests together, outside of their guests. Default 1 GiB.
    pub buffers: u64,
    /// The way in which a slot's memory is made fresh for its next instance.
    pub reset: Reset,
    /// Threads that run guests. Default: one for each processor.
    pub threads: usize,
    /// The kernel's list of swap areas. Default: `/proc/swaps`.
    pub swaps: PathBuf,
}

/// The way in which the linear memory of a slot is made fresh between two instances.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reset {
    /// [`Reset::Scan`] of 256 KiB where the kernel can tell which pages were written and swap is off, otherwise
    /// [`Reset::Clear`] of 64 KiB.
    #[default]
    Auto,
    /// This many bytes stay mapped and are cleared, written or not; the rest goes back to the kernel.
    Clear(usize),
    /// This many bytes stay mapped, and those of their pages that were written are cleared; the rest goes back to the
    /// kernel.
    Scan(usize),
    /// There are no slots: every instance maps memory of its own.
    Unmap,
}

impl Default for EngineSettings {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            slots: 11_000,
            wasi03_slots: 0,
            max_memory: 4 << 30,
            stack: 512 << 10,
            buffers: 1 << 30,
            reset: Reset::Auto,
            threads,
            swaps: "/proc/swaps".into(),
        }
    }
}

/// The reason why the engine could not be set up.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot reserve {slots} instance slots: {source:#}; lower `instances` and `held` under [limits], \
     or raise the address space limit (ulimit -v) and vm.max_map_count"
)]
pub struct EngineError {
    slots: u32,
    source: wasmtime::Error,
}

/// An engine, and the imports that it offers to components.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
}

impl Runtime {
    fn new(settings: &EngineSettings, wasi: Wasi, slots: u32, registry: &Registry) -> Result<Self, EngineError> {
        let failed = |source| EngineError { slots, source };
        let engine = Engine::new(&config(settings, wasi, slots)).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker, wasi).map_err(failed)?;
        start_clock(&engine, registry.clone()).map_err(|error| failed(error.into()))?;
        Ok(Self { engine, linker })
    }
}

/// The engines of a host.
struct Runtimes {
    preview2: Runtime,
    preview3: Option<Runtime>,
}

impl Runtimes {
    fn new(settings: &EngineSettings, registry: &Registry) -> Result<Self, EngineError> {
        let preview3 = match settings.wasi03_slots {
            0 => None,
            slots => Some(Runtime::new(settings, Wasi::Preview3, slots, registry)?),
        };
        Ok(Self { preview2: Runtime::new(settings, Wasi::Preview2, settings.slots, registry)?, preview3 })
    }
}

/// The version of WASI that a component was made for, which decides on which engine it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wasi {
    /// 0.2, or none.
    Preview2,
    /// 0.3.
    Preview3,
}

/// The part of the host that runs components. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    settings: EngineSettings,
    pooled: Runtimes,
    /// Engines without slots, which take over when slots can no longer be trusted.
    unpooled: OnceLock<Runtimes>,
    scan: swap::Scan,
    exhaustion: Exhaustion,
    compiler: Option<Compiler>,
    buffers: Arc<Buffers>,
    bus: Bus,
    registry: Registry,
    turns: Turns,
    /// Places for parked instances of all components together.
    parked: Arc<Semaphore>,
    next_instance: AtomicU64,
}

impl Sandbox {
    /// Reserves the instance slots and starts the epoch clock. `compiler` compiles components; without it, this process
    /// compiles them, without bounds.
    pub fn new(settings: &EngineSettings, compiler: Option<Compiler>) -> Result<Self, EngineError> {
        let registry = Registry::default();
        Ok(Self(Arc::new(Inner {
            pooled: Runtimes::new(settings, &registry)?,
            unpooled: OnceLock::new(),
            scan: swap::Scan::new(settings),
            exhaustion: Exhaustion::default(),
            settings: settings.clone(),
            compiler,
            buffers: Buffers::new(settings.buffers),
            bus: Bus::default(),
            registry,
            turns: Turns::new(settings.threads),
            parked: Arc::new(Semaphore::new(PARKED)),
            next_instance: AtomicU64::new(1),
        })))
    }

    /// The live instances.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The bus that all components of this host share, each owner with its own topics.
    pub fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// The bytes that the host may hold for all requests together.
    pub fn buffers(&self) -> &Arc<Buffers> {
        &self.0.buffers
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

    /// The turns of guests that compute.
    pub(crate) fn turns(&self) -> &Turns {
        &self.0.turns
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

    pub(crate) fn next_instance(&self) -> u64 {
        self.0.next_instance.fetch_add(1, Relaxed)
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

fn config(settings: &EngineSettings, wasi: Wasi, slots: u32) -> Config {
    let mut config = compiler_config(wasi);
    config.max_wasm_stack(settings.stack).async_stack_size(settings.stack + (1 << 20));
    if let Some(pool) = pool::pool(settings, wasi, slots) {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// The part of the configuration that compiled code depends on.
pub(crate) fn compiler_config(wasi: Wasi) -> Config {
    let mut config = Config::new();
    config
        // Synchronous callbacks need none of the concurrent machinery: 2.7 us less for each fresh instance.
        .concurrency_support(wasi == Wasi::Preview3)
        .wasm_component_model_async(wasi == Wasi::Preview3)
        .epoch_interruption(true)
        .memory_init_cow(true);
    config
}

fn link(linker: &mut Linker<State>, wasi: Wasi) -> wasmtime::Result<()> {
    if wasi == Wasi::Preview3 {
        wasmtime_wasi::p3::add_to_linker(linker)?;
        wasmtime_wasi_http::p3::add_to_linker(linker)?;
    }
    // Standard libraries of languages build on 0.2, even in components that export a handler of 0.3.
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    filesystem::add_to_linker(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    fields::add_to_linker(linker, wasi)?;
    imports::types::add_to_linker::<_, HasSelf<_>>(linker, State::called)?;
    imports::log::add_to_linker::<_, HasSelf<_>>(linker, State::called)?;
    imports::config::add_to_linker::<_, HasSelf<_>>(linker, State::called)?;
    imports::secrets::add_to_linker::<_, HasSelf<_>>(linker, State::called)?;
    imports::store::add_to_linker::<_, HasSelf<_>>(linker, State::called)?;
    imports::routes::add_to_linker::<_, HasSelf<_>>(linker, State::called)?;
    imports::bus::add_to_linker::<_, HasSelf<_>>(linker, State::called)?;
    imports::timers::add_to_linker::<_, HasSelf<_>>(linker, State::called)?;
    Ok(())
}

/// Starts a thread that advances the epoch of one engine; it ends with the engine.
fn start_clock(engine: &Engine, registry: Registry) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("epoch".into()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(if registry.is_empty() { IDLE_TICK } else { TICK });
        }
    })?;
    Ok(())
}

//! Settings of an engine: its compiler, its pools and its clock.
//!
//! The settings were chosen by measurement; docs/performance.md has the table.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::time::Duration;

use roadrunner_account::{Instances, TICK};
use wasmtime::{Config, Engine, InstanceAllocationStrategy};

use super::pool;

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
    /// Bytes that restored instances may keep written while they wait, all together. Default 256 MiB.
    pub restored_bytes: usize,
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
            restored_bytes: 256 << 20,
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
    pub(crate) slots: u32,
    pub(crate) source: wasmtime::Error,
}

/// The version of WASI that a component was made for, which decides on which engine it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wasi {
    /// 0.2, or none.
    Preview2,
    /// 0.3.
    Preview3,
}

/// The maps of memory that the kernel allows a process (`vm.max_map_count`), where they are fewer than so many instances
/// at once may need. The others of the process are a few hundred.
pub fn missing_maps(instances: u32, spare: u32) -> Option<(u64, u64)> {
    /// Maps of an instance's memory: before, in and after its initial data, and behind its end.
    const OF_MEMORY: u64 = 4;
    /// Maps of a stack and its guard, which exist from the start.
    const OF_STACK: u64 = 2;
    const OTHERS: u64 = 1000;
    let allowed = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()?;
    let needed = u64::from(instances) * (OF_MEMORY + OF_STACK) + u64::from(spare) * OF_STACK + OTHERS;
    (needed > allowed).then_some((needed, allowed))
}

/// Creates an engine with this number of slots, and starts its clock.
pub(crate) fn engine(
    settings: &EngineSettings,
    wasi: Wasi,
    slots: u32,
    instances: &Instances,
) -> Result<Engine, EngineError> {
    let failed = |source| EngineError { slots, source };
    let engine = Engine::new(&config(settings, wasi, slots)).map_err(failed)?;
    start_clock(&engine, instances.clone()).map_err(|error| failed(error.into()))?;
    Ok(engine)
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

/// The fingerprint of an engine: engines with the same fingerprint can exchange code.
pub(crate) fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    // What the compiler adds to a component.
    roadrunner_restore::VERSION.hash(&mut hasher);
    hasher.finish()
}

/// Starts a thread that advances the epoch of one engine; it ends with the engine.
fn start_clock(engine: &Engine, instances: Instances) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("epoch".into()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(if instances.is_empty() { IDLE_TICK } else { TICK });
        }
    })?;
    Ok(())
}

//! The pools that an engine reserves for its instances: one place for each slot, each worth as much as `places` says.

use wasmtime::{Enabled, PoolingAllocationConfig};

use super::config::{EngineSettings, Reset, Wasi};
use super::places::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES, MEMORIES, TABLES, stacks_of_a_place};
use super::swap;

/// Bytes of a linear memory slot that stay mapped between two instances, when only written pages are reset: the initial
/// memory of a guest of the template. A larger value would make growing guests faster, but a burst of them would leave
/// that much resident in every slot.
const KEEP_RESIDENT_SCANNED: usize = 256 << 10;

/// The same when the kernel cannot tell which pages were written: all of these bytes are cleared each time.
const KEEP_RESIDENT_CLEARED: usize = 64 << 10;

/// The pools of an engine with this number of slots; none where instances map memory of their own.
pub(super) fn pool(settings: &EngineSettings, wasi: Wasi, slots: u32) -> Option<PoolingAllocationConfig> {
    let mut pool = PoolingAllocationConfig::new();
    let (scan, keep) = match settings.reset {
        Reset::Auto if swap::can_scan(settings) => (true, KEEP_RESIDENT_SCANNED),
        Reset::Auto => (false, KEEP_RESIDENT_CLEARED),
        Reset::Clear(keep) => (false, keep),
        Reset::Scan(keep) => (true, keep),
        Reset::Unmap => return None,
    };
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(slots.saturating_mul(MEMORIES))
        .total_tables(slots.saturating_mul(TABLES))
        .total_stacks(slots.saturating_mul(stacks_of_a_place(wasi)))
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memory_size(usize::try_from(settings.max_memory).unwrap_or(usize::MAX))
        .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No })
        .linear_memory_keep_resident(keep)
        .table_keep_resident(4 << 10)
        .max_unused_warm_slots(256);
    Some(pool)
}

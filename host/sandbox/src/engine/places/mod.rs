//! Places: an instance's share of the pools that all instances of an engine share.
//!
//! An engine reserves its pools once. A *place* is the right to a share of each of them, and every gate counts places:
//! a component whose instances need more than one place's worth of anything takes several. So every admitted instance
//! fits, whatever the components are. The needs of a single component are bounded too, since a request that waits for
//! many places holds up those behind it.
//!
//! | pool | worth of a place | at most for a component |
//! |---|---|---|
//! | memories | [`MEMORIES`] | [`MAX_MEMORIES`] |
//! | tables | [`TABLES`] | [`MAX_TABLES`] |
//! | stacks, WASI 0.3 | [`STACKS`] | [`MAX_STACKS`] |
//! | core instances | [`MAX_CORE_INSTANCES`] | the same: to the engine they are a count and no memory |
//!
//! Other components run one call at a time on one stack, and every place is worth one.

mod stacks;

use wasmtime::component::Component;

use crate::engine::config::Wasi;

pub(crate) use stacks::Uncounted;

/// Memories that come with a place.
pub(crate) const MEMORIES: u32 = 1;

/// Memories of one component, in all of its modules.
pub(crate) const MAX_MEMORIES: u32 = 16;

/// Tables that come with a place.
pub(crate) const TABLES: u32 = 4;

/// Tables of one component.
pub(crate) const MAX_TABLES: u32 = 32;

/// Core instances of one component. An interpreter with native libraries has dozens.
pub(crate) const MAX_CORE_INSTANCES: u32 = 256;

/// Stacks that come with a place on the engine of WASI 0.3.
pub(crate) const STACKS: u32 = 4;

/// Stacks of one component of WASI 0.3.
pub(crate) const MAX_STACKS: u32 = 32;

/// Stacks of an instance of WASI 0.3 in addition to those of its parts: the stack that it runs on, and a stack that is
/// kept for its next call.
const STACKS_BESIDE: u32 = 2;

/// The needs of one instance of a component.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Needs {
    pub(crate) memories: u32,
    pub(crate) tables: u32,
    pub(crate) stacks: u32,
}

impl Needs {
    /// Counts the needs. The engine knows memories and tables; stacks are counted in the component's bytes.
    pub(crate) fn of(compiled: &Component, bytes: &[u8], wasi: Wasi) -> Result<Self, Uncounted> {
        let stacks = match wasi {
            Wasi::Preview2 => 1,
            Wasi::Preview3 => stacks::of(bytes)?.saturating_add(STACKS_BESIDE),
        };
        // The engine gives no counts for a component that imports core modules, which no host offers.
        let (memories, tables) =
            compiled.resources_required().map_or((1, 1), |needed| (needed.num_memories, needed.num_tables));
        Ok(Self { memories, tables, stacks })
    }

    /// The needs in places, on the engine of this version.
    pub(crate) fn places(self, wasi: Wasi) -> u32 {
        let stacks = self.stacks.div_ceil(stacks_of_a_place(wasi));
        self.memories.div_ceil(MEMORIES).max(self.tables.div_ceil(TABLES)).max(stacks).max(1)
    }

    /// The need that exceeds the maximum for a component, with the number and the maximum.
    pub(crate) fn excess(self) -> Option<(&'static str, u32, u32)> {
        let needs = [
            ("linear memories", self.memories, MAX_MEMORIES),
            ("tables", self.tables, MAX_TABLES),
            ("stacks", self.stacks, MAX_STACKS),
        ];
        needs.into_iter().find(|(_, count, most)| count > most)
    }
}

/// Stacks that come with a place.
pub(crate) fn stacks_of_a_place(wasi: Wasi) -> u32 {
    match wasi {
        Wasi::Preview2 => 1,
        Wasi::Preview3 => STACKS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(memories: u32, tables: u32, stacks: u32, wasi: Wasi) -> u32 {
        Needs { memories, tables, stacks }.places(wasi)
    }

    #[test]
    fn an_ordinary_component_takes_one_place() {
        for wasi in [Wasi::Preview2, Wasi::Preview3] {
            assert_eq!(places(1, 2, 1, wasi), 1);
            assert_eq!(places(0, 0, 1, wasi), 1, "one without memory still is an instance");
        }
        assert_eq!(places(1, 2, 3, Wasi::Preview3), 1, "one part, and two stacks beside it");
    }

    #[test]
    fn what_a_place_does_not_hold_takes_several() {
        assert_eq!(places(2, 3, 1, Wasi::Preview2), 2, "two memories");
        assert_eq!(places(1, 4, 1, Wasi::Preview2), 1, "as many tables as come with one");
        assert_eq!(places(1, 5, 1, Wasi::Preview2), 2, "one table more");
        assert_eq!(places(1, 1, 5, Wasi::Preview3), 2, "one stack more");
        assert_eq!(places(3, 32, 9, Wasi::Preview3), 8, "the most of all pools decides");
    }

    #[test]
    fn a_component_has_a_most_of_everything() {
        let most = Needs { memories: MAX_MEMORIES, tables: MAX_TABLES, stacks: MAX_STACKS };
        assert_eq!(most.excess(), None);
        assert_eq!(Needs { memories: 17, ..most }.excess(), Some(("linear memories", 17, 16)));
        assert_eq!(Needs { tables: 33, ..most }.excess(), Some(("tables", 33, 32)));
        assert_eq!(Needs { stacks: 33, ..most }.excess(), Some(("stacks", 33, 32)));
    }
}

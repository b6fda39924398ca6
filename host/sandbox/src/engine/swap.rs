//! Swap that is turned on while the host runs.
//!
//! The engine makes slots fresh by asking the kernel which pages were written. The kernel does not report pages that
//! were written and then swapped out, so with swap a slot could keep data of its last instance. Where swap is on from
//! the start, slots are cleared without asking. An engine cannot change its method later: when swap comes on, no new
//! instance may have a slot of the engines that scan. Engines without slots take over, whose instances map memory of
//! their own. Instances that run, are held or are parked keep their slots, which are not used again after them.
//!
//! There is no way back before the next start: a page can stay in swap long after swap was turned off.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use wasmtime::PoolingAllocationConfig;

use super::{EngineError, EngineSettings, Reset, Runtimes, Sandbox};

/// Whether slots are made fresh by a scan, and whether that is safe.
#[derive(Debug)]
pub(super) struct Scan {
    is_used: bool,
    is_unsafe: AtomicBool,
}

impl Scan {
    pub(super) fn new(settings: &EngineSettings) -> Self {
        let is_used = match settings.reset {
            Reset::Auto => can_scan(settings),
            Reset::Scan(_) => true,
            Reset::Clear(_) | Reset::Unmap => false,
        };
        Self { is_used, is_unsafe: AtomicBool::new(false) }
    }
}

impl Sandbox {
    /// Checks whether swap was turned on since the start. If it was, no component gets a new instance before it is
    /// [linked again](crate::Component::relink), and every call returns `true`.
    pub fn look_for_swap(&self) -> Result<bool, EngineError> {
        let inner = &self.0;
        if !inner.scan.is_used || !(self.is_swapped() || swap_is_on(&inner.settings)) {
            return Ok(false);
        }
        // From here on there are no new instances, even if the other engines cannot be made.
        inner.scan.is_unsafe.store(true, Relaxed);
        if inner.unpooled.get().is_none() {
            let settings = EngineSettings { reset: Reset::Unmap, ..inner.settings.clone() };
            let made = Runtimes::new(&settings, &inner.registry)?;
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
        self.0.scan.is_unsafe.load(Relaxed)
    }
}

/// Whether the kernel can tell, for every page, whether it was written.
pub(super) fn can_scan(settings: &EngineSettings) -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available() && !swap_is_on(settings)
}

fn swap_is_on(settings: &EngineSettings) -> bool {
    // The file has a header line, and a line for each area.
    fs::read_to_string(&settings.swaps).map_or(true, |swaps| swaps.lines().count() > 1)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use wasmtime::Engine;

    use super::*;
    use crate::compile::Whose;
    use crate::component::Component;
    use crate::engine::Wasi;

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

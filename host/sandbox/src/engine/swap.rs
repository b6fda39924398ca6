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
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use wasmtime::PoolingAllocationConfig;

use super::config::{EngineSettings, Reset};

/// Whether slots are made fresh by a scan, and whether that is safe.
#[derive(Debug)]
pub(crate) struct Scan {
    is_used: bool,
    is_unsafe: AtomicBool,
    swaps: PathBuf,
}

impl Scan {
    pub(crate) fn new(settings: &EngineSettings) -> Self {
        let is_used = match settings.reset {
            Reset::Auto => can_scan(settings),
            Reset::Scan(_) => true,
            Reset::Clear(_) | Reset::Unmap => false,
        };
        Self { is_used, is_unsafe: AtomicBool::new(false), swaps: settings.swaps.clone() }
    }

    /// Checks whether slots are no longer safe, and keeps that in mind.
    pub(crate) fn look(&self) -> bool {
        let is_unsafe = self.is_used && (self.is_unsafe() || swap_is_on(&self.swaps));
        if is_unsafe {
            self.is_unsafe.store(true, Relaxed);
        }
        is_unsafe
    }

    /// Whether slots were found not to be safe.
    pub(crate) fn is_unsafe(&self) -> bool {
        self.is_unsafe.load(Relaxed)
    }
}

/// Whether the kernel can tell, for every page, whether it was written.
pub(super) fn can_scan(settings: &EngineSettings) -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available() && !swap_is_on(&settings.swaps)
}

fn swap_is_on(swaps: &Path) -> bool {
    // The file has a header line, and a line for each area.
    fs::read_to_string(swaps).map_or(true, |swaps| swaps.lines().count() > 1)
}

//! The limits of the compiler's process.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::units::{gib, mib, minutes, secs};
use crate::values;

values! {
    /// The limits of compiling one component.
    pub struct Compile {
        /// Memory of the compiler's process. Over it, the component is refused.
        pub memory: u64 = gib(2);
        /// CPU time of that process, all its threads together, in whole seconds. Over it, the component is refused.
        pub cpu: Duration = secs(60);
        /// Wall-clock time of that process. Over it, the component is refused.
        pub time: Duration = minutes(5);
        /// Components compiled at once; others wait. Without it, one for each CPU of this process.
        pub concurrency: Option<usize> = None;
        /// The largest component. Over it, it is not read.
        pub max_wasm: u64 = mib(64);
    }
}

impl Copy for Compile {}

impl Compile {
    /// The number of components compiled at once, at least 1.
    pub fn at_once(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.concurrency.unwrap_or_else(cores).max(1)
    }
}

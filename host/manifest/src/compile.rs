//! What compiling a component may take.

use std::time::Duration;

use crate::decode::section;
use crate::manifest::ManifestSection;
use crate::resolve::value;
use crate::scalar::units::{DAY, GIB, HOUR, KIB, MIB};
use crate::scalar::{Bytes, Count, Time};

/// `[compile]`: what compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compile {
    /// Memory, in bytes.
    pub memory: u64,
    /// CPU time, of all threads together.
    pub cpu: Duration,
    /// Wall-clock time.
    pub time: Duration,
    /// Components at once; none for one a CPU.
    pub concurrency: Option<u32>,
    /// The largest component, in bytes.
    pub max_wasm: u64,
}

section! {
    /// What compiling a component may take. Components are compiled in a process of their own, without files, sockets
    /// and privileges, and only when the cache does not have them.
    pub(crate) struct CompileSection {
        /// Memory of that process. Over it, the component is refused.
        memory: Bytes<{ 64 * MIB }, { 1024 * GIB }> = "\"2GiB\"";
        /// CPU time of that process, all its threads together, in whole seconds. Over it, the component is refused.
        cpu: Time<1000, { HOUR }> = "\"60s\"";
        /// Wall-clock time of that process. Over it, the component is refused.
        time: Time<1000, { DAY }> = "\"5m\"";
        /// Components compiled at once; others wait. Without it, one for each CPU that the process may use.
        concurrency: Count<1, 1024>;
        /// The largest component. Over it, it is not read.
        max_wasm: Bytes<{ KIB }, { 4 * GIB }> = "\"64MiB\"";
    }
}

pub(crate) fn compile(section: &ManifestSection) -> Compile {
    let compile = value(&section.compile).cloned().unwrap_or_default();
    Compile {
        memory: compile.memory().get(),
        cpu: compile.cpu().get(),
        time: compile.time().get(),
        concurrency: value(&compile.concurrency).map(|count| count.get()),
        max_wasm: compile.max_wasm().get(),
    }
}

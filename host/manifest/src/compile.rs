//! The limits of compiling a component.

use roadrunner_values::Compile;

use crate::scalar::units::{DAY, GIB, HOUR, KIB, MIB};
use crate::scalar::{Bytes, Count, Time};
use crate::section::section;

section! {
    /// The limits of compiling one component. Components are compiled in a separate process without files, sockets and
    /// privileges, and only when the cache does not have them.
    #[title = "`[compile]`"]
    pub(crate) struct CompileSection {
        ..Compile {
            memory: Bytes<{ 64 * MIB }, { 1024 * GIB }>;
            cpu: Time<1000, { HOUR }>;
            time: Time<1000, { DAY }>;
            concurrency: Count<1, 1024>;
            max_wasm: Bytes<{ KIB }, { 4 * GIB }>;
        }
    }
}

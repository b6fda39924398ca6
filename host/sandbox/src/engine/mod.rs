//! Engines: compiler settings, the pools of instance slots and the epoch clock; compiled code and its cache.
//!
//! Nothing here knows what a guest can import: that is linked above, in `sandbox`.

mod cache;
mod compile;
mod config;
mod exhaustion;
mod fit;
mod places;
mod pool;
mod swap;

pub use cache::{Cache, CacheError};
pub use compile::{CompileError, CompileOrder, Compiler, Whose};
pub use config::{EngineError, EngineSettings, Reset, missing_maps};
pub use exhaustion::Exhaustion;

pub(crate) use cache::Lease;
pub(crate) use compile::restorable;
pub(crate) use config::{Wasi, engine};
pub(crate) use fit::{Unfit, unfit};
pub(crate) use places::Needs;
pub(crate) use swap::Scan;

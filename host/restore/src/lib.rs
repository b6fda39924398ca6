//! Rewrites a component so that a host can put its instances back to their first state.
//!
//! The state of an instance is its linear memory, its mutable globals, its tables, and its dropped segments. A host can
//! compare and write the memory, if it knows where the memory is; all other state is out of its reach. So this crate
//! adds to a component, and changes nothing that is there:
//!
//! - to the module with the memory: a function that lends the whole memory to the host ([`MEMORY`]),
//! - to each module with mutable globals: a second global for each, and a function that saves the globals at its first
//!   call and puts them back at every later call ([`GLOBALS`]). The module that exports the handler calls it by itself,
//!   before its handler: no further call is needed.
//!
//! What is added stands behind what is there, so that no index of the guest's own code changes its meaning, and the
//! guest cannot name it.
//!
//! [`rewrite`] refuses every component whose state it does not know in whole. The instructions that it knows are an
//! allow-list: a component that uses a newer proposal of WebAssembly is refused, whatever that proposal does.

#![forbid(unsafe_code)]

mod component;
mod encode;
mod module;
mod reason;

pub use component::{GLOBALS, HANDLERS, MEMORY, VERSION, rewrite};
pub use reason::Reason;

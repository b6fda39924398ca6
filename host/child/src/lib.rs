//! A process that is fed, bounded and ended.
//!
//! What strangers have sent is read by a process that has nothing to lose: bytes in, bytes out, and an end.
//!
//! | side | what it does |
//! |---|---|
//! | the host's, [`Errand`] | starts a program, feeds it, takes what it answers, hears what it says, ends it |
//! | the child's, [`Bounds`] | gives up everything but its three pipes, and what it may use of the machine |
//!
//! It does not know what the errand is about. It filters no system calls either: which ones are needed is the errand's
//! business.

mod bounds;
mod errand;

pub use bounds::Bounds;
pub use errand::{End, Ended, Errand, Stop, this_program};

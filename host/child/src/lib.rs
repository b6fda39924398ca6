//! A process that is fed, bounded and ended.
//!
//! An unprivileged process reads data from strangers: bytes in, bytes out, and an end.
//!
//! | side | task |
//! |---|---|
//! | the host's, [`Errand`] | starts a program, feeds it, takes its output and its messages, ends it |
//! | the child's, [`Bounds`] | gives up everything but its three pipes, and limits its use of the machine |
//!
//! It does not know the purpose of the errand. It does not filter system calls either: the errand decides which ones it
//! needs.

mod bounds;
mod errand;

pub use bounds::Bounds;
pub use errand::{End, Ended, Errand, Stop, this_program};

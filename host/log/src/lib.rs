//! Writes lines to the reader of the log, or counts them.
//!
//! ```text
//! tracing events ----> events --+
//! lines of requests ------------+--> line --> queue --> writer --> standard error
//! texts of the start -----------+
//! ```
//!
//! No line waits for the reader. All lines go through one queue of bounded size to the only thread that writes. Above
//! the bound they are dropped and counted, and no tenant can fill the queue alone. Lines are never split.
//!
//! Foreign text cannot look like the host's own: [`Quoted`] is cut, escaped and quoted when it enters a message of the
//! host, and every field of every line is escaped and bounded again when the line is made.
//!
//! Not covered: spans, files and their rotation.

#![forbid(unsafe_code)]

mod clock;
mod escape;
mod events;
mod line;
mod process;
mod queue;
mod quoted;
mod writer;

pub use escape::{escaped, shortened};
pub use line::{Format, Line, MAX_FIELD};
pub use process::{dropped, flush, line, raw, start};
pub use queue::{CAPACITY, Owner};
pub use quoted::{MAX_QUOTED, Quoted};
pub use writer::{Dropped, Log};

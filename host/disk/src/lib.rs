//! Keeps what is written below a granted directory within its size.
//!
//! A [`Disk`] is a directory that is opened once, and the account of what is in it. Everything that can make it larger
//! goes through one of its operations, which charges first and then acts; so the account is never less than what is
//! there, however many write at once. What was removed is given back when the directory is measured again, soon after.
//!
//! - **What counts**: a file takes whole blocks of 4 KiB for its length, with or without holes, as it would on most file
//!   systems; a file with several names counts once, and one that was removed counts for as long as somebody has it open.
//!   Directories and links take no bytes. Each of them, and each name of a file, is one of the files.
//! - **Changes take turns**: one at a time in each directory, on a thread that may wait. Whoever asked may go away
//!   meanwhile; the change is then finished, and its turn with it.
//! - **Nothing outside is reached**: paths are resolved below the directory that they start from (`openat2` on Linux), and
//!   what is neither a file nor a directory is not opened, so that no FIFO is waited for and no device is woken.
//!
//! Not covered: what other processes write is seen when the directory is measured, and two directories of which one is
//! in the other each count for themselves. Room that a file system takes beside the content of files, such as for long
//! directories, is bounded by the number of files and not counted.

mod account;
mod change;
mod disk;
mod open;
#[cfg(test)]
mod tests;
mod walk;

pub use account::{Limits, Owner, Usage};
pub use change::Place;
pub use disk::{Disk, DiskError};
pub use open::{OpenHow, Opened};

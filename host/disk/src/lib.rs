//! Keeps writes below a granted directory within its size limits.
//!
//! A [`Disk`] is a directory that is opened once, with the account of its contents. Every change that can make it
//! larger goes through one of its operations, which charges first and then acts. So the account is never less than the
//! actual usage, however many writers there are. Room from removals is given back when the directory is measured again,
//! soon after.
//!
//! - **Usage**: a file takes whole blocks of 4 KiB for its length, with or without holes, as it would on most file
//!   systems. A file with several names counts once, and a removed file counts for as long as it is open. Directories
//!   and links take no bytes. Each of them, and each name of a file, counts as one of the files.
//! - **Changes take turns**: one at a time in each directory, on a thread that may wait. If the caller goes away
//!   meanwhile, the change is still finished before its turn ends.
//! - **Nothing outside is reached**: paths are resolved below the directory that they start from (`openat2` on Linux).
//!   Only files and directories are opened, so that no FIFO is waited for and no device is woken.
//!
//! Not covered: writes of other processes are seen when the directory is measured, and two nested directories each
//! count for themselves. Room that a file system takes besides the content of files, such as for long directories, is
//! bounded by the number of files and not counted.

#![forbid(unsafe_code)]

mod account;
mod block;
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

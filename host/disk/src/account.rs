//! The account of a directory: how much it holds, and its limits.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use crate::walk::Measured;

/// The limits of a directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most bytes of all files, each in whole blocks of 4 KiB.
    pub bytes: u64,
    /// The most files, directories and links.
    pub files: u64,
}

/// The usage of a directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// The bytes of all files, each in whole blocks of 4 KiB.
    pub bytes: u64,
    /// The number of files, directories and links. Counting stops at one more than the limit.
    pub files: u64,
    /// How often an addition did not fit.
    pub refused: u64,
}

/// An owner of several directories, with a limit on all of them together.
pub trait Owner: Send + Sync + std::fmt::Debug {
    /// Takes bytes for an addition; returns false, and takes none, when they do not fit.
    fn take(&self, bytes: u64) -> bool;
    /// Takes bytes that are already on the disk, whether they fit or not.
    fn add(&self, bytes: u64);
    /// Gives back taken bytes.
    fn give_back(&self, bytes: u64);
}

#[derive(Debug)]
pub(crate) struct Account {
    limits: Limits,
    owner: Option<Arc<dyn Owner>>,
    bytes: u64,
    files: u64,
    /// There are more files than were counted.
    beyond: bool,
    refused: u64,
}

impl Account {
    pub(crate) fn new() -> Self {
        let limits = Limits { bytes: 0, files: 0 };
        Self { limits, owner: None, bytes: 0, files: 0, beyond: false, refused: 0 }
    }

    /// Takes room for an addition.
    ///
    /// # Errors
    /// ENOSPC when the directory is full, EDQUOT when its owner's limit is reached.
    pub(crate) fn take(&mut self, bytes: u64, files: u64) -> io::Result<()> {
        if bytes == 0 && files == 0 {
            return Ok(());
        }
        let fits = |used: u64, more: u64, most: u64| more == 0 || used.checked_add(more).is_some_and(|sum| sum <= most);
        let full =
            self.beyond || !fits(self.bytes, bytes, self.limits.bytes) || !fits(self.files, files, self.limits.files);
        let errno = match &self.owner {
            _ if full => Some(Errno::NOSPC),
            Some(owner) if bytes > 0 && !owner.take(bytes) => Some(Errno::DQUOT),
            _ => None,
        };
        if let Some(errno) = errno {
            self.refused += 1;
            return Err(errno.into());
        }
        self.bytes += bytes;
        self.files += files;
        Ok(())
    }

    pub(crate) fn give_back(&mut self, bytes: u64, files: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.files = self.files.saturating_sub(files);
        if let Some(owner) = &self.owner {
            owner.give_back(bytes);
        }
    }

    /// Sets the account to the measured usage, whatever was counted before.
    pub(crate) fn set(&mut self, measured: Measured) {
        if let Some(owner) = &self.owner {
            owner.add(measured.bytes.saturating_sub(self.bytes));
            owner.give_back(self.bytes.saturating_sub(measured.bytes));
        }
        self.bytes = measured.bytes;
        self.files = measured.files;
        self.beyond = measured.beyond;
    }

    /// Applies new limits and a new owner. The current usage moves from the previous owner to the new one.
    pub(crate) fn hold_to(&mut self, limits: Limits, owner: Option<Arc<dyn Owner>>) {
        if let Some(owner) = &owner {
            owner.add(self.bytes);
        }
        if let Some(before) = std::mem::replace(&mut self.owner, owner) {
            before.give_back(self.bytes);
        }
        self.limits = limits;
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage { bytes: self.bytes, files: self.files, refused: self.refused }
    }

    /// Whether the directory holds more than its limits, so that nothing can be added.
    pub(crate) fn is_over(&self) -> bool {
        self.beyond || self.bytes > self.limits.bytes || self.files > self.limits.files
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(owner) = &self.owner {
            owner.give_back(self.bytes);
        }
    }
}

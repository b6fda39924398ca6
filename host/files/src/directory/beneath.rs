//! Lookups by `openat2`: the kernel resolves the whole path and refuses to step out of the directory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Access, FLAGS, LookupError};

/// How often a lookup is repeated when the kernel could not tell whether `..` in a link stayed inside, because of a
/// concurrent rename.
const RENAME_RETRIES: usize = 64;

/// A directory on a kernel that has `openat2` (Linux 5.6).
#[derive(Debug)]
pub(super) struct Beneath {
    root: OwnedFd,
    /// Whether the kernel can answer from its cache only (`RESOLVE_CACHED`, Linux 5.12).
    cached: bool,
}

impl Beneath {
    /// Tries the call on the directory itself; gives the descriptor back if the kernel does not have the call.
    pub(super) fn probe(root: OwnedFd) -> io::Result<Result<Self, OwnedFd>> {
        let probe = |resolve| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat2(&root, ".", flags, Mode::empty(), ResolveFlags::BENEATH | resolve)
        };
        match probe(ResolveFlags::NO_MAGICLINKS) {
            Ok(_) => {}
            // Some seccomp filters report an unknown call with EPERM.
            Err(Errno::NOSYS | Errno::PERM) => return Ok(Err(root)),
            Err(errno) => return Err(errno.into()),
        }
        // An older kernel refuses the flag with EINVAL; EAGAIN means that this kernel obeys it.
        let cached = matches!(probe(ResolveFlags::CACHED), Ok(_) | Err(Errno::AGAIN));
        Ok(Ok(Self { root, cached }))
    }

    pub(super) fn open(&self, path: &str, access: Access) -> Result<File, LookupError> {
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if access == Access::Cached {
            if !self.cached {
                return Err(LookupError::Uncached);
            }
            resolve |= ResolveFlags::CACHED;
        }
        let mut retries = RENAME_RETRIES;
        loop {
            match rustix::fs::openat2(&self.root, path, FLAGS, Mode::empty(), resolve) {
                Ok(file) => return Ok(File::from(file)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if access == Access::Cached => return Err(LookupError::Uncached),
                Err(Errno::AGAIN) if retries > 0 => retries -= 1,
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
    }
}

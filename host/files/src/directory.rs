//! Granted directories: a descriptor taken once at start, and lookups that never leave it.
//!
//! On Linux every lookup is one `openat2` with `RESOLVE_BENEATH`: the kernel resolves each component and refuses to
//! step out, so there is no moment between a check and an open for a rename or a link to slip into. Symbolic links
//! that stay inside are followed; absolute ones, ones that climb out, and the magic links of procfs are not. Where
//! `openat2` is missing (before Linux 5.6, or refused by a seccomp filter) cap-std resolves component by component
//! on descriptors, with the same promise.
//!
//! Not covered: hard links and mounts inside the directory are inside it. Opening a device node can act on the device
//! before its type is known; a directory that is served should hold none.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::OpenOptionsExt;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::path::NotFound;

/// A directory that the manifest grants under a name. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Directory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    path: PathBuf,
    resolver: Resolver,
}

#[derive(Debug)]
enum Resolver {
    Kernel {
        root: OwnedFd,
        /// Whether the kernel can be asked for what it has cached and nothing else (`RESOLVE_CACHED`, Linux 5.12).
        cached: bool,
    },
    Portable(cap_std::fs::Dir),
}

/// How a file is opened. None of it can change the file or wait for another process; a FIFO without a writer opens at
/// once, and is then refused for what it is.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// How often a lookup is repeated when the kernel could not tell whether `..` in a link stayed inside, because
/// something was renamed at that moment.
const RENAME_RETRIES: usize = 64;

impl Directory {
    /// Opens `path` and keeps it open: a directory that is moved or replaced afterwards is still the one served.
    ///
    /// # Errors
    /// When `path` does not exist, is no directory, or may not be searched.
    pub fn open(name: impl Into<String>, path: impl Into<PathBuf>) -> Result<Self, DirectoryError> {
        Self::open_with(name.into(), path.into(), Resolver::of)
    }

    /// As [`Directory::open`], with cap-std whatever the kernel can do.
    #[cfg(test)]
    pub(crate) fn open_portable(name: &str, path: &Path) -> Result<Self, DirectoryError> {
        Self::open_with(name.into(), path.into(), |root| Ok(Resolver::portable(root)))
    }

    fn open_with(
        name: String,
        path: PathBuf,
        resolver: impl FnOnce(OwnedFd) -> io::Result<Resolver>,
    ) -> Result<Self, DirectoryError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::empty()).map_err(io::Error::from).and_then(resolver);
        match opened {
            Ok(resolver) => Ok(Self { inner: Arc::new(Inner { name, path, resolver }) }),
            Err(source) => Err(DirectoryError { name, path, source }),
        }
    }

    /// The name that the manifest gives it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The path under which it was opened.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Opens what `path` names, the directory itself when it is empty. `Access::Cached` fails with
    /// [`LookupError::Uncached`] rather than wait for a disk.
    pub(crate) fn lookup(&self, path: &str, access: Access) -> Result<Entry, LookupError> {
        let path = if path.is_empty() { "." } else { path };
        let file = match &self.inner.resolver {
            Resolver::Kernel { root, cached } => {
                if access == Access::Cached && !cached {
                    return Err(LookupError::Uncached);
                }
                open_beneath(root, path, access)?
            }
            Resolver::Portable(_) if access == Access::Cached => return Err(LookupError::Uncached),
            Resolver::Portable(root) => {
                let mut options = cap_std::fs::OpenOptions::new();
                // The bits are a small positive constant.
                options.read(true).custom_flags((FLAGS - OFlags::CLOEXEC).bits().cast_signed());
                root.open_with(path, &options).map_err(LookupError::from)?.into_std()
            }
        };

        let metadata = file.metadata().map_err(LookupError::from)?;
        if metadata.is_dir() {
            return Ok(Entry::Directory);
        }
        if !metadata.is_file() {
            return Err(LookupError::NotFound(NotFound::NotAFile));
        }
        Ok(Entry::File(file, metadata))
    }
}

impl Resolver {
    fn of(root: OwnedFd) -> io::Result<Self> {
        let probe = |resolve| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat2(&root, ".", flags, Mode::empty(), ResolveFlags::BENEATH | resolve)
        };
        match probe(ResolveFlags::NO_MAGICLINKS) {
            Ok(_) => {}
            // EPERM is how some seccomp filters say that they do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => return Ok(Self::portable(root)),
            Err(error) => return Err(error.into()),
        }
        // An older kernel refuses the flag with EINVAL; EAGAIN is this kernel taking it at its word.
        let cached = matches!(probe(ResolveFlags::CACHED), Ok(_) | Err(Errno::AGAIN));
        Ok(Self::Kernel { root, cached })
    }

    fn portable(root: OwnedFd) -> Self {
        Self::Portable(cap_std::fs::Dir::from_std_file(File::from(root)))
    }
}

fn open_beneath(root: &OwnedFd, path: &str, access: Access) -> Result<File, LookupError> {
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if access == Access::Cached {
        resolve |= ResolveFlags::CACHED;
    }
    let mut retries = RENAME_RETRIES;
    loop {
        match rustix::fs::openat2(root, path, FLAGS, Mode::empty(), resolve) {
            Ok(file) => return Ok(File::from(file)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if access == Access::Cached => return Err(LookupError::Uncached),
            Err(Errno::AGAIN) if retries > 0 => retries -= 1,
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
}

/// Whether a lookup may wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// On a thread that may wait.
    Blocking,
    /// Only with what the kernel holds in memory.
    Cached,
}

/// What a path names.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A directory below this one, or itself.
    Directory,
    /// A regular file, and its metadata taken from the open descriptor.
    File(File, Metadata),
}

/// Why nothing was opened.
#[derive(Debug)]
pub(crate) enum LookupError {
    Io(io::Error),
    NotFound(NotFound),
    Uncached,
}

impl From<io::Error> for LookupError {
    fn from(error: io::Error) -> Self {
        let Some(errno) = Errno::from_io_error(&error) else {
            // cap-std reports a path that leads out of the directory without an errno.
            return match error.kind() {
                io::ErrorKind::PermissionDenied => Self::NotFound(NotFound::LeavesDirectory),
                _ => Self::Io(error),
            };
        };
        match errno {
            Errno::NOENT => Self::NotFound(NotFound::Missing),
            Errno::NOTDIR | Errno::ISDIR | Errno::NXIO | Errno::NODEV => Self::NotFound(NotFound::NotAFile),
            Errno::XDEV | Errno::LOOP => Self::NotFound(NotFound::LeavesDirectory),
            Errno::ACCESS | Errno::PERM => Self::NotFound(NotFound::Denied),
            Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => Self::NotFound(NotFound::InvalidPath),
            _ => Self::Io(error),
        }
    }
}

/// A directory cannot be granted.
#[derive(Debug, thiserror::Error)]
#[error("directory {name:?}: cannot open {}: {source}", path.display())]
pub struct DirectoryError {
    /// The name that the manifest gives it.
    pub name: String,
    /// The path that was tried.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

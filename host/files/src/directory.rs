//! Granted directories: a descriptor taken once at start, and lookups that never leave it.
//!
//! On Linux every lookup is one `openat2` with `RESOLVE_BENEATH`: the kernel resolves each component and refuses to
//! step out. So a rename or a link cannot slip in between a check and an open. Symbolic links that stay inside are
//! followed; absolute links, links that climb out, and the magic links of procfs are not. If `openat2` is missing
//! (before Linux 5.6, or refused by a seccomp filter), and on other systems, cap-std resolves component by component on
//! descriptors, with the same promise.
//!
//! Not covered: hard links and mounts inside the directory count as inside. Opening a device node can act on the device
//! before its type is known; do not serve a directory with device nodes.

#[cfg(target_os = "linux")]
mod beneath;

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::OpenOptionsExt;
use roadrunner_threads::{FILES, Share};
use rustix::fs::{Mode, OFlags};
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
    /// The owner's share of threads that may wait for the directory's disk.
    threads: Share,
}

#[derive(Debug)]
enum Resolver {
    #[cfg(target_os = "linux")]
    Kernel(beneath::Beneath),
    Portable(cap_std::fs::Dir),
}

/// The flags for opening a file. None of them can change the file or wait for another process. A FIFO without a writer
/// opens at once, and is then refused because of its type.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The flags for opening the directory itself: to look up below it, not to list its names.
#[cfg(target_os = "linux")]
const ROOT_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const ROOT_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Directory {
    /// Opens `path` and keeps it open: a directory that is moved or replaced afterwards is still the one served. All
    /// directories of an owner share the threads that wait for files.
    ///
    /// # Errors
    /// When `path` does not exist, is not a directory, or may not be searched.
    pub fn open(name: impl Into<String>, path: impl Into<PathBuf>, owner: &str) -> Result<Self, DirectoryError> {
        Self::open_with(name.into(), path.into(), owner, Resolver::of)
    }

    /// Does the same as [`Directory::open`], but always with cap-std.
    #[cfg(test)]
    pub(crate) fn open_portable(name: &str, path: &Path) -> Result<Self, DirectoryError> {
        Self::open_with(name.into(), path.into(), name, |root| Ok(Resolver::portable(root)))
    }

    fn open_with(
        name: String,
        path: PathBuf,
        owner: &str,
        resolver: impl FnOnce(OwnedFd) -> io::Result<Resolver>,
    ) -> Result<Self, DirectoryError> {
        let opened = rustix::fs::open(&path, ROOT_FLAGS, Mode::empty()).map_err(io::Error::from).and_then(resolver);
        match opened {
            Ok(resolver) => Ok(Self { inner: Arc::new(Inner { name, path, resolver, threads: FILES.share(owner) }) }),
            Err(source) => Err(DirectoryError { name, path, source }),
        }
    }

    /// The directory's name in the manifest.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The owner's share of threads that may wait for the directory's disk.
    pub(crate) fn threads(&self) -> &Share {
        &self.inner.threads
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Opens the file or directory at `path`; an empty path is the directory itself. `Access::Cached` fails with
    /// [`LookupError::Uncached`] instead of waiting for a disk.
    pub(crate) fn lookup(&self, path: &str, access: Access) -> Result<Entry, LookupError> {
        let path = if path.is_empty() { "." } else { path };
        let file = match &self.inner.resolver {
            #[cfg(target_os = "linux")]
            Resolver::Kernel(beneath) => beneath.open(path, access)?,
            Resolver::Portable(_) if access == Access::Cached => return Err(LookupError::Uncached),
            Resolver::Portable(root) => {
                let mut options = cap_std::fs::OpenOptions::new();
                // cap-std adds O_CLOEXEC itself.
                options.read(true).custom_flags((FLAGS - OFlags::CLOEXEC).bits() as i32);
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
    #[cfg(target_os = "linux")]
    fn of(root: OwnedFd) -> io::Result<Self> {
        Ok(match beneath::Beneath::probe(root)? {
            Ok(beneath) => Self::Kernel(beneath),
            Err(root) => Self::portable(root),
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn of(root: OwnedFd) -> io::Result<Self> {
        Ok(Self::portable(root))
    }

    fn portable(root: OwnedFd) -> Self {
        Self::Portable(cap_std::fs::Dir::from_std_file(File::from(root)))
    }
}

/// Whether a lookup may wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// On a thread that may wait.
    Blocking,
    /// Only with data that the kernel holds in memory.
    Cached,
}

/// The result of a lookup.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A directory below this one, or itself.
    Directory,
    /// A regular file, and its metadata taken from the open descriptor.
    File(File, Metadata),
}

/// Why a lookup opened nothing.
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

/// Why a directory cannot be granted.
#[derive(Debug, thiserror::Error)]
#[error("directory {name:?}: cannot open {}: {source}", path.display())]
pub struct DirectoryError {
    /// The directory's name in the manifest.
    pub name: String,
    /// The path that was tried.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

#[cfg(test)]
mod tests;

//! Compiled code on disk, keyed by the component's digest and the engine's fingerprint.
//!
//! Loading compiled code means running it, so an entry is only ever read from a directory that belongs to this user
//! and that nobody else can write to. Entries appear by rename and are never changed.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::compile::child::fingerprint;
use crate::component::Digest;

/// A directory of compiled components.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
}

/// Why a directory cannot serve as the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory belongs to someone else.
    #[error("the cache directory {0} belongs to another user; choose another one with `cache-dir` under [server]")]
    Foreign(PathBuf),
    /// The directory could not be made or read.
    #[error("cannot use the cache directory {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// Others may write to the directory.
    #[error("others can write to the cache directory {0}; run: chmod 700 {0}")]
    Open(PathBuf),
}

impl Cache {
    /// Opens the directory, and makes it (mode 0700) if it does not exist.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let directory = directory.into();
        let failed = |error| CacheError::Io(directory.clone(), error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        let metadata = fs::metadata(&directory).map_err(failed)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(CacheError::Foreign(directory));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(CacheError::Open(directory));
        }
        let cache = Self { directory };
        cache.sweep();
        Ok(cache)
    }

    /// The compiled form of this component, if it is there and whole. An error says that it is, and that this engine has
    /// no room for it.
    pub(crate) fn load(&self, engine: &Engine, digest: &Digest) -> wasmtime::Result<Option<Component>> {
        let path = self.path(engine, digest);
        let Ok(metadata) = fs::symlink_metadata(&path) else { return Ok(None) };
        if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0
        {
            tracing::warn!(path = %path.display(), "ignoring a cache entry that others could have written");
            return Ok(None);
        }
        // SAFETY: the file was written through an `Entry` of this user, in a directory and with a mode that let nobody
        // else write to it, and appeared whole by rename. wasmtime checks its version and settings on top.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => Ok(Some(component)),
            Err(error) if does_not_fit(&error) => Err(error),
            Err(error) => {
                tracing::warn!(path = %path.display(), "ignoring a damaged cache entry: {error:#}");
                Ok(None)
            }
        }
    }

    /// An entry that is about to be written.
    pub(crate) fn entry_for(&self, engine: &Engine, digest: &Digest) -> io::Result<Entry> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let path = self.path(engine, digest);
        let suffix = format!("{}-{}.{TEMPORARY}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let temporary = path.with_extension(suffix);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Entry { file, temporary, path })
    }

    fn path(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{digest}-{:016x}.compiled", fingerprint(engine)))
    }

    /// Removes what hosts that were killed have left half-written. Another host may share the directory, so what is
    /// recent stays.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_old = || {
                let age = entry.metadata().ok().and_then(|data| data.modified().ok()?.elapsed().ok());
                age.is_some_and(|age| age > ABANDONED)
            };
            if path.extension().is_some_and(|extension| extension == TEMPORARY) && is_old() {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// An entry that is being written. It appears when it is finished, and leaves nothing when it is not.
#[derive(Debug)]
pub(crate) struct Entry {
    file: fs::File,
    temporary: PathBuf,
    path: PathBuf,
}

impl Entry {
    /// Where the compiled code goes.
    pub(crate) fn file(&mut self) -> &mut fs::File {
        &mut self.file
    }

    /// Puts it in its place.
    pub(crate) fn finish(self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.path)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // One that is finished has another name.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Whether a component is compiled, and the pool's slots are too small for it.
pub(crate) fn does_not_fit(error: &wasmtime::Error) -> bool {
    format!("{error:#}").contains("does not fit in pooling allocator")
}

/// What the names of half-written entries end with.
const TEMPORARY: &str = "tmp";

/// How old a half-written entry is that nobody writes any more.
const ABANDONED: Duration = Duration::from_secs(3600);

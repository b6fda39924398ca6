//! Compiled code on disk, keyed by the component's digest and the engine's fingerprint.
//!
//! Loading compiled code means running it, so an entry is only ever read from a directory that belongs to this user
//! and that nobody else can write to. Entries appear by rename and are never changed.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wasmtime::Engine;
use wasmtime::component::Component;

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
        Ok(Self { directory })
    }

    /// The compiled form of this component, if it is there and whole.
    pub(crate) fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let path = self.entry(engine, digest);
        let metadata = fs::symlink_metadata(&path).ok()?;
        if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0
        {
            tracing::warn!(path = %path.display(), "ignoring a cache entry that others could have written");
            return None;
        }
        // SAFETY: the file was written by `store` of this user, in a directory and with a mode that let nobody else
        // write to it, and appeared whole by rename. wasmtime checks its version and settings on top.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), "ignoring a damaged cache entry: {error:#}");
                None
            }
        }
    }

    /// Keeps the compiled form. A failure costs a compilation at the next start and nothing else.
    pub(crate) fn store(&self, engine: &Engine, digest: &Digest, component: &Component) {
        let path = self.entry(engine, digest);
        let result = component
            .serialize()
            .map_err(|error| error.to_string())
            .and_then(|bytes| write_whole(&path, &bytes).map_err(|error| error.to_string()));
        if let Err(error) = result {
            tracing::warn!(path = %path.display(), "cannot write to the cache: {error}");
        }
    }

    fn entry(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.directory.join(format!("{digest}-{:016x}.compiled", hasher.finish()))
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let temporary = path.with_extension(format!("{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Relaxed)));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

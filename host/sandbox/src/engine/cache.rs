//! Compiled code on disk, keyed by the component's digest and the engine's fingerprint.
//!
//! An entry stays while this process has a use for it: its component is loaded ([`Lease`]), or [`Cache::tidy`] is told
//! to keep it. An entry that this process has used and that nothing names any more goes at once. Other entries may be
//! in use by other hosts that share the directory: they go when no host has loaded them for [`UNUSED`]. An entry that
//! goes too early, even while in use, costs a compilation and nothing else.
//!
//! Loading compiled code means running it, so an entry is only ever read from a directory that belongs to this user
//! and that nobody else can write to. Entries appear by rename and are never changed.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use roadrunner_account::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::config::fingerprint;
use crate::engine::fit::unfit;

/// A directory of compiled components.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    known: Arc<Mutex<Known>>,
}

/// The entries that this process deals with, by digest.
#[derive(Debug, Default)]
struct Known {
    /// Entries that this process has used, or was told to keep.
    ours: BTreeSet<Digest>,
    /// Components that are loaded or being loaded.
    leased: HashMap<Digest, usize>,
}

/// A lease that keeps an entry from being tidied away.
#[derive(Debug)]
pub(crate) struct Lease {
    known: Arc<Mutex<Known>>,
    digest: Digest,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut known = self.known.lock();
        if let Some(count) = known.leased.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                known.leased.remove(&self.digest);
            }
        }
    }
}

/// The reason why a directory cannot serve as the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory belongs to someone else.
    #[error("the cache directory {0} belongs to another user; choose another one with `cache-dir` under [server]")]
    Foreign(PathBuf),
    /// The directory could not be created or read.
    #[error("cannot use the cache directory {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// Others may write to the directory.
    #[error("others can write to the cache directory {0}; run: chmod 700 {0}")]
    Open(PathBuf),
}

impl Cache {
    /// Opens the directory, and creates it (mode 0700) if it does not exist.
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
        let cache = Self { directory, known: Arc::default() };
        cache.sweep();
        Ok(cache)
    }

    /// Leases an entry for as long as the component is loaded.
    pub(crate) fn lease(&self, digest: &Digest) -> Lease {
        let mut known = self.known.lock();
        known.ours.insert(*digest);
        *known.leased.entry(*digest).or_default() += 1;
        Lease { known: self.known.clone(), digest: *digest }
    }

    /// Removes entries without a use. `kept` are components that are not loaded now but may be loaded again.
    pub(crate) fn tidy(&self, kept: &BTreeSet<Digest>) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut known = self.known.lock();
        known.ours.extend(kept);
        for entry in entries.flatten() {
            let path = entry.path();
            let Some(digest) = digest_of(&path) else { continue };
            let is_used = known.leased.contains_key(&digest) || kept.contains(&digest);
            if !is_used && (known.ours.contains(&digest) || is_older(&path, UNUSED)) {
                tracing::debug!(path = %path.display(), "removing compiled code that nothing names");
                let _ = fs::remove_file(path);
            }
        }
        let Known { ours, leased } = &mut *known;
        ours.retain(|digest| leased.contains_key(digest) || kept.contains(digest));
    }

    /// The size of a component's compiled code for this engine, in bytes.
    pub(crate) fn bytes(&self, engine: &Engine, digest: &Digest) -> u64 {
        fs::metadata(self.path(engine, digest)).map_or(0, |data| data.len())
    }

    /// Loads the compiled form of this component, if it is there and whole. An error means that it is there and that
    /// this engine has no room for it.
    pub(crate) fn load(&self, engine: &Engine, digest: &Digest) -> wasmtime::Result<Option<Component>> {
        let path = self.path(engine, digest);
        let Ok(metadata) = fs::symlink_metadata(&path) else { return Ok(None) };
        if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0
        {
            tracing::warn!(path = %path.display(), "ignoring a cache entry that others could have written");
            return Ok(None);
        }
        // SAFETY: the file was written through an `Entry` of this user, in a directory and with a mode that let nobody
        // else write to it, and appeared whole by rename. wasmtime also checks its version and settings.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => {
                touch(&path);
                Ok(Some(component))
            }
            Err(error) if unfit(&error).is_some() => Err(error),
            Err(error) => {
                tracing::warn!(path = %path.display(), "ignoring a damaged cache entry: {error:#}");
                Ok(None)
            }
        }
    }

    /// Creates an entry to be written.
    pub(crate) fn entry_for(&self, engine: &Engine, digest: &Digest) -> io::Result<Entry> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let path = self.path(engine, digest);
        let suffix = format!("{}-{}.{TEMPORARY}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let temporary = path.with_extension(suffix);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Entry { file, temporary, path })
    }

    fn path(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{digest}-{:016x}.{COMPILED}", fingerprint(engine)))
    }

    /// Removes half-written entries of hosts that were killed. Another host may share the directory, so recent ones
    /// stay.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == TEMPORARY) && is_older(&path, ABANDONED) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// An entry that is being written. It appears when it is finished; without that, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Entry {
    file: fs::File,
    temporary: PathBuf,
    path: PathBuf,
}

impl Entry {
    /// The file for the compiled code.
    pub(crate) fn file(&mut self) -> &mut fs::File {
        &mut self.file
    }

    /// Moves the entry to its final place.
    pub(crate) fn finish(self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.path)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // A finished entry has another name.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// The digest of an entry's component; none for other files.
fn digest_of(path: &Path) -> Option<Digest> {
    if path.extension()? != COMPILED {
        return None;
    }
    path.file_stem()?.to_str()?.split_once('-')?.0.parse().ok()
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|data| data.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// Marks an entry as used, for other hosts and for later runs of this host.
fn touch(path: &Path) {
    if is_older(path, DAY) {
        let _ = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The time since its last use after which an entry counts as unused.
const UNUSED: Duration = DAY.saturating_mul(30);

/// The extension of entries.
const COMPILED: &str = "compiled";

/// The extension of half-written entries.
const TEMPORARY: &str = "tmp";

/// The age at which a half-written entry counts as abandoned.
const ABANDONED: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cache: &Cache, digest: &Digest, age: Duration) -> PathBuf {
        let path = cache.directory.join(format!("{digest}-0000000000000001.{COMPILED}"));
        fs::write(&path, "code").expect("a file");
        let file = fs::File::options().write(true).open(&path).expect("our own file");
        file.set_modified(SystemTime::now() - age).expect("our own file");
        path
    }

    #[test]
    fn entries_go_when_nobody_has_use_for_them() {
        let directory = std::env::temp_dir().join(format!("roadrunner-cache-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let cache = Cache::open(&directory).expect("a cache");
        let digest = |text: &str| Digest::of(text.as_bytes());
        let loaded = entry(&cache, &digest("loaded"), Duration::ZERO);
        let lease = cache.lease(&digest("loaded"));
        let version = entry(&cache, &digest("version"), UNUSED * 2);
        let foreign = entry(&cache, &digest("foreign"), UNUSED / 2);
        let forgotten = entry(&cache, &digest("forgotten"), UNUSED * 2);
        let other = directory.join("pulled");
        fs::write(&other, "other").expect("a file");
        let versions = BTreeSet::from([digest("version")]);
        cache.tidy(&versions);
        assert!(loaded.exists() && version.exists(), "both are named");
        assert!(foreign.exists(), "another host may use it");
        assert!(!forgotten.exists(), "no host has used it for long");
        cache.tidy(&BTreeSet::new());
        assert!(!version.exists(), "it was named here, and is not any more");
        assert!(loaded.exists());
        drop(lease);
        cache.tidy(&BTreeSet::new());
        assert!(!loaded.exists() && foreign.exists() && other.exists());
        fs::remove_dir_all(directory).expect("our own folder");
    }
}

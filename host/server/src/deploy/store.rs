//! Deployed components on disk: their bytes by digest, and the versions of each name.
//!
//! ```text
//! DIRECTORY/wasm/DIGEST.wasm       the bytes of every version of every component
//! DIRECTORY/served/                copies from before the first version: see [`served`](super::served)
//! DIRECTORY/components/NAME.json   the versions of one component, oldest first; the last one serves
//! DIRECTORY/**/*.tmp               uploads and histories that are not whole yet
//! ```
//!
//! Everything appears by rename after it has reached the disk, so a host that is killed at any moment finds the last
//! whole state. A history is written after the bytes that it names, and bytes go after every history that names them.
//! One host at a time may use a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;
use roadrunner_account::{Digest, Digester, PIECE, Pause, Payer};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use super::served::Served;
use crate::source::Proof;

/// The deployed components of a host.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    /// Versions kept of each component, in addition to the serving version.
    keep: usize,
    histories: Mutex<BTreeMap<String, Vec<Version>>>,
    /// The copies of components that served before there was a history.
    pub(crate) served: Served,
}

/// One version of a component.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Version {
    /// The SHA-256 of its bytes.
    #[serde(with = "hexadecimal")]
    pub(crate) digest: Digest,
    /// Its size, in bytes.
    pub(crate) bytes: u64,
    /// The time at which it began to serve, in seconds since 1970.
    pub(crate) since: u64,
    /// The proof of its origin, verified whenever it is loaded.
    #[serde(default)]
    pub(crate) proof: Proof,
}

/// The reason why the store cannot be used, or a change of it was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(
        "the history {path} is damaged ({reason}): restore it, or remove it to go back to the manifest's file",
        path = .0.display(), reason = .1
    )]
    Damaged(PathBuf, String),
    #[error("the directory {} belongs to another user; choose another one in [deploy]", .0.display())]
    Foreign(PathBuf),
    #[error("cannot use {path}: {reason}", path = .0.display(), reason = .1)]
    Io(PathBuf, io::Error),
    #[error("others can write to the directory {path}; run: chmod 700 {path}", path = .0.display())]
    Open(PathBuf),
}

impl Store {
    /// Opens the directory, and creates it (mode 0700) if it does not exist.
    pub(crate) fn open(directory: &Path, keep: usize) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Io(directory.to_owned(), error);
        for folder in [directory.to_owned(), directory.join(WASM), directory.join(COMPONENTS), directory.join(SERVED)] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
            let metadata = fs::metadata(&folder).map_err(failed)?;
            if metadata.uid() != rustix::process::geteuid().as_raw() {
                return Err(StoreError::Foreign(folder));
            }
            if metadata.mode() & 0o022 != 0 {
                return Err(StoreError::Open(folder));
            }
        }
        let mut histories = BTreeMap::new();
        for entry in fs::read_dir(directory.join(COMPONENTS)).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let (Some(name), Some("json")) = (path.file_stem().and_then(|name| name.to_str()), extension(&path)) else {
                continue;
            };
            let text = fs::read_to_string(&path).map_err(|error| StoreError::Io(path.clone(), error))?;
            let versions: Vec<Version> =
                serde_json::from_str(&text).map_err(|error| StoreError::Damaged(path.clone(), error.to_string()))?;
            histories.insert(name.to_owned(), versions);
        }
        let served = Served::open(directory.join(SERVED))?;
        Ok(Self { directory: directory.to_owned(), keep, histories: Mutex::new(histories), served })
    }

    /// Removes the leftovers of a host that was killed: half-written files, and bytes that no history names.
    pub(crate) fn sweep(&self) {
        for folder in [WASM, COMPONENTS] {
            let Ok(entries) = fs::read_dir(self.directory.join(folder)) else { continue };
            let paths = entries.flatten().map(|entry| entry.path());
            paths.filter(|path| extension(path) == Some(TEMPORARY)).for_each(|path| remove(&path));
        }
        self.sweep_bytes(&self.histories.lock());
    }

    /// The versions of a component, oldest first; the last one serves. Empty for a component that serves its manifest's
    /// file.
    pub(crate) fn history(&self, name: &str) -> Vec<Version> {
        self.histories.lock().get(name).cloned().unwrap_or_default()
    }

    /// The digests of all versions of all components.
    pub(crate) fn digests(&self) -> BTreeSet<Digest> {
        self.histories.lock().values().flatten().map(|version| version.digest).collect()
    }

    /// Bytes of all versions of a component, and of the copy from before them. A component that serves as the manifest
    /// names it counts nothing.
    pub(crate) fn bytes(&self, name: &str) -> u64 {
        let versions: Option<u64> =
            self.histories.lock().get(name).map(|versions| versions.iter().map(|version| version.bytes).sum());
        let copy = self.served.copy(name);
        let copy = copy.filter(|copy| versions.is_some() || copy.instead_of.is_some()).map_or(0, |copy| copy.bytes);
        versions.unwrap_or(0) + copy
    }

    /// Bytes of the versions that stay when a new version comes, and of the copy from before them.
    pub(crate) fn bytes_beside(&self, name: &str) -> u64 {
        let copy = self.served.copy(name).map_or(0, |copy| copy.bytes);
        let histories = self.histories.lock();
        let versions = histories.get(name).map_or(&[][..], Vec::as_slice);
        copy + versions.iter().rev().take(self.keep).map(|version| version.bytes).sum::<u64>()
    }

    /// The path of a version's bytes.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(WASM).join(format!("{digest}.wasm"))
    }

    /// Starts an upload.
    pub(crate) async fn upload(&self, payer: Payer) -> Result<Upload, StoreError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}.{TEMPORARY}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = self.directory.join(WASM).join(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        match tokio::fs::OpenOptions::from(options).open(&path).await {
            Ok(file) => {
                Ok(Upload { file, path, digester: Digester::default(), bytes: 0, payer, pause: Pause::default() })
            }
            Err(error) => Err(StoreError::Io(path, error)),
        }
    }

    /// The history after a deployment of this version.
    pub(crate) fn with(&self, name: &str, version: Version) -> Vec<Version> {
        let mut versions = self.history(name);
        versions.retain(|known| known.digest != version.digest);
        versions.push(version);
        let surplus = versions.len().saturating_sub(self.keep + 1);
        versions.drain(..surplus);
        versions
    }

    /// Sets the history of a component. The bytes of a new version come with it; bytes that no history names any more
    /// are removed.
    pub(crate) fn commit(&self, name: &str, versions: Vec<Version>, new: Option<&Whole>) -> Result<(), StoreError> {
        let mut histories = self.histories.lock();
        if let Some(new) = new {
            let to = self.path(&new.digest);
            fs::rename(&new.path, &to).map_err(|error| StoreError::Io(to, error))?;
            self.settle(WASM)?;
        }
        let path = self.directory.join(COMPONENTS).join(format!("{name}.json"));
        let written = match versions.is_empty() {
            true => fs::remove_file(&path),
            false => write(&path, &serde_json::to_vec_pretty(&versions).map_err(io::Error::from).unwrap_or_default()),
        };
        written.map_err(|error| StoreError::Io(path, error))?;
        self.settle(COMPONENTS)?;
        if versions.is_empty() {
            histories.remove(name);
        } else {
            histories.insert(name.to_owned(), versions);
        }
        self.sweep_bytes(&histories);
        Ok(())
    }

    /// Waits until changes of names in a folder have reached the disk.
    fn settle(&self, folder: &str) -> Result<(), StoreError> {
        let folder = self.directory.join(folder);
        let settled = fs::File::open(&folder).and_then(|file| file.sync_all());
        settled.map_err(|error| StoreError::Io(folder, error))
    }

    fn sweep_bytes(&self, histories: &BTreeMap<String, Vec<Version>>) {
        let named = |path: &Path| {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            histories.values().flatten().any(|version| version.digest.to_string() == stem)
        };
        let Ok(entries) = fs::read_dir(self.directory.join(WASM)) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if extension(&path) == Some("wasm") && !named(&path) {
                remove(&path);
            }
        }
    }
}

/// An upload in progress. Dropping it removes its bytes.
#[derive(Debug)]
pub(crate) struct Upload {
    file: tokio::fs::File,
    path: PathBuf,
    digester: Digester,
    bytes: u64,
    /// The payer for its digest.
    payer: Payer,
    pause: Pause,
}

impl Upload {
    /// The number of bytes received.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let Self { digester, payer, pause, .. } = self;
        for piece in piece.chunks(PIECE) {
            // Only a request has a budget that could be used up.
            let _ = pause.piece(payer, || digester.update(piece)).await;
        }
        self.bytes += piece.len() as u64;
        self.file.write_all(piece).await
    }

    /// Finishes the upload: all bytes are received, and reach the disk.
    pub(crate) async fn finish(mut self) -> io::Result<Whole> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let digest = std::mem::take(&mut self.digester).finish();
        Ok(Whole { path: std::mem::take(&mut self.path), digest, bytes: self.bytes })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            remove(&self.path);
        }
    }
}

/// A complete upload that is not kept yet. Dropping it removes its bytes.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Kept bytes have another name.
        remove(&self.path);
    }
}

/// Writes a file completely or not at all, whatever happens meanwhile.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(TEMPORARY);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Removes a file. A file that cannot be removed now is removed at the next start.
pub(super) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

pub(super) fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|extension| extension.to_str())
}

/// The text form of a digest.
pub(super) mod hexadecimal {
    use roadrunner_account::Digest;
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

const WASM: &str = "wasm";
const COMPONENTS: &str = "components";
const SERVED: &str = "served";
const TEMPORARY: &str = "tmp";

#[cfg(test)]
mod tests {
    use roadrunner_account::Accounts;

    use super::*;

    fn payer() -> Payer {
        Payer::tenant(&Accounts::new(1, 1 << 30), None)
    }

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("roadrunner-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    async fn uploaded(store: &Store, bytes: &[u8]) -> (Version, Whole) {
        let mut upload = store.upload(payer()).await.expect("an upload");
        upload.write(bytes).await.expect("room on the disk");
        let whole = upload.finish().await.expect("room on the disk");
        let proof = Proof::Signature("c2ln".to_owned());
        (Version { digest: whole.digest, bytes: whole.bytes, since: 1, proof }, whole)
    }

    #[tokio::test]
    async fn versions_survive_a_start_and_so_many_are_kept() {
        let path = folder("versions");
        let store = Store::open(&path, 2).expect("a store");
        let mut digests = Vec::new();
        for text in ["one", "two", "three", "four", "two"] {
            let (version, whole) = uploaded(&store, text.as_bytes()).await;
            assert_eq!(version.digest, Digest::of(text.as_bytes()));
            digests.push(version.digest);
            store.commit("app", store.with("app", version), Some(&whole)).expect("it is written");
        }
        let store = Store::open(&path, 2).expect("the same store");
        let kept: Vec<_> = store.history("app").iter().map(|version| version.digest).collect();
        assert_eq!(kept, [digests[2], digests[3], digests[1]], "one is too old; two has moved");
        assert!(store.history("app").iter().all(|version| version.proof == Proof::Signature("c2ln".to_owned())));
        assert!(!store.path(&digests[0]).exists() && kept.iter().all(|digest| store.path(digest).is_file()));
        store.commit("app", Vec::new(), None).expect("it is written");
        assert!(Store::open(&path, 2).expect("the same store").history("app").is_empty());
        assert_eq!(fs::read_dir(path.join(WASM)).expect("a folder").count(), 0);
        fs::remove_dir_all(path).expect("our own folder");
    }

    #[tokio::test]
    async fn what_is_not_whole_is_nothing() {
        let path = folder("halves");
        let store = Store::open(&path, 2).expect("a store");
        let mut upload = store.upload(payer()).await.expect("an upload");
        upload.write(b"half").await.expect("room on the disk");
        drop(upload);
        assert_eq!(fs::read_dir(path.join(WASM)).expect("a folder").count(), 0);
        // This is the state after a kill: an upload, bytes without a history, a history that was not renamed.
        fs::write(path.join(WASM).join("1-0.tmp"), "half").expect("a file");
        let unnamed = store.path(&Digest::of(b"unnamed"));
        fs::write(&unnamed, "unnamed").expect("a file");
        fs::write(path.join(COMPONENTS).join("app.tmp"), "[").expect("a file");
        let store = Store::open(&path, 2).expect("the same store");
        store.sweep();
        assert_eq!(fs::read_dir(path.join(WASM)).expect("a folder").count(), 0);
        assert_eq!(fs::read_dir(path.join(COMPONENTS)).expect("a folder").count(), 0);
        fs::write(path.join(COMPONENTS).join("app.json"), "[").expect("a file");
        assert!(matches!(Store::open(&path, 2), Err(StoreError::Damaged(..))));
        fs::remove_dir_all(path).expect("our own folder");
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder("open");
        Store::open(&path, 2).expect("a store");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("our own folder");
        assert!(matches!(Store::open(&path, 2), Err(StoreError::Open(_))));
        fs::remove_dir_all(path).expect("our own folder");
    }
}

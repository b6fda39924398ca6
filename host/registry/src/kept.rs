//! Earlier pulls, on disk, by their SHA-256.
//!
//! ```text
//! DIRECTORY/HEX.manifest      a manifest
//! DIRECTORY/HEX.wasm          a component
//! DIRECTORY/HEX.signatures    the signatures that came with the manifest HEX, in JSON
//! ```
//!
//! Every file appears by rename, and is checked when it is read: a file that does not match its name counts as missing.
//! So hosts can share a directory, and anything in it can be removed at any time.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::claim::Claim;
use crate::digest::sha256;

/// A directory that only this user can write to.
#[derive(Debug)]
pub(crate) struct Kept(PathBuf);

impl Kept {
    /// Opens the directory, and creates it (mode 0700) if it does not exist.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let metadata = fs::metadata(directory)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("it belongs to another user, or others can write to it; run: chmod 700"));
        }
        Ok(Self(directory.to_owned()))
    }

    pub(crate) fn manifest(&self, digest: &str, most: u64) -> Option<Vec<u8>> {
        self.read(digest, "manifest", most).filter(|bytes| sha256(bytes) == digest)
    }

    pub(crate) fn component(&self, digest: &str, most: u64) -> Option<Vec<u8>> {
        self.read(digest, "wasm", most).filter(|bytes| sha256(bytes) == digest)
    }

    /// The kept signatures, unverified: the caller verifies them.
    pub(crate) fn claims(&self, manifest: &str, most: u64) -> Vec<Claim> {
        let bytes = self.read(manifest, "signatures", most);
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub(crate) fn keep(&self, digest: &str, kind: &str, bytes: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let temporary = format!("{digest}.{kind}-{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let temporary = self.0.join(temporary);
        let written = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            fs::rename(&temporary, self.path(digest, kind))
        };
        written().inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }

    fn read(&self, digest: &str, kind: &str, most: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = fs::File::open(self.path(digest, kind)).ok()?;
        file.take(most.saturating_add(1)).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= most).then_some(bytes)
    }

    fn path(&self, digest: &str, kind: &str) -> PathBuf {
        self.0.join(format!("{digest}.{kind}"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_what_its_name_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::open(&folder.path().join("kept")).expect("a directory");
        let digest = sha256(b"bytes");
        assert_eq!(kept.component(&digest, 10), None);
        kept.keep(&digest, "wasm", b"bytes").expect("it is written");
        assert_eq!(kept.component(&digest, 5).as_deref(), Some(&b"bytes"[..]));
        assert_eq!(kept.component(&digest, 4), None, "larger than it may be");
        assert_eq!(kept.manifest(&digest, 10), None, "another kind");
        kept.keep(&digest, "wasm", b"Bytes").expect("it is written");
        assert_eq!(kept.component(&digest, 10), None, "changed");
        kept.keep(&digest, "signatures", b"[").expect("it is written");
        assert!(kept.claims(&digest, 10).is_empty(), "damaged");
        assert_eq!(fs::read_dir(folder.path().join("kept")).expect("a folder").count(), 2, "nothing half-written");
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("our own folder");
        assert!(Kept::open(folder.path()).expect_err("open to others").to_string().contains("chmod 700"));
    }
}

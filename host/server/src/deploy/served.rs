//! Copies of components that served before their first deployment, to go back to.
//!
//! ```text
//! DIRECTORY/served/DIGEST.wasm   the bytes
//! DIRECTORY/served/NAME.json     which of them a component served last, when nothing was deployed
//! ```
//!
//! A build overwrites the manifest's `file`, a tag moves, a registry goes away: only a copy is certain. The copy is
//! taken when a component is loaded, and counts once the component serves. It does not change while a deployed version
//! serves.
//!
//! After a component went back to its copy, the copy may differ from the manifest's origin. It then serves until that
//! origin changes again. It also serves as long as the manifest names the same place and nothing can be read there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use parking_lot::Mutex;
use roadrunner_account::Digest;
use roadrunner_manifest::Origin;
use serde::{Deserialize, Serialize};

use super::store::{StoreError, extension, hexadecimal, remove, write};
use crate::source::Proof;

/// The copies of a host.
#[derive(Debug)]
pub(crate) struct Served {
    directory: PathBuf,
    /// Copies of components that are loaded, and serve once all others are loaded.
    coming: Mutex<BTreeMap<String, Copy>>,
    copies: Mutex<BTreeMap<String, Copy>>,
}

/// A copy of a component that served.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Copy {
    /// The SHA-256 of its bytes.
    #[serde(with = "hexadecimal")]
    pub(crate) digest: Digest,
    /// Its size, in bytes.
    pub(crate) bytes: u64,
    /// The proof of its origin, verified whenever it is loaded.
    pub(crate) proof: Proof,
    /// The origin in the manifest from which it came.
    pub(crate) origin: String,
    /// The state of the manifest's origin in whose place the copy serves, if it does.
    #[serde(default)]
    pub(crate) instead_of: Option<Other>,
}

/// The current state of the manifest's origin.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Other {
    /// Bytes with this digest.
    Bytes(#[serde(with = "hexadecimal")] Digest),
    /// Nothing that can be read.
    Nothing,
}

impl Served {
    /// Reads the copies in a folder.
    pub(super) fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Io(directory.clone(), error);
        let mut copies = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let (Some(name), Some("json")) = (path.file_stem().and_then(|name| name.to_str()), extension(&path)) else {
                continue;
            };
            // Without the record there is nothing to go back to. An attempt to go back reports that.
            let copy = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(copy) = copy {
                copies.insert(name.to_owned(), copy);
            }
        }
        Ok(Self { directory, coming: Mutex::default(), copies: Mutex::new(copies) })
    }

    /// The copy of a component that served before its first deployment, or serves now.
    pub(crate) fn copy(&self, name: &str) -> Option<Copy> {
        self.copies.lock().get(name).cloned()
    }

    /// The path of its bytes.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{digest}.wasm"))
    }

    /// Starts the loading of components; copies of earlier loads that never served are forgotten.
    pub(crate) fn begin(&self) {
        self.coming.lock().clear();
    }

    /// Takes a copy of a loaded component. Without room for the copy, the component serves all the same.
    pub(crate) fn keep(&self, name: &str, bytes: &[u8], copy: Copy) {
        // Components that are loaded in parallel can have the same bytes: the first writes them.
        let mut coming = self.coming.lock();
        let path = self.path(&copy.digest);
        if !path.is_file()
            && let Err(error) = write(&path, bytes)
        {
            tracing::warn!(component = name, "no copy to go back to is kept at {}: {error}", path.display());
            return;
        }
        coming.insert(name.to_owned(), copy);
    }

    /// Makes the copies of the loaded components count: they serve from now on.
    pub(crate) fn settle(&self) {
        let coming = std::mem::take(&mut *self.coming.lock());
        for (name, copy) in coming {
            if self.copy(&name).as_ref() != Some(&copy) {
                self.put(&name, copy);
            }
        }
        self.sweep();
    }

    /// Notes that the copy serves from now on in place of the manifest's origin, whose current state is `instead_of`;
    /// none if the copy is that origin.
    pub(crate) fn go_back(&self, name: &str, instead_of: Option<Other>) {
        if let Some(copy) = self.copy(name) {
            self.put(name, Copy { instead_of, ..copy });
        }
    }

    /// Forgets a copy that did not serve, or that is not needed to go back to.
    pub(crate) fn forget(&self, name: &str) {
        self.copies.lock().remove(name);
        remove(&self.record(name));
    }

    fn put(&self, name: &str, copy: Copy) {
        let text = serde_json::to_vec_pretty(&copy).map_err(std::io::Error::from);
        let path = self.record(name);
        if let Err(error) = text.and_then(|text| write(&path, &text)) {
            tracing::warn!(component = name, "what serves is not noted in {}: {error}", path.display());
            return self.forget(name);
        }
        self.copies.lock().insert(name.to_owned(), copy);
    }

    fn record(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    /// Removes bytes that are no component's last served copy.
    fn sweep(&self) {
        let copies = self.copies.lock();
        let is_named = |path: &Path| {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            extension(path) == Some("json") || copies.values().any(|copy| copy.digest.to_string() == stem)
        };
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        entries.flatten().map(|entry| entry.path()).filter(|path| !is_named(path)).for_each(|path| remove(&path));
    }
}

impl Other {
    /// The state of an origin that was read, whether it is a component or not.
    pub(crate) fn of(read: &Result<(Vec<u8>, Proof)>) -> Self {
        read.as_ref().map_or(Self::Nothing, |(bytes, _)| Self::Bytes(Digest::of(bytes)))
    }
}

impl Copy {
    pub(crate) fn new(bytes: &[u8], digest: Digest, proof: Proof, origin: String) -> Self {
        Self { digest, bytes: bytes.len() as u64, proof, origin, instead_of: None }
    }

    /// Whether the copy serves in place of the manifest's origin, whose current state is `named`.
    pub(crate) fn serves_for(&self, origin: &Origin, named: &Other) -> bool {
        match (&self.instead_of, named) {
            // An unreadable origin cannot serve. A copy from another origin does not stand in for it.
            (_, Other::Nothing) => self.origin == origin.to_string(),
            (None, _) => false,
            // A registry that did not answer may have had the component all the time.
            (Some(Other::Nothing), Other::Bytes(digest)) => {
                matches!(origin, Origin::Registry(_)) && *digest != self.digest
            }
            (Some(Other::Bytes(then)), Other::Bytes(now)) => then == now,
        }
    }
}

#[cfg(test)]
mod tests {
    use roadrunner_manifest::OciReference;

    use super::*;

    fn copy(instead_of: Option<Other>) -> Copy {
        Copy { instead_of, ..Copy::new(b"one", Digest::of(b"one"), Proof::None, "app.wasm".to_owned()) }
    }

    #[test]
    fn a_copy_serves_until_the_file_changes_again() {
        let bytes = |text: &[u8]| Other::Bytes(Digest::of(text));
        let file = Origin::File("app.wasm".into());
        let serves = |copy: &Copy, named| copy.serves_for(&file, &named);
        assert!(!serves(&copy(None), bytes(b"two")));
        let two = copy(Some(bytes(b"two")));
        assert!(serves(&two, bytes(b"two")) && !serves(&two, bytes(b"three")) && !serves(&two, bytes(b"one")));
        let nothing = copy(Some(Other::Nothing));
        assert!(!serves(&nothing, bytes(b"two")), "it is new");
        let registry = OciReference::new("oci://example.com/app:1").map(Origin::Registry).expect("a reference");
        assert!(nothing.serves_for(&registry, &bytes(b"two")) && !nothing.serves_for(&registry, &bytes(b"one")));
    }

    #[test]
    fn a_copy_serves_for_what_is_gone_and_for_nothing_else_that_is() {
        for copy in [copy(None), copy(Some(Other::Nothing)), copy(Some(Other::Bytes(Digest::of(b"two"))))] {
            assert!(copy.serves_for(&Origin::File("app.wasm".into()), &Other::Nothing));
            assert!(!copy.serves_for(&Origin::File("other.wasm".into()), &Other::Nothing));
        }
    }

    #[test]
    fn what_was_loaded_in_vain_changes_nothing() {
        let folder = std::env::temp_dir().join(format!("roadrunner-served-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let load = |served: &Served, bytes: &[u8]| {
            served.begin();
            served.keep("app", bytes, Copy::new(bytes, Digest::of(bytes), Proof::None, "app.wasm".to_owned()));
        };
        let served = Served::open(folder.clone()).expect("a folder");
        load(&served, b"one");
        served.settle();
        load(&served, b"two");
        assert_eq!(served.copy("app").map(|copy| copy.digest), Some(Digest::of(b"one")));
        // This is the state after a restart.
        let served = Served::open(folder.clone()).expect("a folder");
        assert_eq!(served.copy("app").map(|copy| copy.digest), Some(Digest::of(b"one")));
        assert_eq!(fs::read(served.path(&Digest::of(b"one"))).expect("a file"), b"one");
        load(&served, b"three");
        served.settle();
        assert_eq!(served.copy("app").map(|copy| copy.digest), Some(Digest::of(b"three")));
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 2, "the bytes, and whose they are");
        fs::remove_dir_all(folder).expect("our own folder");
    }
}

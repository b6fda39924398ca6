//! The bytes of what the manifest names, as they served: what is there to go back to before the first deployment.
//!
//! ```text
//! DIRECTORY/served/DIGEST.wasm   the bytes
//! DIRECTORY/served/NAME.json     which of them a component served last, when nothing was deployed
//! ```
//!
//! A build writes over the manifest's `file`, a tag moves, a registry goes away: only a copy is certain. It is taken when
//! a component is loaded, and counts from when the component serves. It stays as it is while something else is deployed.
//!
//! After a component went back to its copy, where what the manifest names has changed meanwhile, the copy serves until
//! that changes again. It also serves as long as the manifest names the same place and nothing can be read there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use parking_lot::Mutex;
use roadrunner_manifest::Origin;
use roadrunner_sandbox::Digest;
use serde::{Deserialize, Serialize};

use super::store::{StoreError, extension, hexadecimal, remove, write};
use crate::source::Proof;

/// The copies of a host.
#[derive(Debug)]
pub(crate) struct Served {
    directory: PathBuf,
    /// Those of components that are loaded, and serve once all others are.
    coming: Mutex<BTreeMap<String, Copy>>,
    copies: Mutex<BTreeMap<String, Copy>>,
}

/// What a component served.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Copy {
    /// The SHA-256 of its bytes.
    #[serde(with = "hexadecimal")]
    pub(crate) digest: Digest,
    /// Its size, in bytes.
    pub(crate) bytes: u64,
    /// What shows who made it, to be verified whenever it is loaded.
    pub(crate) proof: Proof,
    /// Where the manifest had it from.
    pub(crate) origin: String,
    /// Whether it serves in the place of something else that the manifest names by now.
    #[serde(default)]
    pub(crate) instead_of: Option<Other>,
}

/// What the manifest names by now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Other {
    /// Bytes with this digest.
    Bytes(#[serde(with = "hexadecimal")] Digest),
    /// Nothing that can be read.
    Nothing,
}

impl Served {
    /// Reads what is kept in a folder.
    pub(super) fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Io(directory.clone(), error);
        let mut copies = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let (Some(name), Some("json")) = (path.file_stem().and_then(|name| name.to_str()), extension(&path)) else {
                continue;
            };
            // Without it there is nothing to go back to, and that is told when somebody wants to.
            let copy = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(copy) = copy {
                copies.insert(name.to_owned(), copy);
            }
        }
        Ok(Self { directory, coming: Mutex::default(), copies: Mutex::new(copies) })
    }

    /// What a component served before anything was deployed, or serves.
    pub(crate) fn copy(&self, name: &str) -> Option<Copy> {
        self.copies.lock().get(name).cloned()
    }

    /// Where its bytes are.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{digest}.wasm"))
    }

    /// Components are about to be loaded; those that were loaded in vain are forgotten.
    pub(crate) fn begin(&self) {
        self.coming.lock().clear();
    }

    /// Takes a copy of a component that is loaded. Without room for it the component serves all the same.
    pub(crate) fn keep(&self, name: &str, bytes: &[u8], copy: Copy) {
        // Components that are loaded side by side can have the same bytes: one writes them.
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

    /// What was loaded serves from now on.
    pub(crate) fn settle(&self) {
        let coming = std::mem::take(&mut *self.coming.lock());
        for (name, copy) in coming {
            if self.copy(&name).as_ref() != Some(&copy) {
                self.put(&name, copy);
            }
        }
        self.sweep();
    }

    /// This serves from now on in the place of what the manifest names by then; or what the manifest names, where that is
    /// none other.
    pub(crate) fn go_back(&self, name: &str, instead_of: Option<Other>) {
        if let Some(copy) = self.copy(name) {
            self.put(name, Copy { instead_of, ..copy });
        }
    }

    /// It is not what served, or nobody will go back to it.
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

    /// Removes bytes that no component has served last.
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
    /// What was read of it, whether that is a component or not.
    pub(crate) fn of(read: &Result<(Vec<u8>, Proof)>) -> Self {
        read.as_ref().map_or(Self::Nothing, |(bytes, _)| Self::Bytes(Digest::of(bytes)))
    }
}

impl Copy {
    pub(crate) fn new(bytes: &[u8], digest: Digest, proof: Proof, origin: String) -> Self {
        Self { digest, bytes: bytes.len() as u64, proof, origin, instead_of: None }
    }

    /// Whether it serves in the place of what the manifest names, which is there and is this now.
    pub(crate) fn serves_for(&self, origin: &Origin, named: &Other) -> bool {
        match (&self.instead_of, named) {
            // What cannot be read cannot serve. A copy of something else has no part in that.
            (_, Other::Nothing) => self.origin == origin.to_string(),
            (None, _) => false,
            // In a registry that did not answer, it may have been there all the time.
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
        // As after a restart.
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

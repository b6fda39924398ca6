//! Paths of files beside the manifest.

use std::path::{Path, PathBuf};

use crate::scalar::{Fault, Text};

/// A path that is relative to the manifest's folder unless it is absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePath(PathBuf);

impl FilePath {
    /// The path, resolved from the manifest's folder.
    pub(crate) fn resolve(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0)
    }
}

impl Text for FilePath {
    const KIND: &'static str = "a path, relative to the folder of the manifest";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "" => Err(Fault::new("is empty", "write a path, relative to the folder of the manifest")),
            text if text.contains('\0') => Err(Fault::new("contains a NUL", "remove it")),
            text if text.starts_with("~/") => {
                Err(Fault::new("starts with `~`", "write the whole path: `~` is the shell's"))
            }
            text => Ok(Self(PathBuf::from(text))),
        }
    }
}

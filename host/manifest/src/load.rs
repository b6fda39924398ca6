//! A file, a text or a single component -> [`Manifest`].

use std::path::{Path, PathBuf};

use crate::diagnostic::ManifestError;
use crate::manifest::{ComponentOptions, Manifest};
use crate::resolve;
use crate::resolver::Files;

impl Manifest {
    /// Reads and checks a file, and checks that the files and directories that it names exist.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_BYTES + 1), &mut bytes).map_err(read)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(LoadError::TooLarge { path: path.to_owned() });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|b| *b == b'\n').count();
            LoadError::NotUtf8 { path: path.to_owned(), line }
        })?;
        Ok(resolve::manifest(&text, path, Files::Checked)?)
    }

    /// Checks a text as if it were the file at `path`, without looking at the file system.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ManifestError> {
        resolve::manifest(text, path, Files::Unchecked)
    }

    /// The configuration of `roadrunner serve app.wasm`: every method and path goes to one component, under the
    /// default limits. The component's name is made from the file's; a directory's relative path is kept as it is.
    pub fn for_component(file: &Path, options: ComponentOptions) -> Self {
        resolve::for_component(file, options)
    }
}

/// The largest manifest, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// The reason why a manifest could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The manifest has problems.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The file is not text.
    #[error("{}:{line}: the file is not UTF-8 text: save it as UTF-8", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
        /// The first line that is not UTF-8, from 1.
        line: usize,
    },
    /// The file could not be read.
    #[error("cannot read the manifest {}: {source}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is larger than [`MAX_BYTES`].
    #[error("the manifest {} is larger than {} bytes", path.display(), MAX_BYTES)]
    TooLarge {
        /// The path.
        path: PathBuf,
    },
}

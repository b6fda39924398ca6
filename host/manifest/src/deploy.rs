//! Components that are put in place while the host runs.

use std::path::PathBuf;

use crate::decode::section;
use crate::manifest::ManifestSection;
use crate::resolve::{Resolver, value};
use crate::scalar::{Count, FilePath};

/// `[deploy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deploy {
    /// Where deployed components are.
    pub directory: PathBuf,
    /// Versions kept of each, beside the one that serves.
    pub keep: u32,
}

section! {
    /// Components that are put in place while the host runs, by the admin listener. Without this section there are none,
    /// and a component is what its `file` is.
    pub(crate) struct DeploySection {
        /// Where they are kept. It is made if it does not exist, and must be writable by nobody else.
        directory: FilePath [required];
        /// Versions of each component that are kept to go back to, beside the one that serves.
        keep: Count<0, 1000> = "5";
    }
}

impl Resolver<'_> {
    pub(crate) fn deploy(&self, section: &ManifestSection) -> Option<Deploy> {
        let deploy = value(&section.deploy)?;
        Some(Deploy { directory: value(&deploy.directory)?.resolve(&self.folder), keep: deploy.keep().get() })
    }
}

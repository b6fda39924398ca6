//! Components that are deployed while the host runs.

use std::path::PathBuf;

use crate::decode::Field;
use crate::resolver::{Resolver, value};
use crate::scalar::{Count, FilePath};
use crate::section::section;

/// `[deploy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deploy {
    /// The directory of deployed components.
    pub directory: PathBuf,
    /// Versions kept of each component, in addition to the one in service.
    pub keep: u32,
}

section! {
    /// Components that are deployed through the admin listener while the host runs. Without this section nothing can be
    /// deployed, and a component is the one that its `file` names.
    #[title = "`[deploy]`"]
    pub(crate) struct DeploySection {
        /// The directory to keep them in. It is made if it does not exist, and must be writable by its owner only.
        directory: FilePath [required];
        /// Versions of each component that are kept for a rollback, in addition to the one in service.
        keep: Count<0, 1000> = "5";
    }
}

impl Resolver<'_> {
    pub(crate) fn deploy(&self, section: &Field<DeploySection>) -> Option<Deploy> {
        let deploy = value(section)?;
        Some(Deploy { directory: value(&deploy.directory)?.resolve(&self.folder), keep: deploy.keep().get() })
    }
}

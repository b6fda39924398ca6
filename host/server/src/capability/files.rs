//! The directories that the host sends files from: for `sendfile`, and for static routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use roadrunner_files::Directory;
use roadrunner_manifest::{self as manifest, DirectoryName};

use super::provider::{Granted, Grantee, Opening, Provider};
use crate::accounts::owner;

/// The directories of a manifest, by name.
pub(crate) struct Files(BTreeMap<DirectoryName, Arc<Directory>>);

impl Files {
    /// A directory of the manifest.
    pub(crate) fn directory(&self, name: &DirectoryName) -> Arc<Directory> {
        self.0[name].clone()
    }
}

impl Provider for Files {
    fn open(opening: &Opening<'_>, _: Option<&Self>) -> Result<Self> {
        let open = |(name, found): (&DirectoryName, &manifest::Directory)| {
            let owner = owner(&format!("directory:{name}"), found.tenant.as_ref());
            Ok((name.clone(), Arc::new(Directory::open(name.as_str(), &found.path, &owner)?)))
        };
        Ok(Self(opening.manifest.directories.iter().map(open).collect::<Result<_>>()?))
    }

    fn grant(&self, component: Grantee<'_>, granted: &mut Granted) {
        let named = component.settings.directories.iter();
        granted.directories = named.map(|name| (name.to_string(), self.directory(name))).collect();
    }
}

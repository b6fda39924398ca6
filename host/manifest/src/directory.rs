//! Directories that are granted to components and static routes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;

use crate::decode::Field;
use crate::resolver::{FileKind, Resolver, entries};
use crate::scalar::units::{GIB, KIB};
use crate::scalar::{Bytes, Count, FilePath, Table, name};
use crate::section::section;
use crate::tenant::TenantName;

/// One of `[directory]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The path.
    pub path: PathBuf,
    /// The tenant that owns it; `None` if it can be granted to all.
    pub tenant: Option<TenantName>,
    /// The largest size of its files together, in bytes.
    pub size: u64,
    /// The largest number of files, directories and links in it.
    pub files: u32,
}

/// The directories of a manifest.
pub(crate) type Directories = BTreeMap<DirectoryName, Directory>;

name! {
    /// The name under which a directory is granted and a sendfile response refers to it.
    pub struct DirectoryName = "directory";
}

section! {
    /// A directory of the host.
    #[title = "`[directory.NAME]`"]
    pub(crate) struct DirectorySection {
        /// The path. Nothing outside it can be reached through it, links included.
        path: FilePath [required];
        /// The tenant that owns it: only that tenant's components and static routes can be granted it. Without it, it
        /// can be granted to all.
        tenant: TenantName;
        /// Bytes of the files below it, above which guests can add no more. Each file takes whole blocks of 4 KiB.
        /// Files that others have put there count too.
        size: Bytes<{ 4 * KIB }, { 65_536 * GIB }> = "\"64MiB\"";
        /// Files, directories and links below it, above which guests can add no more.
        files: Count<1, 10_000_000> = "10000";
    }
}

pub(crate) fn directory(section: &DirectorySection, path: PathBuf, tenant: Option<TenantName>) -> Directory {
    Directory { path, tenant, size: section.size().get(), files: section.files().get() }
}

impl Resolver<'_> {
    pub(crate) fn directories(&mut self, section: &Field<Table<DirectoryName, DirectorySection>>) -> Directories {
        let mut directories = Directories::new();
        for (name, directory) in entries(section) {
            let path = self.path(&directory.path, FileKind::Directory).unwrap_or_default();
            let tenant = self.known_tenant(&directory.tenant);
            directories.insert(name.get_ref().clone(), self::directory(directory, path, tenant));
        }
        directories
    }

    /// Whether a directory is declared and can be granted to this tenant.
    pub(crate) fn known_directory(
        &mut self,
        name: &Spanned<DirectoryName>,
        directories: &Directories,
        tenant: Option<&TenantName>,
    ) -> bool {
        if !self.is_declared(name) {
            return false;
        }
        let owner = directories.get(name.get_ref()).and_then(|known| known.tenant.clone());
        self.may_name(name, owner.as_ref(), tenant)
    }
}

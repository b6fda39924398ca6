//! Directories that components and static routes are given.

use std::path::PathBuf;

use toml::Spanned;

use crate::component::ComponentSection;
use crate::decode::section;
use crate::manifest::ManifestSection;
use crate::resolve::{FileKind, Resolver, entries, list, value};
use crate::scalar::units::{GIB, KIB};
use crate::scalar::{Bytes, Count, DirectoryName, FilePath, TenantName};

/// One of `[directory]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    /// Whom it belongs to; none where it can be given to all.
    pub tenant: Option<TenantName>,
    /// Bytes that its files may take.
    pub size: u64,
    /// Files, directories and links that there may be in it.
    pub files: u32,
}

section! {
    /// A directory of the host.
    pub(crate) struct DirectorySection {
        /// Where it is. Nothing outside it can be reached through it, links included.
        path: FilePath [required];
        /// The tenant whose components and static routes alone can be given it. Without it, it can be given to all.
        tenant: TenantName;
        /// What the files below it may take before guests can add no more; each file takes whole blocks of 4 KiB. What
        /// others have put there counts too.
        size: Bytes<{ 4 * KIB }, { 65_536 * GIB }> = "\"64MiB\"";
        /// Files, directories and links that there may be below it before guests can add no more.
        files: Count<1, 10_000_000> = "10000";
    }
}

pub(crate) fn directory(section: &DirectorySection, path: PathBuf, tenant: Option<TenantName>) -> Directory {
    Directory { path, tenant, size: section.size().get(), files: section.files().get() }
}

impl Resolver<'_> {
    pub(crate) fn directories(&mut self, section: &ManifestSection) {
        self.directory_names = value(&section.directory).map(|table| table.names.clone()).unwrap_or_default();
        for (name, directory) in entries(&section.directory) {
            let path = self.path(&directory.path, FileKind::Directory).unwrap_or_default();
            let tenant = self.known_tenant(section, &directory.tenant);
            self.directories.insert(name.get_ref().clone(), self::directory(directory, path, tenant));
        }
    }

    /// The directories of a component that exist in the manifest.
    pub(crate) fn granted(&mut self, component: &ComponentSection, tenant: Option<&TenantName>) -> Vec<DirectoryName> {
        let mut granted: Vec<DirectoryName> = Vec::new();
        for name in list(&component.directories) {
            if granted.contains(name.get_ref()) {
                self.context.report(
                    name.span(),
                    format!("directory `{}` is granted twice", name.get_ref()),
                    "remove one",
                );
            } else if self.known_directory(name, tenant) {
                granted.push(name.get_ref().clone());
            }
        }
        granted
    }

    /// Whether a directory exists and can be given to what belongs to this tenant.
    pub(crate) fn known_directory(&mut self, name: &Spanned<DirectoryName>, tenant: Option<&TenantName>) -> bool {
        let known = self.directory_names.iter().any(|known| known == name.get_ref().as_str());
        if !known {
            let names: Vec<&str> = self.directory_names.iter().map(String::as_str).collect();
            self.context.unknown_name(name.span(), "directory", name.get_ref().as_str(), &names);
            return false;
        }
        let owner = self.directories.get(name.get_ref()).and_then(|known| known.tenant.clone());
        self.may_name(name.span(), "directory", name.get_ref().as_str(), owner.as_ref(), tenant)
    }
}

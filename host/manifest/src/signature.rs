//! The signatures that components must have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;

use crate::component::ComponentSection;
use crate::decode::{Field, section};
use crate::manifest::ManifestSection;
use crate::resolve::{FileKind, Resolver, entries, value};
use crate::scalar::FilePath;
use crate::tenant::TenantName;

section! {
    /// The signatures that components must have. With this section, a component without a signature by one of the keys
    /// is refused before it is compiled, whatever its origin.
    #[title = "`[signatures]`"]
    pub(crate) struct SignaturesSection {
        /// PEM files of public keys, ECDSA on P-256 or Ed25519. `signed-by` of a tenant or a component replaces this
        /// list.
        keys: Vec<Spanned<FilePath>> [required];
    }
}

impl Resolver<'_> {
    /// The keys of `[signatures]`.
    pub(crate) fn signature_keys(&mut self, section: &ManifestSection) -> Option<Vec<PathBuf>> {
        self.keys(&value(&section.signatures)?.keys, "keys")
    }

    /// The keys of each tenant that has its own.
    pub(crate) fn tenant_keys(&mut self, section: &ManifestSection) -> BTreeMap<TenantName, Vec<PathBuf>> {
        let mut keys = BTreeMap::new();
        for (name, tenant) in entries(&section.tenant) {
            keys.extend(self.keys(&tenant.signed_by, "signed-by").map(|own| (name.get_ref().clone(), own)));
        }
        keys
    }

    /// The keys of a component that has its own.
    pub(crate) fn own_keys(&mut self, component: &ComponentSection) -> Option<Vec<PathBuf>> {
        self.keys(&component.signed_by, "signed-by")
    }

    /// The files of a list of keys. An empty list would refuse everything, or nothing, and is reported as a mistake.
    fn keys(&mut self, field: &Field<Vec<Spanned<FilePath>>>, key: &str) -> Option<Vec<PathBuf>> {
        let field = field.as_ref()?;
        if field.get_ref().is_empty() {
            let message = format!("`{key}` is empty");
            self.context.report(field.span(), message, "name the PEM file of a public key, or remove it");
        }
        let paths = field.get_ref().iter().map(|path| Some(path.clone()));
        Some(paths.filter_map(|path| self.path(&path, FileKind::File)).collect())
    }
}

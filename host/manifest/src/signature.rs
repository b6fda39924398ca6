//! The signatures that components must have.

use std::path::PathBuf;

use toml::Spanned;

use crate::decode::Field;
use crate::resolver::{FileKind, Resolver, value};
use crate::scalar::FilePath;
use crate::section::section;

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
    pub(crate) fn signature_keys(&mut self, section: &Field<SignaturesSection>) -> Option<Vec<PathBuf>> {
        self.keys(&value(section)?.keys, "keys")
    }

    /// The keys of a tenant or of a component that has its own.
    pub(crate) fn own_keys(&mut self, signed_by: &Field<Vec<Spanned<FilePath>>>) -> Option<Vec<PathBuf>> {
        self.keys(signed_by, "signed-by")
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

//! Where components come from, and by whom they must be signed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;

use super::{FileKind, Resolver, entries, value};
use crate::decode::Field;
use crate::origin::{Origin, Registry};
use crate::scalar::{ComponentFile, FilePath, RegistryName, SecretName, TenantName};
use crate::section::{ComponentSection, ManifestSection, RegistrySection};

impl Resolver<'_> {
    pub(super) fn registries(&mut self, section: &ManifestSection) -> BTreeMap<RegistryName, Registry> {
        let mut registries = BTreeMap::new();
        for (name, registry) in entries(&section.registry) {
            let user = self.registry_user(name, registry);
            let plaintext = registry.plaintext();
            let authorities = self.path(&registry.ca_file, FileKind::File);
            if let Some(file) = registry.ca_file.as_ref().filter(|_| plaintext) {
                let fix = "remove it, or `plaintext`";
                self.context.report(file.span(), "without TLS there is no certificate to check", fix);
            }
            if let Some(plaintext) = registry.plaintext.as_ref().filter(|_| plaintext && user.is_some())
                && !name.get_ref().is_loopback()
            {
                let message =
                    format!("the password for {} would be sent for everyone on the way to read", name.get_ref());
                self.context.report(plaintext.span(), message, "remove `plaintext`, or `user` and `password`");
            }
            let timeout = registry.timeout().get();
            registries.insert(name.get_ref().clone(), Registry { user, authorities, plaintext, timeout });
        }
        registries
    }

    fn registry_user(
        &mut self,
        name: &Spanned<RegistryName>,
        registry: &RegistrySection,
    ) -> Option<(String, SecretName)> {
        if let Some(password) = &registry.password {
            self.known_secret(password);
        }
        match (value(&registry.user), value(&registry.password)) {
            (Some(user), Some(password)) => Some((user.0.clone(), password.clone())),
            (None, None) => None,
            _ => {
                // One that did not decode has been reported.
                if !registry.failed.iter().any(|key| matches!(key.as_str(), "user" | "password")) {
                    let message = format!("these keys do not say who the host is to {}", name.get_ref());
                    self.context.report(name.span(), message, "write both `user` and `password`, or neither");
                }
                None
            }
        }
    }

    /// The keys of `[signatures]`.
    pub(super) fn signature_keys(&mut self, section: &ManifestSection) -> Option<Vec<PathBuf>> {
        self.keys(&value(&section.signatures)?.keys, "keys")
    }

    /// The keys of each tenant that has its own.
    pub(super) fn tenant_keys(&mut self, section: &ManifestSection) -> BTreeMap<TenantName, Vec<PathBuf>> {
        let mut keys = BTreeMap::new();
        for (name, tenant) in entries(&section.tenant) {
            keys.extend(self.keys(&tenant.signed_by, "signed-by").map(|own| (name.get_ref().clone(), own)));
        }
        keys
    }

    /// The keys of a component that has its own.
    pub(super) fn own_keys(&mut self, component: &ComponentSection) -> Option<Vec<PathBuf>> {
        self.keys(&component.signed_by, "signed-by")
    }

    /// Where a component is.
    pub(super) fn origin(&mut self, component: &ComponentSection) -> Origin {
        match component.file.as_ref().map(|file| (file.span(), file.get_ref())) {
            Some((_, ComponentFile::Registry(reference))) => Origin::Registry(reference.clone()),
            Some((span, ComponentFile::Path(path))) => {
                let path = self.path(&Some(Spanned::new(span, path.clone())), FileKind::Component);
                Origin::File(path.unwrap_or_default())
            }
            None => Origin::File(PathBuf::new()),
        }
    }

    /// A list of files of keys. An empty one would refuse everything, or nothing, and is a slip.
    fn keys(&mut self, field: &Field<Vec<Spanned<FilePath>>>, key: &str) -> Option<Vec<PathBuf>> {
        let field = field.as_ref()?;
        if field.get_ref().is_empty() {
            let message = format!("`{key}` is empty, so that it does not say who must have signed");
            self.context.report(field.span(), message, "name the PEM file of a public key, or remove it");
        }
        let paths = field.get_ref().iter().map(|path| Some(path.clone()));
        Some(paths.filter_map(|path| self.path(&path, FileKind::File)).collect())
    }
}

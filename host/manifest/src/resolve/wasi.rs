//! What a component is granted through WASI: directories and an environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Resolver, entries, list, value};
use crate::manifest::{Directory, Preopen};
use crate::scalar::{SecretName, TenantName};
use crate::section::{ComponentSection, DirectorySection, PreopenMode};

pub(super) fn directory(section: &DirectorySection, path: PathBuf, tenant: Option<TenantName>) -> Directory {
    Directory { path, tenant, size: section.size().get(), files: section.files().get() }
}

impl Resolver<'_> {
    /// The preopens of a component whose directories exist in the manifest.
    pub(super) fn preopens(&mut self, component: &ComponentSection, tenant: Option<&TenantName>) -> Vec<Preopen> {
        let mut preopens: Vec<Preopen> = Vec::new();
        for section in list(&component.preopens) {
            let section = section.get_ref();
            let Some(name) = &section.directory else { continue };
            if !self.known_directory(name, tenant) || !section.failed.is_empty() {
                continue;
            }
            let directory = name.get_ref().clone();
            let path = value(&section.path).map_or_else(|| format!("/{directory}"), |path| path.0.clone());
            if preopens.iter().any(|known| known.path == path) {
                self.context.report(
                    section.span.clone(),
                    format!("two directories are at `{path}`"),
                    "give one of them another `path`",
                );
                continue;
            }
            preopens.push(Preopen { directory, path, is_writable: section.mode() == PreopenMode::Write });
        }
        preopens
    }

    /// The environment of a component: its values, and the secrets that are values.
    pub(super) fn environment(
        &mut self,
        component: &ComponentSection,
    ) -> (BTreeMap<String, String>, BTreeMap<String, SecretName>) {
        let plain: BTreeMap<_, _> =
            entries(&component.environment).map(|(name, text)| (name.get_ref().0.clone(), text.0.clone())).collect();
        let mut secret = BTreeMap::new();
        for (name, of) in entries(&component.secret_environment) {
            let (span, name) = (name.span(), name.get_ref().0.clone());
            if plain.contains_key(&name) {
                self.context.report(
                    span,
                    format!("`{name}` is in `environment` and in `secret-environment`"),
                    "remove one of the two",
                );
            } else if self.secret_names.iter().any(|known| known == of.as_str()) {
                secret.insert(name, of.clone());
            } else {
                let names: Vec<&str> = self.secret_names.iter().map(String::as_str).collect();
                self.context.unknown_name(span, "secret", of.as_str(), &names);
            }
        }
        (plain, secret)
    }
}

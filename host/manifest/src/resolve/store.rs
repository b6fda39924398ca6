//! Secrets and stores: where they are, and who is granted which.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::{Files, Resolver, entries, list, value};
use crate::scalar::{SecretName, StoreName};
use crate::section::{ComponentSection, ManifestSection, StoreSection};
use crate::store::{Secret, Store, StorePlace};

impl Resolver<'_> {
    pub(super) fn secrets(&mut self, section: &ManifestSection) -> BTreeMap<SecretName, Secret> {
        self.secret_names = value(&section.secret).map(|table| table.names.clone()).unwrap_or_default();
        let mut secrets = BTreeMap::new();
        for (name, secret) in entries(&section.secret) {
            let place = match (&secret.file, &secret.env) {
                (Some(file), None) => Secret::File(file.get_ref().resolve(&self.folder)),
                (None, Some(variable)) => match &variable.get_ref().0 {
                    Some(variable) => Secret::Environment(variable.clone()),
                    None => {
                        self.context.report(
                            name.span(),
                            format!(
                                "`env` of the secret `{}` is not the name of an environment variable",
                                name.get_ref()
                            ),
                            "write a name such as \"API_TOKEN\": letters, digits and `_`",
                        );
                        continue;
                    }
                },
                (file, _) => {
                    let both = file.is_some();
                    let count = if both { "two places" } else { "no place" };
                    self.context.report(
                        name.span(),
                        format!("secret `{}` has {count}", name.get_ref()),
                        "write either `file` or `env`",
                    );
                    continue;
                }
            };
            secrets.insert(name.get_ref().clone(), place);
        }
        secrets
    }

    pub(super) fn stores(&mut self, section: &ManifestSection) -> BTreeMap<StoreName, Store> {
        self.store_names = value(&section.store).map(|table| table.names.clone()).unwrap_or_default();
        let mut stores: BTreeMap<StoreName, Store> = BTreeMap::new();
        for (name, store) in entries(&section.store) {
            let Some(place) = self.place(name, store) else { continue };
            let path = |place: &StorePlace| match place {
                StorePlace::File { path, .. } => Some(path.clone()),
                _ => None,
            };
            let taken = stores.iter().find(|(_, other)| path(&place).is_some() && path(&other.place) == path(&place));
            if let (Some((other, _)), Some(span)) = (taken, store.path.as_ref().map(Spanned::span)) {
                self.context.report(span, format!("store `{other}` has this file already"), "name another file");
                continue;
            }
            let store = Store {
                place,
                shared: store.shared(),
                key_size: store.key_size().get(),
                value_size: store.value_size().get(),
                operations: store.operations().get(),
                timeout: store.timeout().get(),
            };
            stores.insert(name.get_ref().clone(), store);
        }
        stores
    }

    fn place(&mut self, name: &Spanned<StoreName>, store: &StoreSection) -> Option<StorePlace> {
        if let Some(password) = &store.password {
            self.known_secret(password);
            if store.url.is_none() {
                self.context.report(password.span(), "`password` goes with `url`", "remove it");
            }
        }
        if let (Some(size), Some(_)) = (&store.size, &store.url) {
            self.context.report(
                size.span(),
                "`size` does not hold for a Redis server",
                "remove it, and limit the server: `maxmemory` in its own configuration",
            );
        }
        let size = store.size().get();
        match (&store.path, &store.url, store.memory()) {
            (Some(path), None, false) => {
                let span = path.span();
                let path = path.get_ref().resolve(&self.folder);
                self.check_folder(&path, span);
                Some(StorePlace::File { path, size })
            }
            (None, Some(url), false) => {
                let Some(url) = url.get_ref().0.clone() else {
                    self.context.report(
                        name.span(),
                        format!("`url` of the store `{}` contains a password", name.get_ref()),
                        "write it without, make the password a secret, and name that: `password = \"NAME\"`",
                    );
                    return None;
                };
                Some(StorePlace::Redis { url, password: value(&store.password).cloned() })
            }
            (None, None, true) => Some(StorePlace::Memory { size }),
            (path, url, memory) => {
                let none = path.is_none() && url.is_none() && !memory;
                let count = if none { "no place" } else { "more than one place" };
                self.context.report(
                    name.span(),
                    format!("store `{}` has {count}", name.get_ref()),
                    "write one of `path`, `url` and `memory = true`",
                );
                None
            }
        }
    }

    /// The file of a store may be missing; its folder may not.
    fn check_folder(&mut self, path: &Path, span: std::ops::Range<usize>) {
        if self.files == Files::Unchecked {
            return;
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if !folder.is_dir() {
            self.context.report(
                span,
                format!("there is no folder {}", folder.display()),
                "make it, or correct the path",
            );
        } else if path.is_dir() {
            self.context.report(span, format!("{} is a directory", path.display()), "name a file");
        }
    }

    /// The secrets of a component that exist in the manifest.
    pub(super) fn granted_secrets(&mut self, component: &ComponentSection) -> Vec<SecretName> {
        let mut granted: Vec<SecretName> = Vec::new();
        for name in list(&component.secrets) {
            if granted.contains(name.get_ref()) {
                let what = format!("secret `{}` is granted twice", name.get_ref());
                self.context.report(name.span(), what, "remove one");
            } else if self.known_secret(name) {
                granted.push(name.get_ref().clone());
            }
        }
        granted
    }

    /// The stores of a component that exist in the manifest.
    pub(super) fn granted_stores(&mut self, component: &ComponentSection) -> Vec<StoreName> {
        let mut granted: Vec<StoreName> = Vec::new();
        for name in list(&component.stores) {
            if granted.contains(name.get_ref()) {
                let what = format!("store `{}` is granted twice", name.get_ref());
                self.context.report(name.span(), what, "remove one");
                continue;
            }
            if self.store_names.iter().any(|known| known == name.get_ref().as_str()) {
                granted.push(name.get_ref().clone());
            } else {
                let names: Vec<&str> = self.store_names.iter().map(String::as_str).collect();
                self.context.unknown_name(name.span(), "store", name.get_ref().as_str(), &names);
            }
        }
        granted
    }

    pub(super) fn known_secret(&mut self, name: &Spanned<SecretName>) -> bool {
        let known = self.secret_names.iter().any(|known| known == name.get_ref().as_str());
        if !known {
            let names: Vec<&str> = self.secret_names.iter().map(String::as_str).collect();
            self.context.unknown_name(name.span(), "secret", name.get_ref().as_str(), &names);
        }
        known
    }
}

//! Stores of keys and values: where they are, and who is granted which.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::{Schema, json_schema};
use toml::Spanned;

use crate::component::ComponentSection;
use crate::decode::section;
use crate::manifest::ManifestSection;
use crate::resolve::{Files, Resolver, entries, list, value};
use crate::scalar::units::{GIB, HOUR, KIB, MIB};
use crate::scalar::{Bytes, Count, Fault, FilePath, SecretName, StoreName, Text, Time};

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Where it keeps what it is given.
    pub place: StorePlace,
    /// Whether all components that it is granted to see the same keys.
    pub shared: bool,
    /// Bytes of a key.
    pub key_size: u64,
    /// Bytes of a value.
    pub value_size: u64,
    /// Operations at once of one component.
    pub operations: u32,
    /// How long an operation may take.
    pub timeout: Duration,
}

/// Where a store keeps what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A file.
    File {
        /// Where it is; no two stores have the same.
        path: PathBuf,
        /// Bytes of keys and values.
        size: u64,
    },
    /// The host's memory.
    Memory {
        /// Bytes of keys and values.
        size: u64,
    },
    /// A Redis server.
    Redis {
        /// Its URL, without a password.
        url: String,
        /// What to authenticate with.
        password: Option<SecretName>,
    },
}

section! {
    /// A store of keys and values. Exactly one of `path`, `memory` and `url` says where it is. Each component that it is
    /// granted to sees keys of its own.
    pub(crate) struct StoreSection {
        /// A file, made if it is not there, in a folder that is. No other process can have it open. What was
        /// acknowledged to a guest is on the disk.
        path: FilePath;
        /// Whether it is in the host's memory, and gone when the host ends.
        memory: bool = "false";
        /// A Redis server: `redis://`, `rediss://` for TLS, or `redis+unix:///PATH`, without a password.
        url: RedisUrl;
        /// The secret that the host authenticates with at the Redis server.
        password: SecretName;
        /// Whether all components of a tenant that it is granted to, and all without one, see the same keys.
        shared: bool = "false";
        /// Keys and values of all components together, and 64 bytes for each key, in a file or in memory. Over it,
        /// nothing is added. A file can be up to some three times as large.
        size: Bytes<{ 4 * KIB }, { 1024 * GIB }> = "\"64MiB\"";
        /// One key.
        key_size: Bytes<1, { 4 * KIB }> = "\"512B\"";
        /// One value.
        value_size: Bytes<1, { 64 * MIB }> = "\"1MiB\"";
        /// Operations at once of one component. More wait.
        operations: Count<1, 10_000> = "64";
        /// How long an operation may take, with the wait for its place.
        timeout: Time<1, { HOUR }> = "\"1s\"";
    }
}

impl Resolver<'_> {
    pub(crate) fn stores(&mut self, section: &ManifestSection) -> BTreeMap<StoreName, Store> {
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

    /// The stores of a component that exist in the manifest.
    pub(crate) fn granted_stores(&mut self, component: &ComponentSection) -> Vec<StoreName> {
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
}

/// The URL of a Redis server; none for one with a password, since manifests are read by more people than secrets are.
/// That is judged where the section is known, as with [`Variable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisUrl(pub(crate) Option<String>);

impl Text for RedisUrl {
    const KIND: &'static str = "the URL of a Redis server, such as \"redis://127.0.0.1:6379\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let example = "write it as \"redis://HOST:PORT\", \"rediss://HOST:PORT/DATABASE\" or \"redis+unix:///PATH\"";
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| Fault::new("is not the URL of a Redis server", example))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let is_socket = match scheme {
            "redis" | "rediss" => false,
            "redis+unix" => true,
            _ => return Err(Fault::new(format!("has the scheme \"{scheme}\""), example)),
        };
        let (authority, after) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        if user.contains(':') || after.contains("pass=") {
            return Ok(Self(None));
        }
        let names_a_server = if is_socket { after.len() > 1 } else { !authority.is_empty() };
        if !names_a_server || text.contains('#') || text.contains(char::is_whitespace) {
            return Err(Fault::new("is not the URL of a Redis server", example));
        }
        Ok(Self(Some(text.to_owned())))
    }

    fn text_schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(rediss?|redis\\+unix)://",
            "examples": ["redis://127.0.0.1:6379", "rediss://redis.example.com/1", "redis+unix:///run/redis/redis.sock"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in [
            "redis://127.0.0.1:6379",
            "rediss://user@redis.example.com/1",
            "redis+unix:///run/redis.sock",
            "redis://[::1]",
        ] {
            assert!(RedisUrl::parse(good).is_ok(), "{good}");
        }
        for wrong in
            ["", "127.0.0.1:6379", "http://a", "redis://", "redis+unix://", "redis://a b", "redis://a#insecure"]
        {
            assert!(RedisUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_not_kept() {
        for wrong in ["redis://user:hunter2@a", "redis://:hunter2@a/1", "redis+unix:///run/a?pass=hunter2"] {
            assert_eq!(RedisUrl::parse(wrong), Ok(RedisUrl(None)), "{wrong}");
        }
    }
}

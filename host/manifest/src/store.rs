//! Stores of keys and values: their places, and the components that are granted them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::{Schema, json_schema};
use toml::Spanned;

use crate::decode::Field;
use crate::resolver::{Files, Resolver, entries, value};
use crate::scalar::units::{GIB, HOUR, KIB, MIB};
use crate::scalar::{Bytes, Count, Fault, FilePath, Table, Text, Time, name};
use crate::secret::SecretName;
use crate::section::section;

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The place of its contents.
    pub place: StorePlace,
    /// Whether all components that are granted it see the same keys.
    pub shared: bool,
    /// The largest key, in bytes.
    pub key_size: u64,
    /// The largest value, in bytes.
    pub value_size: u64,
    /// The largest number of operations at once of one component.
    pub operations: u32,
    /// The deadline of an operation.
    pub timeout: Duration,
}

/// The place of a store's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A file.
    File {
        /// The path; no two stores share one.
        path: PathBuf,
        /// The largest size of keys and values together, in bytes.
        size: u64,
    },
    /// The host's memory.
    Memory {
        /// The largest size of keys and values together, in bytes.
        size: u64,
    },
    /// A Redis server.
    Redis {
        /// The URL, without a password.
        url: String,
        /// The secret with the password.
        password: Option<SecretName>,
    },
}

name! {
    /// The name under which a store is granted and a guest opens it.
    pub struct StoreName = "store";
}

section! {
    /// A store of keys and values. Exactly one of `path`, `memory` and `url` names its place. Each component that is
    /// granted the store sees keys of its own.
    #[title = "`[store.NAME]`"]
    pub(crate) struct StoreSection {
        /// A file in a folder that exists. The file is made if it does not exist. No other process can have it open. A
        /// change that was acknowledged to a guest is on the disk.
        path: FilePath;
        /// Whether the store is in the host's memory, and lost when the host ends.
        memory: bool = "false";
        /// A Redis server: `redis://`, `rediss://` for TLS, or `redis+unix:///PATH`, without a password.
        url: RedisUrl;
        /// The secret with the password for the Redis server.
        password: SecretName;
        /// Whether all components of one tenant, and all components without a tenant, see the same keys.
        shared: bool = "false";
        /// Bytes of the keys and values of all components together, and 64 bytes for each key, in a file or in memory.
        /// Over it, nothing is added. A file can be up to about three times as large.
        size: Bytes<{ 4 * KIB }, { 1024 * GIB }> = "\"64MiB\"";
        /// The largest key.
        key_size: Bytes<1, { 4 * KIB }> = "\"512B\"";
        /// The largest value.
        value_size: Bytes<1, { 64 * MIB }> = "\"1MiB\"";
        /// Operations at once of one component. Over it, more wait.
        operations: Count<1, 10_000> = "64";
        /// The deadline of an operation, including the wait for its place.
        timeout: Time<1, { HOUR }> = "\"1s\"";
    }
}

impl Resolver<'_> {
    pub(crate) fn stores(&mut self, section: &Field<Table<StoreName, StoreSection>>) -> BTreeMap<StoreName, Store> {
        let mut stores: BTreeMap<StoreName, Store> = BTreeMap::new();
        for (name, store) in entries(section) {
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
            self.is_declared(password);
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

    /// Checks the folder of a store's file, which must exist. The file itself may be missing.
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
}

/// The URL of a Redis server; `None` for a URL with a password, since more people read manifests than secrets. The
/// section reports it, as with a secret's `env`.
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
            "examples": ["redis://127.0.0.1:6379", "rediss://redis.example.com/1", "redis+unix:///run/redis.sock"],
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

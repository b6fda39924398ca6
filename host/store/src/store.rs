//! An open store, whatever its place.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use roadrunner_names::Share;
use zeroize::Zeroizing;

use crate::budget::{Budget, Gauge};
use crate::embedded::Embedded;
use crate::error::OpenError;
use crate::redis::Redis;
use crate::tables::prefix;

/// The place of a store's data.
#[derive(Clone)]
pub enum Place {
    /// A file, created if it does not exist; no other process may have it open.
    File {
        /// The path of the file.
        path: PathBuf,
        /// The most bytes of keys and values, of all namespaces together.
        most: u64,
    },
    /// Memory: the data ends with the process.
    Memory {
        /// The most bytes, as for a file.
        most: u64,
    },
    /// A Redis server, which need not be reachable when the store is opened.
    Redis {
        /// `redis://HOST:PORT/DATABASE`, `rediss://` for TLS, or `redis+unix:///PATH`.
        url: String,
        /// The password for authentication.
        password: Option<Arc<Zeroizing<String>>>,
        /// Resolves the name of the server.
        names: Share,
    },
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, most } => f.debug_struct("File").field("path", path).field("most", most).finish(),
            Self::Memory { most } => f.debug_struct("Memory").field("most", most).finish(),
            Self::Redis { url, .. } => f.debug_struct("Redis").field("url", url).finish_non_exhaustive(),
        }
    }
}

/// An open place for keys and values. Cheap to clone; dropping the last clone closes it.
#[derive(Clone, Debug)]
pub struct Store {
    name: Arc<str>,
    pub(crate) backend: Backend,
}

#[derive(Clone, Debug)]
pub(crate) enum Backend {
    Embedded(Embedded),
    Redis(Redis),
}

impl Store {
    /// Opens a place. A file that was not closed is repaired first, which takes longer the larger it is: do not call
    /// this where a request waits. A Redis server is not contacted yet.
    ///
    /// # Errors
    /// When the file cannot be used, or the URL is invalid.
    pub fn open(name: &str, place: &Place) -> Result<Self, OpenError> {
        let backend = match place {
            Place::File { path, most } => Backend::Embedded(Embedded::file(name, path, *most)?),
            Place::Memory { most } => Backend::Embedded(Embedded::memory(name, *most)?),
            Place::Redis { url, password, names } => {
                Backend::Redis(Redis::new(name, url, password.clone(), names.clone())?)
            }
        };
        Ok(Self { name: name.into(), backend })
    }

    /// The name of the store, in errors and in the keys of Redis.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes how many bytes an embedded store may hold. Existing entries stay.
    pub fn set_most(&self, most: u64) {
        if let Backend::Embedded(embedded) = &self.backend {
            embedded.set_most(most);
        }
    }

    /// The bytes of keys and values, as [`Place::File`] counts them; `None` for Redis, which is not asked.
    pub fn bytes(&self) -> Option<u64> {
        match &self.backend {
            Backend::Embedded(embedded) => Some(embedded.bytes()),
            Backend::Redis(_) => None,
        }
    }

    /// The gauge of a namespace of an embedded store.
    fn gauge(&self, namespace: &str) -> Option<Gauge> {
        match &self.backend {
            Backend::Embedded(embedded) => Some(embedded.gauges().of(prefix(namespace).as_bytes())),
            Backend::Redis(_) => None,
        }
    }
}

impl Budget {
    /// Makes a budget of at most this many bytes of keys and values, as [`Place::File`] counts them, in all of these
    /// namespaces; `None` for no limit. Namespaces in Redis are not counted.
    pub fn new<'s>(most: Option<u64>, namespaces: impl IntoIterator<Item = (&'s Store, &'s str)>) -> Self {
        Self::over(most, namespaces.into_iter().filter_map(|(store, namespace)| store.gauge(namespace)))
    }
}

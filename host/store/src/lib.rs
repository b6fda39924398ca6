//! A key-value store: in memory, in a file or in Redis.
//!
//! A [`Store`] is one such place, open. A [`Bucket`] is one namespace of it, with its own limits: a bucket cannot name
//! keys of another namespace. A [`Budget`] bounds the size of several of them together. Operations never block the
//! caller's thread, end within the bucket's timeout, and are bounded in size and in number before any memory is used
//! for them.
//!
//! Every place promises this: every later operation sees an answered one, and each operation takes effect wholly or not
//! at all. An operation that ended with [`Error::Timeout`], or was dropped, may still take effect. A file promises
//! more: an acknowledged write is on the disk, and survives the end of the process and of the machine. For Redis, that
//! depends on the configuration of the server.
//!
//! Knows neither components nor the manifest. Not covered: transactions over several keys, watches, Redis Cluster.

#![forbid(unsafe_code)]

mod bill;
mod bucket;
mod budget;
mod embedded;
mod redis;
mod tables;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

pub use bill::Bill;
pub use bucket::{Bucket, Limits, MAX_PAGE, Owner, Page};
pub use budget::Budget;

use embedded::Embedded;
use redis::Redis;
use roadrunner_names::Share;

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
    backend: Backend,
}

#[derive(Clone, Debug)]
enum Backend {
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
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is already open elsewhere.
    #[error("the store `{0}` cannot be opened: {path} is in use by another process", path = .1.display())]
    InUse(String, PathBuf),
    /// The file, or its folder, cannot be used.
    #[error("the store `{0}` cannot be opened: {path}: {2}", path = .1.display())]
    Io(String, PathBuf, #[source] io::Error),
    /// The file is not a store, or is damaged.
    #[error("the store `{0}` cannot be opened: {path}: {2}", path = .1.display())]
    Damaged(String, PathBuf, String),
    /// The URL is wrong.
    #[error("the store `{0}` cannot be opened: the URL is not one of Redis: {1}")]
    Url(String, String),
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The namespaces of a [`Budget`] would exceed it.
    #[error("these namespaces would hold more than {0} bytes")]
    BudgetSpent(u64),
    /// The place failed, through no fault of the caller; the text is for the host's log.
    #[error("the store `{store}` failed: {reason}")]
    Failed {
        /// The store.
        store: Arc<str>,
        /// The reason.
        reason: String,
    },
    /// The key is longer than [`Limits::key`].
    #[error("the key is longer than {0} bytes")]
    KeyTooLong(u64),
    /// The value of the key is not a number, or the result would not be one.
    #[error("{0}")]
    NotANumber(&'static str),
    /// No place among the [`Limits::operations`] became free in time.
    #[error("{0} operations are under way already")]
    Overloaded(usize),
    /// The store would exceed its limit.
    #[error("the store would hold more than {0} bytes")]
    StoreFull(u64),
    /// [`Limits::timeout`] passed.
    #[error("the store did not answer in time")]
    Timeout,
    /// The value is longer than [`Limits::value`].
    #[error("the value is longer than {0} bytes")]
    ValueTooLong(u64),
    /// The cursor does not belong to this bucket.
    #[error("the cursor is not one that `keys` has returned")]
    WrongCursor,
}

impl Error {
    /// The value of a key is not a number.
    const NO_NUMBER: Self = Self::NotANumber("the value is not a whole number of 64 bits");

    /// The sum would not be a valid number.
    const OVERFLOW: Self = Self::NotANumber("the sum does not fit 64 bits");
}

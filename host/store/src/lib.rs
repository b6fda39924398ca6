//! Bytes under a key are kept: in memory, in a file or in Redis.
//!
//! A [`Store`] is one such place, open. A [`Bucket`] is one namespace of it with the limits of whoever uses it: keys of
//! one namespace cannot be named from another. A [`Budget`] bounds what several of them hold. Operations never block the thread that asks, end within the bucket's
//! timeout, and are bounded in size and in number before anything is held for them.
//!
//! What every place promises: an operation that was answered is seen by every later one, and each operation happens
//! wholly or not at all. An operation that ended with [`Error::Timeout`], or was dropped, may still happen. What a file
//! promises beyond that: an acknowledged write is on the disk, and survives the end of the process and of the machine.
//! For Redis, that is a matter of how the server is set up.
//!
//! Knows neither components nor the manifest. Does not do: transactions over several keys, watches, Redis Cluster.

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

/// Where a store keeps what it is given.
#[derive(Clone)]
pub enum Place {
    /// A file, made if it is not there; no other process can have it open.
    File {
        /// Where it is.
        path: PathBuf,
        /// The most bytes of keys and values, of all namespaces together.
        most: u64,
    },
    /// Nowhere: it is gone with the process.
    Memory {
        /// As for a file.
        most: u64,
    },
    /// A Redis server, which may be there or not when the store is opened.
    Redis {
        /// `redis://HOST:PORT/DATABASE`, `rediss://` for TLS, or `redis+unix:///PATH`.
        url: String,
        /// What to authenticate with.
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

/// A place for keys and values, open. Cheap to clone; the last clone closes it.
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
    /// Opens a place. A file that was not closed is repaired first, which takes longer the more there is in it: do not
    /// call it where a request waits. A Redis server is not asked for anything yet.
    ///
    /// # Errors
    /// When the file cannot be used, or the URL is not one.
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

    /// Its name, in errors and in the keys of Redis.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes how many bytes an embedded store may hold. What is there stays there.
    pub fn set_most(&self, most: u64) {
        if let Backend::Embedded(embedded) = &self.backend {
            embedded.set_most(most);
        }
    }

    /// Bytes of keys and values, as [`Place::File`] counts them; none for Redis, which is not asked.
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
    /// Somebody has it open.
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
    /// The namespaces of a [`Budget`] would hold more together than they may.
    #[error("these namespaces would hold more than {0} bytes")]
    BudgetSpent(u64),
    /// The place failed, which is not the fault of whoever asked; the text is for the host's log.
    #[error("the store `{store}` failed: {reason}")]
    Failed {
        /// The store.
        store: Arc<str>,
        /// What happened.
        reason: String,
    },
    /// The key is longer than [`Limits::key`].
    #[error("the key is longer than {0} bytes")]
    KeyTooLong(u64),
    /// What stands under the key is no number, or would be none.
    #[error("{0}")]
    NotANumber(&'static str),
    /// No place among the [`Limits::operations`] became free in time.
    #[error("{0} operations are under way already")]
    Overloaded(usize),
    /// The store would hold more than it may.
    #[error("the store would hold more than {0} bytes")]
    StoreFull(u64),
    /// [`Limits::timeout`] passed.
    #[error("the store did not answer in time")]
    Timeout,
    /// The value is longer than [`Limits::value`].
    #[error("the value is longer than {0} bytes")]
    ValueTooLong(u64),
    /// The cursor is none of this bucket's.
    #[error("the cursor is not one that `keys` has returned")]
    WrongCursor,
}

impl Error {
    /// The number under a key is none.
    const NO_NUMBER: Self = Self::NotANumber("the value is not a whole number of 64 bits");

    /// The sum would be none.
    const OVERFLOW: Self = Self::NotANumber("the sum does not fit 64 bits");
}

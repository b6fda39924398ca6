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
mod error;
mod operation;
mod page;
mod redis;
mod store;
mod tables;

pub use bill::Bill;
pub use bucket::{Bucket, Limits, Owner};
pub use budget::Budget;
pub use error::{Error, OpenError};
pub use page::{MAX_PAGE, Page};
pub use store::{Place, Store};

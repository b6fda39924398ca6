//! The reasons why a store cannot be opened, and why an operation fails.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// The namespaces of a [`Budget`](crate::Budget) would exceed it.
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
    /// The key is longer than [`Limits::key`](crate::Limits::key).
    #[error("the key is longer than {0} bytes")]
    KeyTooLong(u64),
    /// The value of the key is not a number, or the result would not be one.
    #[error("{0}")]
    NotANumber(&'static str),
    /// No place among the [`Limits::operations`](crate::Limits::operations) became free in time.
    #[error("{0} operations are under way already")]
    Overloaded(usize),
    /// The store would exceed its limit.
    #[error("the store would hold more than {0} bytes")]
    StoreFull(u64),
    /// [`Limits::timeout`](crate::Limits::timeout) passed.
    #[error("the store did not answer in time")]
    Timeout,
    /// The value is longer than [`Limits::value`](crate::Limits::value).
    #[error("the value is longer than {0} bytes")]
    ValueTooLong(u64),
    /// The cursor does not belong to this bucket.
    #[error("the cursor is not one that `keys` has returned")]
    WrongCursor,
}

impl Error {
    /// The value of a key is not a number.
    pub(crate) const NO_NUMBER: Self = Self::NotANumber("the value is not a whole number of 64 bits");

    /// The sum would not be a valid number.
    pub(crate) const OVERFLOW: Self = Self::NotANumber("the sum does not fit 64 bits");
}

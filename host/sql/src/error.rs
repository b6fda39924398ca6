//! The reasons why a statement failed, and why a database cannot be opened.

use std::sync::Arc;

use tokio_postgres::error::{DbError, ErrorPosition};

/// The server's answer to a wrong statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// The SQLSTATE: five characters.
    pub code: String,
    /// What is wrong, in the server's words.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What may help.
    pub hint: Option<String>,
    /// The constraint that does not hold.
    pub constraint: Option<String>,
    /// Where in the statement, in characters from 1.
    pub position: Option<u32>,
}

/// The reason why a statement failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The transaction is over.
    #[error("the transaction is over")]
    Closed,
    /// The server cannot be reached, or does not do what it should. The reason is for the operator's log.
    #[error("the database `{database}` failed: {reason}")]
    Failed {
        /// The database's name.
        database: Arc<str>,
        /// What happened.
        reason: String,
    },
    /// The server refused the statement. Its message is for the sender of the statement alone.
    #[error("the statement failed with SQLSTATE {}", .0.code)]
    Fault(Box<Fault>),
    /// As many connections of the owner as it may have, or of all owners together, stayed in use for too long.
    #[error("all {0} connections are in use")]
    Overloaded(usize),
    /// A rule does not allow it; the text names the rule.
    #[error("{0}")]
    Refused(String),
    /// The time for the statement or its transaction has passed.
    #[error("the time has passed")]
    Timeout,
    /// The statement, its parameters or its result have more than this many bytes.
    #[error("more than {0} bytes")]
    TooLarge(u64),
}

impl From<&DbError> for Fault {
    fn from(error: &DbError) -> Self {
        let position = match error.position() {
            Some(ErrorPosition::Original(position)) => Some(*position),
            _ => None,
        };
        Self {
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
            constraint: error.constraint().map(str::to_owned),
            position,
        }
    }
}

/// The reason why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The authorities are no certificates in PEM.
    #[error("the authorities of database `{0}` cannot be read: {1}")]
    Authorities(String, String),
    /// The URL is not one of a server.
    #[error("the URL of database `{0}` is wrong: {1}")]
    Url(String, String),
}

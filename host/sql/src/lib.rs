//! Statements that reach a PostgreSQL database within limits.
//!
//! A [`Database`] is one database of a server, as one role sees it. Its owners each have connections of their own, up to
//! a limit, and all of them together have another. An [`Access`] is an owner's view with limits on each statement, and a
//! [`Transaction`] keeps one connection for several.
//!
//! Every connection comes back as it was made: nothing of a transaction, no setting, temporary table, lock or
//! subscription is left for the next statement, not even of the same owner. What remains are prepared statements, which
//! nobody else can name. A statement that is dropped, or takes too long, or returns too much is cancelled at the server,
//! and its connection is closed after it: a late cancellation must not meet another statement.
//!
//! Statements, parameters, results and notices never go into a log or into an error, except that the server's message
//! goes to the one who sent the statement.
//!
//! Knows neither components nor the manifest. Not covered: `COPY`, `LISTEN`, several hosts in one URL.

#![forbid(unsafe_code)]

mod access;
mod bill;
mod columns;
mod connection;
mod database;
mod error;
mod guard;
mod lease;
mod link;
mod manager;
mod places;
mod transaction;
mod value;
mod words;

pub use access::{Access, Limits, MAX_PARAMETERS, Rows};
pub use bill::Bill;
pub use database::{Database, Owner};
pub use error::{Error, Fault, OpenError};
pub use link::{Place, Tls};
pub use manager::Counts;
pub use transaction::Transaction;
pub use value::Value;

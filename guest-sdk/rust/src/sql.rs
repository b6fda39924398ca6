//! PostgreSQL databases that the manifest grants to this component.
//!
//! A statement has `$1`, `$2` and so on for its parameters, which are never read as part of it:
//!
//! ```
//! use roadrunner_guest::sql::{Database, Result};
//!
//! fn rename(id: i64, name: &str) -> Result<Option<String>> {
//!     let shop = Database::open("shop")?;
//!     let before = shop.query("select name from items where id = $1", [id.into()])?;
//!     shop.execute("update items set name = $1 where id = $2", [name.into(), id.into()])?;
//!     before.first().map(|row| row.get("name")).transpose()
//! }
//! ```
//!
//! Every call waits for the database, and lets the host serve others meanwhile. Statements outside of a
//! [`Transaction`] have nothing in common, not even a session.

use std::fmt;

use crate::bindings::roadrunner::handler::sql as wit;
use crate::response::{IntoResponse, Response};

/// The result of a statement.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A database as this component may use it.
#[derive(Debug)]
pub struct Database(wit::Database);

/// Statements that happen wholly or not at all. Dropping it rolls it back, and so does the end of the request.
#[derive(Debug)]
pub struct Transaction(wit::Transaction);

/// A value of a parameter or of a column.
///
/// A parameter of any type but `bytea` can be a text in the server's form of the type: a date, a number of any length,
/// JSON, an array such as `{1,2}`. Columns of such types are texts, too.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A truth value.
    Boolean(bool),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A number with a binary fraction.
    Float(f64),
    /// A whole number.
    Integer(i64),
    /// Nothing.
    Null,
    /// A text, or a value of any type that has no other case.
    Text(String),
}

/// A column of a result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its name, which others may have, too.
    pub name: String,
    /// The server's name of its type: `int4`.
    pub type_name: String,
}

/// A result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The columns, in their order.
    pub columns: Vec<Column>,
    /// The rows, with a value for each column.
    pub rows: Vec<Vec<Value>>,
}

/// A row of a result.
#[derive(Clone, Copy, Debug)]
pub struct Row<'r> {
    columns: &'r [Column],
    values: &'r [Value],
}

/// The server's answer to a wrong statement.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fault {
    /// The SQLSTATE: five characters, the same in all versions and languages of the server.
    pub code: String,
    /// What is wrong.
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

/// Why a statement failed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The server refused it, and nothing of it has happened.
    Fault(Box<Fault>),
    /// A limit, a rule, or the way to the server.
    Host(crate::Error),
}

impl Database {
    /// Opens a database by its name in the manifest.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] for any name that is not granted, whether such a database exists or not.
    pub fn open(name: &str) -> Result<Self> {
        Ok(Self(wit::open(name).map_err(crate::Error::from)?))
    }

    /// Runs a statement, and returns its rows.
    ///
    /// # Errors
    /// A fault; or over a limit of the database, or when it fails.
    pub fn query(&self, statement: &str, parameters: impl IntoIterator<Item = Value>) -> Result<Rows> {
        Ok(self.0.query(statement, &given(parameters))?.into())
    }

    /// Runs a statement, and returns how many rows it changed.
    ///
    /// # Errors
    /// As [`Database::query`].
    pub fn execute(&self, statement: &str, parameters: impl IntoIterator<Item = Value>) -> Result<u64> {
        Ok(self.0.execute(statement, &given(parameters))?)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When there is no connection for it.
    pub fn begin(&self) -> Result<Transaction> {
        Ok(Transaction(self.0.begin()?))
    }
}

impl Transaction {
    /// Runs a statement, and returns its rows.
    ///
    /// # Errors
    /// As [`Database::query`]; [`crate::Error::Closed`] when the transaction is over.
    pub fn query(&self, statement: &str, parameters: impl IntoIterator<Item = Value>) -> Result<Rows> {
        Ok(self.0.query(statement, &given(parameters))?.into())
    }

    /// Runs a statement, and returns how many rows it changed.
    ///
    /// # Errors
    /// As [`Transaction::query`].
    pub fn execute(&self, statement: &str, parameters: impl IntoIterator<Item = Value>) -> Result<u64> {
        Ok(self.0.execute(statement, &given(parameters))?)
    }

    /// Ends it, so that all of it has happened.
    ///
    /// # Errors
    /// A fault, and none of it has happened. After [`crate::Error::Timeout`] and [`crate::Error::Internal`] that is not
    /// known.
    pub fn commit(self) -> Result<()> {
        Ok(self.0.commit()?)
    }

    /// Ends it, so that none of it has happened.
    ///
    /// # Errors
    /// [`crate::Error::Closed`] when it is over already. None of it has happened after any error.
    pub fn rollback(self) -> Result<()> {
        Ok(self.0.rollback()?)
    }
}

impl Rows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// The rows, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }
}

impl<'r> Row<'r> {
    /// The value of the first column of this name.
    ///
    /// # Errors
    /// [`crate::Error::Internal`] when there is no such column, or its value is of another kind.
    pub fn get<T: FromValue<'r>>(&self, name: &str) -> Result<T> {
        let index = self.columns.iter().position(|column| column.name == name);
        let index = index.ok_or_else(|| wrong(format!("there is no column `{name}`")))?;
        self.at(index)
    }

    /// The value of a column by its number, from 0.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn at<T: FromValue<'r>>(&self, index: usize) -> Result<T> {
        let value = self.values.get(index).ok_or_else(|| wrong(format!("there is no column {index}")))?;
        T::from_value(value).ok_or_else(|| wrong(format!("the column {index} has a value of another kind")))
    }

    /// All values, in the order of the columns.
    pub fn values(&self) -> &'r [Value] {
        self.values
    }
}

/// A type that a [`Value`] can become.
pub trait FromValue<'v>: Sized {
    /// Converts a value; `None` if it is of another kind.
    fn from_value(value: &'v Value) -> Option<Self>;
}

macro_rules! values {
    ($($kind:ty: $case:ident, $from:expr;)*) => {
        $(impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                Self::$case(($from)(value))
            }
        })*
    };
}

values! {
    bool: Boolean, |value| value;
    f32: Float, f64::from;
    f64: Float, |value| value;
    i16: Integer, i64::from;
    i32: Integer, i64::from;
    i64: Integer, |value| value;
    u8: Integer, i64::from;
    u16: Integer, i64::from;
    u32: Integer, i64::from;
    String: Text, |value| value;
    &str: Text, str::to_owned;
    &String: Text, String::clone;
    Vec<u8>: Bytes, |value| value;
    &[u8]: Bytes, <[u8]>::to_vec;
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! from_value {
    ($($kind:ty: $case:ident($value:ident) => $to:expr;)*) => {
        $(impl<'v> FromValue<'v> for $kind {
            fn from_value(value: &'v Value) -> Option<Self> {
                match value {
                    Value::$case($value) => $to,
                    _ => None,
                }
            }
        })*
    };
}

from_value! {
    bool: Boolean(value) => Some(*value);
    f64: Float(value) => Some(*value);
    i16: Integer(value) => Self::try_from(*value).ok();
    i32: Integer(value) => Self::try_from(*value).ok();
    i64: Integer(value) => Some(*value);
    u32: Integer(value) => Self::try_from(*value).ok();
    u64: Integer(value) => Self::try_from(*value).ok();
    usize: Integer(value) => Self::try_from(*value).ok();
    String: Text(value) => Some(value.clone());
    &'v str: Text(value) => Some(value);
    Vec<u8>: Bytes(value) => Some(value.clone());
    &'v [u8]: Bytes(value) => Some(value);
}

impl<'v> FromValue<'v> for &'v Value {
    fn from_value(value: &'v Value) -> Option<Self> {
        Some(value)
    }
}

impl<'v, T: FromValue<'v>> FromValue<'v> for Option<T> {
    fn from_value(value: &'v Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl Error {
    /// The SQLSTATE of a fault.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Fault(fault) => Some(&fault.code),
            Self::Host(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{} (SQLSTATE {})", fault.message, fault.code),
            Self::Host(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        Self::Host(error)
    }
}

/// A fault is the guest's own failure.
impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Fault(_) => Self::internal(error),
            Error::Host(error) => error,
        }
    }
}

/// Lets `?` end a handler: the client sees status 500, since a statement is not the client's.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        crate::Error::internal(self).into_response()
    }
}

impl From<wit::Failure> for Error {
    fn from(failure: wit::Failure) -> Self {
        match failure {
            wit::Failure::Fault(fault) => {
                let wit::Fault { code, message, detail, hint, constraint, position } = fault;
                Self::Fault(Box::new(Fault { code, message, detail, hint, constraint, position }))
            }
            wit::Failure::Host(error) => Self::Host(error.into()),
        }
    }
}

impl From<wit::Rows> for Rows {
    fn from(rows: wit::Rows) -> Self {
        let column = |wit::Column { name, type_name }| Column { name, type_name };
        Self {
            columns: rows.columns.into_iter().map(column).collect(),
            rows: rows.rows.into_iter().map(|row| row.into_iter().map(Value::from).collect()).collect(),
        }
    }
}

impl From<wit::Value> for Value {
    fn from(value: wit::Value) -> Self {
        match value {
            wit::Value::Boolean(boolean) => Self::Boolean(boolean),
            wit::Value::Bytes(bytes) => Self::Bytes(bytes),
            wit::Value::Float(float) => Self::Float(float),
            wit::Value::Integer(integer) => Self::Integer(integer),
            wit::Value::Null => Self::Null,
            wit::Value::Text(text) => Self::Text(text),
        }
    }
}

impl From<Value> for wit::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(boolean) => Self::Boolean(boolean),
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::Float(float) => Self::Float(float),
            Value::Integer(integer) => Self::Integer(integer),
            Value::Null => Self::Null,
            Value::Text(text) => Self::Text(text),
        }
    }
}

fn given(parameters: impl IntoIterator<Item = Value>) -> Vec<wit::Value> {
    parameters.into_iter().map(Into::into).collect()
}

fn wrong(what: String) -> Error {
    Error::Host(crate::Error::Internal(what))
}

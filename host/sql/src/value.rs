//! Values, and their way to the server as parameters.
//!
//! Every parameter but bytes goes as text, which the server reads as the type that the statement gives the parameter. So
//! a text can be a date or a number of any length, and a whole number can be the value of a column of any numeric type.

use std::error::Error as StdError;
use std::fmt;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

/// A value of a parameter or of a column.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A truth value.
    Boolean(bool),
    /// A number with a binary fraction.
    Float(f64),
    /// A whole number.
    Integer(i64),
    /// Nothing.
    Null,
    /// A text, or a value of any other type as text.
    Text(String),
}

impl Value {
    /// The bytes outside of the value itself.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
            _ => 0,
        }
    }
}

/// Shows the kind alone: a value is its tenant's, and belongs in no log.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "bytes",
            Self::Boolean(_) => "boolean",
            Self::Float(_) => "float",
            Self::Integer(_) => "integer",
            Self::Null => "null",
            Self::Text(_) => "text",
        })
    }
}

impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Bytes(bytes) => out.put_slice(bytes),
            Self::Boolean(boolean) => out.put_slice(if *boolean { b"true" } else { b"false" }),
            Self::Float(float) => out.put_slice(float_text(*float).as_bytes()),
            Self::Integer(integer) => out.put_slice(integer.to_string().as_bytes()),
            Self::Null => return Ok(IsNull::Yes),
            Self::Text(text) => out.put_slice(text.as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.to_sql(kind, out)
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self {
            Self::Bytes(_) => Format::Binary,
            _ => Format::Text,
        }
    }
}

/// A number with a fraction in the server's words.
pub(crate) fn float_text(float: f64) -> String {
    if float.is_nan() {
        return "NaN".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    format!("{float:?}")
}

//! Complete messages, as the codec returns them: reference-counted bytes, and text that is known to be UTF-8.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::utf8::InvalidUtf8;

/// A complete message.
///
/// The bytes may share the buffer that they were read into. A holder that keeps a small message for long keeps that
/// buffer, and should copy the message instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// Bytes (opcode 2).
    Binary(Bytes),
    /// Text (opcode 1).
    Text(Text),
}

impl Message {
    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Binary(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }

    /// The payload's size in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty, which is allowed.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

/// Immutable UTF-8 that is cheap to clone.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Text(Bytes);

impl Text {
    /// Checks bytes and takes them as text.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, InvalidUtf8> {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(InvalidUtf8),
        }
    }

    /// Takes bytes as text that a `Utf8Validator` has accepted, to its end.
    pub(crate) fn from_validated(bytes: Bytes) -> Self {
        debug_assert!(std::str::from_utf8(&bytes).is_ok());
        Self(bytes)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: the bytes are UTF-8: `from_bytes` has checked them, and the decoder calls `from_validated` only after
        // its validator, which the property tests compare with std's, has accepted all of them. They are immutable
        // since.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }

    /// The text's bytes, still shared.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

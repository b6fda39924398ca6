//! A field: the input of the encoder and the output of the decoder.

use bytes::Bytes;

/// The overhead of each field in bytes, in a dynamic table (RFC 9204 section 3.2.1) and against
/// SETTINGS_MAX_FIELD_SECTION_SIZE (RFC 9114 section 4.2.2).
pub(crate) const FIELD_OVERHEAD: u64 = 32;

/// A decoded field line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Name, as sent; pseudo-header names keep their colon.
    pub name: Bytes,
    /// Value, as sent.
    pub value: Bytes,
    /// The N bit (RFC 9204 section 7.1.3): a forwarder of this field must send it as a never-indexed literal too.
    pub never_indexed: bool,
}

impl Field {
    /// Name length + value length + 32, in bytes.
    pub fn size(&self) -> u64 {
        FieldRef::from(self).size()
    }
}

/// A field line to encode.
///
/// Built from `(name, value)` pairs of bytes or text, or from a [`Field`], whose N bit it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRef<'a> {
    /// Name in lower case; pseudo-header names with their colon.
    pub name: &'a [u8],
    /// Value.
    pub value: &'a [u8],
    /// Whether to send the field as a never-indexed literal, whatever its name. The encoder does so for credentials in
    /// any case.
    ///
    /// # Defaults
    /// `false` when built from a pair.
    pub never_indexed: bool,
}

impl FieldRef<'_> {
    /// Name length + value length + 32, in bytes: the size that counts against the peer's
    /// SETTINGS_MAX_FIELD_SECTION_SIZE.
    pub fn size(&self) -> u64 {
        self.name.len() as u64 + self.value.len() as u64 + FIELD_OVERHEAD
    }
}

impl<'a> From<&'a Field> for FieldRef<'a> {
    fn from(field: &'a Field) -> Self {
        Self { name: &field.name, value: &field.value, never_indexed: field.never_indexed }
    }
}

impl<'a> From<(&'a [u8], &'a [u8])> for FieldRef<'a> {
    fn from((name, value): (&'a [u8], &'a [u8])) -> Self {
        Self { name, value, never_indexed: false }
    }
}

impl<'a> From<(&'a str, &'a str)> for FieldRef<'a> {
    fn from((name, value): (&'a str, &'a str)) -> Self {
        (name.as_bytes(), value.as_bytes()).into()
    }
}

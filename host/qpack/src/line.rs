//! Field line representations (RFC 9204 sections 4.5.2 to 4.5.6).

use crate::error::Reason;
use crate::reader::{ReadError, Reader, write_integer};
use crate::string::{StringLiteral, write_string};

/// An index in a field section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// Relative to the Base, upwards (RFC 9204 section 3.2.6).
    PostBase(u64),
    /// Relative to the Base, downwards (section 3.2.5).
    Relative(u64),
    /// Into the static table (section 3.1).
    Static(u64),
}

/// One field line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Indexed(Reference),
    Literal { name: Name<'a>, value: StringLiteral<'a>, never_indexed: bool },
}

/// The name of a literal field line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    Literal(StringLiteral<'a>),
    Reference(Reference),
}

impl<'a> Line<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, ReadError> {
        let first = reader.peek()?;
        let static_table = |bit: u8| first & bit != 0;
        if first & 0x80 != 0 {
            // Section 4.5.2: 1 T index(6+).
            let index = reader.integer(6)?;
            return Ok(Self::Indexed(match static_table(0x40) {
                true => Reference::Static(index),
                false => Reference::Relative(index),
            }));
        }
        let (name, never_indexed) = if first & 0x40 != 0 {
            // Section 4.5.4: 01 N T index(4+).
            let index = reader.integer(4)?;
            let reference = match static_table(0x10) {
                true => Reference::Static(index),
                false => Reference::Relative(index),
            };
            (Name::Reference(reference), first & 0x20 != 0)
        } else if first & 0x20 != 0 {
            // Section 4.5.6: 001 N H length(3+).
            (Name::Literal(read_string(reader, 3)?), first & 0x10 != 0)
        } else if first & 0x10 != 0 {
            // Section 4.5.3: 0001 index(4+).
            return Ok(Self::Indexed(Reference::PostBase(reader.integer(4)?)));
        } else {
            // Section 4.5.5: 0000 N index(3+).
            let reference = Reference::PostBase(reader.integer(3)?);
            (Name::Reference(reference), first & 0x08 != 0)
        };
        Ok(Self::Literal { name, value: read_string(reader, 7)?, never_indexed })
    }
}

pub(crate) fn write_indexed(out: &mut Vec<u8>, reference: Reference) {
    match reference {
        Reference::PostBase(index) => write_integer(out, 0x10, 4, index),
        Reference::Relative(index) => write_integer(out, 0x80, 6, index),
        Reference::Static(index) => write_integer(out, 0xc0, 6, index),
    }
}

/// Writes a literal line; its name is `name`, unless `reference` replaces it.
pub(crate) fn write_literal(
    out: &mut Vec<u8>,
    reference: Option<Reference>,
    name: &[u8],
    value: &[u8],
    never_indexed: bool,
) {
    let n = u8::from(never_indexed);
    match reference {
        Some(Reference::PostBase(index)) => write_integer(out, n << 3, 3, index),
        Some(Reference::Relative(index)) => write_integer(out, 0x40 | n << 5, 4, index),
        Some(Reference::Static(index)) => write_integer(out, 0x50 | n << 5, 4, index),
        None => write_string(out, 0x20 | n << 4, 3, name),
    }
    write_string(out, 0, 7, value);
}

/// Reads a string. The section, which is already in memory, bounds it.
fn read_string<'a>(reader: &mut Reader<'a>, prefix_bits: u32) -> Result<StringLiteral<'a>, ReadError> {
    reader.string(prefix_bits, u64::MAX, |_| Reason::Truncated)
}

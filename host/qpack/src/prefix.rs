//! The prefix of an encoded field section: Required Insert Count and Base (RFC 9204 section 4.5.1).

use crate::error::Reason;
use crate::field::FIELD_OVERHEAD;
use crate::reader::{ReadError, Reader, write_integer};

/// The dynamic table entries that a field section needs, and the base of its indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SectionPrefix {
    /// One more than the largest absolute index in the section; 0 when it refers to no dynamic entry.
    pub(crate) required_insert_count: u64,
    pub(crate) base: u64,
}

impl SectionPrefix {
    /// Reads a prefix. `inserted` is the number of entries that this decoder has received.
    pub(crate) fn read(reader: &mut Reader<'_>, max_entries: u64, inserted: u64) -> Result<Self, ReadError> {
        let encoded = reader.integer(8)?;
        let required_insert_count = required_insert_count(encoded, max_entries, inserted)
            .ok_or(ReadError::Invalid(Reason::RequiredInsertCount { encoded }))?;
        let negative = reader.peek()? & 0x80 != 0;
        let delta = reader.integer(7)?;
        // RFC 9204 section 4.5.1.2: a Base below zero is invalid. Both sums stay below 2^63 + 2^62.
        let base = match negative {
            false => required_insert_count + delta,
            true => required_insert_count
                .checked_sub(delta + 1)
                .ok_or(ReadError::Invalid(Reason::NegativeBase { required_insert_count, delta }))?,
        };
        Ok(Self { required_insert_count, base })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, max_entries: u64) {
        if self.required_insert_count == 0 {
            // RFC 9204 section 4.5.1.2: with no reference any Base will do, and zero is the shortest.
            out.extend([0, 0]);
            return;
        }
        let encoded = self.required_insert_count % (2 * max_entries) + 1;
        write_integer(out, 0, 8, encoded);
        match self.base.checked_sub(self.required_insert_count) {
            Some(delta) => write_integer(out, 0, 7, delta),
            None => write_integer(out, 0x80, 7, self.required_insert_count - self.base - 1),
        }
    }
}

/// The most entries that a table of `max_capacity` bytes can hold (RFC 9204 section 4.5.1.1).
pub(crate) fn max_entries(max_capacity: u64) -> u64 {
    max_capacity / FIELD_OVERHEAD
}

/// Undoes the wrap of the encoded count, with the algorithm of RFC 9204 section 4.5.1.1.
fn required_insert_count(encoded: u64, max_entries: u64, inserted: u64) -> Option<u64> {
    if encoded == 0 {
        return Some(0);
    }
    let full_range = 2 * max_entries;
    if encoded > full_range {
        return None;
    }
    let max_value = inserted + max_entries;
    let wrapped = max_value / full_range * full_range;
    let mut count = wrapped + encoded - 1;
    if count > max_value {
        count = count.checked_sub(full_range)?;
    }
    // Zero has a separate encoding.
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every count that a decoder can meet, across several turns of the wrap.
    #[test]
    fn counts_survive_the_wrap() {
        for max_entries in [1u64, 2, 3, 6, 128] {
            for inserted in 0..(max_entries * 7) {
                let oldest = inserted.saturating_sub(max_entries) + 1;
                for count in oldest..=inserted + max_entries {
                    for base in [0, count - 1, count, count + 3] {
                        let prefix = SectionPrefix { required_insert_count: count, base };
                        let mut out = Vec::new();
                        prefix.write(&mut out, max_entries);
                        assert_eq!(SectionPrefix::read(&mut Reader::new(&out), max_entries, inserted), Ok(prefix));
                    }
                }
            }
        }
    }

    /// RFC 9204 section 4.5.1.1: the example with a table of 100 bytes.
    #[test]
    fn example() {
        assert_eq!(max_entries(100), 3);
        assert_eq!(required_insert_count(4, 3, 10), Some(9));
    }

    #[test]
    fn impossible_counts_are_refused() {
        assert_eq!(required_insert_count(1, 0, 0), None, "no table at all");
        assert_eq!(required_insert_count(7, 3, 10), None, "past the full range");
        assert_eq!(required_insert_count(1, 3, 0), None, "zero in disguise");
        assert_eq!(required_insert_count(6, 3, 0), None, "below zero");
    }

    #[test]
    fn base_below_zero_is_refused() {
        for (bytes, required_insert_count, delta) in [([0x03, 0x82], 2, 2), ([0x00, 0x80], 0, 0)] {
            assert_eq!(
                SectionPrefix::read(&mut Reader::new(&bytes), 6, 2),
                Err(ReadError::Invalid(Reason::NegativeBase { required_insert_count, delta }))
            );
        }
    }
}

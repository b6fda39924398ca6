//! The `Range` field (RFC 9110, 14) and ranges that a guest chose: text and a size in, the range of bytes out.
//!
//! One range is answered with 206. Several ranges in one request are answered with the whole file, which section 14.2
//! allows ("MAY ignore"): few clients still use `multipart/byteranges`, and it can make a server send the same bytes
//! many times.

use std::ops::Range;

/// The result of a `Range` field for a representation of a given size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// These bytes; never empty.
    Part(Range<u64>),
    /// No existing bytes: 416.
    Unsatisfiable,
    /// All bytes: the field is absent, malformed, in another unit, or lists several ranges.
    Whole,
}

/// Reads a `Range` field value against a representation of `size` bytes.
pub(crate) fn select(value: &[u8], size: u64) -> Selection {
    let Some((unit, set)) = std::str::from_utf8(value).ok().and_then(|text| text.split_once('=')) else {
        return Selection::Whole;
    };
    // 14.1: unit names are case-insensitive. 14.2: an unknown unit is ignored.
    if !unit.eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    // 5.6.1.2: empty list members are ignored.
    let mut members = set.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty());
    match (members.next(), members.next()) {
        (Some(member), None) => one(member, size),
        _ => Selection::Whole,
    }
}

fn one(spec: &str, size: u64) -> Selection {
    let Some((first, last)) = spec.split_once('-') else {
        return Selection::Whole;
    };
    if first.is_empty() {
        return match number(last) {
            // 14.1.2: a suffix of no bytes is unsatisfiable; a suffix longer than the file is the whole file.
            None => Selection::Whole,
            Some(0) => Selection::Unsatisfiable,
            // A Content-Range cannot express a range of an empty file, so an empty file is sent whole.
            Some(_) if size == 0 => Selection::Whole,
            Some(length) => Selection::Part(size.saturating_sub(length)..size),
        };
    }
    let (Some(first), Some(last)) = (number(first), if last.is_empty() { Some(u64::MAX) } else { number(last) }) else {
        return Selection::Whole;
    };
    if last < first {
        // 14.1.1: invalid, and so ignored.
        return Selection::Whole;
    }
    if first >= size {
        return Selection::Unsatisfiable;
    }
    Selection::Part(first..last.saturating_add(1).min(size))
}

/// Parses decimal digits and nothing else; a number too large for 64 bits is beyond any file, and saturates.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// A part of a file that a guest chose (WIT `byte-range`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte, from 0.
    pub start: u64,
    /// The number of bytes; `None` for the rest of the file. Bytes beyond the end of the file are cut off.
    pub length: Option<u64>,
}

impl ByteRange {
    /// The bytes of a file of `size` bytes; `None` when the range starts beyond the end.
    pub(crate) fn within(&self, size: u64) -> Option<Range<u64>> {
        if self.start > size {
            return None;
        }
        let end = self.length.map_or(size, |length| self.start.saturating_add(length).min(size));
        Some(self.start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_file_of_1000_bytes() {
        use Selection::{Part, Unsatisfiable, Whole};
        for (value, expected) in [
            ("bytes=0-499", Part(0..500)),
            ("bytes=500-999", Part(500..1000)),
            ("bytes=-500", Part(500..1000)),
            ("bytes=999-", Part(999..1000)),
            ("bytes=0-0", Part(0..1)),
            ("bytes=-1", Part(999..1000)),
            ("bytes=0-", Part(0..1000)),
            ("bytes=0-1000", Part(0..1000)),
            ("bytes=900-18446744073709551615", Part(900..1000)),
            ("bytes=900-99999999999999999999999", Part(900..1000)),
            ("bytes=-5000", Part(0..1000)),
            ("bytes=-99999999999999999999999", Part(0..1000)),
            ("BYTES=0-9", Part(0..10)),
            ("bytes= 0-9 ,", Part(0..10)),
            ("bytes=,,\t5-5", Part(5..6)),
            ("bytes=1000-", Unsatisfiable),
            ("bytes=1000-1001", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-4", Whole),
            ("bytes=0-1,4-5", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes", Whole),
            ("", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1-+2", Whole),
            ("bytes=1 - 2", Whole),
            ("bytes=--1", Whole),
            ("bytes=0x1-2", Whole),
            ("bytes 0-1", Whole),
            ("items=0-1", Whole),
            ("bytes =0-1", Whole),
        ] {
            assert_eq!(select(value.as_bytes(), 1000), expected, "{value}");
        }
        assert_eq!(select(b"bytes=\xff-1", 1000), Whole);
    }

    #[test]
    fn ranges_of_an_empty_file() {
        assert_eq!(select(b"bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(select(b"bytes=0-9", 0), Selection::Unsatisfiable);
        assert_eq!(select(b"bytes=-5", 0), Selection::Whole);
    }

    #[test]
    fn a_guests_range_is_cut_at_the_end() {
        let part = |start, length| ByteRange { start, length }.within(10);
        assert_eq!(part(0, None), Some(0..10));
        assert_eq!(part(3, Some(4)), Some(3..7));
        assert_eq!(part(3, Some(u64::MAX)), Some(3..10));
        assert_eq!(part(10, None), Some(10..10));
        assert_eq!(part(11, None), None);
        assert_eq!(part(u64::MAX, Some(u64::MAX)), None);
    }
}

//! Error codes of applications, which are carried as error codes of QUIC streams (draft-ietf-webtrans-http3 section
//! 4.3).
//!
//! They have a range of their own, in which every 31st number is reserved for grease (RFC 9114 section 8.1) and
//! skipped.

use quinn::VarInt;

/// The number on the wire for an application's code.
pub fn to_http(code: u32) -> u64 {
    let code = u64::from(code);
    FIRST + code + code / 0x1e
}

/// The application's code; `None` for a number that carries none. An application learns nothing more of such a number.
pub fn from_http(number: u64) -> Option<u32> {
    if !(FIRST..=LAST).contains(&number) || (number - 0x21).is_multiple_of(0x1f) {
        return None;
    }
    let shifted = number - FIRST;
    u32::try_from(shifted - shifted / 0x1f).ok()
}

/// An application's code as quinn expects it.
pub(crate) fn varint(code: u32) -> VarInt {
    // LAST is below 2^62, so it fits.
    VarInt::from_u64(to_http(code)).unwrap_or(VarInt::MAX)
}

const FIRST: u64 = 0x52e4_a40f_a8db;
const LAST: u64 = 0x52e5_ac98_3162;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn section_4_3_ends_of_the_range() {
        assert_eq!(to_http(0), FIRST);
        assert_eq!(to_http(u32::MAX), LAST);
        // draft-ietf-webtrans-http3-02 ends at 255.
        assert_eq!(to_http(255), 0x52e4_a40f_a9e2);
        for number in [0, 0x100, FIRST - 1, LAST + 1, u64::MAX] {
            assert_eq!(from_http(number), None);
        }
    }

    #[test]
    fn section_4_3_reserved_numbers_carry_nothing() {
        let reserved = (FIRST..FIRST + 0x1f * 4).filter(|number| from_http(*number).is_none());
        assert_eq!(reserved.count(), 4);
    }

    proptest! {
        #[test]
        fn round_trip(code: u32) {
            let number = to_http(code);
            prop_assert!(!(number - 0x21).is_multiple_of(0x1f));
            prop_assert_eq!(from_http(number), Some(code));
        }
    }
}

//! The time of a line. The part that it shares with the previous line, all but the fraction of the second, is cached.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

thread_local! {
    static SECOND: RefCell<(u64, Vec<u8>)> = const { RefCell::new((u64::MAX, Vec::new())) };
}

/// Writes `2000-10-10T13:55:36.000000Z`.
pub(crate) fn write(out: &mut Vec<u8>, now: SystemTime) {
    // A clock before 1970 is wrong anyway.
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            let now = OffsetDateTime::from(now);
            let (year, month, day) = now.to_calendar_date();
            let (hour, minute, seconds) = now.to_hms();
            text.clear();
            // Writing to memory cannot fail.
            let _ = write!(text, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{seconds:02}.", u8::from(month));
        }
        out.extend_from_slice(text);
    });
    let mut fraction = *b"000000Z";
    let mut micros = since.subsec_micros();
    for digit in fraction[..6].iter_mut().rev() {
        *digit = b'0' + (micros % 10) as u8;
        micros /= 10;
    }
    out.extend_from_slice(&fraction);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        for (micros, text) in [
            (971_186_136_000_000, "2000-10-10T13:55:36.000000Z"),
            (971_186_136_000_042, "2000-10-10T13:55:36.000042Z"),
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_709_251_199_999_999, "2024-02-29T23:59:59.999999Z"),
        ] {
            let mut out = Vec::new();
            write(&mut out, UNIX_EPOCH + Duration::from_micros(micros));
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}

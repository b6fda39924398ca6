//! The field `grpc-timeout`: the longest time that a caller waits for a call (PROTOCOL-HTTP2.md, Timeout).

use std::time::Duration;

use http::{HeaderMap, HeaderName};

/// The name of the field.
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The most digits of a timeout.
const MAX_DIGITS: usize = 8;

/// The timeout that the fields of a request ask for.
///
/// # Errors
/// The text that says why the field is not a timeout.
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, &'static str> {
    let mut values = headers.get_all(&TIMEOUT).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("grpc-timeout is given twice");
    }
    parse(value.as_bytes()).map(Some).ok_or("grpc-timeout is not valid")
}

/// At most eight digits and a unit.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<Duration>, &'static str> {
        let values = values.iter().map(|value| (TIMEOUT, HeaderValue::from_str(value).expect("a value")));
        timeout(&values.collect())
    }

    #[test]
    fn units_are_told_apart_by_case() {
        for (value, time) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0n", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(read(&[value]), Ok(Some(time)), "{value}");
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn other_texts_are_refused() {
        for value in ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "1 S", " 1S", "1SS", "+1S"] {
            assert!(read(&[value]).is_err(), "{value:?}");
        }
        assert!(read(&["1S", "1S"]).is_err());
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(value in proptest::collection::vec(any::<u8>(), 0..12)) {
            parse(&value);
        }
    }
}

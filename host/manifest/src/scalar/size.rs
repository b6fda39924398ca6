//! Sizes in bytes and plain counts, each with the range that its key allows.

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::Fault;
use crate::decode::{Context, Decode, Place, type_name};
use crate::section::Sets;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// A number of bytes between `MIN` and `MAX`: `"64KiB"`, `"128MiB"`, or an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bytes<MIN, MAX> {
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

/// Lets sizes set these types. The range of each key fits its type.
macro_rules! bytes_set {
    ($($plain:ty)*) => {$(
        impl<const MIN: u64, const MAX: u64> Sets<$plain> for Bytes<MIN, MAX> {
            fn get(&self) -> $plain {
                <$plain>::try_from(self.0).expect("the range of the key fits its type")
            }

            fn written(value: &$plain) -> Option<String> {
                Some(match format_size(*value as u64) {
                    bytes if bytes == "0" => "\"0B\"".to_owned(),
                    bytes => format!("\"{bytes}\""),
                })
            }
        }
    )*};
}

bytes_set! { u32 u64 usize }

impl<const MIN: u64, const MAX: u64> Sets<Option<u64>> for Bytes<MIN, MAX> {
    fn get(&self) -> Option<u64> {
        Some(self.0)
    }

    fn written(value: &Option<u64>) -> Option<String> {
        value.as_ref().and_then(<Self as Sets<u64>>::written)
    }
}

impl<const MIN: u64, const MAX: u64> Decode for Bytes<MIN, MAX> {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let parsed = match value.get_ref() {
            DeValue::String(text) => parse_size(text),
            DeValue::Integer(_) => integer(value.get_ref()),
            other => Err(Fault::new(format!("is {}", type_name(other)), "write a size, such as \"64KiB\"")),
        };
        let checked = parsed.and_then(|bytes| match bytes {
            bytes if bytes < MIN => Err(below(format_size(MIN))),
            bytes if bytes > MAX => Err(above(format_size(MAX))),
            bytes => Ok(Self(bytes)),
        });
        checked.map_err(|fault| context.report(value.span(), format!("{place} {}", fault.what), fault.fix)).ok()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "pattern": "^[0-9][0-9_]*(B|KiB|MiB|GiB)$" },
            { "type": "integer", "minimum": MIN, "maximum": MAX },
        ] })
    }

    fn kind() -> String {
        format!("a size, {} to {}", format_size(MIN), format_size(MAX))
    }
}

/// A whole number between `MIN` and `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Count<MIN, MAX> {
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

/// Lets counts set these types, and their options for keys whose absence has a meaning. The range of each key fits its
/// type.
macro_rules! counts_set {
    ($($plain:ty)*) => {$(
        impl<const MIN: u32, const MAX: u32> Sets<$plain> for Count<MIN, MAX> {
            fn get(&self) -> $plain {
                <$plain>::try_from(self.0).expect("the range of the key fits its type")
            }

            fn written(value: &$plain) -> Option<String> {
                Some(grouped(*value as u64))
            }
        }

        impl<const MIN: u32, const MAX: u32> Sets<Option<$plain>> for Count<MIN, MAX> {
            fn get(&self) -> Option<$plain> {
                Some(Sets::get(self))
            }

            fn written(value: &Option<$plain>) -> Option<String> {
                value.as_ref().and_then(<Self as Sets<$plain>>::written)
            }
        }
    )*};
}

counts_set! { u16 u32 u64 usize }

/// A number with `_` between groups of three digits, from five digits on.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

impl<const MIN: u32, const MAX: u32> Decode for Count<MIN, MAX> {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let checked = integer(value.get_ref()).and_then(|number| match u32::try_from(number) {
            Ok(number) if number < MIN => Err(below(MIN.to_string())),
            Ok(number) if number <= MAX => Ok(Self(number)),
            _ => Err(above(MAX.to_string())),
        });
        checked.map_err(|fault| context.report(value.span(), format!("{place} {}", fault.what), fault.fix)).ok()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }

    fn kind() -> String {
        format!("a number, {MIN} to {MAX}")
    }
}

/// The shortest exact way to write a size: `128MiB`, `1500B`.
pub fn format_size(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        bytes if bytes % GIB == 0 => format!("{}GiB", bytes / GIB),
        bytes if bytes % MIB == 0 => format!("{}MiB", bytes / MIB),
        bytes if bytes % KIB == 0 => format!("{}KiB", bytes / KIB),
        bytes => format!("{bytes}B"),
    }
}

fn integer(value: &DeValue<'_>) -> Result<u64, Fault> {
    let DeValue::Integer(integer) = value else {
        let fix = match value.as_str() {
            Some(text) if text.parse::<u64>().is_ok() => format!("write {text}, without quotes"),
            _ => "write a whole number, without quotes".to_owned(),
        };
        return Err(Fault::new(format!("is {}", type_name(value)), fix));
    };
    if integer.as_str().starts_with('-') {
        return Err(Fault::new("is negative", "write a number from 0"));
    }
    // A number over 64 bits is over every range.
    Ok(u64::from_str_radix(integer.as_str().trim_start_matches('+'), integer.radix()).unwrap_or(u64::MAX))
}

fn parse_size(text: &str) -> Result<u64, Fault> {
    let fault = || Fault::new(format!("is \"{text}\", not a size"), "write a size, such as \"64KiB\" or \"128MiB\"");
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'_').count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let number: u64 = match number.replace('_', "").parse() {
        Ok(number) => number,
        Err(_) if number.bytes().any(|b| b.is_ascii_digit()) => u64::MAX,
        Err(_) => return Err(fault()),
    };
    let factor = match unit {
        "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        "" => {
            return Err(Fault::new(
                format!("is \"{text}\", without a unit"),
                format!("write \"{number}B\" or {number}"),
            ));
        }
        other => {
            let meant = match other.to_ascii_lowercase().as_str() {
                "b" | "byte" | "bytes" => "B",
                "k" | "kb" | "kib" => "KiB",
                "m" | "mb" | "mib" => "MiB",
                "g" | "gb" | "gib" => "GiB",
                _ => return Err(fault()),
            };
            let fix = format!("did you mean \"{number}{meant}\"? Units are B, KiB, MiB and GiB");
            return Err(Fault::new(format!("is \"{text}\", and `{other}` is no unit"), fix));
        }
    };
    Ok(number.saturating_mul(factor))
}

fn below(min: String) -> Fault {
    Fault::new("is too little", format!("write at least {min}"))
}

fn above(max: String) -> Fault {
    Fault::new("is too much", format!("write at most {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64KiB"), Ok(65536));
        assert_eq!(parse_size("1_000B"), Ok(1000));
        assert_eq!(parse_size("2 MiB"), Ok(2 * MIB));
        for wrong in ["", "KiB", "12", "1.5MiB", "-1B", "1TiB", "_"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_size("99999999999999999999B"), Ok(u64::MAX));
        assert_eq!(parse_size("18446744073709551615GiB"), Ok(u64::MAX));
        assert!(parse_size("64kb").expect_err("no unit").fix.contains("\"64KiB\""));
    }

    #[test]
    fn long_numbers_are_grouped() {
        for (number, text) in
            [(0, "0"), (1000, "1000"), (16_384, "16_384"), (131_072, "131_072"), (1_000_000, "1_000_000")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn sizes_are_shown_as_they_are_written() {
        for bytes in [0, 1, 1500, 1024, 3 * MIB, 7 * GIB] {
            let shown = format_size(bytes);
            assert_eq!(if bytes == 0 { Ok(0) } else { parse_size(&shown) }, Ok(bytes), "{shown}");
        }
    }
}

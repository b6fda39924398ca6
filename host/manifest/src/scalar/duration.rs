//! Durations: a whole number and a unit, `"250ms"`, `"10s"`, `"5m"`, `"1h"`, `"2d"`.

use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::Fault;
use crate::decode::{Context, Decode, Place, type_name};
use crate::section::Sets;

pub(crate) const SECOND: u64 = 1000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// A duration between `MIN` and `MAX` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Time<MIN, MAX> {
    pub(crate) fn get(self) -> Duration {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Sets<Duration> for Time<MIN, MAX> {
    fn get(&self) -> Duration {
        self.0
    }

    fn written(value: &Duration) -> Option<String> {
        Some(format!("\"{}\"", format_duration(*value)))
    }
}

impl<const MIN: u64, const MAX: u64> Sets<Option<Duration>> for Time<MIN, MAX> {
    fn get(&self) -> Option<Duration> {
        Some(self.0)
    }

    fn written(value: &Option<Duration>) -> Option<String> {
        value.as_ref().and_then(<Self as Sets<Duration>>::written)
    }
}

impl<const MIN: u64, const MAX: u64> Decode for Time<MIN, MAX> {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let parsed = match value.get_ref() {
            DeValue::String(text) => parse_duration(text),
            DeValue::Integer(number) => {
                Err(Fault::new("is a number without a unit", format!("write \"{number}s\" or \"{number}ms\"")))
            }
            other => Err(Fault::new(format!("is {}", type_name(other)), "write a duration, such as \"10s\"")),
        };
        let checked = parsed.and_then(|ms| match ms {
            ms if ms < MIN => Err(Fault::new("is too short", format!("write at least \"{}\"", format_ms(MIN)))),
            ms if ms > MAX => Err(Fault::new("is too long", format!("write at most \"{}\"", format_ms(MAX)))),
            ms => Ok(Self(Duration::from_millis(ms))),
        });
        checked.map_err(|fault| context.report(value.span(), format!("{place} {}", fault.what), fault.fix)).ok()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }

    fn kind() -> String {
        format!("a duration, {} to {}", format_ms(MIN), format_ms(MAX))
    }
}

/// A value, or `"none"`, which also lifts the value of an outer section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

impl<const MIN: u64, const MAX: u64> OrNone<Time<MIN, MAX>> {
    pub(crate) fn get(self) -> Option<Duration> {
        self.0.map(Time::get)
    }
}

impl<T: Sets<V>, V> Sets<Option<V>> for OrNone<T> {
    fn get(&self) -> Option<V> {
        self.0.as_ref().map(Sets::get)
    }

    fn written(value: &Option<V>) -> Option<String> {
        value.as_ref().map_or_else(|| Some("\"none\"".to_owned()), T::written)
    }
}

impl<T: Decode> Decode for OrNone<T> {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        if value.get_ref().as_str() == Some("none") {
            return Some(Self(None));
        }
        T::decode(value, place, context).map(|decoded| Self(Some(decoded)))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "none" }, T::schema(generator)] })
    }

    fn kind() -> String {
        format!("{}, or `\"none\"`", T::kind())
    }
}

/// The shortest exact way to write a duration of whole milliseconds: `90s`, `5m`.
pub fn format_duration(duration: Duration) -> String {
    format_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn format_ms(ms: u64) -> String {
    match ms {
        0 => "0ms".to_owned(),
        ms if ms % DAY == 0 => format!("{}d", ms / DAY),
        ms if ms % HOUR == 0 => format!("{}h", ms / HOUR),
        ms if ms % MINUTE == 0 => format!("{}m", ms / MINUTE),
        ms if ms % SECOND == 0 => format!("{}s", ms / SECOND),
        ms => format!("{ms}ms"),
    }
}

fn parse_duration(text: &str) -> Result<u64, Fault> {
    let fault = || {
        Fault::new(format!("is \"{text}\", not a duration"), "write a duration, such as \"250ms\", \"10s\" or \"5m\"")
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(fault());
    }
    // A number over 64 bits is over every range.
    let number: u64 = number.parse().unwrap_or(u64::MAX);
    let factor = match unit {
        "ms" => 1,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        "" => return Err(Fault::new("has no unit", format!("write \"{number}s\" or \"{number}ms\""))),
        other => {
            let meant = match other.trim().to_ascii_lowercase().as_str() {
                "ms" | "msec" | "millis" | "milliseconds" => "ms",
                "s" | "sec" | "secs" | "second" | "seconds" => "s",
                "m" | "min" | "mins" | "minute" | "minutes" => "m",
                "h" | "hr" | "hour" | "hours" => "h",
                "d" | "day" | "days" => "d",
                _ => return Err(fault()),
            };
            let fix = format!("did you mean \"{number}{meant}\"? Units are ms, s, m, h and d");
            return Err(Fault::new(format!("is \"{text}\", and `{}` is no unit", other.trim()), fix));
        }
    };
    Ok(number.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("250ms"), Ok(250));
        assert_eq!(parse_duration("10s"), Ok(10_000));
        assert_eq!(parse_duration("2d"), Ok(2 * DAY));
        for wrong in ["", "s", "10", "1.5s", "-1s", "1m30s", "10 s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration("99999999999999999999s"), Ok(u64::MAX));
        assert_eq!(parse_duration("18446744073709551615d"), Ok(u64::MAX));
        assert!(parse_duration("10 seconds").expect_err("no unit").fix.contains("\"10s\""));
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for ms in [0, 1, 1500, 90 * SECOND, 5 * MINUTE, 36 * HOUR, 3 * DAY] {
            assert_eq!(parse_duration(&format_ms(ms)), Ok(ms));
        }
    }
}

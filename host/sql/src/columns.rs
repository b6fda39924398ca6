//! Values on their way from the server, which sends them in the binary forms of their types.
//!
//! | type | value |
//! |---|---|
//! | `bool` | boolean |
//! | `int2`, `int4`, `int8`, `oid` | integer |
//! | `float4`, `float8` | float |
//! | `bytea` | bytes |
//! | `void` | null |
//! | `text` and its kin, `json`, `jsonb`, `xml`, `citext`, enumerations | text |
//! | `numeric` | text, with every digit |
//! | `uuid`, `inet`, `cidr` | text, as the server writes it |
//! | `date`, `time`, `timetz`, `timestamp` | text in the form of ISO 8601 |
//! | `timestamptz` | text in the form of RFC 3339, in UTC |
//! | `interval` | text, a duration in the form of ISO 8601 |
//! | arrays of these | text, as the server writes it: `{1,2}` |
//!
//! A statement with a column of another type is refused before it runs, and can cast the column to `text`.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio_postgres::types::{FromSql, Kind, Type};
use tokio_postgres::{Column, Row};

use crate::value::{Value, float_text};

/// Days from 1970-01-01 to 2000-01-01, from which the server counts.
const EPOCH: i64 = 10_957;

const MICROS_OF_DAY: i64 = 86_400_000_000;

/// The bytes of a column, as they came.
struct Raw<'r>(&'r [u8]);

impl<'r> FromSql<'r> for Raw<'r> {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The column whose values cannot be read, if there is one.
pub(crate) fn unreadable(columns: &[Column]) -> Option<&Column> {
    columns.iter().find(|column| !is_readable(column.type_()))
}

/// The values of a row; none if the server has sent something that is not of its type.
pub(crate) fn values(row: &Row) -> Option<Vec<Value>> {
    let value = |(index, column): (usize, &Column)| match row.try_get::<_, Option<Raw<'_>>>(index).ok()? {
        Some(Raw(raw)) => read(column.type_(), raw),
        None => Some(Value::Null),
    };
    row.columns().iter().enumerate().map(value).collect()
}

fn is_readable(kind: &Type) -> bool {
    match kind.kind() {
        Kind::Array(element) => !matches!(element.kind(), Kind::Array(_)) && is_readable(element),
        Kind::Domain(base) => is_readable(base),
        Kind::Enum(_) => true,
        _ => {
            is_text(kind)
                || matches!(
                    *kind,
                    Type::BOOL
                        | Type::BYTEA
                        | Type::CIDR
                        | Type::DATE
                        | Type::FLOAT4
                        | Type::FLOAT8
                        | Type::INET
                        | Type::INT2
                        | Type::INT4
                        | Type::INT8
                        | Type::INTERVAL
                        | Type::JSONB
                        | Type::NUMERIC
                        | Type::OID
                        | Type::TIME
                        | Type::TIMESTAMP
                        | Type::TIMESTAMPTZ
                        | Type::TIMETZ
                        | Type::UUID
                        | Type::VOID
                )
        }
    }
}

fn is_text(kind: &Type) -> bool {
    matches!(*kind, Type::BPCHAR | Type::JSON | Type::NAME | Type::TEXT | Type::UNKNOWN | Type::VARCHAR | Type::XML)
        || kind.name() == "citext"
}

fn read(kind: &Type, raw: &[u8]) -> Option<Value> {
    match kind.kind() {
        Kind::Array(element) => return array(element, raw).map(Value::Text),
        Kind::Domain(base) => return read(base, raw),
        Kind::Enum(_) => return text(raw),
        _ if is_text(kind) => return text(raw),
        _ => {}
    }
    Some(match *kind {
        Type::BOOL => Value::Boolean(raw != [0]),
        Type::BYTEA => Value::Bytes(raw.to_owned()),
        Type::CIDR | Type::INET => Value::Text(address(raw)?),
        Type::DATE => Value::Text(date(i32::from_be_bytes(raw.try_into().ok()?))),
        // By way of its digits: 0.1 stays 0.1.
        Type::FLOAT4 => Value::Float(f32::from_be_bytes(raw.try_into().ok()?).to_string().parse().ok()?),
        Type::FLOAT8 => Value::Float(f64::from_be_bytes(raw.try_into().ok()?)),
        Type::INT2 => Value::Integer(i16::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT4 => Value::Integer(i32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT8 => Value::Integer(i64::from_be_bytes(raw.try_into().ok()?)),
        Type::INTERVAL => Value::Text(interval(raw)?),
        Type::JSONB => text(raw.strip_prefix(&[1])?)?,
        Type::NUMERIC => Value::Text(numeric(raw)?),
        Type::OID => Value::Integer(u32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::TIME => Value::Text(time(i64::from_be_bytes(raw.try_into().ok()?))),
        Type::TIMESTAMP => Value::Text(timestamp(i64::from_be_bytes(raw.try_into().ok()?), "")),
        Type::TIMESTAMPTZ => Value::Text(timestamp(i64::from_be_bytes(raw.try_into().ok()?), "Z")),
        Type::TIMETZ => Value::Text(zoned_time(raw)?),
        Type::UUID => Value::Text(uuid(raw.try_into().ok()?)),
        Type::VOID => Value::Null,
        _ => return None,
    })
}

fn text(raw: &[u8]) -> Option<Value> {
    Some(Value::Text(std::str::from_utf8(raw).ok()?.to_owned()))
}

fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let (year, month, day) = civil(i64::from(days) + EPOCH);
            dated(year, month, day, "")
        }
    }
}

fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => {
            let (year, month, day) = civil(micros.div_euclid(MICROS_OF_DAY) + EPOCH);
            dated(year, month, day, &format!("T{}{zone}", time(micros.rem_euclid(MICROS_OF_DAY))))
        }
    }
}

/// A date, and what follows it. The server reads years before the first with `BC`.
fn dated(year: i64, month: i64, day: i64, rest: &str) -> String {
    match year {
        1.. => format!("{year:04}-{month:02}-{day:02}{rest}"),
        _ => format!("{:04}-{month:02}-{day:02}{rest} BC", 1 - year),
    }
}

fn time(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    push_fraction(&mut text, fraction);
    text
}

fn zoned_time(raw: &[u8]) -> Option<String> {
    let (micros, west) = raw.split_first_chunk::<8>()?;
    let east = -i32::from_be_bytes(west.try_into().ok()?);
    let sign = if east < 0 { '-' } else { '+' };
    let (hours, minutes, seconds) = (east.abs() / 3600, east.abs() / 60 % 60, east.abs() % 60);
    let mut text = format!("{}{sign}{hours:02}:{minutes:02}", time(i64::from_be_bytes(*micros)));
    if seconds != 0 {
        let _ = write!(text, ":{seconds:02}");
    }
    Some(text)
}

/// Adds the digits after the point, without zeros at the end.
fn push_fraction(text: &mut String, micros: i64) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
}

fn interval(raw: &[u8]) -> Option<String> {
    let (micros, rest) = raw.split_first_chunk::<8>()?;
    let (days, months) = rest.split_first_chunk::<4>()?;
    let micros = i64::from_be_bytes(*micros);
    let (days, months) = (i32::from_be_bytes(*days), i32::from_be_bytes(months.try_into().ok()?));
    let mut text = "P".to_owned();
    for (count, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if count != 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    if micros != 0 {
        text.push('T');
        let seconds = micros / 1_000_000;
        for (count, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
            if count != 0 {
                let _ = write!(text, "{count}{unit}");
            }
        }
        let (rest, fraction) = (seconds % 60, micros % 1_000_000);
        if rest != 0 || fraction != 0 {
            if micros < 0 {
                text.push('-');
            }
            let _ = write!(text, "{}", rest.abs());
            push_fraction(&mut text, fraction.abs());
            text.push('S');
        }
    }
    if text == "P" {
        text += "T0S";
    }
    Some(text)
}

/// Groups of four decimal digits: their number, the power of the first, the sign, the digits after the point.
fn numeric(raw: &[u8]) -> Option<String> {
    let (header, groups) = raw.split_first_chunk::<8>()?;
    let part = |index: usize| i16::from_be_bytes([header[index], header[index + 1]]);
    let (weight, sign, scale) = (i32::from(part(2)), part(4).cast_unsigned(), usize::from(part(6).cast_unsigned()));
    match sign {
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let groups: Vec<u16> = groups.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let group = |power: i32| {
        let index = usize::try_from(weight - power).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    if sign == 0x4000 {
        text.push('-');
    }
    let _ = write!(text, "{}", group(weight.max(0)));
    for power in (0..weight.max(0)).rev() {
        let _ = write!(text, "{:04}", group(power));
    }
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut power = -1;
        while text.len() < end {
            let _ = write!(text, "{:04}", group(power));
            power -= 1;
        }
        text.truncate(end);
    }
    Some(text)
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn address(raw: &[u8]) -> Option<String> {
    let ([_, bits, is_network, _], address) = raw.split_first_chunk::<4>()?;
    let (text, all) = match *address {
        [a, b, c, d] => (Ipv4Addr::new(a, b, c, d).to_string(), 32),
        _ => (Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string(), 128),
    };
    Some(if *is_network == 0 && *bits == all { text } else { format!("{text}/{bits}") })
}

/// Dimensions, with their lengths and lower bounds, and then the elements.
fn array(element: &Type, raw: &[u8]) -> Option<String> {
    let mut rest = raw;
    let mut number = || {
        let (number, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        Some(i32::from_be_bytes(*number))
    };
    let (dimensions, _has_nulls, _element) = (number()?, number()?, number()?);
    let mut lengths = Vec::new();
    let mut bounds = String::new();
    let mut has_bounds = false;
    for _ in 0..dimensions {
        let (length, first) = (number()?, number()?);
        has_bounds |= first != 1;
        let _ = write!(bounds, "[{first}:{}]", i64::from(first) + i64::from(length) - 1);
        lengths.push(usize::try_from(length).ok()?);
    }
    let mut text = if has_bounds { bounds + "=" } else { String::new() };
    match lengths.is_empty() {
        true => text += "{}",
        false => elements(element, &lengths, &mut rest, &mut text)?,
    }
    Some(text)
}

fn elements(element: &Type, lengths: &[usize], rest: &mut &[u8], text: &mut String) -> Option<()> {
    let (length, inner) = lengths.split_first()?;
    text.push('{');
    for index in 0..*length {
        if index > 0 {
            text.push(',');
        }
        if !inner.is_empty() {
            elements(element, inner, rest, text)?;
            continue;
        }
        let (size, after) = rest.split_first_chunk::<4>()?;
        let Ok(size) = usize::try_from(i32::from_be_bytes(*size)) else {
            *rest = after;
            text.push_str("NULL");
            continue;
        };
        let (raw, after) = after.split_at_checked(size)?;
        *rest = after;
        push_element(text, &read(element, raw)?);
    }
    text.push('}');
    Some(())
}

fn push_element(text: &mut String, value: &Value) {
    let written = match value {
        Value::Boolean(boolean) => return text.push(if *boolean { 't' } else { 'f' }),
        Value::Bytes(bytes) => bytes.iter().fold("\\x".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
        Value::Float(float) => float_text(*float),
        Value::Integer(integer) => integer.to_string(),
        Value::Null => return text.push_str("NULL"),
        Value::Text(text) => text.clone(),
    };
    let is_plain = !written.is_empty()
        && !written.eq_ignore_ascii_case("null")
        && !written.contains(|c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_whitespace());
    if is_plain {
        return text.push_str(&written);
    }
    text.push('"');
    for c in written.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

/// The year, month and day of a day that is counted from 1970-01-01, in the Gregorian calendar before its time, too.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March, so that the leap day is the last. 400 of them have 146 097 days.
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next, month, day_of_month)
}

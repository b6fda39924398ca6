//! Route patterns: `/users/:id`, `/files/*path`.
//!
//! A pattern is segments between slashes. `:name` captures one segment that is not empty; `*name` captures all that
//! is left, slashes and nothing included, and must be last; anything else is literal. A pattern that ends in a
//! slash has an empty last segment and answers only for paths that end in one. Literals are percent-decoded, so a
//! literal that starts with `:` or `*` is written with `%3A` or `%2A`.
//!
//! Not covered: parts of segments (`/:name.json`), optional segments, regular expressions.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use schemars::{Schema, json_schema};

use crate::scalar::{Fault, Text};

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Exactly this text, percent-decoded. It is empty only as the last segment of a pattern that ends in a slash.
    Literal(String),
    /// One segment that is not empty, captured under this name.
    Param(String),
    /// The rest of the path, captured under this name. Always last.
    Rest(String),
}

/// A checked pattern. Equal patterns have equal text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoutePattern {
    text: String,
    segments: Vec<Segment>,
}

impl RoutePattern {
    /// Reads a pattern. The error says which part is wrong.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        Self::checked(text).map_err(|fault| InvalidPattern {
            pattern: text.to_owned(),
            what: fault.what,
            fix: fault.fix,
        })
    }

    pub(crate) fn checked(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::new("is empty", "write \"/\""));
        }
        let segments = parse(text)?;
        let names: Vec<&str> = segments.iter().filter_map(Segment::capture).collect();
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(Fault::new(format!("captures `{name}` twice"), "give each capture a name of its own"));
            }
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// The text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its segments, in order; never empty.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The names of its captures, in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::capture)
    }

    /// Whether it ends in `*name`.
    pub fn has_rest(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Rest(_)))
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    /// The name of its capture.
    pub fn capture(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Param(name) | Self::Rest(name) => Some(name),
        }
    }
}

/// A text that is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern `{pattern}` {what}: {fix}")]
pub struct InvalidPattern {
    pattern: String,
    what: String,
    fix: String,
}

/// The `path` of a route: a pattern, or an empty text inside a group, for the group's prefix itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoutePath(pub(crate) String);

impl Text for RoutePath {
    const KIND: &'static str = "a pattern, such as \"/users/:id\" or \"/files/*path\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        if !text.is_empty() {
            RoutePattern::checked(text)?;
        }
        Ok(Self(text.to_owned()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(/.*)?$" })
    }
}

/// The `prefix` of a group: a pattern without `*rest`, not ending in a slash. `"/"` becomes an empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(pub(crate) String);

impl Text for Prefix {
    const KIND: &'static str = "a prefix, such as \"/api\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() || text == "/" {
            return Ok(Self(String::new()));
        }
        let pattern = RoutePattern::checked(text)?;
        if pattern.has_rest() {
            return Err(Fault::new("ends in a `*` capture", "move it to the paths of the group's routes"));
        }
        if let Some(trimmed) = text.strip_suffix('/') {
            return Err(Fault::new("ends in a slash", format!("write \"{trimmed}\": paths bring their own")));
        }
        Ok(Self(text.to_owned()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(/[^*]*)?$" })
    }
}

fn parse(text: &str) -> Result<Vec<Segment>, Fault> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err(Fault::new("does not start with a slash", format!("write \"/{text}\"")));
    };
    if let Some(wrong) = text.chars().find(|c| c.is_control() || matches!(c, ' ' | '?' | '#' | '"' | '<' | '>' | '\\'))
    {
        let fix = match wrong {
            '?' => "remove the query: routes are matched by path".to_owned(),
            '#' => "remove the fragment: clients do not send it".to_owned(),
            other => format!("write it percent-encoded, %{:02X}, if it is meant", u32::from(other)),
        };
        return Err(Fault::new(format!("contains {wrong:?}"), fix));
    }
    let raw: Vec<&str> = rest.split('/').collect();
    raw.iter().enumerate().map(|(index, segment)| parse_segment(segment, index + 1 == raw.len())).collect()
}

fn parse_segment(segment: &str, last: bool) -> Result<Segment, Fault> {
    if let Some(name) = segment.strip_prefix(':') {
        return Ok(Segment::Param(capture_name(name, ':')?));
    }
    if let Some(name) = segment.strip_prefix('*') {
        if !last {
            return Err(Fault::new(
                format!("has `{segment}` before its end"),
                "a `*` capture takes all that is left: move it to the end, or use `:`",
            ));
        }
        return Ok(Segment::Rest(capture_name(name, '*')?));
    }
    if segment.is_empty() && !last {
        return Err(Fault::new("has two slashes in a row", "remove one"));
    }
    if segment == "." || segment == ".." {
        return Err(Fault::new(
            format!("has a `{segment}` segment"),
            "write the path that is meant: clients resolve dots before they ask",
        ));
    }
    if segment.contains(['{', '}']) {
        return Err(Fault::new(format!("has `{segment}`"), "captures are written `:name` and `*name`"));
    }
    match decode_segment(segment) {
        Some(decoded) => Ok(Segment::Literal(decoded.into_owned())),
        None => Err(Fault::new(
            format!("has `{segment}`, which is not percent-encoded UTF-8"),
            "a `%` is followed by two hexadecimal digits; a plain one is `%25`",
        )),
    }
}

fn capture_name(name: &str, sigil: char) -> Result<String, Fault> {
    if name.is_empty() {
        return Err(Fault::new(format!("has a `{sigil}` without a name"), format!("name it: `{sigil}name`")));
    }
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(Fault::new(
            format!("has a capture named `{name}`"),
            "names are letters, digits and `_`; a capture is a whole segment",
        ));
    }
    Ok(name.to_owned())
}

/// Percent-decodes a piece of a path. `None` if a `%` is not followed by two hexadecimal digits, or if the result is
/// not UTF-8.
pub(crate) fn decode_segment(segment: &str) -> Option<Cow<'_, str>> {
    let bytes = segment.as_bytes();
    let whole = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if bytes.iter().enumerate().any(|(at, b)| *b == b'%' && !whole(at)) {
        return None;
    }
    percent_decode_str(segment).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let segments = |text| RoutePattern::new(text).expect(text).segments().to_vec();
        let literal = |text: &str| Segment::Literal(text.to_owned());
        assert_eq!(segments("/"), [literal("")]);
        assert_eq!(segments("/a/"), [literal("a"), literal("")]);
        assert_eq!(segments("/caf%C3%A9/%3Ax"), [literal("café"), literal(":x")]);
        assert_eq!(
            segments("/users/:id/*rest"),
            [literal("users"), Segment::Param("id".to_owned()), Segment::Rest("rest".to_owned())]
        );
    }

    #[test]
    fn what_is_no_pattern() {
        for wrong in [
            "", "a", "//", "/a//b", "/*", "/:", "/*a/b", "/:a/:a", "/:a-b", "/:1", "/a?b", "/a#b", "/a b", "/%", "/%4",
            "/%FF", "/../a", "/a/.", "/{id}", "/:a/*a", "/a\n",
        ] {
            assert!(RoutePattern::new(wrong).is_err(), "{wrong}");
        }
    }
}

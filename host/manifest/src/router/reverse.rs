//! Names of routes -> paths.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::RouteTable;
use crate::pattern::Segment;

/// The reason why no path could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No route has the name.
    #[error("no route is named `{0}`")]
    UnknownRoute(String),
    /// The pattern has a capture without a value.
    #[error("route `{route}` needs the parameter `{param}`")]
    Missing {
        /// The route's name.
        route: String,
        /// The capture without a value.
        param: String,
    },
    /// A parameter is no capture of the pattern, or was given twice.
    #[error("route `{route}` has no parameter `{param}`, or it was given twice")]
    Extra {
        /// The route's name.
        route: String,
        /// The parameter.
        param: String,
    },
    /// The value cannot stand there. It is an empty segment; or `.` or `..`, which clients remove in every encoding; or
    /// it would make the path start with two slashes and so name a host.
    #[error("the parameter `{param}` of route `{route}` cannot be {value:?}")]
    Value {
        /// The route's name.
        route: String,
        /// The parameter.
        param: String,
        /// Its value.
        value: String,
    },
}

impl RouteTable {
    /// The path of a named route, percent-encoded. Every capture needs exactly one parameter. A lookup of the path
    /// captures the given values.
    pub fn url_for<K: AsRef<str>, V: AsRef<str>>(&self, name: &str, params: &[(K, V)]) -> Result<String, UrlError> {
        let pattern = &self.by_name(name).ok_or_else(|| UrlError::UnknownRoute(name.to_owned()))?.pattern;
        let error = |param: &str, make: fn(String, String) -> UrlError| make(name.to_owned(), param.to_owned());
        for (index, (key, _)) in params.iter().enumerate() {
            let key = key.as_ref();
            let twice = params[..index].iter().any(|(earlier, _)| earlier.as_ref() == key);
            if twice || !pattern.captures().any(|capture| capture == key) {
                return Err(error(key, |route, param| UrlError::Extra { route, param }));
            }
        }
        let value = |capture: &str| {
            let found = params.iter().find(|(key, _)| key.as_ref() == capture).map(|(_, value)| value.as_ref());
            found.ok_or_else(|| error(capture, |route, param| UrlError::Missing { route, param }))
        };
        let wrong = |param: &str, value: &str| UrlError::Value {
            route: name.to_owned(),
            param: param.to_owned(),
            value: value.to_owned(),
        };
        let mut path = String::new();
        for (index, segment) in pattern.segments().iter().enumerate() {
            path.push('/');
            match segment {
                Segment::Literal(text) => path.extend(utf8_percent_encode(text, SEGMENT)),
                Segment::Param(capture) => {
                    let value = value(capture)?;
                    if ["", ".", ".."].contains(&value) {
                        return Err(wrong(capture, value));
                    }
                    path.extend(utf8_percent_encode(value, SEGMENT));
                }
                Segment::Rest(capture) => {
                    let value = value(capture)?;
                    let dots = value.split('/').any(|part| part == "." || part == "..");
                    if dots || (index == 0 && value.starts_with('/')) {
                        return Err(wrong(capture, value));
                    }
                    path.extend(utf8_percent_encode(value, REST));
                }
            }
        }
        Ok(path)
    }
}

/// The characters to encode in a segment: all but unreserved characters, sub-delims, `:` and `@` (RFC 3986, 3.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The characters to encode in several segments.
const REST: &AsciiSet = &SEGMENT.remove(b'/');

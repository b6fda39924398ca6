//! Header and trailer fields in the order in which they were given.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Header or trailer fields: lower-case names with raw values, in order, including repeated ones.
///
/// Trailers can be given as any value that converts into it: `()`, `[("x-count", "3")]`, a `Vec<(String, Vec<u8>)>` or
/// an [`http::HeaderMap`]. The host checks names and values (RFC 9110, 5.1 and 5.5).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    /// No fields.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a field after the existing ones.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.push(name, value);
        self
    }

    /// Adds a field after the existing ones. The name is converted to lower case.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        let mut name = name.into();
        name.make_ascii_lowercase();
        self.0.push((name, value.into()));
    }

    /// Adds a field, and removes those of the same name.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        let name = name.into();
        self.0.retain(|(present, _)| !present.eq_ignore_ascii_case(&name));
        self.push(name, value);
    }

    /// The first value of a name, which is compared without regard to case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(present, _)| present.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same fields as a map of the `http` crate. Fields that the crate does not accept are left out; no field from
    /// the host is among them.
    pub fn to_header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.len());
        for (name, value) in self.iter() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        map
    }
}

impl From<()> for Fields {
    fn from((): ()) -> Self {
        Self::new()
    }
}

impl From<Vec<(String, Vec<u8>)>> for Fields {
    fn from(fields: Vec<(String, Vec<u8>)>) -> Self {
        Self(fields)
    }
}

impl From<Fields> for Vec<(String, Vec<u8>)> {
    fn from(fields: Fields) -> Self {
        fields.0
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        Self::from(&map)
    }
}

impl<N: Into<String>, V: Into<Vec<u8>>, const LENGTH: usize> From<[(N, V); LENGTH]> for Fields {
    fn from(fields: [(N, V); LENGTH]) -> Self {
        fields.into_iter().collect()
    }
}

impl<N: Into<String>, V: Into<Vec<u8>>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut all = Self::new();
        for (name, value) in fields {
            all.push(name, value);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_order_and_repeats_are_kept() {
        let fields = Fields::from([("X-B", "1"), ("x-a", "2"), ("X-b", "3")]);
        let seen: Vec<_> = fields.iter().collect();
        assert_eq!(seen, [("x-b", &b"1"[..]), ("x-a", b"2"), ("x-b", b"3")]);
        assert_eq!(fields.get("X-B"), Some(&b"1"[..]));
        assert_eq!(fields.get("x-c"), None);
    }

    #[test]
    fn setting_replaces_every_field_of_the_name() {
        let mut fields = Fields::from([("a", "1"), ("b", "2"), ("A", "3")]);
        fields.set("a", "4");
        let seen: Vec<_> = fields.iter().collect();
        assert_eq!(seen, [("b", &b"2"[..]), ("a", b"4")]);
    }

    #[test]
    fn survives_the_way_through_a_header_map() {
        let fields = Fields::from([("a", "1"), ("b", "2"), ("a", "3")]);
        let back = Fields::from(fields.to_header_map());
        assert_eq!(back.iter().filter(|(name, _)| *name == "a").count(), 2);
        assert_eq!(back.get("b"), Some(&b"2"[..]));
    }
}

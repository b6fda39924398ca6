//! `application/x-www-form-urlencoded`, the format of queries and simple forms (WHATWG URL, section 5).

/// Decoded pairs in the order in which they were sent, including repeated ones. Bytes that are not UTF-8 become U+FFFD.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Parses and decodes. No input is invalid: a `%` without two hexadecimal digits after it stands for itself, as in
    /// browsers.
    pub fn parse(input: &[u8]) -> Self {
        Self(form_urlencoded::parse(input).into_owned().collect())
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// Every value of a name, in order.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(present, _)| *present == name).map(|(_, value)| value)
    }

    /// The first value of a name, parsed; `None` if it is absent or does not parse.
    pub fn parsed<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Every pair, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Pairs {
    type Item = (String, String);
    type IntoIter = std::vec::IntoIter<(String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(input: &str) -> Vec<(String, String)> {
        Pairs::parse(input.as_bytes()).into_iter().collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn decodes_both_sides() {
        assert_eq!(parsed("a+b=c%20d&%C3%A9=%e2%82%ac"), [pair("a b", "c d"), pair("é", "€")]);
    }

    #[test]
    fn keeps_order_repeats_flags_and_empty_values() {
        assert_eq!(
            parsed("b=1&a&b=2&c=&=d"),
            [pair("b", "1"), pair("a", ""), pair("b", "2"), pair("c", ""), pair("", "d")]
        );
    }

    #[test]
    fn only_the_first_equals_sign_separates() {
        assert_eq!(parsed("a=b=c"), [pair("a", "b=c")]);
    }

    #[test]
    fn empty_pairs_are_nothing() {
        assert_eq!(parsed("&&a=1&&"), [pair("a", "1")]);
        assert!(Pairs::parse(b"").is_empty());
    }

    #[test]
    fn wrong_escapes_stand_for_themselves() {
        assert_eq!(parsed("a=%&b=%4&c=%zz&d=%2"), [pair("a", "%"), pair("b", "%4"), pair("c", "%zz"), pair("d", "%2")]);
        assert_eq!(parsed("a=%ff"), [pair("a", "\u{fffd}")]);
    }

    #[test]
    fn looks_values_up() {
        let pairs = Pairs::parse(b"n=5&n=6&bad=x");
        assert_eq!(pairs.get("n"), Some("5"));
        assert_eq!(pairs.get_all("n").collect::<Vec<_>>(), ["5", "6"]);
        assert_eq!(pairs.parsed::<u32>("n"), Some(5));
        assert_eq!(pairs.parsed::<u32>("bad"), None);
        assert_eq!(pairs.parsed::<u32>("absent"), None);
    }
}

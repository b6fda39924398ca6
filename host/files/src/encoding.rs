//! Precompressed siblings: which of `app.js.br`, `app.js.zst`, `app.js.gz` a client prefers to `app.js` (RFC 9110,
//! 12.5.3).
//!
//! Pure: field values in, an order of preference out. Nothing is compressed here, and the age of a sibling is not
//! checked: deploy the siblings together with their files.

use http::header::{ACCEPT_ENCODING, HeaderMap};

/// A content coding that a sibling may have, in the host's order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Encoding {
    Brotli,
    Zstd,
    Gzip,
}

impl Encoding {
    pub(crate) const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The suffix of the sibling's file name.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// The name in `Content-Encoding`.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    fn is_named(self, coding: &str) -> bool {
        // RFC 9110, 8.4.1.3: x-gzip is gzip.
        coding.eq_ignore_ascii_case(self.token()) || (self == Self::Gzip && coding.eq_ignore_ascii_case("x-gzip"))
    }
}

/// The preferences of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// Codings preferred at least as much as the plain file, best first, padded with `None`.
    pub(crate) encodings: [Option<Encoding>; 3],
    /// Whether the plain file is acceptable.
    pub(crate) identity: bool,
}

impl Preferences {
    /// Only the plain file.
    pub(crate) const PLAIN: Self = Self { encodings: [None; 3], identity: true };

    /// Reads `Accept-Encoding`. Without the field there is no preference; a malformed member is skipped.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if !headers.contains_key(ACCEPT_ENCODING) {
            return Self::PLAIN;
        }
        let mut named = [None; 3];
        let (mut identity, mut others) = (None, None);
        let members = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for (coding, weight) in members.flat_map(|value| value.split(',')).filter_map(member) {
            if coding == "*" {
                others = Some(weight);
            } else if coding.eq_ignore_ascii_case("identity") {
                identity = Some(weight);
            } else if let Some(known) = Encoding::ALL.into_iter().find(|encoding| encoding.is_named(coding)) {
                named[known as usize] = Some(weight);
            }
        }

        // The plain file is acceptable unless excluded; if not named, it is the fallback.
        let plain = identity.or(others);
        let least = plain.unwrap_or(0);
        let mut liked = Encoding::ALL.map(|encoding| (encoding, named[encoding as usize].or(others).unwrap_or(0)));
        // Stable, so that equal weights stay in the host's order.
        liked.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        let encodings = liked.map(|(encoding, weight)| (weight > 0 && weight >= least).then_some(encoding));
        Self { encodings, identity: plain != Some(0) }
    }
}

/// Parses a member: a coding and its weight in thousandths.
fn member(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
    let coding = parts.next().filter(|coding| !coding.is_empty())?;
    let weight = match parts.next() {
        None => 1000,
        Some(parameter) => {
            let (name, value) = parameter.split_once('=')?;
            if !name.eq_ignore_ascii_case("q") {
                return None;
            }
            weight(value)?
        }
    };
    parts.next().is_none().then_some((coding, weight))
}

/// Parses a qvalue (12.4.2): `0` or `1` with at most three digits after the point, and no more than 1.
fn weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let thousandths = thousandths.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::Encoding::{Brotli, Gzip, Zstd};
    use super::*;

    fn preferences(values: &[&'static str]) -> (Vec<Encoding>, bool) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        let preferences = Preferences::of(&headers);
        (preferences.encodings.into_iter().flatten().collect(), preferences.identity)
    }

    #[test]
    fn what_clients_ask_for() {
        for (values, encodings, identity) in [
            (&[][..], vec![], true),
            (&[""], vec![], true),
            (&["gzip"], vec![Gzip], true),
            (&["x-gzip"], vec![Gzip], true),
            (&["GZip, BR"], vec![Brotli, Gzip], true),
            (&["gzip, deflate, br, zstd"], vec![Brotli, Zstd, Gzip], true),
            (&["gzip", "br"], vec![Brotli, Gzip], true),
            (&["gzip;q=1.0, br;q=0.9"], vec![Gzip, Brotli], true),
            (&["br;q=0, gzip"], vec![Gzip], true),
            (&["*"], vec![Brotli, Zstd, Gzip], true),
            (&["*;q=0.5, gzip;q=0.8"], vec![Gzip, Brotli, Zstd], true),
            (&["*;q=0"], vec![], false),
            (&["*;q=0, identity"], vec![], true),
            (&["identity;q=0"], vec![], false),
            (&["identity;q=0, *"], vec![Brotli, Zstd, Gzip], false),
            (&["gzip, *;q=0"], vec![Gzip], false),
            (&["identity, gzip;q=0.5"], vec![], true),
            (&["identity;q=0.5, gzip;q=0.5"], vec![Gzip], true),
            (&["gzip;q=0.001"], vec![Gzip], true),
            (&["gzip;q=0.0001, br;q=2, zstd;x=1"], vec![], true),
            (&["gzip ; q=0.5 ,, br"], vec![Brotli, Gzip], true),
            (&["gzipped, brx"], vec![], true),
        ] {
            assert_eq!(preferences(values), (encodings, identity), "{values:?}");
        }
    }
}

//! Conditional requests (RFC 9110, 13): the validators of the representation and the request's fields in, a verdict
//! out. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};

/// An entity tag (RFC 9110, 8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Parses a field value that is one entity tag.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        match Self::split(value)? {
            (tag, []) => Some(tag),
            _ => None,
        }
    }

    /// Splits off an entity tag, and returns it with the rest.
    fn split(value: &'a [u8]) -> Option<(Self, &'a [u8])> {
        // The W is case-sensitive.
        let (weak, rest) = value.strip_prefix(b"W/").map_or((false, value), |rest| (true, rest));
        let rest = rest.strip_prefix(b"\"")?;
        let end = rest.iter().position(|byte| !matches!(byte, 0x21 | 0x23..=0x7e | 0x80..))?;
        let (opaque, rest) = rest.split_at(end);
        Some((Self { weak, opaque }, rest.strip_prefix(b"\"")?))
    }

    /// 8.8.3.2: both are strong, and equal.
    fn matches_strongly(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// 8.8.3.2: both are equal, weak or not.
    fn matches_weakly(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }
}

/// The validators of the selected representation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validators<'a> {
    /// The entity tag of the representation.
    pub(crate) tag: Option<EntityTag<'a>>,
    /// The time of the last modification, in whole seconds of Unix time.
    pub(crate) modified: Option<u64>,
    /// The time of this answer.
    pub(crate) now: SystemTime,
}

/// The result of the preconditions of a GET or HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 412.
    Failed,
    /// 304.
    NotModified,
    /// The request proceeds as if it had no preconditions.
    Proceed,
}

/// Evaluates the preconditions of a GET or HEAD in the order of section 13.2.2, up to but excluding `Range`.
pub(crate) fn evaluate<'a>(headers: &'a HeaderMap, validators: &Validators<'a>) -> Verdict {
    if headers.contains_key(IF_MATCH) {
        if !any_matches(headers.get_all(IF_MATCH), validators.tag, EntityTag::matches_strongly) {
            return Verdict::Failed;
        }
    } else if let (Some(date), Some(modified)) = (date(headers, IF_UNMODIFIED_SINCE), validators.modified)
        && modified > date
    {
        return Verdict::Failed;
    }

    if headers.contains_key(IF_NONE_MATCH) {
        // 13.1.3: If-None-Match overrides If-Modified-Since, even when no tag can be read from it.
        if is_known(headers.get_all(IF_NONE_MATCH), validators.tag) {
            return Verdict::NotModified;
        }
    } else if let (Some(date), Some(modified)) = (date(headers, IF_MODIFIED_SINCE), validators.modified)
        && modified <= date
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether `If-Range` lets `Range` take effect (13.1.5); true without the field.
pub(crate) fn range_applies(headers: &HeaderMap, validators: &Validators<'_>) -> bool {
    let mut values = headers.get_all(IF_RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return !headers.contains_key(IF_RANGE);
    };
    if let Some(tag) = EntityTag::parse(value.as_bytes()) {
        return validators.tag.is_some_and(|own| own.matches_strongly(&tag));
    }
    // A date is a strong validator only once its second is over (8.8.2.2), and must match exactly.
    date(headers, IF_RANGE).is_some_and(|date| {
        validators.modified == Some(date) && validators.now >= UNIX_EPOCH + Duration::from_secs(date.saturating_add(1))
    })
}

/// Whether a client that sent this `If-None-Match` has the representation with this tag: the list contains the tag, by
/// weak comparison, or is `*` (RFC 9110, 13.1.2).
pub fn is_known<'a>(if_none_match: impl IntoIterator<Item = &'a HeaderValue>, tag: Option<EntityTag<'a>>) -> bool {
    any_matches(if_none_match, tag, EntityTag::matches_weakly)
}

/// Whether a list of entity tags, or `*`, contains a match. The list ends at the first malformed member.
fn any_matches<'a>(
    values: impl IntoIterator<Item = &'a HeaderValue>,
    own: Option<EntityTag<'a>>,
    matches: fn(&EntityTag<'a>, &EntityTag<'a>) -> bool,
) -> bool {
    values.into_iter().any(|value| {
        let mut rest = value.as_bytes().trim_ascii();
        if rest == b"*" {
            return true;
        }
        let Some(own) = own else {
            return false;
        };
        loop {
            // 5.6.1.2: empty list members are ignored.
            while let [b',' | b' ' | b'\t', after @ ..] = rest {
                rest = after;
            }
            let Some((tag, after)) = EntityTag::split(rest) else {
                return false;
            };
            if matches(&own, &tag) {
                return true;
            }
            rest = after.trim_ascii_start();
            if !matches!(rest, [b',', ..]) {
                return false;
            }
        }
    })
}

/// Reads a field with a single HTTP date, in seconds of Unix time. Other values are ignored, as 13.1.3 and 13.1.4
/// require.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    parse_date(value.as_bytes())
}

/// Parses an HTTP date (5.6.7), in seconds of Unix time.
pub(crate) fn parse_date(value: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The date of RFC 9110: Sun, 06 Nov 1994 08:49:37 GMT.
    const MODIFIED: u64 = 784_111_777;

    fn headers(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn validators(tag: &'static str) -> Validators<'static> {
        Validators {
            tag: EntityTag::parse(tag.as_bytes()),
            modified: Some(MODIFIED),
            now: UNIX_EPOCH + Duration::from_secs(MODIFIED + 3600),
        }
    }

    #[test]
    fn tags_are_read_exactly() {
        for good in ["\"\"", "\"xyzzy\"", "W/\"xyzzy\"", "\"a,b\"", "\"\\\"", "\"\u{e9}\""] {
            assert!(EntityTag::parse(good.as_bytes()).is_some(), "{good}");
        }
        for bad in ["", "xyzzy", "\"xyzzy", "xyzzy\"", "w/\"a\"", "W/ \"a\"", "\"a b\"", "\"a\" ", "\"a\"\"b\"", "*"] {
            assert!(EntityTag::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    /// RFC 9110, 8.8.3.2, the table of comparisons.
    #[test]
    fn strong_and_weak_comparison() {
        for (a, b, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let (a, b) = (EntityTag::parse(a.as_bytes()).unwrap(), EntityTag::parse(b.as_bytes()).unwrap());
            assert_eq!((a.matches_strongly(&b), a.matches_weakly(&b)), (strong, weak), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_client_knows_the_tags_that_it_lists() {
        let tag = EntityTag::parse(b"W/\"a,b\"");
        for (list, known) in [
            ("*", true),
            ("\"a,b\"", true),
            ("W/\"a,b\"", true),
            ("\"x\", W/\"a,b\"", true),
            (", ,\"a,b\"", true),
            ("\"a\", \"b\"", false),
            ("a,b", false),
            ("", false),
        ] {
            assert_eq!(is_known([&HeaderValue::from_static(list)], tag), known, "{list}");
        }
        assert!(!is_known([], tag));
        assert!(is_known([&HeaderValue::from_static("*")], None));
        assert!(!is_known([&HeaderValue::from_static("\"a\"")], None));
    }

    #[test]
    fn verdicts() {
        use Verdict::{Failed, NotModified, Proceed};
        const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
        const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
        for (fields, expected) in [
            (&[][..], Proceed),
            (&[(IF_NONE_MATCH, "\"a\"")], NotModified),
            (&[(IF_NONE_MATCH, "W/\"a\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"b\"")], Proceed),
            (&[(IF_NONE_MATCH, "\"b\", \"a\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"b\",W/\"c\" ,,\t\"a\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"b\" \"a\"")], Proceed),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "a")], Proceed),
            (&[(IF_NONE_MATCH, "\"x,\"a\"")], Proceed),
            (&[(IF_MODIFIED_SINCE, SAME)], NotModified),
            (&[(IF_MODIFIED_SINCE, LATER)], NotModified),
            (&[(IF_MODIFIED_SINCE, EARLIER)], Proceed),
            (&[(IF_MODIFIED_SINCE, "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
            (&[(IF_MODIFIED_SINCE, "Sun Nov  6 08:49:37 1994")], NotModified),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Proceed),
            (&[(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, LATER)], Proceed),
            (&[(IF_NONE_MATCH, "rubbish"), (IF_MODIFIED_SINCE, LATER)], Proceed),
            (&[(IF_NONE_MATCH, "\"a\""), (IF_MODIFIED_SINCE, EARLIER)], NotModified),
            (&[(IF_MATCH, "\"a\"")], Proceed),
            (&[(IF_MATCH, "*")], Proceed),
            (&[(IF_MATCH, "\"b\", \"a\"")], Proceed),
            (&[(IF_MATCH, "W/\"a\"")], Failed),
            (&[(IF_MATCH, "\"b\"")], Failed),
            (&[(IF_MATCH, "rubbish")], Failed),
            (&[(IF_UNMODIFIED_SINCE, SAME)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, LATER)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, EARLIER)], Failed),
            (&[(IF_UNMODIFIED_SINCE, "rubbish")], Proceed),
            (&[(IF_MATCH, "\"a\""), (IF_UNMODIFIED_SINCE, EARLIER)], Proceed),
            (&[(IF_MATCH, "\"a\""), (IF_NONE_MATCH, "\"a\"")], NotModified),
            (&[(IF_MATCH, "\"b\""), (IF_NONE_MATCH, "\"a\"")], Failed),
            (&[(IF_UNMODIFIED_SINCE, EARLIER), (IF_MODIFIED_SINCE, LATER)], Failed),
        ] {
            assert_eq!(evaluate(&headers(fields), &validators("\"a\"")), expected, "{fields:?}");
        }

        let mut split = HeaderMap::new();
        split.append(IF_NONE_MATCH, HeaderValue::from_static("\"b\""));
        split.append(IF_NONE_MATCH, HeaderValue::from_static("\"a\""));
        assert_eq!(evaluate(&split, &validators("\"a\"")), NotModified, "a list over two lines");

        let mut twice = HeaderMap::new();
        twice.append(IF_MODIFIED_SINCE, HeaderValue::from_static(LATER));
        twice.append(IF_MODIFIED_SINCE, HeaderValue::from_static(LATER));
        assert_eq!(evaluate(&twice, &validators("\"a\"")), Proceed, "two dates are none");

        assert_eq!(evaluate(&headers(&[(IF_MATCH, "\"a\"")]), &validators("W/\"a\"")), Failed, "own tag is weak");
        let nothing = Validators { tag: None, modified: None, ..validators("") };
        assert_eq!(evaluate(&headers(&[(IF_MATCH, "*")]), &nothing), Proceed);
        assert_eq!(evaluate(&headers(&[(IF_UNMODIFIED_SINCE, EARLIER)]), &nothing), Proceed);
        assert_eq!(evaluate(&headers(&[(IF_MODIFIED_SINCE, LATER)]), &nothing), Proceed);
    }

    #[test]
    fn if_range_lets_a_range_through_only_when_nothing_changed() {
        for (value, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", false),
            ("\"b\"", false),
            ("\"a\", \"b\"", false),
            ("*", false),
            ("rubbish", false),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:38 GMT", false),
            ("Sun, 06 Nov 1994 08:49:36 GMT", false),
        ] {
            let headers = headers(&[(IF_RANGE, value)]);
            assert_eq!(range_applies(&headers, &validators("\"a\"")), expected, "{value}");
        }
        assert!(range_applies(&HeaderMap::new(), &validators("\"a\"")));
        assert!(!range_applies(&headers(&[(IF_RANGE, "\"a\"")]), &validators("W/\"a\"")));

        let within_the_second =
            Validators { now: UNIX_EPOCH + Duration::from_millis(MODIFIED * 1000 + 999), ..validators("\"a\"") };
        let date = headers(&[(IF_RANGE, "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert!(!range_applies(&date, &within_the_second), "8.8.2.2: the second is not over");
    }
}

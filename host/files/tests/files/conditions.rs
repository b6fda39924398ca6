//! Ranges and conditional requests, case by case according to RFC 9110, 13 and 14.

use http::Method;
use http::header::{LAST_MODIFIED as LAST_MODIFIED_NAME, *};
use roadrunner_files::Options;

use crate::support::{LAST_MODIFIED, Site};

const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";

#[tokio::test]
async fn ranges() {
    let site = Site::new();
    site.write("file", ALPHABET);
    for (range, span) in [
        ("bytes=0-0", Some(0..1)),
        ("bytes=2-4", Some(2..5)),
        ("bytes=20-", Some(20..26)),
        ("bytes=-3", Some(23..26)),
        ("bytes=-100", Some(0..26)),
        ("bytes=20-100", Some(20..26)),
        ("bytes=0-1,4-5", None),
        ("bytes=5-2", None),
        ("lines=1-2", None),
        ("rubbish", None),
    ] {
        let answer = site.get("file", &[(RANGE, range)]).await;
        match span {
            Some(span) => {
                assert_eq!(answer.code(), 206, "{range}");
                let expected = format!("bytes {}-{}/26", span.start, span.end - 1);
                assert_eq!(answer.field(CONTENT_RANGE), Some(expected.as_str()));
                assert_eq!(answer.body, ALPHABET[span.clone()]);
                assert_eq!(answer.field(CONTENT_LENGTH), Some(span.len().to_string().as_str()));
                assert!(answer.field(ETAG).is_some() && answer.field(VARY).is_some());
                assert_eq!(answer.field(CONTENT_TYPE), Some("application/octet-stream"));
            }
            None => assert_eq!((answer.code(), &answer.body[..]), (200, ALPHABET.as_bytes()), "{range}"),
        }
    }
    for range in ["bytes=26-", "bytes=26-30", "bytes=-0"] {
        let answer = site.get("file", &[(RANGE, range)]).await;
        assert_eq!((answer.code(), answer.field(CONTENT_RANGE)), (416, Some("bytes */26")), "{range}");
        assert_eq!((answer.body.len(), answer.field(CONTENT_LENGTH), answer.field(CONTENT_TYPE)), (0, Some("0"), None));
    }
    let answer = site.get("file", &[(RANGE, "bytes=0-1"), (RANGE, "bytes=0-1")]).await;
    assert_eq!(answer.code(), 200, "two lines are two ranges");

    // Only GET has ranges (RFC 9110, 14.2).
    let answer = site.ask(Method::HEAD, "file", &[(RANGE, "bytes=0-1")], Options::for_route()).await;
    assert_eq!((answer.code(), answer.field(CONTENT_LENGTH), answer.body.len()), (200, Some("26"), 0));
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    let options = Options { headers, ..Options::for_route() };
    let answer = site.ask(Method::GET, "file", &[(RANGE, "bytes=0-1")], options).await;
    assert_eq!((answer.code(), answer.field(ACCEPT_RANGES)), (200, Some("none")));
}

#[tokio::test]
async fn conditions() {
    let site = Site::new();
    site.write("file", ALPHABET);
    let tag = site.get("file", &[]).await.field(ETAG).unwrap().to_owned();
    let weak = format!("W/{tag}");
    let list = format!("\"other\", {weak}");
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
    const PART: (HeaderName, &str) = (RANGE, "bytes=0-4");
    for (fields, expected) in [
        (&[(IF_NONE_MATCH, tag.as_str())][..], 304),
        (&[(IF_NONE_MATCH, &weak)], 304),
        (&[(IF_NONE_MATCH, &list)], 304),
        (&[(IF_NONE_MATCH, "*")], 304),
        (&[(IF_NONE_MATCH, "\"other\"")], 200),
        (&[(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, LATER)], 200),
        (&[(IF_MODIFIED_SINCE, LAST_MODIFIED)], 304),
        (&[(IF_MODIFIED_SINCE, LATER)], 304),
        (&[(IF_MODIFIED_SINCE, EARLIER)], 200),
        (&[(IF_MATCH, &tag)], 200),
        (&[(IF_MATCH, "*")], 200),
        (&[(IF_MATCH, &weak)], 412),
        (&[(IF_MATCH, "\"other\"")], 412),
        (&[(IF_UNMODIFIED_SINCE, LAST_MODIFIED)], 200),
        (&[(IF_UNMODIFIED_SINCE, EARLIER)], 412),
        (&[(IF_MATCH, "\"other\""), (IF_NONE_MATCH, &tag)], 412),
        (&[PART, (IF_NONE_MATCH, &tag)], 304),
        (&[PART, (IF_MATCH, "\"other\"")], 412),
        (&[PART, (IF_MATCH, &tag)], 206),
        (&[PART, (IF_RANGE, &tag)], 206),
        (&[PART, (IF_RANGE, &weak)], 200),
        (&[PART, (IF_RANGE, "\"other\"")], 200),
        (&[PART, (IF_RANGE, LAST_MODIFIED)], 206),
        (&[PART, (IF_RANGE, LATER)], 200),
        (&[PART, (IF_RANGE, EARLIER)], 200),
        (&[(RANGE, "bytes=99-"), (IF_RANGE, "\"other\"")], 200),
        (&[(RANGE, "bytes=99-"), (IF_RANGE, &tag)], 416),
        (&[(IF_RANGE, &tag)], 200),
    ] {
        let answer = site.get("file", fields).await;
        assert_eq!(answer.code(), expected, "{fields:?}");
        let length = match expected {
            200 => 26,
            206 => 5,
            _ => 0,
        };
        assert_eq!(answer.body.len(), length, "{fields:?}");
        if expected == 304 {
            // RFC 9110, 15.4.5
            assert_eq!(answer.field(ETAG), Some(tag.as_str()));
            assert_eq!(answer.field(VARY), Some("accept-encoding"));
            for absent in [CONTENT_TYPE, CONTENT_LENGTH, LAST_MODIFIED_NAME] {
                assert_eq!(answer.field(absent), None);
            }
        }
        let has_range = fields.iter().any(|(name, _)| *name == RANGE);
        if !has_range {
            let head = site.ask(Method::HEAD, "file", fields, Options::for_route()).await;
            assert_eq!((head.status, &head.headers), (answer.status, &answer.headers), "HEAD as GET: {fields:?}");
            assert!(head.body.is_empty());
        }
    }
}

#[tokio::test]
async fn another_method_gets_the_file_as_it_is() {
    let site = Site::new();
    site.write("file", ALPHABET);
    let fields = [(IF_NONE_MATCH, "*"), (RANGE, "bytes=0-1")];
    let answer = site.ask(Method::POST, "file", &fields, Options::for_route()).await;
    assert_eq!((answer.code(), answer.body.len()), (200, 26));
    assert_eq!((answer.field(ETAG), answer.field(ACCEPT_RANGES)), (None, None));
}

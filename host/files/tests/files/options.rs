//! Responses for a caller's head and range.

use http::header::{LAST_MODIFIED as LAST_MODIFIED_NAME, *};
use http::{Method, StatusCode};
use roadrunner_files::{ByteRange, Options};

use crate::support::Site;

const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";

fn head(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

#[tokio::test]
async fn the_callers_fields_win() {
    let site = Site::new();
    site.write("file.txt", ALPHABET);
    site.write("file.txt.br", "br");
    let guest = |fields: &[(HeaderName, &'static str)]| Options::for_guest(StatusCode::OK, head(fields), None);

    let fields = [
        (CONTENT_TYPE, "application/x-own"),
        (ETAG, "\"own\""),
        (LAST_MODIFIED_NAME, "Sat, 01 Jan 2000 00:00:00 GMT"),
        (CONTENT_LENGTH, "7"),
        (CONTENT_RANGE, "bytes 0-1/2"),
        (CACHE_CONTROL, "max-age=60"),
        (SET_COOKIE, "a=1"),
        (SET_COOKIE, "b=2"),
    ];
    let answer = site.ask(Method::GET, "file.txt", &[(ACCEPT_ENCODING, "br")], guest(&fields)).await;
    assert_eq!((answer.code(), &answer.body[..]), (200, ALPHABET.as_bytes()));
    for (name, value) in &fields[..3] {
        assert_eq!(answer.field(name.clone()), Some(*value));
    }
    assert_eq!(answer.field(CONTENT_LENGTH), Some("26"), "the host's to write");
    assert_eq!(answer.field(CONTENT_RANGE), None);
    assert_eq!(answer.headers.get_all(SET_COOKIE).iter().count(), 2);
    assert_eq!(answer.field(VARY), None, "its own tag speaks of one file");

    // They take part in the conditions, and fields that are not representation metadata stay on a 304.
    let answer = site.ask(Method::GET, "file.txt", &[(IF_NONE_MATCH, "\"own\"")], guest(&fields)).await;
    assert_eq!((answer.code(), answer.field(CACHE_CONTROL)), (304, Some("max-age=60")));
    let since = [(IF_MODIFIED_SINCE, "Fri, 31 Dec 1999 23:59:59 GMT")];
    assert_eq!(site.ask(Method::GET, "file.txt", &since, guest(&fields)).await.code(), 200);

    let answer = site.ask(Method::GET, "file.txt", &[(ACCEPT_ENCODING, "br")], guest(&[(VARY, "origin")])).await;
    let vary: Vec<_> = answer.headers.get_all(VARY).iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!((&vary[..], &answer.body[..]), (&["origin", "accept-encoding"][..], &b"br"[..]));
    let answer = site.ask(Method::GET, "file.txt", &[], guest(&[(VARY, "Origin, Accept-Encoding")])).await;
    assert_eq!(answer.field(VARY), Some("Origin, Accept-Encoding"));
    let own_coding = guest(&[(CONTENT_ENCODING, "compress")]);
    let answer = site.ask(Method::GET, "file.txt", &[(ACCEPT_ENCODING, "br")], own_coding).await;
    assert_eq!((answer.field(CONTENT_ENCODING), &answer.body[..]), (Some("compress"), ALPHABET.as_bytes()));
}

#[tokio::test]
async fn another_status_is_sent_as_it_is() {
    let site = Site::new();
    site.write("404.html", ALPHABET);
    site.write("404.html.br", "br");
    let fields = [(IF_NONE_MATCH, "*"), (RANGE, "bytes=0-1"), (ACCEPT_ENCODING, "br"), (IF_MATCH, "\"x\"")];
    for status in [201, 404, 503] {
        let options = Options::for_guest(StatusCode::from_u16(status).unwrap(), HeaderMap::new(), None);
        let answer = site.ask(Method::GET, "404.html", &fields, options).await;
        assert_eq!((answer.code(), &answer.body[..]), (status, ALPHABET.as_bytes()));
        assert_eq!(answer.field(CONTENT_TYPE), Some("text/html; charset=utf-8"));
        assert_eq!((answer.field(ETAG), answer.field(ACCEPT_RANGES), answer.field(VARY)), (None, None, None));
    }
    for status in [204, 205, 304] {
        let options = Options::for_guest(StatusCode::from_u16(status).unwrap(), HeaderMap::new(), None);
        let answer = site.ask(Method::GET, "404.html", &fields, options).await;
        assert_eq!((answer.code(), answer.body.len(), answer.field(CONTENT_LENGTH)), (status, 0, None));
    }
    let options = Options::for_guest(StatusCode::NOT_FOUND, HeaderMap::new(), None);
    assert_eq!(site.ask(Method::GET, "nothing", &[], options).await.headers.len(), 1);
}

#[tokio::test]
async fn a_guests_range() {
    let site = Site::new();
    site.write("file", ALPHABET);
    site.write("file.br", "br");
    let part = |start, length| Some(ByteRange { start, length });
    for (status, range, expected, body) in [
        (200, part(2, Some(3)), 200, "cde"),
        (200, part(20, None), 200, "uvwxyz"),
        (200, part(20, Some(u64::MAX)), 200, "uvwxyz"),
        (200, part(26, None), 200, ""),
        (200, part(27, None), 416, ""),
        (404, part(2, Some(3)), 404, "cde"),
        (404, part(27, Some(3)), 416, ""),
        (206, part(2, Some(3)), 206, "cde"),
        (206, part(20, None), 206, "uvwxyz"),
        (206, part(26, None), 416, ""),
        (206, part(2, Some(0)), 416, ""),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let options = Options::for_guest(status, HeaderMap::new(), range);
        let fields = [(RANGE, "bytes=0-1"), (ACCEPT_ENCODING, "br")];
        let answer = site.ask(Method::GET, "file", &fields, options).await;
        assert_eq!((answer.code(), &answer.body[..]), (expected, body.as_bytes()), "{status} {range:?}");
        assert_eq!(answer.field(CONTENT_LENGTH), Some(body.len().to_string().as_str()));
        assert_eq!((answer.field(ACCEPT_RANGES), answer.field(CONTENT_ENCODING)), (None, None));
        match expected {
            206 => {
                let start = range.unwrap().start;
                let expected = format!("bytes {start}-{}/26", start as usize + body.len() - 1);
                assert_eq!(answer.field(CONTENT_RANGE), Some(expected.as_str()));
            }
            416 => assert_eq!(answer.field(CONTENT_RANGE), Some("bytes */26")),
            _ => assert_eq!(answer.field(CONTENT_RANGE), None),
        }
    }

    // A part that is sent as the whole has its own tag; a part sent as a part has the file's.
    let tag = async |status, range| {
        let options = Options::for_guest(status, HeaderMap::new(), range);
        site.ask(Method::GET, "file", &[], options).await.field(ETAG).unwrap().to_owned()
    };
    let whole = tag(StatusCode::OK, None).await;
    let slice = tag(StatusCode::OK, part(2, Some(3))).await;
    assert_ne!(whole, slice);
    assert_ne!(slice, tag(StatusCode::OK, part(2, Some(4))).await);
    assert_eq!(whole, tag(StatusCode::PARTIAL_CONTENT, part(2, Some(3))).await);
    let options = Options::for_guest(StatusCode::OK, HeaderMap::new(), part(2, Some(3)));
    assert_eq!(site.ask(Method::GET, "file", &[(IF_NONE_MATCH, &slice)], options).await.code(), 304);
}

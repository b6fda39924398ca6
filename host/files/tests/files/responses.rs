//! Status, fields and bytes of every kind of answer.

use std::time::Duration;

use crate::support::{LAST_MODIFIED, Site};
use http::header::*;
use http::{Method, StatusCode};
use roadrunner_files::{ByteRange, FileError, NotFound, Options, RequestView, try_respond};

const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";

#[tokio::test]
async fn a_file_is_described_and_sent() {
    let site = Site::new();
    site.write("page.html", "<p>\u{fc}</p>");
    let answer = site.get("page.html", &[]).await;
    assert_eq!(answer.code(), 200);
    assert_eq!(answer.body, "<p>\u{fc}</p>");
    assert_eq!(answer.field(CONTENT_TYPE), Some("text/html; charset=utf-8"));
    assert_eq!(answer.field(CONTENT_LENGTH), Some("9"));
    assert_eq!(answer.field(LAST_MODIFIED_NAME), Some(LAST_MODIFIED));
    assert_eq!(answer.field(ACCEPT_RANGES), Some("bytes"));
    assert_eq!(answer.field(VARY), Some("accept-encoding"));
    let tag = answer.field(ETAG).unwrap();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    assert_eq!(answer.headers.len(), 6, "{:?}", answer.headers);
}

const LAST_MODIFIED_NAME: HeaderName = http::header::LAST_MODIFIED;

#[tokio::test]
async fn media_types() {
    let site = Site::new();
    for (name, expected) in [
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.HTML", "text/html; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.wasm", "application/wasm"),
        ("a.png", "image/png"),
        ("a.woff2", "font/woff2"),
        ("a.tar.gz", "application/gzip"),
        ("a.unheard-of", "application/octet-stream"),
        ("README", "application/octet-stream"),
    ] {
        site.write(name, "x");
        assert_eq!(
            site.get(name, &[]).await.field(CONTENT_TYPE),
            Some(expected),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_empty_file() {
    let site = Site::new();
    site.write("empty.txt", "");
    let answer = site.get("empty.txt", &[]).await;
    assert_eq!(
        (
            answer.code(),
            answer.field(CONTENT_LENGTH),
            answer.body.len()
        ),
        (200, Some("0"), 0)
    );
    let answer = site.get("empty.txt", &[(RANGE, "bytes=0-")]).await;
    assert_eq!(
        (answer.code(), answer.field(CONTENT_RANGE)),
        (416, Some("bytes */0"))
    );
    assert_eq!(
        site.get("empty.txt", &[(RANGE, "bytes=-5")]).await.code(),
        200
    );
}

#[tokio::test]
async fn what_is_not_served_is_404_and_says_nothing() {
    let site = Site::new();
    site.write("file.txt", "x");
    site.write("sub/file.txt", "x");
    site.write(".env", "secret");
    site.write(".git/config", "secret");
    site.write(".well-known/security.txt", "contact");
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    site.link(outside.path().join("secret").to_str().unwrap(), "link-out");
    site.link("../../../../../../../../etc/passwd", "link-up");
    site.link("link-loop", "link-loop");
    site.link("sub/file.txt", "link-in");

    for (path, reason) in [
        ("nothing", NotFound::Missing),
        ("file.txt/", NotFound::NotAFile),
        ("file.txt/below", NotFound::NotAFile),
        ("", NotFound::NotAFile),
        ("sub", NotFound::NotAFile),
        ("sub/", NotFound::NotAFile),
        ("/file.txt", NotFound::InvalidPath),
        ("/etc/passwd", NotFound::InvalidPath),
        ("../file.txt", NotFound::InvalidPath),
        ("sub/../file.txt", NotFound::InvalidPath),
        ("sub//file.txt", NotFound::InvalidPath),
        ("./file.txt", NotFound::InvalidPath),
        ("file.txt\0", NotFound::InvalidPath),
        ("sub\\file.txt", NotFound::InvalidPath),
        ("link-out", NotFound::LeavesDirectory),
        ("link-up", NotFound::LeavesDirectory),
        ("link-loop", NotFound::LeavesDirectory),
        (".env", NotFound::Hidden),
        (".git/config", NotFound::Hidden),
    ] {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let answer = site
                .ask(method, path, &[(IF_NONE_MATCH, "*")], Options::for_route())
                .await;
            assert_eq!((answer.code(), answer.body.len()), (404, 0), "{path:?}");
            assert_eq!(answer.field(CONTENT_LENGTH), Some("0"));
            assert_eq!(answer.headers.len(), 1, "{:?}", answer.headers);
        }
        let request = RequestView {
            method: &Method::GET,
            headers: &HeaderMap::new(),
        };
        let error = try_respond(
            &site.directory,
            &site.cache,
            path,
            &request,
            Options::for_route(),
        )
        .await
        .unwrap_err();
        let FileError::NotFound {
            reason: found,
            directory,
            path: named,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(
            (found, directory.as_str(), named.as_str()),
            (reason, "site", path)
        );
    }

    assert_eq!(site.get("link-in", &[]).await.body, "x");
    assert_eq!(
        site.get(".well-known/security.txt", &[]).await.body,
        "contact"
    );
    let guest = || Options::for_guest(StatusCode::OK, HeaderMap::new(), None);
    assert_eq!(
        site.ask(Method::GET, ".env", &[], guest()).await.body,
        "secret"
    );
    assert_eq!(
        site.ask(Method::GET, "../x", &[], guest()).await.code(),
        404
    );
}

#[tokio::test]
async fn a_fifo_does_not_hang() {
    let site = Site::new();
    let mode = rustix::fs::Mode::RWXU;
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, site.path("fifo"), fifo, mode, 0).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), site.get("fifo", &[]))
        .await
        .expect("it blocks");
    assert_eq!(answer.code(), 404);
}

#[tokio::test]
async fn an_index_stands_for_its_directory() {
    let site = Site::new();
    site.write("index.html", "top");
    site.write("docs/index.html", "docs");
    site.write("docs/index.html.gz", "gz");
    site.write("a b:c/index.html", "odd");
    site.write("bare/file", "x");
    let options = || Options {
        index: Some("index.html"),
        ..Options::for_route()
    };
    for (path, body) in [("", "top"), ("docs/", "docs"), ("docs/index.html", "docs")] {
        let answer = site.ask(Method::GET, path, &[], options()).await;
        assert_eq!(
            (answer.code(), &answer.body[..]),
            (200, body.as_bytes()),
            "{path}"
        );
        assert_eq!(answer.field(CONTENT_TYPE), Some("text/html; charset=utf-8"));
    }
    let answer = site
        .ask(
            Method::GET,
            "docs/",
            &[(ACCEPT_ENCODING, "gzip")],
            options(),
        )
        .await;
    assert_eq!(
        (answer.field(CONTENT_ENCODING), &answer.body[..]),
        (Some("gzip"), &b"gz"[..])
    );

    for (path, location) in [("docs", "./docs/"), ("a b:c", "./a%20b%3Ac/")] {
        let answer = site.ask(Method::GET, path, &[], options()).await;
        assert_eq!(
            (answer.code(), answer.field(LOCATION)),
            (301, Some(location))
        );
    }
    for path in ["bare", "bare/"] {
        assert_eq!(
            site.ask(Method::GET, path, &[], options()).await.code(),
            404,
            "{path}"
        );
    }
}

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
                assert_eq!(
                    answer.field(CONTENT_LENGTH),
                    Some(span.len().to_string().as_str())
                );
                assert!(answer.field(ETAG).is_some() && answer.field(VARY).is_some());
                assert_eq!(answer.field(CONTENT_TYPE), Some("application/octet-stream"));
            }
            None => assert_eq!(
                (answer.code(), &answer.body[..]),
                (200, ALPHABET.as_bytes()),
                "{range}"
            ),
        }
    }
    for range in ["bytes=26-", "bytes=26-30", "bytes=-0"] {
        let answer = site.get("file", &[(RANGE, range)]).await;
        assert_eq!(
            (answer.code(), answer.field(CONTENT_RANGE)),
            (416, Some("bytes */26")),
            "{range}"
        );
        assert_eq!(
            (
                answer.body.len(),
                answer.field(CONTENT_LENGTH),
                answer.field(CONTENT_TYPE)
            ),
            (0, Some("0"), None)
        );
    }
    let answer = site
        .get("file", &[(RANGE, "bytes=0-1"), (RANGE, "bytes=0-1")])
        .await;
    assert_eq!(answer.code(), 200, "two lines are two ranges");

    // Only GET has ranges (RFC 9110, 14.2).
    let answer = site
        .ask(
            Method::HEAD,
            "file",
            &[(RANGE, "bytes=0-1")],
            Options::for_route(),
        )
        .await;
    assert_eq!(
        (
            answer.code(),
            answer.field(CONTENT_LENGTH),
            answer.body.len()
        ),
        (200, Some("26"), 0)
    );
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    let options = Options {
        headers,
        ..Options::for_route()
    };
    let answer = site
        .ask(Method::GET, "file", &[(RANGE, "bytes=0-1")], options)
        .await;
    assert_eq!(
        (answer.code(), answer.field(ACCEPT_RANGES)),
        (200, Some("none"))
    );
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
        (
            &[(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, LATER)],
            200,
        ),
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
            let head = site
                .ask(Method::HEAD, "file", fields, Options::for_route())
                .await;
            assert_eq!(
                (head.status, &head.headers),
                (answer.status, &answer.headers),
                "HEAD as GET: {fields:?}"
            );
            assert!(head.body.is_empty());
        }
    }
}

#[tokio::test]
async fn another_method_gets_the_file_as_it_is() {
    let site = Site::new();
    site.write("file", ALPHABET);
    let fields = [(IF_NONE_MATCH, "*"), (RANGE, "bytes=0-1")];
    let answer = site
        .ask(Method::POST, "file", &fields, Options::for_route())
        .await;
    assert_eq!((answer.code(), answer.body.len()), (200, 26));
    assert_eq!(
        (answer.field(ETAG), answer.field(ACCEPT_RANGES)),
        (None, None)
    );
}

#[tokio::test]
async fn siblings() {
    let site = Site::new();
    site.write("app.js", "plain");
    site.write("app.js.br", "brotli...");
    site.write("app.js.gz", "gzip.");
    site.write("gz-only.css", "plain");
    site.write("gz-only.css.gz", "gzip.");
    site.write("none.js", "plain");
    site.write("odd.js", "plain");
    std::fs::create_dir(site.path("odd.js.br")).unwrap();
    site.link("/etc/passwd", "odd.js.gz");
    for (path, accept, coding, body) in [
        ("app.js", None, None, "plain"),
        (
            "app.js",
            Some("gzip, deflate, br, zstd"),
            Some("br"),
            "brotli...",
        ),
        ("app.js", Some("gzip"), Some("gzip"), "gzip."),
        ("app.js", Some("br;q=0.5, gzip"), Some("gzip"), "gzip."),
        ("app.js", Some("br;q=0, gzip;q=0"), None, "plain"),
        ("app.js", Some("*"), Some("br"), "brotli..."),
        ("app.js", Some("identity, br;q=0.9"), None, "plain"),
        ("app.js", Some("identity;q=0, gzip"), Some("gzip"), "gzip."),
        ("gz-only.css", Some("br, gzip"), Some("gzip"), "gzip."),
        ("none.js", Some("br, gzip"), None, "plain"),
        ("odd.js", Some("br, gzip"), None, "plain"),
        ("app.js.gz", Some("gzip"), None, "gzip."),
    ] {
        let fields: Vec<_> = accept
            .into_iter()
            .map(|accept| (ACCEPT_ENCODING, accept))
            .collect();
        let answer = site.get(path, &fields).await;
        assert_eq!(
            (answer.code(), answer.field(CONTENT_ENCODING)),
            (200, coding),
            "{path} {accept:?}"
        );
        assert_eq!(answer.body, body);
        assert_eq!(answer.field(VARY), Some("accept-encoding"));
        if path == "app.js" {
            assert_eq!(
                answer.field(CONTENT_TYPE),
                Some("text/javascript; charset=utf-8")
            );
        }
    }
    for accept in ["identity;q=0", "*;q=0"] {
        let answer = site.get("none.js", &[(ACCEPT_ENCODING, accept)]).await;
        assert_eq!(
            (answer.code(), answer.field(VARY)),
            (406, Some("accept-encoding")),
            "{accept}"
        );
    }

    let plain = site
        .get("app.js", &[])
        .await
        .field(ETAG)
        .unwrap()
        .to_owned();
    let brotli = site
        .get("app.js", &[(ACCEPT_ENCODING, "br")])
        .await
        .field(ETAG)
        .unwrap()
        .to_owned();
    assert_ne!(plain, brotli);

    // Tags and ranges are those of the bytes that are sent.
    let with_brotli = |name, value| [(ACCEPT_ENCODING, "br"), (name, value)];
    assert_eq!(
        site.get("app.js", &with_brotli(IF_NONE_MATCH, &brotli))
            .await
            .code(),
        304
    );
    assert_eq!(
        site.get("app.js", &with_brotli(IF_NONE_MATCH, &plain))
            .await
            .code(),
        200
    );
    let part = [
        (ACCEPT_ENCODING, "br"),
        (RANGE, "bytes=1-3"),
        (IF_RANGE, brotli.as_str()),
    ];
    let answer = site.get("app.js", &part).await;
    assert_eq!(
        (answer.code(), answer.field(CONTENT_RANGE)),
        (206, Some("bytes 1-3/9"))
    );
    assert_eq!(
        (answer.field(CONTENT_ENCODING), &answer.body[..]),
        (Some("br"), &b"rot"[..])
    );
    let mixed = [
        (ACCEPT_ENCODING, "br"),
        (RANGE, "bytes=1-3"),
        (IF_RANGE, plain.as_str()),
    ];
    let answer = site.get("app.js", &mixed).await;
    assert_eq!((answer.code(), &answer.body[..]), (200, &b"brotli..."[..]));

    let off = Options {
        siblings: false,
        ..Options::for_route()
    };
    let answer = site
        .ask(
            Method::GET,
            "app.js",
            &[(ACCEPT_ENCODING, "br, identity;q=0")],
            off,
        )
        .await;
    assert_eq!(
        (answer.code(), answer.field(VARY), &answer.body[..]),
        (200, None, &b"plain"[..])
    );
}

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
    let guest = |fields: &[(HeaderName, &'static str)]| {
        Options::for_guest(StatusCode::OK, head(fields), None)
    };

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
    let answer = site
        .ask(
            Method::GET,
            "file.txt",
            &[(ACCEPT_ENCODING, "br")],
            guest(&fields),
        )
        .await;
    assert_eq!(
        (answer.code(), &answer.body[..]),
        (200, ALPHABET.as_bytes())
    );
    for (name, value) in &fields[..3] {
        assert_eq!(answer.field(name.clone()), Some(*value));
    }
    assert_eq!(
        answer.field(CONTENT_LENGTH),
        Some("26"),
        "the host's to write"
    );
    assert_eq!(answer.field(CONTENT_RANGE), None);
    assert_eq!(answer.headers.get_all(SET_COOKIE).iter().count(), 2);
    assert_eq!(answer.field(VARY), None, "its own tag speaks of one file");

    // They take part in the conditions, and what is no representation metadata stays on a 304.
    let answer = site
        .ask(
            Method::GET,
            "file.txt",
            &[(IF_NONE_MATCH, "\"own\"")],
            guest(&fields),
        )
        .await;
    assert_eq!(
        (answer.code(), answer.field(CACHE_CONTROL)),
        (304, Some("max-age=60"))
    );
    let since = [(IF_MODIFIED_SINCE, "Fri, 31 Dec 1999 23:59:59 GMT")];
    assert_eq!(
        site.ask(Method::GET, "file.txt", &since, guest(&fields))
            .await
            .code(),
        200
    );

    let answer = site
        .ask(
            Method::GET,
            "file.txt",
            &[(ACCEPT_ENCODING, "br")],
            guest(&[(VARY, "origin")]),
        )
        .await;
    let vary: Vec<_> = answer
        .headers
        .get_all(VARY)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert_eq!(
        (&vary[..], &answer.body[..]),
        (&["origin", "accept-encoding"][..], &b"br"[..])
    );
    let answer = site
        .ask(
            Method::GET,
            "file.txt",
            &[],
            guest(&[(VARY, "Origin, Accept-Encoding")]),
        )
        .await;
    assert_eq!(answer.field(VARY), Some("Origin, Accept-Encoding"));
    let own_coding = guest(&[(CONTENT_ENCODING, "compress")]);
    let answer = site
        .ask(
            Method::GET,
            "file.txt",
            &[(ACCEPT_ENCODING, "br")],
            own_coding,
        )
        .await;
    assert_eq!(
        (answer.field(CONTENT_ENCODING), &answer.body[..]),
        (Some("compress"), ALPHABET.as_bytes())
    );
}

#[tokio::test]
async fn another_status_is_sent_as_it_is() {
    let site = Site::new();
    site.write("404.html", ALPHABET);
    site.write("404.html.br", "br");
    let fields = [
        (IF_NONE_MATCH, "*"),
        (RANGE, "bytes=0-1"),
        (ACCEPT_ENCODING, "br"),
        (IF_MATCH, "\"x\""),
    ];
    for status in [201, 404, 503] {
        let options = Options::for_guest(
            StatusCode::from_u16(status).unwrap(),
            HeaderMap::new(),
            None,
        );
        let answer = site.ask(Method::GET, "404.html", &fields, options).await;
        assert_eq!(
            (answer.code(), &answer.body[..]),
            (status, ALPHABET.as_bytes())
        );
        assert_eq!(answer.field(CONTENT_TYPE), Some("text/html; charset=utf-8"));
        assert_eq!(
            (
                answer.field(ETAG),
                answer.field(ACCEPT_RANGES),
                answer.field(VARY)
            ),
            (None, None, None)
        );
    }
    for status in [204, 205, 304] {
        let options = Options::for_guest(
            StatusCode::from_u16(status).unwrap(),
            HeaderMap::new(),
            None,
        );
        let answer = site.ask(Method::GET, "404.html", &fields, options).await;
        assert_eq!(
            (
                answer.code(),
                answer.body.len(),
                answer.field(CONTENT_LENGTH)
            ),
            (status, 0, None)
        );
    }
    let options = Options::for_guest(StatusCode::NOT_FOUND, HeaderMap::new(), None);
    assert_eq!(
        site.ask(Method::GET, "nothing", &[], options)
            .await
            .headers
            .len(),
        1
    );
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
        assert_eq!(
            (answer.code(), &answer.body[..]),
            (expected, body.as_bytes()),
            "{status} {range:?}"
        );
        assert_eq!(
            answer.field(CONTENT_LENGTH),
            Some(body.len().to_string().as_str())
        );
        assert_eq!(
            (answer.field(ACCEPT_RANGES), answer.field(CONTENT_ENCODING)),
            (None, None)
        );
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

    // A part that is sent as the whole has a tag of its own; one sent as a part has the file's.
    let tag = async |status, range| {
        let options = Options::for_guest(status, HeaderMap::new(), range);
        site.ask(Method::GET, "file", &[], options)
            .await
            .field(ETAG)
            .unwrap()
            .to_owned()
    };
    let whole = tag(StatusCode::OK, None).await;
    let slice = tag(StatusCode::OK, part(2, Some(3))).await;
    assert_ne!(whole, slice);
    assert_ne!(slice, tag(StatusCode::OK, part(2, Some(4))).await);
    assert_eq!(
        whole,
        tag(StatusCode::PARTIAL_CONTENT, part(2, Some(3))).await
    );
    let options = Options::for_guest(StatusCode::OK, HeaderMap::new(), part(2, Some(3)));
    assert_eq!(
        site.ask(Method::GET, "file", &[(IF_NONE_MATCH, &slice)], options)
            .await
            .code(),
        304
    );
}

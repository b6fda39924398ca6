//! Status, fields and bytes of every kind of answer.

use std::time::Duration;

use crate::support::{LAST_MODIFIED, Site};
use http::header::{LAST_MODIFIED as LAST_MODIFIED_NAME, *};
use http::{Method, StatusCode};
use roadrunner_files::{FileError, NotFound, Options, RequestView, try_respond};

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
        assert_eq!(site.get(name, &[]).await.field(CONTENT_TYPE), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn an_empty_file() {
    let site = Site::new();
    site.write("empty.txt", "");
    let answer = site.get("empty.txt", &[]).await;
    assert_eq!((answer.code(), answer.field(CONTENT_LENGTH), answer.body.len()), (200, Some("0"), 0));
    let answer = site.get("empty.txt", &[(RANGE, "bytes=0-")]).await;
    assert_eq!((answer.code(), answer.field(CONTENT_RANGE)), (416, Some("bytes */0")));
    assert_eq!(site.get("empty.txt", &[(RANGE, "bytes=-5")]).await.code(), 200);
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
            let answer = site.ask(method, path, &[(IF_NONE_MATCH, "*")], Options::for_route()).await;
            assert_eq!((answer.code(), answer.body.len()), (404, 0), "{path:?}");
            assert_eq!(answer.field(CONTENT_LENGTH), Some("0"));
            assert_eq!(answer.headers.len(), 1, "{:?}", answer.headers);
        }
        let request = RequestView { method: &Method::GET, headers: &HeaderMap::new() };
        let error = try_respond(&site.directory, &site.cache, path, &request, Options::for_route()).await.unwrap_err();
        let FileError::NotFound { reason: found, directory, path: named } = error else {
            panic!("{error}");
        };
        assert_eq!((found, directory.as_str(), named.as_str()), (reason, "site", path));
    }

    assert_eq!(site.get("link-in", &[]).await.body, "x");
    assert_eq!(site.get(".well-known/security.txt", &[]).await.body, "contact");
    let guest = || Options::for_guest(StatusCode::OK, HeaderMap::new(), None);
    assert_eq!(site.ask(Method::GET, ".env", &[], guest()).await.body, "secret");
    assert_eq!(site.ask(Method::GET, "../x", &[], guest()).await.code(), 404);
}

#[tokio::test]
async fn a_fifo_does_not_hang() {
    let site = Site::new();
    let mode = rustix::fs::Mode::RWXU;
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, site.path("fifo"), fifo, mode, 0).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), site.get("fifo", &[])).await.expect("it blocks");
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
    let options = || Options { index: Some("index.html"), ..Options::for_route() };
    for (path, body) in [("", "top"), ("docs/", "docs"), ("docs/index.html", "docs")] {
        let answer = site.ask(Method::GET, path, &[], options()).await;
        assert_eq!((answer.code(), &answer.body[..]), (200, body.as_bytes()), "{path}");
        assert_eq!(answer.field(CONTENT_TYPE), Some("text/html; charset=utf-8"));
    }
    let answer = site.ask(Method::GET, "docs/", &[(ACCEPT_ENCODING, "gzip")], options()).await;
    assert_eq!((answer.field(CONTENT_ENCODING), &answer.body[..]), (Some("gzip"), &b"gz"[..]));

    for (path, location) in [("docs", "./docs/"), ("a b:c", "./a%20b%3Ac/")] {
        let answer = site.ask(Method::GET, path, &[], options()).await;
        assert_eq!((answer.code(), answer.field(LOCATION)), (301, Some(location)));
    }
    for path in ["bare", "bare/"] {
        assert_eq!(site.ask(Method::GET, path, &[], options()).await.code(), 404, "{path}");
    }
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
        ("app.js", Some("gzip, deflate, br, zstd"), Some("br"), "brotli..."),
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
        let fields: Vec<_> = accept.into_iter().map(|accept| (ACCEPT_ENCODING, accept)).collect();
        let answer = site.get(path, &fields).await;
        assert_eq!((answer.code(), answer.field(CONTENT_ENCODING)), (200, coding), "{path} {accept:?}");
        assert_eq!(answer.body, body);
        assert_eq!(answer.field(VARY), Some("accept-encoding"));
        if path == "app.js" {
            assert_eq!(answer.field(CONTENT_TYPE), Some("text/javascript; charset=utf-8"));
        }
    }
    for accept in ["identity;q=0", "*;q=0"] {
        let answer = site.get("none.js", &[(ACCEPT_ENCODING, accept)]).await;
        assert_eq!((answer.code(), answer.field(VARY)), (406, Some("accept-encoding")), "{accept}");
    }

    let plain = site.get("app.js", &[]).await.field(ETAG).unwrap().to_owned();
    let brotli = site.get("app.js", &[(ACCEPT_ENCODING, "br")]).await.field(ETAG).unwrap().to_owned();
    assert_ne!(plain, brotli);

    // Tags and ranges are those of the sent bytes.
    let with_brotli = |name, value| [(ACCEPT_ENCODING, "br"), (name, value)];
    assert_eq!(site.get("app.js", &with_brotli(IF_NONE_MATCH, &brotli)).await.code(), 304);
    assert_eq!(site.get("app.js", &with_brotli(IF_NONE_MATCH, &plain)).await.code(), 200);
    let part = [(ACCEPT_ENCODING, "br"), (RANGE, "bytes=1-3"), (IF_RANGE, brotli.as_str())];
    let answer = site.get("app.js", &part).await;
    assert_eq!((answer.code(), answer.field(CONTENT_RANGE)), (206, Some("bytes 1-3/9")));
    assert_eq!((answer.field(CONTENT_ENCODING), &answer.body[..]), (Some("br"), &b"rot"[..]));
    let mixed = [(ACCEPT_ENCODING, "br"), (RANGE, "bytes=1-3"), (IF_RANGE, plain.as_str())];
    let answer = site.get("app.js", &mixed).await;
    assert_eq!((answer.code(), &answer.body[..]), (200, &b"brotli..."[..]));

    let off = Options { siblings: false, ..Options::for_route() };
    let answer = site.ask(Method::GET, "app.js", &[(ACCEPT_ENCODING, "br, identity;q=0")], off).await;
    assert_eq!((answer.code(), answer.field(VARY), &answer.body[..]), (200, None, &b"plain"[..]));
}

//! Files: the shape sendfile, and static routes that need no guest. Files below a granted directory are served, and no
//! others.

use std::os::unix::fs::symlink;

use roadrunner_tests::{Answer, Ask, End, Server, Setup, Way};

const TEXT: &str = "0123456789abcdefghij";

async fn start() -> Server {
    let setup = Setup::with(
        "[directory.files]\npath = \"public\"\n\
         [component.files]\nfile = \"{guests}/files.wasm\"\ndirectories = [\"files\"]\n\
         [[route]]\npath = \"/guest\"\ncomponent = \"files\"\n\
         [[route]]\npath = \"/one\"\nstatic = { directory = \"files\", file = \"text.txt\", cache-control = \"max-age=60\" }\n\
         [[route]]\npath = \"/static/*path\"\nstatic = { directory = \"files\" }\n",
    )
    .file("public/text.txt", TEXT)
    .file("public/page.html", "<p>page</p>")
    .file("public/page.html.gz", "pretend-gzip")
    .file("public/page.html.br", "pretend-brotli")
    .file("public/with space/a+b.txt", "spaced")
    .file("public/folder/index.html", "index")
    .file("public/.hidden", "hidden")
    .file("secret.txt", "secret");
    let server = setup.start().await;
    let public = server.folder().join("public");
    symlink("text.txt", public.join("inside")).expect("a link");
    symlink("../secret.txt", public.join("outside")).expect("a link");
    symlink("/etc/passwd", public.join("absolute")).expect("a link");
    symlink("..", public.join("up")).expect("a link");
    server
}

async fn fetch(server: &Server, way: Way, ask: Ask) -> Answer {
    let answer = server.fetch(way, ask).await;
    assert_eq!(answer.end, End::sized(way), "{way:?}: {answer:?}");
    answer
}

/// The same file through a guest and through a static route.
const BOTH: [&str; 2] = ["/guest?path=text.txt", "/static/text.txt"];

#[tokio::test]
async fn whole_files() {
    let server = start().await;
    for way in Way::ALL {
        for path in BOTH {
            let answer = fetch(&server, way, Ask::get(path)).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, TEXT), "{way:?} {path}");
            assert!(answer.header("content-type").starts_with("text/plain"), "{way:?} {path}");
            assert_eq!(answer.header("accept-ranges"), "bytes", "{way:?} {path}");
            assert!(answer.headers.contains_key("last-modified"), "{way:?} {path}");
            let head = fetch(&server, way, Ask::new("HEAD", path)).await;
            assert_eq!((head.header("content-length"), head.body.len()), ("20", 0), "{way:?} {path}");
            assert_eq!(head.header("etag"), answer.header("etag"), "{way:?} {path}");
        }
        assert_eq!(fetch(&server, way, Ask::get("/static/with%20space/a+b.txt")).await.text(), "spaced", "{way:?}");
        assert_eq!(fetch(&server, way, Ask::get("/static/folder/")).await.text(), "index", "{way:?}");
        assert_eq!(fetch(&server, way, Ask::get("/static/inside")).await.text(), TEXT, "{way:?}: a link that stays");
        let one = fetch(&server, way, Ask::get("/one")).await;
        assert_eq!((one.text().as_str(), one.header("cache-control")), (TEXT, "max-age=60"), "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn ranges() {
    let server = start().await;
    for way in Way::ALL {
        for path in BOTH {
            for (range, status, content_range, body) in [
                ("bytes=0-4", 206, "bytes 0-4/20", "01234"),
                ("bytes=5-5", 206, "bytes 5-5/20", "5"),
                ("bytes=15-", 206, "bytes 15-19/20", "fghij"),
                ("bytes=-3", 206, "bytes 17-19/20", "hij"),
                ("bytes=0-999", 206, "bytes 0-19/20", TEXT),
                ("bytes=20-", 416, "bytes */20", ""),
                ("bytes=5-4", 200, "", TEXT),
                ("bytes=0-1,3-4", 200, "", TEXT),
                ("lines=0-4", 200, "", TEXT),
            ] {
                let answer = fetch(&server, way, Ask::get(path).header("range", range)).await;
                assert_eq!(answer.status, status, "{way:?} {path} {range}");
                assert_eq!(answer.header("content-range"), content_range, "{way:?} {path} {range}");
                if status != 416 {
                    assert_eq!(answer.text(), body, "{way:?} {path} {range}");
                }
            }
        }
        // The guest's own range.
        let answer = fetch(&server, way, Ask::get("/guest?path=text.txt&start=10&length=3")).await;
        assert_eq!(answer.text(), "abc", "{way:?}");
        // The guest's own head.
        let answer =
            fetch(&server, way, Ask::get("/guest?path=text.txt&status=404&header-x-a=b&header-content-type=x/y")).await;
        assert_eq!((answer.status, answer.header("x-a"), answer.header("content-type")), (404, "b", "x/y"), "{way:?}");
        assert_eq!(answer.text(), TEXT, "{way:?}");
    }
}

#[tokio::test]
async fn conditions() {
    let server = start().await;
    for way in Way::ALL {
        for path in BOTH {
            let plain = fetch(&server, way, Ask::get(path)).await;
            let (etag, modified) = (plain.header("etag"), plain.header("last-modified"));
            for (name, value, status) in [
                ("if-none-match", etag, 304),
                ("if-none-match", "*", 304),
                ("if-none-match", "\"another\"", 200),
                ("if-modified-since", modified, 304),
                ("if-modified-since", "Thu, 01 Jan 1970 00:00:01 GMT", 200),
                ("if-match", "\"another\"", 412),
                ("if-match", etag, 200),
            ] {
                let answer = fetch(&server, way, Ask::get(path).header(name, value)).await;
                assert_eq!(answer.status, status, "{way:?} {path} {name}: {value}");
                assert_eq!(answer.text(), if status == 200 { TEXT } else { answer.text().leak() }, "{way:?} {path}");
            }
            let ranged = Ask::get(path).header("range", "bytes=0-1");
            let answer = fetch(&server, way, ranged.clone().header("if-range", etag)).await;
            assert_eq!((answer.status, answer.text().as_str()), (206, "01"), "{way:?} {path}");
            let answer = fetch(&server, way, ranged.header("if-range", "\"another\"")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, TEXT), "{way:?} {path}");
        }
    }
}

#[tokio::test]
async fn siblings() {
    let server = start().await;
    for way in Way::EACH {
        for path in ["/guest?path=page.html", "/static/page.html"] {
            for (accepted, coding, body) in [
                ("", "", "<p>page</p>"),
                ("gzip", "gzip", "pretend-gzip"),
                ("gzip, br", "br", "pretend-brotli"),
                ("br;q=0, gzip", "gzip", "pretend-gzip"),
                ("gzip;q=0", "", "<p>page</p>"),
            ] {
                let answer = fetch(&server, way, Ask::get(path).header("accept-encoding", accepted)).await;
                assert_eq!(
                    (answer.header("content-encoding"), answer.text().as_str()),
                    (coding, body),
                    "{way:?} {path} {accepted}"
                );
                assert!(answer.header("content-type").starts_with("text/html"), "{way:?} {path} {accepted}");
                assert!(answer.header("vary").to_lowercase().contains("accept-encoding"), "{way:?} {path} {accepted}");
            }
        }
        let ranged = Ask::get("/static/page.html").header("accept-encoding", "br").header("range", "bytes=0-2");
        let answer = fetch(&server, way, ranged).await;
        assert!(!answer.text().contains("page") || answer.header("content-encoding").is_empty(), "{way:?}: {answer:?}");
    }
}

#[tokio::test]
async fn nothing_outside_can_be_had() {
    let server = start().await;
    for way in Way::ALL {
        for path in [
            "/static/../secret.txt",
            "/static/%2e%2e/secret.txt",
            "/static/..%2fsecret.txt",
            "/static/%2e%2e%2fsecret.txt",
            "/static/folder/../../secret.txt",
            "/static//etc/passwd",
            "/static/%2fetc/passwd",
            "/static/outside",
            "/static/absolute",
            "/static/up/secret.txt",
            "/static/text.txt/",
            "/static/text.txt%00",
            "/static/.hidden",
            "/static/none",
            "/guest?path=../secret.txt",
            "/guest?path=/etc/passwd",
            "/guest?path=outside",
            "/guest?path=absolute",
            "/guest?path=up/secret.txt",
            "/guest?path=folder/../../secret.txt",
            "/guest?path=text.txt%00",
            "/guest?path=",
            "/guest?path=folder",
        ] {
            let answer = fetch(&server, way, Ask::get(path)).await;
            // Dot segments of a request's own path are refused before any route.
            assert!(matches!(answer.status, 400 | 404), "{way:?} {path}: {answer:?}");
            assert!(!answer.text().contains("secret") && !answer.text().contains("root:"), "{way:?} {path}");
        }
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_directory_that_is_not_granted_is_the_guests_fault() {
    let server = start().await;
    for way in Way::ALL {
        let answer = fetch(&server, way, Ask::get("/guest?dir=other&path=text.txt")).await;
        assert_eq!(answer.status, 500, "{way:?}");
        assert!(!answer.text().contains("other"), "{way:?}: {}", answer.text());
    }
    server.log.message("is not granted to this component").await;
    assert_eq!(server.metrics().await.outcome("invalid-response"), 5.0);
}

#[tokio::test]
async fn a_file_that_changes_is_sent_as_it_is_now() {
    let server = start().await;
    let path = server.folder().join("public/text.txt");
    let old = fetch(&server, Way::H1, Ask::get("/static/text.txt")).await;
    std::fs::write(&path, "other").expect("a file");
    let new = fetch(&server, Way::H1, Ask::get("/static/text.txt").header("if-none-match", old.header("etag"))).await;
    assert_eq!((new.status, new.text().as_str()), (200, "other"));
    assert_ne!(new.header("etag"), old.header("etag"));
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(fetch(&server, Way::H1, Ask::get("/static/text.txt")).await.status, 404);
}

/// There is no instance while the file is sent.
#[tokio::test]
async fn the_instance_is_gone_before_the_first_byte() {
    let server = start().await;
    let file = std::fs::File::create(server.folder().join("public/large")).expect("a file");
    file.set_len(64 << 20).expect("a sparse file");
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/guest?path=large")).await;
        assert_eq!(exchange.head().await, 200);
        assert!(exchange.piece().await.is_some());
        assert_eq!(server.instances().await.len(), 0, "{way:?}");
        assert_eq!(
            server.metrics().await.sum("roadrunner_exchanges_in_flight", ""),
            1.0,
            "{way:?}: it is still being sent"
        );
        drop(exchange);
        drop(client);
        server.is_quiet().await;
    }
    server.is_quiet().await;
}

//! Middlewares around routes: CORS, compression, response headers, request ids.

use std::io::Write as _;
use std::process::{Command, Stdio};

use roadrunner_tests::server::component;
use roadrunner_tests::{Answer, Ask, Setup, Way, command};

fn routes(middleware: &str, settings: &str) -> Setup {
    Setup::with(&format!("[middleware.{middleware}]\n{settings}\n"))
        .and(&["answers", "inspector", "loops", "streams", "demo"].map(component).concat())
        .and(&format!(
            "[directory.files]\npath = \"public\"\n[[group]]\nmiddlewares = [\"{middleware}\"]\n\
             [[group.route]]\npath = \"/inspect\"\ncomponent = \"inspector\"\nmethods = [\"GET\", \"PUT\"]\n\
             [[group.route]]\npath = \"/headers\"\ncomponent = \"answers\"\n\
             [[group.route]]\npath = \"/subscribe/:topic\"\ncomponent = \"loops\"\n\
             [[group.route]]\npath = \"/chunks\"\ncomponent = \"streams\"\n\
             [[group.route]]\npath = \"/\"\ncomponent = \"demo\"\n\
             [[group.route]]\npath = \"/files/*path\"\nstatic = {{ directory = \"files\" }}\n\
             [[route]]\npath = \"/publish/:topic\"\ncomponent = \"loops\"\n\
             [[route]]\npath = \"/cookie\"\ncomponent = \"answers\"\n\
             [[route]]\npath = \"/own\"\ncomponent = \"inspector\"\nmethods = [\"GET\"]\n"
        ))
        .file("public/large.txt", "a line of text\n".repeat(1000))
}

fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("not JSON: {answer:?}"))
}

#[tokio::test]
async fn cors() {
    let settings = "type = \"cors\"\norigins = [\"https://example.com\"]\nmethods = [\"GET\", \"PUT\"]\nheaders = [\"x-token\"]\n\
                    expose = [\"x-seen\"]\nmax-age = \"5m\"";
    let server = routes("cross", settings).start().await;
    for way in Way::ALL {
        let preflight = |origin: &str| {
            Ask::new("OPTIONS", "/inspect")
                .header("origin", origin)
                .header("access-control-request-method", "PUT")
                .header("access-control-request-headers", "x-token")
        };
        let answer = server.fetch(way, preflight("https://example.com")).await;
        assert!(answer.status == 200 || answer.status == 204, "{way:?}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "https://example.com", "{way:?}");
        assert!(answer.header("access-control-allow-methods").contains("PUT"), "{way:?}: {answer:?}");
        assert!(answer.header("access-control-allow-headers").contains("x-token"), "{way:?}: {answer:?}");
        assert_eq!(answer.header("access-control-max-age"), "300", "{way:?}");
        assert!(answer.body.is_empty(), "{way:?}: the guest was not asked: {answer:?}");

        let answer = server.fetch(way, preflight("https://evil.example")).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{way:?}: {answer:?}");

        let answer = server.fetch(way, Ask::get("/inspect").header("origin", "https://example.com")).await;
        assert_eq!(answer.header("access-control-allow-origin"), "https://example.com", "{way:?}");
        assert_eq!(answer.header("access-control-expose-headers"), "x-seen", "{way:?}");
        assert!(answer.header("vary").to_lowercase().contains("origin"), "{way:?}: {answer:?}");
        assert_eq!(json(&answer)["method"], "GET", "{way:?}");

        let answer = server.fetch(way, Ask::get("/cookie").header("origin", "https://example.com")).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{way:?}: another route");

        let ask = Ask::new("OPTIONS", "/own").header("origin", "https://example.com");
        let answer = server.fetch(way, ask.header("access-control-request-method", "GET")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{way:?}: no CORS, no preflight");
    }
}

/// Unpacks with the system's program; `None` if it is missing.
fn unpack(program: &str, arguments: &[&str], body: &[u8]) -> Option<String> {
    command::tool("middlewares::compression", program)?;
    let child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("it is installed");
    let mut stdin = child.stdin.take().expect("it is piped");
    let body = body.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().expect("it runs");
    writer.join().expect("it does not panic").expect("it reads");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn compression() {
    let server = routes("small", "type = \"compression\"\nencodings = [\"gzip\", \"br\", \"zstd\"]").start().await;
    for way in Way::ALL {
        let plain = server.fetch(way, Ask::get("/")).await;
        assert_eq!(plain.header("content-encoding"), "", "{way:?}");
        for (accepted, coding) in [
            ("gzip", "gzip"),
            ("br", "br"),
            ("zstd", "zstd"),
            ("br, zstd, gzip", "gzip"),
            ("br;q=1, gzip;q=0.5", "br"),
            ("gzip;q=0", ""),
        ] {
            let answer = server.fetch(way, Ask::get("/").header("accept-encoding", accepted)).await;
            assert_eq!(answer.header("content-encoding"), coding, "{way:?} {accepted}");
            assert!(answer.end.is_whole(), "{way:?} {accepted}");
            if coding.is_empty() {
                assert_eq!(answer.body, plain.body, "{way:?} {accepted}");
                continue;
            }
            assert!(
                answer.header("vary").to_lowercase().contains("accept-encoding"),
                "{way:?} {accepted}: {:?}",
                answer.headers
            );
            assert!(answer.body.len() < plain.body.len(), "{way:?} {accepted}");
            let unpacked = match coding {
                "gzip" => unpack("gzip", &["-dc"], &answer.body),
                "br" => unpack("brotli", &["-dc"], &answer.body),
                _ => unpack("zstd", &["-dc"], &answer.body),
            };
            if let Some(unpacked) = unpacked {
                assert_eq!(unpacked, plain.text(), "{way:?} {accepted}");
            }
        }
    }
}

/// Only a request that asks for a method is a preflight (Fetch standard).
#[tokio::test]
async fn other_options_are_the_guests() {
    let settings = "type = \"cors\"\norigins = [\"https://example.com\"]\nmethods = [\"GET\"]";
    let server = Setup::with(&format!("[middleware.cross]\n{settings}\n"))
        .and(&component("inspector"))
        .and("[[route]]\npath = \"/*rest\"\ncomponent = \"inspector\"\nmiddlewares = [\"cross\"]")
        .start()
        .await;
    for way in Way::ALL {
        let bare = server.fetch(way, Ask::new("OPTIONS", "/x")).await;
        assert_eq!((bare.status, &json(&bare)["method"]), (200, &"OPTIONS".into()), "{way:?}");
        let ask = Ask::new("OPTIONS", "/x").header("access-control-request-method", "GET");
        assert_eq!(json(&server.fetch(way, ask).await)["method"], "OPTIONS", "{way:?}: without an origin");
        let simple = server.fetch(way, Ask::new("OPTIONS", "/x").header("origin", "https://example.com")).await;
        assert_eq!(json(&simple)["method"], "OPTIONS", "{way:?}: without a method");
        assert_eq!(simple.header("access-control-allow-origin"), "https://example.com", "{way:?}");
        let ask = Ask::new("OPTIONS", "/x").header("origin", "https://example.com");
        let preflight = server.fetch(way, ask.header("access-control-request-method", "GET")).await;
        assert!(preflight.body.is_empty(), "{way:?}: {preflight:?}");
    }
}

/// RFC 9110, 15.4.5 and 9.3.2: a 304 and a HEAD have the fields of the GET.
#[tokio::test]
async fn compression_of_what_has_no_body() {
    for middlewares in ["\"small\", \"tags\"", "\"tags\", \"small\""] {
        let server = Setup::with("[middleware.small]\ntype = \"compression\"\nencodings = [\"gzip\"]\n")
            .and("[middleware.tags]\ntype = \"etag\"")
            .and(&component("answers"))
            .and(&component("demo"))
            .and(&format!("[[route]]\npath = \"/\"\ncomponent = \"demo\"\nmiddlewares = [{middlewares}]"))
            .and(&format!("[[route]]\npath = \"/size/:n\"\ncomponent = \"answers\"\nmiddlewares = [{middlewares}]"))
            .start()
            .await;
        for way in Way::ALL {
            for accepted in ["gzip", "identity"] {
                let ask = |method: &str, path: &str| Ask::new(method, path).header("accept-encoding", accepted);
                let get = server.fetch(way, ask("GET", "/")).await;
                let head = server.fetch(way, ask("HEAD", "/")).await;
                for name in ["vary", "content-encoding", "content-type", "etag"] {
                    assert_eq!(head.header(name), get.header(name), "{way:?} {middlewares} {accepted}: {name}");
                }
                assert_eq!(get.header("vary"), "accept-encoding", "{way:?} {middlewares} {accepted}");
                let length = head.header("content-length");
                assert!(length.is_empty() || length == get.body.len().to_string(), "{way:?} {accepted}: {length}");
                let tag = get.header("etag").to_owned();
                if !tag.is_empty() {
                    let known = server.fetch(way, ask("GET", "/").header("if-none-match", &tag)).await;
                    assert_eq!((known.status, known.header("vary")), (304, "accept-encoding"), "{way:?} {middlewares}");
                }
            }
        }
    }
}

#[tokio::test]
async fn compression_leaves_alone_what_must_not_change() {
    let server = routes("small", "type = \"compression\"\nminimum-size = \"1KiB\"").start().await;
    for way in Way::ALL {
        for (path, why) in [
            ("/inspect", "it is small"),
            ("/files/large.txt", "it has a strong validator"),
            ("/headers?content-encoding=x", "it is encoded already"),
        ] {
            let answer = server.fetch(way, Ask::get(path).header("accept-encoding", "gzip, br, zstd")).await;
            assert!(
                ["", "x"].contains(&answer.header("content-encoding")),
                "{way:?} {path}: {why}: {:?}",
                answer.headers
            );
        }
        // Each event arrives at once.
        let mut client = server.connect(way).await;
        let mut session = client.open(Ask::get("/subscribe/news").header("accept-encoding", "gzip, br, zstd")).await;
        assert_eq!(session.head().await, 200);
        assert!(!session.headers().contains_key("content-encoding"), "{way:?}");
        session.read_until("subscribed").await;
        server.fetch(way, Ask::post("/publish/news", "x".repeat(5000))).await;
        session.read_until("data: xxx").await;
    }
}

#[tokio::test]
async fn response_headers() {
    let settings = "type = \"response-headers\"\nset = { x-frame-options = \"DENY\", x-set = \"host\" }\ndefault = { x-default = \"host\" }\nremove = [\"x-remove\"]";
    let server = routes("fields", settings).start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/headers?x-set=guest&x-remove=1&x-keep=1")).await;
        for (name, value) in
            [("x-frame-options", "DENY"), ("x-set", "host"), ("x-default", "host"), ("x-remove", ""), ("x-keep", "1")]
        {
            assert_eq!(answer.header(name), value, "{way:?} {name}");
        }
        assert_eq!(answer.headers.get_all("x-set").iter().count(), 1, "{way:?}");
        let answer = server.fetch(way, Ask::get("/headers?x-default=guest")).await;
        assert_eq!(answer.header("x-default"), "guest", "{way:?}");
        // Errors of the host, streams and files pass through it, too.
        for path in ["/chunks", "/files/large.txt", "/files/none", "/headers?a%20b=c"] {
            assert_eq!(server.fetch(way, Ask::get(path)).await.header("x-frame-options"), "DENY", "{way:?} {path}");
        }
    }
}

#[tokio::test]
async fn request_ids() {
    for (trust, from) in [(false, "127.0.0.1"), (true, "127.0.0.1"), (true, "192.0.2.0/24")] {
        let setup = routes("ids", &format!("type = \"request-id\"\ntrust = {trust}"));
        let server = setup.listener(&format!("trusted-proxies = [\"{from}\"]")).start().await;
        // Only a trusted proxy's id counts, and only if the manifest asks for it.
        let trust = trust && from == "127.0.0.1";
        for way in Way::ALL {
            let mut seen = Vec::new();
            for (given, kept) in [("", false), ("mine-1", trust), (&"x".repeat(500), false)] {
                let ask = Ask::get("/inspect");
                let answer =
                    server.fetch(way, if given.is_empty() { ask } else { ask.header("x-request-id", given) }).await;
                let id = answer.header("x-request-id").to_owned();
                assert!(!id.is_empty(), "{way:?}");
                assert_eq!(id == given, kept, "trust {trust} {way:?}: gave {given:?}, got {id:?}");
                let guest = json(&answer);
                assert_eq!(guest["id"], id, "{way:?}: the guest's own");
                let headers: Vec<_> = guest["headers"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|pair| pair[0] == "x-request-id")
                    .collect();
                assert_eq!(headers, [&serde_json::json!(["x-request-id", id])], "{way:?}");
                let logged = server.log.wait(|line| line["target"] == "access" && line["request"] == id.as_str()).await;
                assert!(logged.is_some(), "{way:?}: {id} is in the access log");
                seen.push(id);
            }
            assert!(seen[0] != seen[2], "{way:?}: unique");
        }
    }
}

#[tokio::test]
async fn etag() {
    let server = routes("tags", "type = \"etag\"\nmaximum-size = \"2KiB\"")
        .and("[[group]]\nmiddlewares = [\"tags\"]\n[[group.route]]\npath = \"/size/:n\"\ncomponent = \"answers\"\n")
        .and("[[group.route]]\npath = \"/counter\"\ncomponent = \"answers\"\n[[group.route]]\npath = \"/status/:n\"\ncomponent = \"answers\"\n")
        .start()
        .await;
    let mut tags = Vec::new();
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let answer = client.fetch(Ask::get("/size/1000")).await;
        let tag = answer.header("etag").to_owned();
        assert!(tag.starts_with("W/\"") && tag.len() == 36, "{way:?}: {tag}");
        assert_eq!(answer.body.len(), 1000, "{way:?}");
        tags.push(tag.clone());

        let known = client.fetch(Ask::get("/size/1000").header("if-none-match", &format!("\"x\", {tag}"))).await;
        assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, tag.as_str()), "{way:?}");
        assert!(
            known.header("content-length").is_empty() && known.header("content-type").is_empty(),
            "{way:?}: {known:?}"
        );
        assert!(!known.header("date").is_empty(), "{way:?}");
        let head = client.fetch(Ask::new("HEAD", "/size/1000")).await;
        assert_eq!(
            (head.status, head.header("etag"), head.header("content-length")),
            (200, tag.as_str(), "1000"),
            "{way:?}"
        );
        let head = client.fetch(Ask::new("HEAD", "/size/1000").header("if-none-match", &tag)).await;
        assert_eq!(head.status, 304, "{way:?}");
        let any = client.fetch(Ask::get("/size/1000").header("if-none-match", "*")).await;
        assert_eq!(any.status, 304, "{way:?}");

        let other = client.fetch(Ask::get("/size/1001").header("if-none-match", &tag)).await;
        assert_eq!((other.status, other.body.len()), (200, 1001), "{way:?}: another body");
        assert_ne!(other.header("etag"), tag, "{way:?}");
        for (ask, why) in [
            (Ask::get("/size/3000"), "it is too large"),
            (Ask::post("/size/1000", "x"), "it is no GET"),
            (Ask::get("/status/404"), "it is no 200"),
            (Ask::get("/chunks"), "it is a stream"),
        ] {
            let answer = client.fetch(ask.header("if-none-match", &tag)).await;
            assert_eq!(answer.header("etag"), "", "{way:?}: {why}");
            assert_ne!(answer.status, 304, "{way:?}: {why}");
        }
        // The guest's own, and a file's, stay.
        let own = client.fetch(Ask::get("/headers?etag=%22v1%22")).await;
        assert_eq!(own.header("etag"), "\"v1\"", "{way:?}");
        let own = client.fetch(Ask::get("/headers?etag=%22v1%22").header("if-none-match", "W/\"v1\"")).await;
        assert_eq!(own.status, 304, "{way:?}");
        let file = client.fetch(Ask::get("/files/large.txt")).await;
        assert!(file.header("etag").starts_with('"'), "{way:?}: {:?}", file.headers);
    }
    tags.dedup();
    assert_eq!(tags.len(), 1, "one body, one validator");
}

/// After compression, the validator applies to every coding.
#[tokio::test]
async fn etag_and_compression() {
    let server = Setup::with("[middleware.small]\ntype = \"compression\"\n[middleware.tags]\ntype = \"etag\"\n")
        .and(&component("demo"))
        .and("[[route]]\npath = \"/\"\ncomponent = \"demo\"\nmiddlewares = [\"small\", \"tags\"]\n")
        .start()
        .await;
    for way in Way::ALL {
        let plain = server.fetch(way, Ask::get("/")).await;
        let packed = server.fetch(way, Ask::get("/").header("accept-encoding", "gzip")).await;
        assert_eq!((packed.header("content-encoding"), plain.header("content-encoding")), ("gzip", ""), "{way:?}");
        assert_eq!(packed.header("etag"), plain.header("etag"), "{way:?}");
        let ask = Ask::get("/").header("accept-encoding", "gzip").header("if-none-match", plain.header("etag"));
        let known = server.fetch(way, ask).await;
        assert_eq!((known.status, known.body.len(), known.header("content-encoding")), (304, 0, ""), "{way:?}");
    }
}

#[tokio::test]
async fn compression_of_some_types_and_of_event_loops() {
    let server = routes(
        "small",
        "type = \"compression\"\nencodings = [\"gzip\"]\nminimum-size = 0\ntypes = [\"text/event-stream\", \"application/*\"]\nloops = true",
    )
    .start()
    .await;
    for way in Way::ALL {
        let accepting = |path: &str| Ask::get(path).header("accept-encoding", "gzip");
        assert_eq!(
            server.fetch(way, accepting("/")).await.header("content-encoding"),
            "",
            "{way:?}: text/html is not listed"
        );
        let answer = server.fetch(way, accepting("/inspect")).await;
        assert_eq!(answer.header("content-encoding"), "gzip", "{way:?}: application/json is: {:?}", answer.headers);

        // Each event is sent at once, even compressed.
        let mut client = server.connect(way).await;
        let mut session = client.open(accepting("/subscribe/news")).await;
        assert_eq!(session.head().await, 200);
        assert_eq!(
            session.headers().get("content-encoding").map(|value| value.as_bytes()),
            Some(&b"gzip"[..]),
            "{way:?}"
        );
        let mut received = session.piece().await.expect("the first event").to_vec();
        let before = received.len();
        server.fetch(way, Ask::post("/publish/news", "breaking")).await;
        while received.len() < before + 8 {
            received.extend_from_slice(&session.piece().await.expect("the next event"));
        }
        if let Some(text) = unpack_part(&received) {
            assert!(text.contains("breaking"), "{way:?}: {text:?}");
        }
    }
}

/// The text that gunzip makes of the beginning of a stream.
fn unpack_part(body: &[u8]) -> Option<String> {
    unpack("gzip", &["-dcq"], body)
}

/// The compression does not hold back chunks of a stream.
#[tokio::test]
async fn compressed_streams_are_flushed() {
    let server = Setup::with("[middleware.small]\ntype = \"compression\"\n")
        .and("[middleware.typed]\ntype = \"response-headers\"\ndefault = { content-type = \"text/plain\" }\n")
        .and(&component("streams"))
        .and("[[route]]\npath = \"/chunks\"\ncomponent = \"streams\"\nmiddlewares = [\"small\", \"typed\"]\n")
        .start()
        .await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let ask = Ask::get("/chunks?n=3&delay=700").header("accept-encoding", "gzip");
        let mut exchange = client.open(ask).await;
        let start = std::time::Instant::now();
        assert_eq!(exchange.head().await, 200);
        assert!(exchange.headers().contains_key("content-encoding"), "{way:?}");
        let mut first = 0;
        // More than the ten bytes of the header.
        while first < 13 {
            first += exchange.piece().await.expect("a chunk").len();
        }
        assert!(start.elapsed() < std::time::Duration::from_millis(1300), "{way:?}: {:?}", start.elapsed());
        assert!(exchange.rest().await.end.is_whole(), "{way:?}");
    }
}

#[tokio::test]
async fn security_headers() {
    let settings = "type = \"security-headers\"\ncontent-security-policy = \"default-src 'self'\"\nopener-policy = \"\"\n\
                    transport-security = \"365d\"\ntransport-subdomains = true";
    let server = routes("careful", settings).start().await;
    for way in Way::ALL {
        for path in ["/headers", "/files/large.txt", "/files/none", "/chunks"] {
            let answer = server.fetch(way, Ask::get(path)).await;
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "strict-origin-when-cross-origin"),
                ("content-security-policy", "default-src 'self'"),
                ("cross-origin-opener-policy", ""),
                ("permissions-policy", ""),
                ("strict-transport-security", if way.is_tls() { "max-age=31536000; includeSubDomains" } else { "" }),
            ] {
                assert_eq!(answer.header(name), value, "{way:?} {path} {name}");
            }
        }
        let own = server.fetch(way, Ask::get("/headers?x-frame-options=SAMEORIGIN")).await;
        assert_eq!(own.header("x-frame-options"), "SAMEORIGIN", "{way:?}: the guest's own");
    }
}

/// A middleware's own answers are in the log and in the counters, too.
#[tokio::test]
async fn preflights_are_accounted_for() {
    let server = routes("cross", "type = \"cors\"\norigins = [\"https://example.com\"]").start().await;
    let preflight = Ask::new("OPTIONS", "/inspect")
        .header("origin", "https://example.com")
        .header("access-control-request-method", "GET");
    server.fetch(Way::H1, preflight).await;
    let line = server.access("/inspect").await;
    assert_eq!((&line["method"], &line["outcome"], &line["shape"]), (&"OPTIONS".into(), &"ok".into(), &"none".into()));
    assert_eq!(server.metrics().await.sum("roadrunner_requests_total", "route=\"/inspect\""), 1.0);
    server.fetch(Way::H1, Ask::get("/inspect").header("origin", "https://example.com")).await;
    assert_eq!(server.metrics().await.sum("roadrunner_requests_total", "route=\"/inspect\""), 2.0, "once each");
}

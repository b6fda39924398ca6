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

/// Unpacks with the system's program; none without it.
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
        // Each event is there at once.
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
    for trust in [false, true] {
        let server = routes("ids", &format!("type = \"request-id\"\ntrust = {trust}")).start().await;
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

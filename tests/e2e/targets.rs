//! A request's target means the same to the routes, to the files and to a guest that parses URLs, on every protocol.

use roadrunner_tests::server::component;
use roadrunner_tests::{Answer, Ask, Client, Server, Setup, Way, client};
use serde_json::Value;

use crate::languages::is_built;

/// Paths that a URL parser changes.
const CHANGED: [&str; 14] = [
    "/public/../secret",
    "/public/./secret",
    "/public/..",
    "/.",
    "/%2e",
    "/%2E%2e/secret",
    "/a/.%2E/b",
    "/a/%2e./b?c",
    "/public\\..\\secret",
    "/a\\b",
    "//evil.example/secret",
    "//",
    "/../",
    "/a/b/..?c=d",
];

/// Targets with bytes that no URI has.
const NO_URI: [&str; 7] = ["/caf\u{e9}", "/?q=caf\u{e9}", "/a\"b", "/a{b", "/a}b", "/a^b", "/a\u{7f}b"];

/// Odd targets that browsers send, and that every parser leaves unchanged.
const KEPT: [&str; 8] =
    ["/a//b", "/a|b[c]", "/.a/b.", "/.../", "/%5c", "/a?b={c}|[d]^`e'", "/a?b=../c", "/a?b=%2e%2e/"];

/// Sends a request. On HTTP/1 the target is written unchanged: the test client does not check it.
async fn ask(server: &Server, way: Way, path: &str) -> Answer {
    server.fetch(way, Ask::get(path)).await
}

/// Whether the target can be sent: the HTTP/2 client uses a library that refuses some of these itself.
fn can_be_sent(way: Way, path: &str) -> bool {
    !way.is_h2() || path.parse::<http::uri::PathAndQuery>().is_ok()
}

fn seen(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("not JSON: {answer:?}"))
}

#[tokio::test]
async fn paths_that_parsers_change_are_refused() {
    let server = Setup::of("inspector")
        .and("[directory.files]\npath = \"public\"")
        .and("[[route]]\npath = \"/files/*path\"\nstatic = { directory = \"files\" }")
        .file("public/a.txt", "a\n")
        .start()
        .await;
    for way in Way::ALL {
        for path in CHANGED.iter().copied().chain(NO_URI).chain(["/files/../a.txt", "/files/%2e/a.txt"]) {
            if !can_be_sent(way, path) {
                continue;
            }
            let answer = ask(&server, way, path).await;
            // HTTP/3 resets the stream for targets that its own layer finds malformed (RFC 9114, 4.1.2).
            assert!(answer.status == 400 || way == Way::H3 && answer.status == 0, "{way:?} {path}: {answer:?}");
        }
        for path in KEPT {
            let answer = ask(&server, way, path).await;
            assert_eq!(answer.status, 200, "{way:?} {path}: {answer:?}");
            let (seen, (path, query)) =
                (seen(&answer), path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q))));
            assert_eq!((&seen["path"], seen["query"].as_str()), (&path.into(), query), "{way:?}");
        }
        assert_eq!(ask(&server, way, "/files/a.txt").await.text(), "a\n", "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn paths_are_passed_on_where_the_manifest_says_so() {
    let server = Setup::of("inspector").server("path = \"as-sent\"").start().await;
    for way in Way::ALL {
        for path in CHANGED {
            let answer = ask(&server, way, path).await;
            assert_eq!(answer.status, 200, "{way:?} {path}: {answer:?}");
            assert_eq!(seen(&answer)["path"], path.split('?').next().expect("a path"), "{way:?}");
        }
        for path in NO_URI.into_iter().filter(|path| can_be_sent(way, path)) {
            let status = ask(&server, way, path).await.status;
            assert!(status == 400 || way == Way::H3 && status == 0, "{way:?} {path}");
        }
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn ports_are_ports() {
    let server = Setup::of("inspector").start().await;
    for way in Way::ALL {
        for (host, good) in
            [("a:65535", true), ("a:0", true), ("[::1]:65535", true), ("a:65536", false), ("a:99999", false)]
        {
            let answer = server.fetch(way, Ask::get("/").host(host)).await;
            match good {
                true => assert_eq!((answer.status, &seen(&answer)["authority"]), (200, &host.into()), "{way:?}"),
                // HTTP/3 resets the stream (RFC 9114, 4.1.2).
                false => {
                    assert!(answer.status == 400 || way == Way::H3 && answer.status == 0, "{way:?} {host}: {answer:?}")
                }
            }
        }
    }
    server.is_quiet().await;
}

/// RFC 9112, 3.3, for health checks of load balancers and other old clients.
#[tokio::test]
async fn there_is_an_authority_without_a_host() {
    for (guest, path) in [("inspector", "/"), ("standard", "/request"), ("standard-wstd", "/there")] {
        let server = Setup::of(guest).start().await;
        for way in [Way::H1, Way::H1Tls] {
            let listener = server.address(if way.is_tls() { "tls" } else { "plain" }).to_string();
            let absolute = format!("{}://other.example", if way.is_tls() { "https" } else { "http" });
            for (target, fields, authority) in [
                (path.to_owned(), "", &*listener),
                (format!("{absolute}{path}"), "", "other.example"),
                (format!("{absolute}{path}"), "host: other.example\r\n", "other.example"),
                (path.to_owned(), "host: other.example:81\r\n", "other.example:81"),
            ] {
                let mut client = server.connect(way).await;
                client.h1().write(format!("GET {target} HTTP/1.0\r\n{fields}\r\n").as_bytes()).await;
                let answer = client.h1().answer("GET").await;
                assert_eq!(answer.status, 200, "{way:?} {guest} {target}: {answer:?}");
                match guest {
                    "inspector" => assert_eq!(seen(&answer)["authority"], authority, "{way:?} {target}"),
                    "standard" => {
                        assert!(
                            answer.text().contains(&format!(" {authority} {path}\n")),
                            "{way:?}: {}",
                            answer.text()
                        );
                    }
                    _ => assert_eq!(answer.text(), "hello from wstd, /there\n", "{way:?}"),
                }
            }
        }
        server.is_quiet().await;
    }
}

/// A guest that parses URLs sees the path that the route matched, whatever the client sends or omits.
#[tokio::test]
async fn a_guest_in_javascript_sees_the_path_of_its_route() {
    if !is_built("targets::a_guest_in_javascript_sees_the_path_of_its_route", "standard_js") {
        return;
    }
    let routes = "[[route]]\npath = \"/*rest\"\ncomponent = \"standard-js\"\n";
    let server = Setup::with(&(component("standard-js") + "limits = { cpu = \"10s\" }\n" + routes))
        .compiled()
        .await
        .start()
        .await;
    let mut old = server.connect(Way::H1).await;
    old.h1().write(b"GET /hello HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.h1().answer("GET").await.text(), "hello from JavaScript\n");
    for way in Way::EACH {
        assert_eq!(ask(&server, way, "/hello").await.text(), "hello from JavaScript\n", "{way:?}");
        for path in ["/elsewhere/../hello", "/./hello", "/elsewhere/%2E./hello", "/elsewhere\\..\\hello", "//x/hello"] {
            assert_eq!(ask(&server, way, path).await.status, 400, "{way:?} {path}");
        }
    }
}

/// RFC 9110, 7.4: a connection does not answer for another scheme, unless a proxy may have ended TLS.
#[tokio::test]
async fn the_scheme_is_that_of_the_connection() {
    let server = Setup::of("inspector").start().await;
    let trusting = Setup::of("inspector").listener("trusted-proxies = [\"127.0.0.0/8\"]").beside().start().await;
    for way in [Way::H1, Way::H1Tls] {
        let (own, other) = if way.is_tls() { ("https", "http") } else { ("http", "https") };
        for (server, scheme, status) in [
            (&server, own, 200),
            (&server, other, 421),
            (&server, "ftp", 421),
            (&trusting, own, 200),
            (&trusting, other, 200),
            (&trusting, "ftp", 421),
        ] {
            let mut client = server.connect(way).await;
            client.h1().write(format!("GET {scheme}://a/b HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
            assert_eq!(client.h1().answer("GET").await.status, status, "{way:?} {scheme}");
        }
    }
    for (listener, way, claimed) in [("plain", Way::H2c, Way::H2Tls), ("tls", Way::H2Tls, Way::H2c)] {
        for (server, status) in [(&server, 421), (&trusting, 200)] {
            let io = client::dial(server.address(listener), way).await;
            let mut client = Client::on(io, claimed).await;
            assert_eq!(client.fetch(Ask::get("/")).await.status, status, "{way:?}");
        }
    }
    let h3 = |scheme: &'static str| {
        [(":method", "GET"), (":scheme", scheme), (":authority", "localhost"), (":path", "/")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    for (server, scheme, status) in [(&server, "https", 200), (&server, "http", 421), (&trusting, "http", 200)] {
        let mut client = server.connect(Way::H3).await;
        assert_eq!(client.h3().request(&h3(scheme), true).await.status().await, status, "{scheme}");
    }
    server.is_quiet().await;
}

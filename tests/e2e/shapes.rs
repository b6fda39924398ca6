//! The response shapes look the same over HTTP/1.1 and HTTP/2, plain and TLS.

use std::time::Duration;

use roadrunner_tests::{Ask, End, Setup, Way};
use serde_json::Value;

#[tokio::test]
async fn a_buffered_response_has_its_length() {
    let server = Setup::of("hello").start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello, world\n"), "{way:?}");
        assert_eq!(answer.header("content-length"), "13", "{way:?}");
        assert_eq!(answer.end, End::sized(way), "{way:?}");
        assert!(answer.headers.contains_key("date"), "{way:?}");
        assert!(!answer.headers.contains_key("server"), "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_stream_is_sent_chunk_by_chunk() {
    let server = Setup::of("streams").start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/chunks")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "aaaaaaaabbbbbbbbcccccccc"), "{way:?}");
        assert!(!answer.headers.contains_key("content-length"), "{way:?}");
        assert_eq!(answer.end, End::streamed(way), "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_loop_sends_what_its_callbacks_write_and_then_its_trailers() {
    let server = Setup::of("loops").start().await;
    for way in Way::ALL {
        let ask = Ask::get("/count?n=3&ms=5").header("te", "trailers");
        let answer = server.fetch(way, ask).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "tick 0\ntick 1\ntick 2\n"), "{way:?}");
        assert_eq!(answer.trailer("x-ticks"), "3", "{way:?}");
        assert_eq!(answer.end, End::streamed(way), "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn sendfile_sends_a_file_of_a_granted_directory() {
    let setup = Setup::of("files").component("directories = [\"files\"]").and("[directory.files]\npath = \"public\"");
    let server = setup.file("public/page.html", "<p>hello</p>\n").start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/?dir=files&path=page.html")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "<p>hello</p>\n"), "{way:?}");
        assert_eq!(answer.header("content-length"), "13", "{way:?}");
        assert!(answer.header("content-type").starts_with("text/html"), "{way:?}");
        assert!(answer.header("etag").starts_with('"'), "{way:?}: a strong validator");
        assert_eq!(answer.end, End::sized(way), "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn shapes_that_are_not_there_get_501() {
    let server = Setup::of("minimal").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for path in ["/loop", "/stream", "/websocket", "/webtransport"] {
            let answer = client.fetch(Ask::get(path)).await;
            assert_eq!(answer.status, 501, "{way:?} {path}");
            assert_eq!(answer.end, End::sized(way), "{way:?} {path}");
        }
        let answer = client.fetch(Ask::get("/")).await;
        assert_eq!(answer.text(), "minimal\n", "{way:?}: the connection is still good");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn every_request_gets_a_fresh_instance() {
    let server = Setup::of("answers").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for _ in 0..10 {
            assert_eq!(client.fetch(Ask::get("/counter")).await.text(), "1\n", "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_component_that_asks_for_it_is_reused_so_often_and_not_more() {
    let server = Setup::of("answers").component("reuse = { requests = 3 }").start().await;
    let mut client = server.connect(Way::H1).await;
    let mut seen = String::new();
    for _ in 0..7 {
        seen += client.fetch(Ask::get("/counter")).await.text().trim();
    }
    assert_eq!(seen, "1231231");
}

/// Its handles on standard output are those of the first request.
#[tokio::test]
async fn a_parked_instance_is_dropped_after_its_idle_time() {
    let server = Setup::of("answers").component("reuse = { requests = 100, idle = \"300ms\" }").start().await;
    let mut client = server.connect(Way::H1).await;
    let mut count = async || client.fetch(Ask::get("/counter")).await.text();
    assert_eq!((count().await, count().await), ("1\n".to_owned(), "2\n".to_owned()));
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(count().await, "1\n", "a fresh one");
}

#[tokio::test]
async fn what_a_reused_instance_prints_is_logged_for_the_request_at_hand() {
    let server = Setup::of("answers").component("reuse = { requests = 3 }").start().await;
    let mut client = server.connect(Way::H1).await;
    for path in ["/print?first", "/print?second", "/print?third"] {
        assert_eq!(client.fetch(Ask::get(path)).await.status, 200);
        let id = server.access(path).await["request"].clone();
        for text in ["hello, stdout", "hello, stderr"] {
            let line = |line: &Value| line["message"] == text && line["request"] == id;
            assert!(server.log.wait(line).await.is_some(), "{path}: {text} for {id}:\n{}", server.log);
        }
    }
}

#[tokio::test]
async fn head_gets_what_get_would_without_the_body() {
    let setup = Setup::with(
        "[component.hello]\nfile = \"{guests}/hello.wasm\"\n[component.streams]\nfile = \"{guests}/streams.wasm\"\n\
         [component.loops]\nfile = \"{guests}/loops.wasm\"\n[directory.files]\npath = \"public\"\n\
         [[route]]\npath = \"/hello\"\ncomponent = \"hello\"\nmethods = [\"GET\"]\n\
         [[route]]\npath = \"/chunks\"\ncomponent = \"streams\"\nmethods = [\"GET\"]\n\
         [[route]]\npath = \"/count\"\ncomponent = \"loops\"\nmethods = [\"GET\"]\n\
         [[route]]\npath = \"/files/*path\"\nstatic = { directory = \"files\" }\n",
    );
    let server = setup.file("public/page.html", "<p>hello</p>\n").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for (path, length) in [("/hello", "13"), ("/chunks", ""), ("/count", ""), ("/files/page.html", "13")] {
            let answer = client.fetch(Ask::new("HEAD", path)).await;
            assert_eq!(answer.status, 200, "{way:?} {path}");
            assert_eq!(answer.header("content-length"), length, "{way:?} {path}");
            assert!(answer.body.is_empty(), "{way:?} {path}");
            assert_eq!(answer.end, End::sized(way), "{way:?} {path}");
        }
        assert_eq!(client.fetch(Ask::get("/hello")).await.text(), "hello, world\n", "{way:?}: in step");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn statuses_headers_and_cookies_cross_as_they_are() {
    let server = Setup::of("answers").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for status in [200, 201, 204, 299, 304, 400, 418, 503, 599] {
            let answer = client.fetch(Ask::get(&format!("/status/{status}"))).await;
            assert_eq!(answer.status, status, "{way:?}");
            assert!(answer.end.is_whole(), "{way:?} {status}");
        }
        let answer = client.fetch(Ask::get("/headers?x-one=1&X-Two=2&x-one=3")).await;
        let ones: Vec<_> = answer.headers.get_all("x-one").iter().collect();
        assert_eq!(ones, ["1", "3"], "{way:?}");
        assert_eq!(answer.header("x-two"), "2", "{way:?}");
        assert_eq!(client.fetch(Ask::get("/cookie")).await.header("set-cookie"), "id=1; Path=/; HttpOnly");
        let answer = client.fetch(Ask::get("/redirect")).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/elsewhere"), "{way:?}");
    }
}

#[tokio::test]
async fn answers_that_are_not_http_become_500() {
    let server = Setup::of("answers").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for path in [
            "/status/99",
            "/status/101",
            "/status/103",
            "/status/600",
            "/status/65535",
            "/headers?x=a%0D%0Aset-cookie:%20b",
            "/headers?x=a%0Ab",
            "/headers?x=a%00b",
            "/headers?a%20b=c",
            "/length/5",
            "/length/7",
            "/length/x",
        ] {
            let answer = client.fetch(Ask::get(path)).await;
            assert_eq!(answer.status, 500, "{way:?} {path}");
            assert!(!answer.headers.contains_key("set-cookie"), "{way:?} {path}");
        }
        assert_eq!(client.fetch(Ask::get("/length/6")).await.text(), "12345\n", "{way:?}");
        // RFC 9110, 7.6.1: these are connection-specific.
        let answer =
            client.fetch(Ask::get("/headers?connection=close&transfer-encoding=gzip&keep-alive=1&upgrade=x&x=y")).await;
        assert_eq!((answer.status, answer.header("x")), (200, "y"), "{way:?}");
        for name in ["connection", "transfer-encoding", "keep-alive", "upgrade"] {
            assert!(!answer.headers.contains_key(name), "{way:?} {name}");
        }
    }
    assert_eq!(server.metrics().await.outcome("invalid-response"), 60.0);
    server.is_quiet().await;
}

#[tokio::test]
async fn a_request_is_what_the_client_sent() {
    let server = Setup::of("inspector").start().await;
    for way in Way::ALL {
        let ask = Ask::new("PATCH", "/a%2Fb//c/.d?x=%20y").host("example.com:8080").header("x-b", "1");
        let answer = server.fetch(way, ask.header("x-a", "2").header("x-b", "3")).await;
        let seen: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(seen["method"], "PATCH", "{way:?}");
        assert_eq!(seen["scheme"], if way.is_tls() { "https" } else { "http" }, "{way:?}");
        assert_eq!(seen["authority"], "example.com:8080", "{way:?}");
        assert_eq!(seen["path"], "/a%2Fb//c/.d", "{way:?}");
        assert_eq!(seen["query"], "x=%20y", "{way:?}");
        assert_eq!(seen["version"], way.version(), "{way:?}");
        assert!(seen["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{way:?}: {seen}");
        assert_eq!(seen["environment"], serde_json::json!([]), "{way:?}: nothing of the host's");
        assert_eq!(seen["arguments"], serde_json::json!([]), "{way:?}: nothing of the host's");
        let values: Vec<_> = seen["headers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|pair| pair[0] == "x-b")
            .map(|pair| pair[1].as_str().unwrap_or(""))
            .collect();
        assert_eq!(values, ["1", "3"], "{way:?}");
    }
}

//! A guest's answer is valid HTTP on every protocol: one true length or none, values without surrounding blanks, no
//! connection-specific fields. Other requests of the same connection continue, whatever one guest answers.

use std::time::Duration;

use roadrunner_tests::{Answer, Ask, End, Server, Setup, Way, within};
use serde_json::Value;

/// Guests that set the fields of a query in their answers, with a body of five bytes.
const SETTERS: [(&str, &str); 4] =
    [("streams", "/fields"), ("loops", "/fields"), ("standard", "/set"), ("service", "/set")];

fn setup(guest: &str) -> Setup {
    Setup::of(guest).server("wasi-03 = true")
}

fn lengths(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("content-length").iter().map(|value| value.to_str().expect("text")).collect()
}

#[tokio::test]
async fn a_length_is_one_number_or_refused() {
    for (guest, path) in SETTERS {
        let server = setup(guest).start().await;
        for way in Way::ALL {
            let mut client = server.connect(way).await;
            for method in ["GET", "HEAD"] {
                for wrong in ["%2B5", "-5", "5.0", "0x5", "5,6", "", "99999999999999999999", "five"] {
                    let query = format!("{path}?content-length={wrong}&ms=1");
                    let answer = client.fetch(Ask::new(method, &query)).await;
                    // The engine may refuse such a field to a guest of WASI.
                    assert_eq!(answer.status, 500, "{guest} {way:?} {method} {wrong:?}: {answer:?}");
                    assert_eq!(lengths(&answer).len(), 1, "{guest} {way:?} {wrong:?}: that of the error page");
                }
                let twice = format!("{path}?content-length=5&content-length=6&ms=1");
                let answer = client.fetch(Ask::new(method, &twice)).await;
                assert_eq!(answer.status, 500, "{guest} {way:?} {method}: {answer:?}");
            }
        }
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn equal_lengths_are_one() {
    for (guest, path) in SETTERS.into_iter().take(1) {
        let server = setup(guest).start().await;
        for way in Way::ALL {
            for query in ["content-length=5&content-length=5", "content-length=005", "content-length=5,%205"] {
                let answer = server.fetch(way, Ask::get(&format!("{path}?{query}"))).await;
                assert_eq!((answer.status, lengths(&answer)), (200, vec!["5"]), "{way:?} {query}: {answer:?}");
                assert_eq!((answer.text().as_str(), answer.end), ("aaaaa", End::sized(way)), "{way:?} {query}");
            }
        }
    }
    // A buffered body, and answers without one.
    let server = Setup::of("answers").start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get("/headers?content-length=3&content-length=3")).await;
        assert_eq!((answer.status, lengths(&answer)), (200, vec!["3"]), "{way:?}: {answer:?}");
        let answer = server.fetch(way, Ask::get("/headers?content-length=4")).await;
        assert_eq!(answer.status, 500, "{way:?}: {answer:?}");
        let answer = server.fetch(way, Ask::new("HEAD", "/headers?content-length=4")).await;
        assert_eq!(answer.status, 500, "{way:?}: {answer:?}");
    }
}

#[tokio::test]
async fn statuses_without_a_body_have_no_length() {
    let server = Setup::of("streams").start().await;
    for way in Way::ALL {
        for status in ["204", "205"] {
            let answer = server.fetch(way, Ask::get(&format!("/status/{status}"))).await;
            assert_eq!(answer.status.to_string(), status, "{way:?}");
            let lengths = lengths(&answer);
            assert!(lengths.is_empty() || status == "205" && lengths == ["0"], "{way:?} {status}: {answer:?}");
        }
    }
    server.is_quiet().await;
}

/// On HTTP/2 and HTTP/3 they are malformed, and some clients close the whole connection for it.
#[tokio::test]
async fn blanks_around_values_are_no_part_of_them() {
    for (guest, path, query) in [
        ("answers", "/headers", "x-a=%20%09b%20c%09&x-b=%20"),
        ("answers", "/trailers", "x-a=%20%09b%20c%09&x-b=%20"),
        ("streams", "/fields", "x-a=%20b%20c%20&x-b=%20"),
        ("standard", "/set", "x-a=_b_c_&x-b=_"),
        ("service", "/set", "x-a=_b_c_&x-b=_"),
    ] {
        let server = setup(guest).start().await;
        for way in Way::ALL {
            let mut client = server.connect(way).await;
            let ask = Ask::get(&format!("{path}?{query}")).header("te", "trailers");
            let answer = client.fetch(ask).await;
            let fields = if path == "/trailers" { &answer.trailers } else { &answer.headers };
            let values = ["x-a", "x-b"].map(|name| fields.get(name).map(|value| value.as_bytes()));
            assert_eq!(values, [Some(&b"b c"[..]), Some(b"")], "{guest} {way:?}: {answer:?}");
            assert!(client.fetch(Ask::get(path)).await.status > 0, "{guest} {way:?}: the connection is still good");
        }
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn of_the_connection_do_not_reach_the_client() {
    let server = Setup::of("answers").start().await;
    let query = "connection=x-hop&x-hop=1&keep-alive=timeout%3D5&te=trailers&upgrade=h2c&proxy-connection=close&\
                 http2-settings=AAMA&x-stays=2";
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::get(&format!("/headers?{query}"))).await;
        assert_eq!((answer.status, answer.header("x-stays")), (200, "2"), "{way:?}: {answer:?}");
        for name in ["connection", "x-hop", "keep-alive", "te", "upgrade", "proxy-connection", "http2-settings"] {
            assert!(!answer.headers.contains_key(name), "{way:?} {name}: {:?}", answer.headers);
        }
        let query = "x-sum=1&set-cookie=a&location=b&www-authenticate=c&cache-control=d&trailer=e&connection=x";
        let answer = server.fetch(way, Ask::get(&format!("/trailers?{query}")).header("te", "trailers")).await;
        let names: Vec<_> = answer.trailers.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x-sum"], "{way:?}");
    }
    server.is_quiet().await;
}

/// A reached declared length completes the answer. The guest continues to its end.
#[tokio::test]
async fn a_guest_runs_on_after_the_last_byte() {
    for (guest, path, body, message) in [
        ("streams", "/after/5?delay=300", "xxxxx", "worked on after 5"),
        ("streams", "/after/0?delay=300", "", "worked on after 0"),
        ("loops", "/after/4?ms=300", "tick", "worked on"),
        ("standard", "/claimed", "five!", "work after the body"),
        ("service", "/claimed", "five!", "work after the body"),
    ] {
        let server = setup(guest).start().await;
        for (count, way) in Way::ALL.into_iter().enumerate() {
            let answer = server.fetch(way, Ask::get(path)).await;
            assert_eq!((answer.text().as_str(), answer.end), (body, End::sized(way)), "{guest} {way:?}");
            server.is_quiet().await;
            let said = |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains(message));
            let is_whole = |lines: &[Value]| {
                let access = lines.iter().filter(|line| is_access(line)).count();
                access > count && lines.iter().filter(said).count() > count
            };
            let log = log_of(&server, is_whole).await;
            assert_eq!(log.iter().filter(said).count(), count + 1, "{guest} {way:?}:\n{}", server.log);
            let ends: Vec<_> = log.iter().filter_map(|line| line["outcome"].as_str()).collect();
            assert_eq!(ends, vec!["ok"; count + 1], "{guest} {way:?}");
        }
    }
}

#[tokio::test]
async fn a_byte_too_many_is_the_guests_fault() {
    let server = Setup::of("streams").start().await;
    for (count, way) in Way::ALL.into_iter().enumerate() {
        let answer = server.fetch(way, Ask::get("/after/5?delay=50&more=1")).await;
        assert_eq!(answer.text(), "xxxxx", "{way:?}: {answer:?}");
        server.is_quiet().await;
        let log = log_of(&server, |lines| lines.iter().filter(|line| is_access(line)).count() > count).await;
        let ends: Vec<_> =
            log.iter().filter(|line| is_access(line)).filter_map(|line| line["outcome"].as_str()).collect();
        assert_eq!(ends, vec!["invalid-response"; count + 1], "{way:?}:\n{}", server.log);
    }
}

/// The host's log, once it satisfies the predicate: it is written a moment later.
async fn log_of(server: &Server, is_whole: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let whole = async || Some(server.log.lines()).filter(|lines| is_whole(lines));
    let found = within(Duration::from_secs(5), whole).await;
    found.unwrap_or_else(|| panic!("something is not in the log:\n{}", server.log)).0
}

fn is_access(line: &Value) -> bool {
    line["target"] == "access"
}

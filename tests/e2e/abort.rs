//! A failure before the head has a clean status. A response that fails after the head never looks whole: HTTP/1.1
//! closes without the last chunk, HTTP/2 resets the stream.

use std::time::Duration;

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, End, Server, Setup, Way};

async fn start() -> Server {
    Setup::with(&format!(
        "{}{}{}[[route]]\npath = \"/streams/*rest\"\ncomponent = \"streams\"\n",
        component("streams"),
        component("loops"),
        component("hostile"),
    ))
    .and("[[group]]\nhosts = [\"streams\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"streams\"")
    .and("[[group]]\nhosts = [\"loops\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"loops\"")
    .and(
        "[[group]]\nhosts = [\"hostile\"]\nlimits = { cpu = \"50ms\", callback-cpu = \"50ms\" }\n\
          [[group.route]]\npath = \"/*rest\"\ncomponent = \"hostile\"",
    )
    .start()
    .await
}

#[tokio::test]
async fn before_the_head_it_is_a_status_and_the_connection_stays() {
    let server = start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for (host, path, status) in [
            ("streams", "/trap/before", 500),
            ("hostile", "/panic", 500),
            ("hostile", "/trap", 500),
            ("hostile", "/abort", 500),
            ("hostile", "/exit?code=1", 500),
            ("hostile", "/exit?code=0", 500),
            ("hostile", "/recursion", 500),
            ("hostile", "/spin", 503),
        ] {
            let answer = client.fetch(Ask::get(path).host(host)).await;
            assert_eq!(answer.status, status, "{way:?} {path}");
            assert_eq!(answer.end, End::sized(way), "{way:?} {path}");
            assert!(
                !answer.text().contains("panic") && !answer.text().contains("wasm"),
                "{way:?} {path}: {}",
                answer.text()
            );
        }
        let answer = client.fetch(Ask::get("/empty-chunks").host("streams")).await;
        assert_eq!(answer.text(), "ab", "{way:?}: the connection is still good");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn after_the_head_the_body_is_aborted() {
    let server = start().await;
    for way in Way::ALL {
        for (host, path, body, outcome) in [
            ("streams", "/trap?n=3", "chunk 0\nchunk 1\nchunk 2\n", "trapped"),
            ("streams", "/error?n=3", "chunk 0\nchunk 1\nchunk 2\n", "guest-error"),
            ("streams", "/trap?n=0", "", "trapped"),
            ("loops", "/trap?n=2&ms=5", "tick 0\ntick 1\n", "trapped"),
            ("loops", "/error?n=2&ms=5", "tick 0\ntick 1\n", "trapped"),
            ("hostile", "/spin/stream", "before\n", "cpu-exceeded"),
            ("hostile", "/spin/callback", "before\n", "cpu-exceeded"),
        ] {
            let before = server.metrics().await.outcome(outcome);
            let mut client = server.connect(way).await;
            let answer = client.fetch(Ask::get(path).host(host)).await;
            assert_eq!(answer.end, End::aborted(way), "{way:?} {path}");
            if way.has_streams() {
                // RST_STREAM overtakes bytes written at the same moment (RFC 9113, 5.4.2), including the head.
                assert!(body.starts_with(&answer.text()), "{way:?} {path}: {answer:?}");
            } else {
                assert_eq!((answer.status, answer.text().as_str()), (200, body), "{way:?} {path}");
            }
            assert_eq!(server.metrics().await.outcome(outcome), before + 1.0, "{way:?} {path}: {outcome}");
            if way.has_streams() {
                let next = client.fetch(Ask::get("/empty-chunks").host("streams")).await;
                assert_eq!(next.text(), "ab", "{way:?} {path}: other streams go on");
            } else {
                assert!(client.h1().is_closed_within(Duration::from_secs(2)).await, "{way:?} {path}");
            }
        }
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_length_that_is_not_true_never_makes_a_body_look_whole() {
    let server = start().await;
    for way in Way::ALL {
        // A claim that ends at the end of a chunk is reached before it is known that more will come.
        for claim in [10, 23, 25, 100] {
            let answer = server.fetch(way, Ask::get(&format!("/length/{claim}")).host("streams")).await;
            assert!(!answer.end.is_whole() || answer.status == 500, "{way:?} claims {claim} of 24: {answer:?}");
        }
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn an_operator_who_kills_an_instance_aborts_its_response() {
    let server = start().await;
    for way in Way::ALL {
        for (host, path) in [("loops", "/count?n=1000&ms=10"), ("streams", "/endless?delay=10")] {
            let mut client = server.connect(way).await;
            let mut exchange = client.open(Ask::get(path).host(host)).await;
            assert!(exchange.piece().await.is_some());
            let instances = server.instances().await;
            assert_eq!(instances.len(), 1, "{way:?} {path}");
            assert_eq!(server.admin_request("DELETE", &format!("/instances/{}", instances[0]["id"])).await.0, 204);
            assert_eq!(exchange.rest().await.end, End::aborted(way), "{way:?} {path}");
            server.is_quiet().await;
        }
    }
    assert_eq!(server.metrics().await.outcome("killed"), 10.0);
    assert_eq!(server.admin_request("DELETE", "/instances/999999").await.0, 404);
}

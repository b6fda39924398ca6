//! Trailer fields, in both directions.

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, End, Setup, Way};

#[tokio::test]
async fn of_requests_reach_the_guest() {
    for mode in ["auto", "manual"] {
        let server = Setup::of("bodies").route(&format!("body = \"{mode}\"")).start().await;
        for way in Way::ALL {
            for path in ["/trailers", "/trailers/unread"] {
                let ask = Ask::post(path, "hello").trailer("x-sum", "5").trailer("x-other", "a, b");
                let answer = server.fetch(way, ask).await;
                assert_eq!(answer.text(), "x-sum: 5\nx-other: a, b\n", "{mode} {way:?} {path}");
                let answer = server.fetch(way, Ask::post_unsized(path, "hello")).await;
                assert_eq!(answer.text(), "", "{mode} {way:?} {path}: none");
            }
        }
    }
}

#[tokio::test]
async fn of_responses_reach_the_client() {
    let server = Setup::with(&(component("answers") + &component("streams") + &component("loops")))
        .and(
            "[[route]]\npath = \"/trailers\"\ncomponent = \"answers\"\n[[route]]\npath = \"/trailers/unannounced\"\ncomponent = \"answers\"\n\
             [[group]]\nhosts = [\"streams\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"streams\"\n\
             [[group]]\nhosts = [\"loops\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"loops\"\n",
        )
        .start()
        .await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for (host, path, body, trailers) in [
            ("localhost", "/trailers?x-a=1&x-b=2", "ok\n", [("x-a", "1"), ("x-b", "2")]),
            ("streams", "/trailers", "body\n", [("x-first", "1"), ("x-second", "two")]),
            ("loops", "/count?n=1&ms=1", "tick 0\n", [("x-ticks", "1"), ("x-none", "")]),
        ] {
            let answer = client.fetch(Ask::get(path).host(host).header("te", "trailers")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, body), "{way:?} {path}");
            assert_eq!(answer.end, End::streamed(way), "{way:?} {path}");
            for (name, value) in trailers {
                assert_eq!(answer.trailer(name), value, "{way:?} {path} {name}");
            }
            // RFC 9110, 6.5.1: a client that does not announce support need not get them; the body is whole.
            let answer = client.fetch(Ask::get(path).host(host)).await;
            assert_eq!((answer.text().as_str(), answer.end), (body, End::streamed(way)), "{way:?} {path}");
        }
        let answer = client.fetch(Ask::get("/trailers/unannounced?x-a=1").header("te", "trailers")).await;
        assert_eq!((answer.text().as_str(), answer.end.is_whole()), ("ok\n", true), "{way:?}");
        if way.has_streams() {
            assert_eq!(answer.trailer("x-a"), "1", "{way:?}");
        }
    }
}

/// RFC 9110, 6.5.1: fields that decide framing, routing or authority are not allowed as trailers.
#[tokio::test]
async fn that_are_not_allowed_are_left_out() {
    let server = Setup::of("answers").start().await;
    for way in Way::ALL {
        let path = "/trailers?x-a=1&content-length=7&transfer-encoding=chunked&host=x&set-cookie=a&content-type=x/y&connection=close";
        let answer = server.fetch(way, Ask::get(path).header("te", "trailers")).await;
        assert_eq!((answer.text().as_str(), &answer.end), ("ok\n", &End::streamed(way)), "{way:?}");
        assert_eq!(answer.trailer("x-a"), "1", "{way:?}");
        assert_eq!(answer.trailers.len(), 1, "{way:?}: {:?}", answer.trailers);
    }
}

#[tokio::test]
async fn go_through_an_echo() {
    let server = Setup::of("demo").manual().start().await;
    for way in Way::ALL {
        let ask = Ask::post("/echo", "hello").trailer("x-sum", "5").header("te", "trailers");
        // The guest announces the same fields as the request.
        let answer = server.fetch(way, if way.has_streams() { ask.header("trailer", "x-sum") } else { ask }).await;
        assert_eq!((answer.text().as_str(), answer.trailer("x-sum")), ("hello", "5"), "{way:?}: {answer:?}");
    }
}

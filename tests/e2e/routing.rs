//! The route that a request finds, and the answer when there is none, the same over every protocol.

use roadrunner_tests::server::component;
use roadrunner_tests::{Answer, Ask, Server, Setup, Way};
use serde_json::{Value, json};

async fn inspector(routes: &str) -> Server {
    let mut text = component("inspector");
    for route in routes.split(';').map(str::trim).filter(|route| !route.is_empty()) {
        text += &format!(
            "[[route]]\ncomponent = \"inspector\"\n{}\n",
            route
                .replace(", name", "\nname")
                .replace(", methods", "\nmethods")
                .replace(", head", "\nhead")
                .replace(", hosts", "\nhosts")
        );
    }
    Setup::with(&text).start().await
}

fn seen(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("not JSON: {answer:?}"))
}

#[tokio::test]
async fn the_most_specific_pattern_answers() {
    let server = inspector(
        "path = \"/\", name = \"root\"; path = \"/users\", name = \"users\"; path = \"/users/:id\", name = \"user\";\
         path = \"/users/me\", name = \"me\"; path = \"/users/:id/posts/:post\", name = \"post\";\
         path = \"/files/*path\", name = \"files\"; path = \"/users/\", name = \"slash\"",
    )
    .await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for (path, route, params) in [
            ("/", "root", json!([])),
            ("/users", "users", json!([])),
            ("/users/", "slash", json!([])),
            ("/users/7", "user", json!([["id", "7"]])),
            ("/users/a%2Fb", "user", json!([["id", "a/b"]])),
            ("/users/me", "me", json!([])),
            ("/users/%6de", "me", json!([])),
            ("/users/7/posts/9?x=y", "post", json!([["id", "7"], ["post", "9"]])),
            ("/files/", "files", json!([["path", ""]])),
            ("/files/a/b/c", "files", json!([["path", "a/b/c"]])),
        ] {
            let answer = client.fetch(Ask::get(path)).await;
            assert_eq!(answer.status, 200, "{way:?} {path}");
            let seen = seen(&answer);
            assert_eq!((&seen["route"], &seen["params"]), (&json!(route), &params), "{way:?} {path}");
        }
        for path in ["/Users", "/users/7/", "/users/7/posts", "/files", "/nothing", "/nothing//"] {
            assert_eq!(client.fetch(Ask::get(path)).await.status, 404, "{way:?} {path}");
        }
        for path in ["/users/%zz", "/users/%ff"] {
            assert_eq!(client.fetch(Ask::get(path)).await.status, 400, "{way:?} {path}");
        }
        assert_eq!(client.fetch(Ask::get("/")).await.status, 200, "{way:?}: the connection is still good");
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_requests_unrouted_total", "not-found"), 30.0);
    assert_eq!(metrics.sum("roadrunner_requests_unrouted_total", "bad-path"), 10.0);
    server.is_quiet().await;
}

#[tokio::test]
async fn a_method_that_no_route_has_gets_405_with_all_that_there_are() {
    let server = inspector(
        "path = \"/thing\", name = \"read\", methods = [\"GET\"]; path = \"/thing\", name = \"write\", methods = [\"PUT\", \"DELETE\"];\
         path = \"/strict\", name = \"strict\", methods = [\"GET\"], head = false; path = \"/any\", name = \"any\"",
    )
    .await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for (method, path, route) in [
            ("GET", "/thing", "read"),
            ("PUT", "/thing", "write"),
            ("DELETE", "/thing", "write"),
            ("GET", "/strict", "strict"),
            ("PURGE", "/any", "any"),
            ("OPTIONS", "/any", "any"),
        ] {
            let answer = client.fetch(Ask::new(method, path)).await;
            assert_eq!(seen(&answer)["route"], route, "{way:?} {method} {path}");
        }
        assert_eq!(client.fetch(Ask::new("HEAD", "/thing")).await.status, 200, "{way:?}");
        for (method, path, allowed) in
            [("POST", "/thing", &["GET", "HEAD", "PUT", "DELETE"][..]), ("HEAD", "/strict", &["GET"])]
        {
            let answer = client.fetch(Ask::new(method, path)).await;
            assert_eq!(answer.status, 405, "{way:?} {method} {path}");
            let mut allow: Vec<_> = answer.header("allow").split(", ").collect();
            let mut allowed = allowed.to_vec();
            allow.sort_unstable();
            allowed.sort_unstable();
            assert_eq!(allow, allowed, "{way:?} {method} {path}");
        }
        assert_eq!(client.fetch(Ask::get("/any")).await.status, 200, "{way:?}: the connection is still good");
    }
}

#[tokio::test]
async fn hosts_choose_before_paths() {
    let server = inspector(
        "path = \"/*rest\", name = \"any\"; path = \"/*rest\", name = \"example\", hosts = [\"example.org\"];\
         path = \"/*rest\", name = \"wild\", hosts = [\"*.example.org\"]; path = \"/*rest\", name = \"deep\", hosts = [\"*.a.example.org\"]",
    )
    .await;
    for way in Way::ALL {
        for (host, route) in [
            ("example.org", "example"),
            ("EXAMPLE.org:8080", "example"),
            ("example.org.", "example"),
            ("b.example.org", "wild"),
            ("b.c.example.org", "wild"),
            ("b.a.example.org", "deep"),
            ("example.com", "any"),
            ("badexample.org", "any"),
            ("127.0.0.1", "any"),
            ("[::1]:80", "any"),
        ] {
            let answer = server.fetch(way, Ask::get("/x").host(host)).await;
            assert_eq!(seen(&answer)["route"], route, "{way:?} {host}");
        }
    }
}

#[tokio::test]
async fn a_hundred_routes() {
    let routes: Vec<_> =
        (0..100).map(|n| format!("path = \"/section-{n}/:id/leaf-{n}\", name = \"route-{n}\"")).collect();
    let server = inspector(&routes.join(";")).await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for n in 0..100 {
            let answer = client.fetch(Ask::get(&format!("/section-{n}/x{n}/leaf-{n}"))).await;
            let seen = seen(&answer);
            assert_eq!(seen["route"], format!("route-{n}"), "{way:?}");
            assert_eq!(seen["params"], json!([["id", format!("x{n}")]]), "{way:?}");
        }
        assert_eq!(client.fetch(Ask::get("/section-1/x/leaf-2")).await.status, 404, "{way:?}");
    }
}

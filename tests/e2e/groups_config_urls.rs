//! Nested groups share prefixes, configuration and limits; URLs of named routes can be built from their names.

use std::time::{Duration, Instant};

use roadrunner_tests::{Ask, Server, Setup, Way};
use serde_json::json;

async fn start() -> Server {
    Setup::with(
        r#"
[component.inspector]
file = "{guests}/inspector.wasm"
config = { from = "component", component = "1" }

[component.hostile]
file = "{guests}/hostile.wasm"
limits = { deadline = "10s" }

[[route]]
path = "/plain"
component = "inspector"

[[group]]
prefix = "/api"
config = { from = "outer", outer = "1" }
limits = { deadline = "200ms" }

[[group.route]]
path = "/direct"
component = "inspector"

[[group.route]]
path = "/sleep"
component = "hostile"

[[group.group]]
prefix = "/v2"
config = { from = "inner" }

[[group.group.route]]
path = "/users/:id"
name = "users-show"
component = "inspector"
config = { from = "route", key = "value with spaces" }

[[group.group.route]]
path = "/*rest"
name = "catch-all"
component = "inspector"
"#,
    )
    .and("[[route]]\npath = \"/url-for\"\ncomponent = \"inspector\"\n[[route]]\npath = \"/sleep\"\ncomponent = \"hostile\"")
    .start()
    .await
}

#[tokio::test]
async fn values_of_inner_sections_win() {
    let server = start().await;
    for way in Way::EACH {
        for (path, config) in [
            ("/plain", json!([["component", "1"], ["from", "component"]])),
            ("/api/direct", json!([["component", "1"], ["from", "outer"], ["outer", "1"]])),
            ("/api/v2/other", json!([["component", "1"], ["from", "inner"], ["outer", "1"]])),
            (
                "/api/v2/users/7",
                json!([["component", "1"], ["from", "route"], ["key", "value with spaces"], ["outer", "1"]]),
            ),
        ] {
            let answer = server.fetch(way, Ask::get(path)).await;
            let seen: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(seen["config"], config, "{way:?} {path}");
        }
        for path in ["/direct", "/v2/users/7", "/users/7", "/api", "/api/"] {
            assert_eq!(server.fetch(way, Ask::get(path)).await.status, 404, "{way:?} {path}: only below the prefix");
        }
    }
}

#[tokio::test]
async fn limits_of_a_group_win_over_those_of_the_component() {
    let server = start().await;
    for way in Way::EACH {
        assert_eq!(server.fetch(way, Ask::get("/sleep?ms=400")).await.status, 200, "{way:?}: outside the group");
    }
    // The guest examines the whole path, and does not know this one; so the deadline shows in the paths that it does
    // not cut.
    let start_of_it = Instant::now();
    assert_eq!(server.fetch(Way::H1, Ask::get("/api/sleep?ms=400")).await.status, 404);
    assert!(start_of_it.elapsed() < Duration::from_millis(400));
}

#[tokio::test]
async fn urls_of_named_routes() {
    let server = start().await;
    for way in Way::EACH {
        for (query, status, wanted) in [
            ("name=users-show&id=7", 200, "/api/v2/users/7\n"),
            ("name=users-show&id=a%2Fb%20c", 200, "/api/v2/users/a%2Fb%20c\n"),
            ("name=catch-all&rest=a/b", 200, "/api/v2/a/b\n"),
            ("name=nothing", 400, "nothing"),
            ("name=users-show", 400, "id"),
            ("name=users-show&id=7&extra=1", 400, "extra"),
        ] {
            let answer = server.fetch(way, Ask::get(&format!("/url-for?{query}"))).await;
            assert_eq!(answer.status, status, "{way:?} {query}: {}", answer.text());
            match status {
                200 => assert_eq!(answer.text(), wanted, "{way:?} {query}"),
                _ => assert!(answer.text().contains(wanted), "{way:?} {query}: {}", answer.text()),
            }
        }
        // The built URL routes back to the same parameters.
        let url = server.fetch(way, Ask::get("/url-for?name=users-show&id=a%2Fb%20c")).await.text();
        let seen: serde_json::Value =
            serde_json::from_slice(&server.fetch(way, Ask::get(url.trim())).await.body).expect("JSON");
        assert_eq!(seen["params"], json!([["id", "a/b c"]]), "{way:?}");
    }
}

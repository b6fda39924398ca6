//! The operator's view: the access log, metrics, health, the live instances.

use std::collections::BTreeSet;
use std::time::Duration;

use roadrunner_tests::{Ask, Setup, Way};

#[tokio::test]
async fn the_access_log_in_json_has_every_field() {
    let server = Setup::of("answers").start().await;
    for (way, protocol) in
        [(Way::H1, "http1"), (Way::H1Tls, "http1"), (Way::H2c, "http2"), (Way::H2Tls, "http2"), (Way::H3, "http3")]
    {
        let path = format!("/size/5000?way={way:?}");
        server.fetch(way, Ask::get(&path)).await;
        let line = server.access(&path).await;
        for (field, value) in
            [("protocol", protocol), ("method", "GET"), ("route", "/*rest"), ("outcome", "ok"), ("shape", "buffered")]
        {
            assert_eq!(line[field], value, "{way:?}: {line}");
        }
        assert_eq!((line["status"].as_u64(), line["bytes"].as_u64()), (Some(200), Some(5000)), "{way:?}: {line}");
        assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{way:?}: {line}");
        assert!(line["request"].as_str().is_some_and(|id| id.len() >= 16), "{way:?}: {line}");
        for number in ["microseconds", "cpu_microseconds", "peak_memory"] {
            assert!(line[number].as_u64().is_some_and(|value| value > 0), "{way:?} {number}: {line}");
        }
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{way:?}: {line}");
    }
    server.fetch(Way::H1, Ask::get("/status/99")).await;
    assert_eq!(server.access("/status/99").await["outcome"], "invalid-response");
    assert_eq!(server.access("/status/99").await["status"], 500);
}

#[tokio::test]
async fn the_access_log_for_people_is_one_line_a_request() {
    let server = Setup::of("answers").human_log().start().await;
    server.fetch(Way::H2c, Ask::get("/counter?people")).await;
    let mut line = None;
    for _ in 0..200 {
        line = server.log.text().lines().find(|line| line.contains("/counter?people")).map(str::to_owned);
        if line.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let line = line.unwrap_or_else(|| panic!("no such line:\n{}", server.log));
    for part in ["http2", "GET", "200", "ok", "buffered", "127.0.0.1:", "/*rest"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains('\u{1b}'), "no colours into a pipe: {line}");
}

#[tokio::test]
async fn the_access_log_can_be_turned_off_and_guests_still_log() {
    let server = Setup::of("answers").server("access-log = false").start().await;
    server.fetch(Way::H1, Ask::get("/log/warn?message=a%20warning")).await;
    let line = server.log.message("a warning").await;
    assert_eq!((&line["level"], &line["target"]), (&"WARN".into(), &"guest".into()), "{line}");
    assert!(server.log.settled().await.lines().iter().all(|line| line["target"] != "access"), "{}", server.log);
}

#[tokio::test]
async fn lines_of_a_guest_carry_its_request() {
    let server = Setup::of("answers").start().await;
    for way in Way::EACH {
        for (path, messages) in [
            ("/log/error?message=one%0Atwo", &["one\\ntwo", "one\\ntwo, again"][..]),
            ("/print", &["hello, stdout", "hello, stderr"]),
        ] {
            server.fetch(way, Ask::get(path)).await;
            let id = server.access(path).await["request"].clone();
            for message in messages {
                let found = server.log.wait(|line| {
                    line["target"] == "guest"
                        && line["request"] == id
                        && line["message"].as_str().map(str::trim_end) == Some(message)
                });
                let line = found.await.unwrap_or_else(|| panic!("{way:?} {path}: no {message:?}:\n{}", server.log));
                assert_eq!((&line["component"], &line["route"]), (&"answers".into(), &"/*rest".into()), "{line}");
            }
        }
    }
}

/// A guest cannot forge a line of the human-readable log.
#[tokio::test]
async fn control_characters_do_not_reach_the_log_for_people() {
    let server = Setup::of("answers").human_log().start().await;
    server.fetch(Way::H1, Ask::get("/log/info?message=first%0D%0AFORGED%1b[31mred")).await;
    server.fetch(Way::H1, Ask::get("/counter?last")).await;
    while !server.log.text().contains("/counter?last") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let text = server.log.text();
    assert!(text.contains("FORGED"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("FORGED")), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn metrics_count_by_route_and_outcome() {
    let server = Setup::with(
        "[component.answers]\nfile = \"{guests}/answers.wasm\"\n[component.hostile]\nfile = \"{guests}/hostile.wasm\"\n\
         [[route]]\npath = \"/counter\"\ncomponent = \"answers\"\n[[route]]\npath = \"/*rest\"\ncomponent = \"hostile\"\n",
    )
    .start()
    .await;
    for way in Way::ALL {
        for _ in 0..5 {
            server.fetch(way, Ask::get("/counter")).await;
        }
        server.fetch(way, Ask::get("/trap")).await;
    }
    server.is_quiet().await;
    let metrics = server.metrics().await;
    let count = |family: &str, route: &str, outcome: &str| {
        metrics.sample(&format!(
            "{family}{{route=\"{route}\",component=\"{}\",outcome=\"{outcome}\"}}",
            if route == "/counter" { "answers" } else { "hostile" }
        ))
    };
    assert_eq!(count("roadrunner_requests_total", "/counter", "ok"), 25.0);
    assert_eq!(count("roadrunner_requests_total", "/*rest", "trapped"), 5.0);
    assert_eq!(metrics.sum("roadrunner_request_duration_seconds_count", "/counter"), 25.0);
    assert_eq!(metrics.sum("roadrunner_request_duration_seconds_bucket", "le=\"+Inf\""), 30.0);
    assert!(metrics.sum("roadrunner_guest_cpu_seconds_total", "/counter") > 0.0);
    assert!(metrics.sum("roadrunner_guest_peak_memory_bytes", "/counter") >= 65_536.0);
    assert_eq!(metrics.sum("roadrunner_wire_requests_total", ""), 30.0);
}

#[tokio::test]
async fn the_admin_listener_answers_operators_only() {
    let server = Setup::of("loops").start().await;
    for (method, path, status) in [
        ("GET", "/live", 200),
        ("GET", "/ready", 200),
        ("GET", "/metrics", 200),
        ("GET", "/instances", 200),
        ("HEAD", "/ready", 200),
        ("POST", "/metrics", 405),
        ("GET", "/instances/1", 405),
        ("DELETE", "/instances/1", 404),
        ("DELETE", "/instances/x", 404),
        ("GET", "/", 404),
    ] {
        assert_eq!(server.admin_request(method, path).await.0, status, "{method} {path}");
    }
    // The public listeners have none of these.
    for path in ["/metrics", "/live", "/ready", "/instances"] {
        assert_eq!(server.fetch(Way::H1, Ask::get(path)).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn live_instances_are_listed() {
    let server = Setup::of("loops").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/idle")).await;
        assert_eq!(exchange.head().await, 200);
        tokio::time::sleep(Duration::from_millis(30)).await;
        let listed = server.instances().await;
        assert_eq!(listed.len(), 1, "{way:?}");
        let instance = &listed[0];
        for (field, value) in [("component", "loops"), ("route", "/*rest"), ("shape", "loop")] {
            assert_eq!(instance[field], value, "{way:?}: {instance}");
        }
        assert!(instance["age_ms"].as_u64().is_some_and(|age| age >= 20), "{way:?}: {instance}");
        assert!(instance["memory"].as_u64().is_some_and(|memory| memory >= 65_536), "{way:?}: {instance}");
        assert!(instance["cpu_us"].as_u64().is_some_and(|cpu| cpu > 0), "{way:?}: {instance}");
        assert!(instance["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{way:?}: {instance}");
        assert!(instance["request"].as_str().is_some_and(|id| !id.is_empty()), "{way:?}: {instance}");
        drop(exchange);
        drop(client);
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn the_access_log_in_the_common_format() {
    let server = Setup::of("answers").server("access-log-format = \"common\"").start().await;
    for (way, version) in
        [(Way::H1, "HTTP/1.1"), (Way::H1Tls, "HTTP/1.1"), (Way::H2c, "HTTP/2.0"), (Way::H3, "HTTP/3.0")]
    {
        let path = format!("/size/5000?way={way:?}");
        server.fetch(way, Ask::get(&path)).await;
        let find = || async { server.log.text().lines().find(|line| line.contains(&path)).map(str::to_owned) };
        let found = roadrunner_tests::within(Duration::from_secs(5), find).await;
        let (line, _) = found.unwrap_or_else(|| panic!("no line for {path}:\n{}", server.log));
        let (before, after) = line.split_once(" - - [").expect("the date");
        assert_eq!(before, "127.0.0.1", "{line}");
        let (date, request) = after.split_once("] ").expect("the date");
        assert!(date.ends_with(" +0000") && date.len() == 26, "{line}");
        assert_eq!(request, format!("\"GET {path} {version}\" 200 5000"), "{line}");
    }
    server.fetch(Way::H1, Ask::new("HEAD", "/size/10")).await;
    let find = || async { server.log.text().lines().find(|line| line.contains("HEAD /size/10")).map(str::to_owned) };
    let (line, _) = roadrunner_tests::within(Duration::from_secs(5), find).await.expect("a line");
    assert!(line.ends_with(" 200 -"), "{line}");
}

/// No label contains a client's text: odd methods, paths, hosts and fields make no series.
#[tokio::test]
async fn no_label_comes_from_a_client() {
    let server = Setup::with(
        "[tenant.one]\nhosts = [\"*.one.test\"]\n[component.ones]\nfile = \"{guests}/answers.wasm\"\ntenant = \"one\"\n\
         [component.any]\nfile = \"{guests}/answers.wasm\"\n[store.main]\nmemory = true\n\
         [[route]]\npath = \"/size/:bytes\"\ncomponent = \"any\"\n[[route]]\npath = \"/*rest\"\ncomponent = \"ones\"\n\
         [[route]]\npath = \"/status/:code\"\nmethods = [\"GET\"]\ncomponent = \"any\"\n",
    )
    .start()
    .await;
    let flood = async |round: &str, count: usize| {
        for way in Way::EACH {
            let mut client = server.connect(way).await;
            for index in 0..count {
                let mark = format!("mark{round}{index}");
                for ask in [
                    Ask::new(&format!("M{round}{index}"), &format!("/{mark}")),
                    Ask::new("GET", &format!("/size/{index}?{mark}")).header("x-request-id", &mark),
                    Ask::new("GET", &format!("/{mark}")).host(&format!("{mark}.one.test")),
                    Ask::new("GET", "/counter").host(&format!("{mark}.test")).header("user-agent", &mark),
                    Ask::new(&format!("M{round}{index}"), "/status/200").header("origin", &format!("https://{mark}")),
                    Ask::new("GET", &format!("/status/{mark}")).header("forwarded", &format!("for={mark}")),
                    Ask::new("GET", &format!("/%zz{mark}")),
                ] {
                    client.fetch(ask).await;
                }
            }
        }
        server.is_quiet().await;
        let (_, text) = server.admin_request("GET", "/metrics").await;
        assert!(!text.contains("mark"), "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect::<BTreeSet<_>>()
    };
    // One of each kind, so that every outcome has been seen.
    let before = flood("a", 1).await;
    let after = flood("b", 50).await;
    assert!(before.len() > 100, "{before:?}");
    assert_eq!(after, before, "{:?}", after.symmetric_difference(&before).collect::<Vec<_>>());
}

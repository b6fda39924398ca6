//! Owners who distrust each other on one host: the ownership of hosts, and what each may use.

use std::time::{Duration, Instant};

use roadrunner_tests::{Ask, Exchange, Server, Setup, Way, within};

/// Two tenants with the same guest, `one` with a quota; each guest serves every path of its own host.
fn two(guest: &str, quota: &str) -> Setup {
    let tenant = |name: &str, quota: &str| {
        format!(
            "[tenant.{name}]\nhosts = [\"{name}\"]\nquota = {{ {quota} }}\n\
             [component.{guest}-{name}]\nfile = \"{{guests}}/{guest}.wasm\"\ntenant = \"{name}\"\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"{guest}-{name}\"\n"
        )
    };
    Setup::with(&(tenant("one", quota) + &tenant("two", "")))
}

fn get(host: &str, path: &str) -> Ask {
    Ask::get(path).host(host)
}

/// How often a quota of `one` was exceeded.
async fn exceeded(server: &Server, quota: &str) -> f64 {
    let metrics = server.metrics().await;
    let of = |tenant| format!("roadrunner_tenant_quota_exceeded_total{{tenant=\"{tenant}\",quota=\"{quota}\"}}");
    assert_eq!(metrics.sample(&of("two")), 0.0, "{quota}: the other tenant has none");
    metrics.sample(&of("one"))
}

#[tokio::test]
async fn are_reached_on_their_hosts_alone() {
    let server = Setup::with(
        "[tenant.one]\nhosts = [\"one.example\", \"*.one.example\"]\n[tenant.two]\nhosts = [\"two.example\"]\n\
         [component.ones]\nfile = \"{guests}/answers.wasm\"\ntenant = \"one\"\n\
         [component.twos]\nfile = \"{guests}/answers.wasm\"\ntenant = \"two\"\n\
         [component.hosts]\nfile = \"{guests}/hello.wasm\"\n\
         [directory.files]\npath = \"files\"\ntenant = \"one\"\n\
         [[route]]\npath = \"/status/:code\"\ncomponent = \"ones\"\n\
         [[route]]\npath = \"/files/*path\"\ntenant = \"one\"\nstatic = { directory = \"files\" }\n\
         [[route]]\npath = \"/counter\"\ncomponent = \"twos\"\n\
         [[route]]\npath = \"/hello\"\ncomponent = \"hosts\"\n",
    )
    .file("files/a.txt", "a file\n")
    .start()
    .await;
    for way in Way::EACH {
        for (host, path, status) in [
            ("one.example", "/status/201", 201),
            ("a.b.one.example:8080", "/status/201", 201),
            ("one.example", "/files/a.txt", 200),
            ("two.example", "/counter", 200),
            ("two.example", "/status/201", 404),
            ("two.example", "/files/a.txt", 404),
            ("one.example", "/counter", 404),
            ("elsewhere.example", "/status/201", 404),
            ("elsewhere.example", "/files/a.txt", 404),
            ("one.example", "/hello", 200),
            ("two.example", "/hello", 200),
        ] {
            let answer = server.fetch(way, get(host, path)).await;
            assert_eq!(answer.status, status, "{way:?} {host}{path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn have_topics_of_their_own() {
    let server = Setup::with(
        "[tenant.one]\nhosts = [\"one\", \"also-one\"]\n[tenant.two]\nhosts = [\"two\"]\n\
         [component.first]\nfile = \"{guests}/loops.wasm\"\ntenant = \"one\"\n\
         [component.second]\nfile = \"{guests}/loops.wasm\"\ntenant = \"one\"\n\
         [component.theirs]\nfile = \"{guests}/loops.wasm\"\ntenant = \"two\"\n\
         # Called like a tenant, and not of it.\n\
         [component.one]\nfile = \"{guests}/loops.wasm\"\n\
         [[route]]\npath = \"/*rest\"\nhosts = [\"one\"]\ncomponent = \"first\"\n\
         [[route]]\npath = \"/*rest\"\nhosts = [\"also-one\"]\ncomponent = \"second\"\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"theirs\"\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"one\"\n",
    )
    .start()
    .await;
    let mut client = server.connect(Way::H1).await;
    let mut session = client.open(get("one", "/subscribe/news")).await;
    session.read_until("subscribed\n\n").await;
    let publish = async |host: &str, text: &'static str| {
        server.fetch(Way::H2c, Ask::post("/publish/news", text).host(host)).await.text()
    };
    assert_eq!(publish("two", "secret").await, "0\n", "another tenant");
    assert_eq!(publish("nobody", "secret").await, "0\n", "no tenant");
    assert_eq!(publish("also-one", "hello").await, "1\n", "another component of the same");
    assert_eq!(session.read_until("\n\n").await, "data: hello\n\n");
}

/// Three keys: instances, held, hibernated.
#[tokio::test]
async fn have_a_quota_of_instances() {
    let limits = "instances = 20\nheld = 20\nqueue-wait = \"50ms\"";
    let server = two("hostile", "instances = 1, held = 1").host_limits(limits).start().await;
    for way in Way::EACH {
        let mut busy = server.connect(Way::H1).await;
        let sleeping = busy.open(get("one", "/sleep")).await;
        server.has_instances(1).await;
        let answer = server.fetch(way, get("one", "/sleep?ms=1")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{way:?}: {answer:?}");
        assert_eq!(server.fetch(way, get("two", "/sleep?ms=1")).await.text(), "awake\n", "{way:?}");
        drop(sleeping);
        drop(busy);
        server.is_quiet().await;

        let mut holder = server.connect(Way::H1).await;
        let held = holder.open(get("one", "/memory/hold?kib=1")).await;
        server.has_instances(1).await;
        assert_eq!(server.fetch(way, get("one", "/memory/hold?kib=1")).await.status, 503, "{way:?}");
        let metrics = server.metrics().await;
        assert_eq!(metrics.sum("roadrunner_sessions_held", "gate=\"tenant:one\""), 1.0);
        assert_eq!(server.instances().await[0]["tenant"], "one");
        drop(held);
        drop(holder);
        server.is_quiet().await;
    }
    assert!(server.metrics().await.sum("roadrunner_requests_overloaded_total", "tenant:one") > 0.0);
}

#[tokio::test]
async fn have_a_quota_of_sessions_that_hibernate() {
    let server = two("loops", "hibernated = 1").and("").host_limits("instances = 20\nheld = 20\nhibernate = \"50ms\"");
    let server = server.start().await;
    let mut clients = [server.connect(Way::H1).await, server.connect(Way::H1).await, server.connect(Way::H1).await];
    let mut sessions = Vec::new();
    for (client, host) in clients.iter_mut().zip(["one", "one", "two"]) {
        sessions.push(client.open(get(host, "/tally/news")).await);
    }
    server.has_instances(3).await;
    let gate = async |gate: &str| {
        let metrics = server.metrics().await;
        let gate = format!("gate=\"{gate}\"");
        (metrics.sum("roadrunner_sessions_hibernated", &gate), metrics.sum("roadrunner_sessions_held", &gate))
    };
    let mut now = gate("host").await;
    for _ in 0..100 {
        if now == (2.0, 1.0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        now = gate("host").await;
    }
    assert_eq!((now, gate("tenant:one").await), ((2.0, 1.0), (1.0, 1.0)), "one of two, and the other tenant's");
    let used = server.metrics().await.sum("roadrunner_tenant_memory_bytes", "tenant=\"two\"");
    assert!((1.0..1000.0).contains(&used), "a state that hibernates counts, and no more than that: {used}");
    drop(sessions);
    drop(clients);
    server.is_quiet().await;
}

#[tokio::test]
async fn have_a_quota_of_memory() {
    let server = two("hostile", "memory = \"24MiB\"").host_limits("instances = 20\nheld = 20\nmemory = \"16MiB\"");
    let server = server.start().await;
    let trips = async |way: Way, host: &str, status: u16, outcome: &str| {
        let answer = server.fetch(way, get(host, "/memory/allocate?kib=10240")).await;
        assert_eq!(answer.status, status, "{way:?} {host}: {answer:?}");
        let path = "/memory/allocate?kib=10240";
        let logged =
            server.log.wait(|line| line["uri"] == path && line["outcome"] == outcome && line["tenant"] == host);
        assert!(logged.await.is_some(), "{way:?} {host}: {outcome} is not in the log");
    };
    for way in Way::ALL {
        trips(way, "one", 200, "ok").await;
        let mut first = server.connect(Way::H1).await;
        let mut second = server.connect(Way::H1).await;
        let held = [
            first.open(get("one", "/memory/hold?kib=9000")).await,
            second.open(get("one", "/memory/hold?kib=9000")).await,
        ];
        let used = within(Duration::from_secs(10), async || {
            let used = server.metrics().await.sum("roadrunner_tenant_memory_bytes", "tenant=\"one\"");
            (used > 18_000_000.0).then_some(used)
        });
        let (used, _) = used.await.expect("two instances hold 9 MB each");
        assert!(used <= f64::from(24 << 20), "{used}");
        trips(way, "one", 503, "tenant-memory-exceeded").await;
        trips(way, "two", 200, "ok").await;
        drop(held);
        drop((first, second));
        server.is_quiet().await;
        assert_eq!(server.metrics().await.sum("roadrunner_tenant_memory_bytes", ""), 0.0, "all is given back");
        // A single instance is held to its own limit.
        let answer = server.fetch(way, get("one", "/memory/allocate?kib=20480")).await;
        assert_eq!(answer.status, 503);
        server.is_quiet().await;
    }
    assert_eq!(server.metrics().await.outcome("memory-exceeded"), Way::ALL.len() as f64);
    assert!(exceeded(&server, "memory").await >= Way::ALL.len() as f64);
}

/// `cpu-per-second`.
#[tokio::test]
async fn have_a_quota_of_cpu_time() {
    let server = two("hostile", "cpu-per-second = \"100ms\"")
        .host_limits("instances = 20\nheld = 20\ncpu = \"30s\"\ndeadline = \"5s\"\nqueue-wait = \"20ms\"")
        .alone()
        .start()
        .await;
    let start = Instant::now();
    let mut client = server.connect(Way::H1).await;
    let spins = client.open(get("one", "/spin")).await;
    server.has_instances(1).await;
    // One second's worth is spent at once, then a tenth of a processor.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for way in Way::EACH {
        let answer = server.fetch(way, get("two", "/spin/for?ms=20")).await;
        assert_eq!(answer.status, 200, "{way:?}: the other tenant has CPU time");
    }
    assert_eq!(spins.rest().await.status, 504, "its own deadline ends it");
    let metrics = server.metrics().await;
    let used = metrics.sum("roadrunner_tenant_cpu_seconds_total", "tenant=\"one\"");
    let most = 0.1 + 0.1 * start.elapsed().as_secs_f64() + 0.05;
    assert!(used > 0.12 && used < most, "{used} s of CPU time in {:?}", start.elapsed());
    assert!(exceeded(&server, "cpu-per-second").await > 0.0);

    // A request that waits for too long is refused.
    let mut spenders = Vec::new();
    for _ in 0..6 {
        let mut client = server.connect(Way::H1).await;
        spenders.push(tokio::spawn(async move { client.fetch(get("one", "/spin")).await.status }));
    }
    let refused = within(Duration::from_secs(10), async || {
        let answer = server.fetch(Way::H2c, get("one", "/spin/for?ms=1")).await;
        (answer.status == 503).then_some(answer)
    });
    let (answer, _) = refused.await.expect("one finds nothing left");
    assert_eq!(answer.header("retry-after"), "1", "{answer:?}");
    assert!(server.metrics().await.outcome("tenant-cpu-exceeded") >= 1.0);
    for spender in spenders {
        // A spender that starts when nothing is left is refused like any other.
        assert!([503, 504].contains(&spender.await.expect("it does not panic")));
    }
    server.is_quiet().await;
}

/// `requests-per-second`.
#[tokio::test]
async fn have_a_quota_of_requests() {
    let server = two("answers", "requests-per-second = 5").start().await;
    for way in Way::EACH {
        let mut client = server.connect(way).await;
        let mut statuses = Vec::new();
        let start = Instant::now();
        for _ in 0..30 {
            let answer = client.fetch(get("one", "/counter")).await;
            if answer.status == 429 {
                assert_eq!(answer.header("retry-after"), "1", "{way:?}: {answer:?}");
            }
            statuses.push(answer.status);
        }
        let granted = statuses.iter().filter(|status| **status == 200).count() as f64;
        let most = 5.0 + 5.0 * start.elapsed().as_secs_f64() + 1.0;
        assert!(statuses.contains(&429) && granted <= most, "{way:?}: {granted} in {:?}", start.elapsed());
        assert_eq!(client.fetch(get("two", "/counter")).await.status, 200, "{way:?}");
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.outcome("tenant-rate-limited"), exceeded(&server, "requests-per-second").await);
    assert!(metrics.sum("roadrunner_requests_total", "component=\"answers-one\",tenant=\"one\"") > 0.0);
}

/// `log-bytes-per-second`.
#[tokio::test]
async fn have_a_quota_of_log_text() {
    let server = two("hostile", "log-bytes-per-second = \"1KiB\"").start().await;
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(server.fetch(Way::H2c, get("one", "/log?n=500")).await.text(), "logged 500\n");
    }
    let logged = server.metrics().await.sum("roadrunner_tenant_log_bytes_total", "tenant=\"one\"");
    let most = 1024.0 * (1.0 + start.elapsed().as_secs_f64() + 0.1);
    assert!(logged > 500.0 && logged <= most, "{logged} bytes in {:?}", start.elapsed());
    assert!(exceeded(&server, "log-bytes-per-second").await > 100.0);
    let told = server.log.message("log-bytes-per-second of the tenant is used up; further lines are dropped").await;
    assert_eq!((&told["tenant"], &told["component"]), (&"one".into(), &"hostile-one".into()), "{told}");
    server.fetch(Way::H2c, get("two", "/log?n=500")).await;
    assert!(server.metrics().await.sum("roadrunner_tenant_log_bytes_total", "tenant=\"two\"") > 2000.0);
}

/// `topics`.
#[tokio::test]
async fn have_a_quota_of_topics() {
    let server = two("hostile", "topics = 10").start().await;
    for way in Way::EACH {
        let mut client = server.connect(way).await;
        let mut session = client.open(get("one", "/subscriptions?n=20")).await;
        let said = session.read_until("\n").await;
        assert!(said.starts_with("subscribed 10: ") && !said.contains("all"), "{way:?}: {said}");
        assert_eq!(server.metrics().await.sum("roadrunner_tenant_topics", "tenant=\"one\""), 10.0);
        let mut other = server.connect(way).await;
        let mut theirs = other.open(get("two", "/subscriptions?n=20")).await;
        assert_eq!(theirs.read_until("\n").await, "subscribed 20: all\n", "{way:?}");
        drop((session, theirs));
        drop((client, other));
        server.is_quiet().await;
        assert_eq!(server.metrics().await.sum("roadrunner_tenant_topics", ""), 0.0);
    }
    assert_eq!(exceeded(&server, "topics").await, Way::EACH.len() as f64);
}

/// `topic-bytes`.
#[tokio::test]
async fn have_a_quota_of_messages_that_wait() {
    let server = two("loops", "topic-bytes = \"1KiB\"").start().await;
    for host in ["one", "two"] {
        let mut client = server.connect(Way::H1).await;
        let mut session: Exchange<'_> = client.open(get(host, "/subscribe/news")).await;
        session.read_until("subscribed\n\n").await;
        for body in ["x".repeat(1500), "after".to_owned()] {
            server.fetch(Way::H2c, Ask::post("/publish/news", body).host(host)).await;
        }
        let got = session.read_until("data: after\n\n").await;
        assert_eq!(got.contains("event: missed\ndata: 1\n"), host == "one", "{host}: {got}");
    }
    assert_eq!(exceeded(&server, "topic-bytes").await, 1.0);
    server.is_quiet().await;
    assert_eq!(server.metrics().await.sum("roadrunner_tenant_topic_bytes", ""), 0.0);
}

#[tokio::test]
async fn cannot_name_each_others_routes() {
    let server = Setup::with(
        "[tenant.one]\nhosts = [\"one\"]\n[tenant.two]\nhosts = [\"two\"]\n\
         [component.ones]\nfile = \"{guests}/inspector.wasm\"\ntenant = \"one\"\n\
         [component.twos]\nfile = \"{guests}/inspector.wasm\"\ntenant = \"two\"\n\
         [component.hosts]\nfile = \"{guests}/inspector.wasm\"\n\
         [[route]]\npath = \"/secret/path\"\nname = \"ones\"\ncomponent = \"ones\"\n\
         [[route]]\npath = \"/public/path\"\nname = \"shared\"\ncomponent = \"hosts\"\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"ones\"\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"twos\"\n",
    )
    .start()
    .await;
    let url =
        async |host: &str, name: &str| server.fetch(Way::H1, get(host, &format!("/url-for?name={name}"))).await.text();
    assert!(url("one", "ones").await.contains("/secret/path"));
    assert!(!url("two", "ones").await.contains("/secret"), "{}", url("two", "ones").await);
    assert!(url("two", "shared").await.contains("/public/path"));
}

#[tokio::test]
async fn are_in_the_log_in_metrics_and_in_ps() {
    let server = two("hostile", "").start().await;
    server.fetch(Way::H1, get("one", "/sleep?ms=1&logged")).await;
    let line = server.access("/sleep?ms=1&logged").await;
    assert_eq!((&line["tenant"], &line["component"]), (&"one".into(), &"hostile-one".into()), "{line}");
    assert!(line["digest"].as_str().is_some_and(|digest| digest.len() == 12), "{line}");
    assert!(line["instance"].as_u64().is_some_and(|id| id > 0), "{line}");
    assert!(line["host_calls"].as_u64().is_some_and(|calls| (1..100).contains(&calls)), "{line}");
    let metrics = server.metrics().await;
    assert!(metrics.sum("roadrunner_guest_host_calls_total", "tenant=\"one\"") >= 1.0);
    assert_eq!(metrics.sum("roadrunner_guest_host_calls_total", "tenant=\"two\""), 0.0);
    assert_eq!(metrics.sum("roadrunner_tenant_requests_total", "tenant=\"one\""), 1.0);

    let mut client = server.connect(Way::H1).await;
    let exchange = client.open(get("two", "/sleep")).await;
    let instances = server.has_instances(1).await;
    assert_eq!((&instances[0]["tenant"], &instances[0]["digest"]), (&"two".into(), &line["digest"]));
    drop(exchange);
}

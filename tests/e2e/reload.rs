//! A new manifest for a running host: all of it or nothing, and requests in progress end as they began.

use std::time::Duration;

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Server, Setup, Way, command, within};
use rustix::process::Signal;

fn setup() -> Setup {
    Setup::with(&["hello", "answers", "hostile", "loops", "inspector"].map(component).concat())
        .and("[middleware.mark]\ntype = \"response-headers\"\nset = { x-manifest = \"one\" }\n")
        .and("[[route]]\npath = \"/\"\ncomponent = \"hello\"\nmiddlewares = [\"mark\"]\n")
        .and("[[route]]\npath = \"/sleep\"\ncomponent = \"hostile\"\n[[route]]\npath = \"/drain\"\ncomponent = \"loops\"\n")
}

/// Replaces the manifest in one step, as an editor or a deployment does.
fn write(server: &Server, change: impl Fn(String) -> String) {
    let file = server.folder().join("roadrunner.toml");
    let text = change(std::fs::read_to_string(&file).expect("a manifest"));
    let new = server.folder().join("new.toml");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(new, file).expect("a file");
}

async fn reload(server: &Server) -> (u16, String) {
    server.admin_request("POST", "/reload").await
}

async fn mark(server: &Server, way: Way) -> String {
    let answer = server.fetch(way, Ask::get("/")).await;
    assert_eq!(answer.status, 200, "{way:?}: {answer:?}");
    answer.header("x-manifest").to_owned()
}

async fn is_marked(server: &Server, wanted: &str) {
    let marked = within(Duration::from_secs(10), async || (mark(server, Way::H1).await == wanted).then_some(())).await;
    assert!(marked.is_some(), "not {wanted} after ten seconds:\n{}", server.log);
}

#[tokio::test]
async fn routes_components_middlewares_and_limits_switch() {
    let server = setup().start().await;
    let mut kept = server.connect(Way::H1).await;
    assert_eq!(kept.fetch(Ask::get("/")).await.header("x-manifest"), "one");
    assert_eq!(server.fetch(Way::H1, Ask::get("/new")).await.status, 404);
    assert_eq!(server.fetch(Way::H1, Ask::get("/sleep?ms=200")).await.status, 200);
    let before = server.metrics().await;
    write(&server, |text| {
        text.replace("x-manifest = \"one\"", "x-manifest = \"two\"")
            + "\n[[route]]\npath = \"/new\"\ncomponent = \"answers\"\n\
               [[group]]\nlimits = { deadline = \"100ms\" }\n[[group.route]]\npath = \"/slow/sleep\"\ncomponent = \"hostile\"\n"
    });
    assert_eq!(reload(&server).await, (200, "reloaded\n".to_owned()), "{}", server.log);
    for way in Way::ALL {
        assert_eq!(mark(&server, way).await, "two", "{way:?}");
        assert_eq!(server.fetch(way, Ask::get("/new")).await.status, 404, "{way:?}: the new route's guest says so");
    }
    assert_eq!(kept.fetch(Ask::get("/")).await.header("x-manifest"), "two", "connections go on");
    let after = server.metrics().await;
    let ok = |metrics: &roadrunner_tests::Metrics| {
        metrics.sum("roadrunner_requests_total", "route=\"/\",component=\"hello\",outcome=\"ok\"")
    };
    assert_eq!(ok(&after), ok(&before) + 1.0 + Way::ALL.len() as f64, "counters go on");
    assert_eq!(after.sum("roadrunner_requests_total", "route=\"/new\""), Way::ALL.len() as f64);
    assert_eq!(after.sum("roadrunner_reloads_total", "taken"), 1.0);
}

#[tokio::test]
async fn a_wrong_manifest_is_refused_and_the_old_one_serves() {
    let server = setup().start().await;
    let right = std::fs::read_to_string(server.folder().join("roadrunner.toml")).expect("a manifest");
    for (index, (text, reason)) in [
        ("x-manifest = [", "not TOML"),
        ("[[route]]\npath = \"/x\"\ncomponent = \"nobody\"", "nobody"),
        (
            "[component.broken]\nfile = \"certificate.pem\"\n[[route]]\npath = \"/b\"\ncomponent = \"broken\"",
            "component",
        ),
        ("[component.gone]\nfile = \"gone.wasm\"\n[[route]]\npath = \"/g\"\ncomponent = \"gone\"", "gone.wasm"),
        ("[[group]]\nlimits = { memory = \"4GiB\" }\n[[group.route]]\npath = \"/m\"\ncomponent = \"hello\"", "restart"),
    ]
    .into_iter()
    .enumerate()
    {
        write(&server, |_| format!("{}\n{text}\n", right.replace("\"one\"", "\"two\"")));
        let (status, told) = reload(&server).await;
        assert_eq!(status, 422, "{reason}: {told}");
        assert!(told.contains(reason), "{reason}: {told}");
        assert_eq!(mark(&server, Way::H1).await, "one", "{reason}");
        assert_eq!(server.admin_request("GET", "/ready").await.0, 200, "{reason}");
        let refused = server.metrics().await.sum("roadrunner_reloads_total", "refused");
        assert_eq!(refused, (index + 1) as f64, "{reason}");
    }
    server.log.message("is refused").await;
    write(&server, |_| right.replace("\"one\"", "\"three\""));
    assert_eq!(reload(&server).await.0, 200);
    assert_eq!(mark(&server, Way::H2c).await, "three");
}

#[tokio::test]
async fn what_is_under_way_ends_as_it_began() {
    let mut server = setup().start().await;
    let mut clients = Vec::new();
    for way in Way::ALL {
        clients.push((way, server.connect(way).await, server.connect(way).await));
    }
    let mut under_way = Vec::new();
    for (way, one, two) in &mut clients {
        let mut session = two.open(Ask::get("/drain")).await;
        assert_eq!(session.head().await, 200);
        under_way.push((*way, one.open(Ask::get("/sleep?ms=1000")).await, session));
    }
    server.has_instances(2 * Way::ALL.len()).await;
    // Their routes are gone.
    write(&server, |text| {
        let (start, _) = text.split_once("[[route]]\npath = \"/sleep\"").expect("the route");
        start.to_owned()
    });
    assert_eq!(reload(&server).await.0, 200, "{}", server.log);
    assert_eq!(server.instances().await.len(), 2 * Way::ALL.len());
    for way in Way::ALL {
        assert_eq!(server.fetch(way, Ask::get("/sleep?ms=1")).await.status, 404, "{way:?}");
    }
    let mut sessions = Vec::new();
    for (way, request, session) in under_way {
        assert_eq!(request.rest().await.text(), "awake\n", "{way:?}");
        sessions.push((way, session));
    }
    server.has_instances(Way::ALL.len()).await;
    server.signal(Signal::TERM);
    for (way, session) in sessions {
        assert!(session.rest().await.text().starts_with("goodbye"), "{way:?}: sessions are told of the drain");
    }
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);
}

#[tokio::test]
async fn what_needs_a_restart_is_named() {
    let server = setup().start().await;
    write(&server, |text| {
        text.replace("instances = 40", "instances = 41")
            .replace("\"127.0.0.1:0\"", "\"127.0.0.2:0\"")
            .replace("\"one\"", "\"two\"")
    });
    let (status, told) = reload(&server).await;
    assert_eq!(status, 200, "{told}");
    for key in ["[[listener]]", "`instances` in [limits]"] {
        assert!(told.contains(&format!("warning: {key} cannot change without a restart")), "{key}: {told}");
        server.log.message(key).await;
    }
    assert!(!told.contains("`held`"), "{told}");
    assert_eq!(mark(&server, Way::H1).await, "two", "what can change has changed");
}

#[tokio::test]
async fn a_signal_the_command_and_a_watched_file_reload() {
    let server = setup().start().await;
    write(&server, |text| text.replace("\"one\"", "\"two\""));
    server.signal(Signal::HUP);
    is_marked(&server, "two").await;

    write(&server, |text| text.replace("\"two\"", "\"three\""));
    let mut reload = command::roadrunner();
    reload.arg("reload").arg("--admin").arg(format!("unix:{}", server.admin().display()));
    let done = command::output(reload).await;
    assert_eq!((done.code, done.stdout.as_str()), (0, "reloaded\n"), "{done:?}");
    assert_eq!(mark(&server, Way::H1).await, "three");
    write(&server, |text| text + "\nnonsense = 1\n");
    let mut reload = command::roadrunner();
    reload.arg("reload").arg("--admin").arg(format!("unix:{}", server.admin().display()));
    let done = command::output(reload).await;
    assert!(done.code == 1 && done.stderr.contains("nonsense"), "{done:?}");
    // A page in the operator's browser cannot.
    write(&server, |text| text.replace("\nnonsense = 1\n", ""));

    // Not watched yet.
    write(&server, |text| text.replace("\"three\"", "\"four\"").replace("[server]\n", "[server]\nwatch = true\n"));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(mark(&server, Way::H1).await, "three");
    server.signal(Signal::HUP);
    is_marked(&server, "four").await;
    write(&server, |text| text.replace("\"four\"", "\"five\""));
    is_marked(&server, "five").await;
    // A wrong manifest is read once, and not every second.
    write(&server, |text| text.replace("\"five\"", "\"six\"") + "\nnonsense = 1\n");
    let refused = async || server.metrics().await.sum("roadrunner_reloads_total", "refused");
    let seen = within(Duration::from_secs(10), async || (refused().await == 2.0).then_some(())).await;
    assert!(seen.is_some(), "{}", server.log);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(refused().await, 2.0);
    assert_eq!(mark(&server, Way::H1).await, "five");
    write(&server, |text| text.replace("\nnonsense = 1\n", ""));
    is_marked(&server, "six").await;
}

/// The component's file is replaced: new requests go to the new code, requests in progress stay with the old.
#[tokio::test]
async fn a_component_is_replaced() {
    let guests = command::guests();
    let server =
        Setup::with("[component.guest]\nfile = \"guest.wasm\"\n[[route]]\npath = \"/*rest\"\ncomponent = \"guest\"\n")
            .file("guest.wasm", std::fs::read(guests.join("hello.wasm")).expect("a guest"))
            .server("watch = true")
            .start()
            .await;
    assert_eq!(server.text("/").await, "hello, world\n");
    let new = server.folder().join("new.wasm");
    std::fs::copy(guests.join("answers.wasm"), &new).expect("a guest");
    std::fs::rename(new, server.folder().join("guest.wasm")).expect("a file");
    let replaced = within(Duration::from_secs(30), async || {
        (server.fetch(Way::H1, Ask::get("/counter")).await.text() == "1\n").then_some(())
    });
    assert!(replaced.await.is_some(), "{}", server.log);
}

/// Under load nothing fails, however the manifest changes meanwhile.
#[tokio::test]
async fn no_request_is_lost() {
    let server = setup().start().await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let stop = stop.clone();
        load.spawn(async move {
            let mut served = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = client.fetch(Ask::get("/")).await;
                assert_eq!(answer.status, 200, "{way:?}: {answer:?}");
                served += 1;
            }
            served
        });
    }
    for round in 0..20 {
        write(&server, |text| {
            let (start, rest) = text.split_once("x-manifest = \"").expect("the middleware");
            let (_, rest) = rest.split_once('"').expect("the middleware");
            format!("{start}x-manifest = \"{round}\"{rest}")
        });
        assert_eq!(reload(&server).await.0, 200);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let served: Vec<u64> = load.join_all().await;
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    server.is_quiet().await;
}

/// The next handshake shows the new certificate; existing connections do not notice.
#[tokio::test]
async fn certificates_are_read_again() {
    let server = setup().start().await;
    let mut old = server.connect(Way::H2Tls).await;
    assert_eq!(old.fetch(Ask::get("/")).await.status, 200);
    let address = server.address("tls").to_string();
    let serial = async || {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["s_client", "-connect", &address, "-servername", "localhost"]).stdin(std::process::Stdio::null());
        let done = command::output(openssl).await;
        let (_, rest) = done.stdout.split_once("-----BEGIN CERTIFICATE-----")?;
        Some(rest.split_once("-----END")?.0.to_owned())
    };
    if command::tool("reload::certificates_are_read_again", "openssl").is_none() {
        return;
    }
    let before = serial().await.expect("a certificate");
    // A broken certificate is refused, with everything else in the manifest.
    std::fs::write(server.certificate(), "nothing").expect("a file");
    write(&server, |text| text.replace("\"one\"", "\"two\""));
    let (status, told) = reload(&server).await;
    assert!(status == 422 && told.contains("tls"), "{status} {told}");
    assert_eq!(mark(&server, Way::H1).await, "one");
    assert_eq!(serial().await.expect("a certificate"), before);

    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate can be made");
    std::fs::write(server.certificate(), made.cert.pem()).expect("a file");
    std::fs::write(server.folder().join("key.pem"), made.signing_key.serialize_pem()).expect("a file");
    assert_eq!(reload(&server).await.0, 200, "{}", server.log);
    assert_ne!(serial().await.expect("a certificate"), before);
    assert_eq!(old.fetch(Ask::get("/")).await.header("x-manifest"), "two");
}

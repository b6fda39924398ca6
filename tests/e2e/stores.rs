//! Key-value stores: the guests' operations, their limits, and the lifetime of entries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use roadrunner_tests::{Answer, Ask, Redis, Server, Setup, Way, command, within};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A component that is granted a store `main`, with these keys.
fn setup(store: &str) -> Setup {
    Setup::of("stores").component("stores = [\"main\"]").and(&format!("[store.main]\n{store}\n"))
}

async fn ask(server: &Server, way: Way, path: &str, body: &str) -> Answer {
    let ask = if body.is_empty() { Ask::get(path) } else { Ask::post(path, body.to_owned()) };
    server.fetch(way, ask).await
}

/// Runs one operation over HTTP/1.1, and returns status and body.
async fn tell(server: &Server, path: &str, body: &str) -> (u16, String) {
    let answer = ask(server, Way::H1, path, body).await;
    (answer.status, answer.text())
}

/// The operation must succeed.
async fn done(server: &Server, path: &str, body: &str) -> String {
    let (status, text) = tell(server, path, body).await;
    assert_eq!(status, 200, "{path}: {text}");
    text
}

async fn operations(server: &Server, operation: &str, outcome: &str) -> f64 {
    let labels = format!("store=\"main\",operation=\"{operation}\",outcome=\"{outcome}\"");
    server.metrics().await.sample(&format!("roadrunner_store_operations_total{{{labels}}}"))
}

#[tokio::test]
async fn every_operation_over_every_protocol() {
    let server = setup("memory = true").start().await;
    for (index, way) in Way::EACH.into_iter().enumerate() {
        let key = format!("key-{index}");
        for (operation, body, status, answer) in [
            ("get", "", 404, ""),
            ("set", "value", 200, "set"),
            ("get", "", 200, "value"),
            ("exists", "", 200, "true"),
            ("set-if", "other", 200, "false"),
            ("delete", "", 200, "true"),
            ("delete", "", 200, "false"),
            ("set-if", "7", 200, "true"),
            ("increment", "", 200, "8"),
            ("json", "", 200, "{\"a\":[1,2]}"),
            ("increment", "", 409, "Refused(\"the value is not a whole number of 64 bits\")"),
        ] {
            let seen = ask(&server, way, &format!("/{operation}?key={key}"), body).await;
            assert_eq!((seen.status, seen.text().as_str()), (status, answer), "{way:?}: {operation}");
        }
        let seen = ask(&server, way, &format!("/set-if?key={key}&expected=%7B%22a%22%3A%5B1%2C2%5D%7D"), "x").await;
        assert_eq!(seen.text(), "true", "{way:?}");
        let page = ask(&server, way, &format!("/keys?key={key}"), "").await.text();
        assert_eq!(page, format!("{{\"cursor\":null,\"keys\":[\"{key}\"]}}"), "{way:?}");
    }
    let ways = Way::EACH.len() as f64;
    assert_eq!(operations(&server, "set", "ok").await, 2.0 * ways, "one of them in /json");
    assert_eq!(operations(&server, "increment", "refused").await, ways);
    server.is_quiet().await;
}

#[tokio::test]
async fn a_time_to_live_ends_and_pages_follow_each_other() {
    let server = setup("memory = true").start().await;
    done(&server, "/set?key=short&ttl=200", "x").await;
    let gone =
        within(Duration::from_secs(10), async || (tell(&server, "/get?key=short", "").await.0 == 404).then_some(()));
    assert!(gone.await.is_some());
    for index in 0..25 {
        done(&server, &format!("/set?key=k{index:02}"), "x").await;
    }
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = done(&server, &format!("/keys?key=k&limit=10{cursor}"), "").await;
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        keys.extend(page["keys"].as_array().expect("a list").iter().map(|key| key.as_str().unwrap().to_owned()));
        cursor = page["cursor"].as_str().map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
    }
    assert_eq!(cursor, "", "the third page is the last");
    assert_eq!(keys, (0..25).map(|index| format!("k{index:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn components_see_keys_of_their_own_unless_they_share() {
    let file = "file = \"{guests}/stores.wasm\"\nstores = [\"own\", \"all\"]";
    let server = Setup::with(&format!(
        "[store.own]\nmemory = true\n[store.all]\nmemory = true\nshared = true\n[store.hidden]\nmemory = true\n\
         [component.one]\n{file}\n[component.two]\n{file}\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"one\"\n\
         [[route]]\npath = \"/*rest\"\nhosts = [\"two.example\"]\ncomponent = \"two\"\n"
    ))
    .start()
    .await;
    let two = async |path: &str| {
        let answer = server.fetch(Way::H2c, Ask::get(path).host("two.example")).await;
        (answer.status, answer.text())
    };
    done(&server, "/set?store=own&key=a", "mine").await;
    done(&server, "/set?store=all&key=a", "ours").await;
    assert_eq!(two("/get?store=own&key=a").await.0, 404);
    assert_eq!(two("/get?store=all&key=a").await, (200, "ours".to_owned()));
    assert_eq!(two("/keys?store=own").await.1, "{\"cursor\":null,\"keys\":[]}");
    for name in ["hidden", "missing"] {
        let (status, text) = two(&format!("/get?store={name}&key=a")).await;
        assert_eq!(status, 409);
        assert!(text.starts_with("Refused(\"stores: "), "{text}");
        assert!(!text.contains(name), "neither is there for it: {text}");
    }
}

#[tokio::test]
async fn keys_and_values_have_sizes() {
    let server = setup("memory = true\nkey-size = \"10B\"\nvalue-size = \"1KiB\"").start().await;
    let eleven = "k".repeat(11);
    assert_eq!(tell(&server, &format!("/get?key={eleven}"), "").await, (409, "TooLarge(10)".to_owned()));
    assert_eq!(tell(&server, "/set?key=a", &"v".repeat(1025)).await, (409, "TooLarge(1024)".to_owned()));
    done(&server, &format!("/set?key={}", &eleven[1..]), &"v".repeat(1024)).await;
    assert_eq!(operations(&server, "set", "too-large").await, 1.0);
    assert_eq!(operations(&server, "get", "too-large").await, 1.0);
}

#[tokio::test]
async fn a_store_has_a_size() {
    let server = setup("memory = true\nsize = \"4KiB\"").start().await;
    done(&server, "/set?key=a", &"v".repeat(3000)).await;
    assert_eq!(tell(&server, "/set?key=b", &"v".repeat(3000)).await, (409, "TooLarge(4096)".to_owned()));
    let bytes = server.metrics().await.sample("roadrunner_store_bytes{store=\"main\"}");
    assert!((3000.0..4096.0).contains(&bytes), "{bytes}");
    assert_eq!(done(&server, "/delete?key=a", "").await, "true");
    done(&server, "/set?key=b", &"v".repeat(3000)).await;
}

/// A server that greets like Redis and answers nothing else; it counts its requests.
struct Silent {
    port: u16,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Silent {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let counter = counter.clone();
                tokio::spawn(async move {
                    let (mut all, mut piece) = (String::new(), [0; 4096]);
                    let (mut greeted, mut counted) = (0, 0);
                    while let Ok(read @ 1..) = socket.read(&mut piece).await {
                        all += &String::from_utf8_lossy(&piece[..read]);
                        let greetings = all.matches("\r\nCLIENT\r\n").count();
                        let _ = socket.write_all("+OK\r\n".repeat(greetings - greeted).as_bytes()).await;
                        let asked = all.matches("\r\nEXISTS\r\n").count();
                        counter.fetch_add(asked - counted, Relaxed);
                        (greeted, counted) = (greetings, asked);
                    }
                });
            }
        });
        Self { port, asked, task }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn an_operation_has_a_timeout() {
    let silent = Silent::start().await;
    let server = setup(&format!("url = \"redis://127.0.0.1:{}\"\ntimeout = \"200ms\"", silent.port)).start().await;
    for way in Way::EACH {
        let start = Instant::now();
        let answer = ask(&server, way, "/exists?key=a", "").await;
        assert_eq!((answer.status, answer.text().as_str()), (409, "Timeout"), "{way:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{way:?}: {:?}", start.elapsed());
    }
    assert_eq!(silent.asked.load(Relaxed), Way::EACH.len());
    assert_eq!(operations(&server, "exists", "timeout").await, Way::EACH.len() as f64);
    server.is_quiet().await;
}

#[tokio::test]
async fn operations_at_once_are_capped() {
    let silent = Silent::start().await;
    let store = format!("url = \"redis://127.0.0.1:{}\"\ntimeout = \"3s\"\noperations = 2", silent.port);
    let server = Arc::new(setup(&store).start().await);
    let asks: Vec<_> = (0..8)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move { tell(&server, "/exists?key=a", "").await })
        })
        .collect();
    let asked = within(Duration::from_secs(2), async || (silent.asked.load(Relaxed) >= 2).then_some(())).await;
    assert!(asked.is_some());
    server.has_instances(8).await;
    assert_eq!(silent.asked.load(Relaxed), 2, "two are asked, six wait");
    let mut overloaded = 0;
    for ask in asks {
        let (status, text) = ask.await.expect("it does not panic");
        assert_eq!(status, 409, "{text}");
        overloaded += usize::from(text.starts_with("Refused(\"operations: 2 "));
        assert!(text == "Timeout" || text.starts_with("Refused(\"operations: 2 "), "{text}");
    }
    let counted = operations(&server, "exists", "overloaded").await;
    assert_eq!(counted, overloaded as f64);
    server.is_quiet().await;
}

#[tokio::test]
async fn a_reload_keeps_what_is_open() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("store.db");
    let server = setup("memory = true").and(&format!("[store.file]\npath = {path:?}\n")).start().await;
    done(&server, "/set?key=a", "kept").await;
    assert_eq!(server.admin_request("POST", "/reload").await, (200, "reloaded\n".to_owned()));
    assert_eq!(done(&server, "/get?key=a", "").await, "kept");
    // Commands that only read do not disturb the host that has the file open; another host that would serve it is
    // refused.
    let manifest = server.folder().join("roadrunner.toml");
    let mut check = command::roadrunner();
    check.args(["check", "--manifest"]).arg(&manifest).current_dir(server.folder());
    let checked = command::output(check).await;
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    let mut serve = command::roadrunner();
    serve.arg("serve").arg(&manifest).current_dir(server.folder());
    let refused = command::output(serve).await;
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("is in use by another process"), "{}", refused.stderr);
}

/// Sets keys one after the other until the host is gone, each to its own name. Returns how many were acknowledged.
async fn write_until_it_ends(address: SocketAddr, writer: usize) -> usize {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    for index in 0.. {
        let key = format!("{writer}-{index}");
        let request = format!("POST /set?key={key} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{key}", key.len());
        let mut answer = Vec::new();
        if socket.write_all(request.as_bytes()).await.is_err() {
            return index;
        }
        while !answer.ends_with(b"\r\n\r\nset") {
            match socket.read_buf(&mut answer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return index,
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
    unreachable!("the host ends before the numbers do")
}

#[tokio::test]
async fn a_crash_loses_no_acknowledged_write() {
    let folder = TempDir::new().expect("a folder");
    let store = format!("path = {:?}\ntimeout = \"10s\"", folder.path().join("store.db"));
    let mut acknowledged = [0; 4];
    for round in 0..2 {
        let mut server = setup(&store).start().await;
        let address = server.address("plain");
        let writers = (0..4).map(|writer| tokio::spawn(write_until_it_ends(address, round * 4 + writer)));
        let writers: Vec<_> = writers.collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.signal(Signal::KILL);
        server.exit().await;
        for (writer, count) in writers.into_iter().zip(&mut acknowledged) {
            *count = writer.await.expect("it does not panic");
        }
        assert!(acknowledged.iter().sum::<usize>() > 4, "hardly anything was written: {acknowledged:?}");
        let server = setup(&store).start().await;
        for (writer, count) in acknowledged.iter().enumerate() {
            let writer = round * 4 + writer;
            for index in 0..*count {
                let key = format!("{writer}-{index}");
                assert_eq!(tell(&server, &format!("/get?key={key}"), "").await, (200, key.clone()), "{key} of {count}");
            }
        }
        assert_eq!(done(&server, "/increment?key=rounds", "").await, (round + 1).to_string(), "it is written on");
    }
}

async fn works(server: &Server, path: &str) {
    let works = within(Duration::from_secs(15), async || (tell(server, path, "x").await.0 == 200).then_some(())).await;
    assert!(works.is_some(), "{path} still fails after 15 s:\n{}", server.log);
}

#[tokio::test]
async fn redis_goes_and_comes_back() {
    let Some(mut redis) = Redis::start("redis_goes_and_comes_back", &[]) else { return };
    let server = setup(&format!("url = {:?}\ntimeout = \"1s\"", redis.url())).start().await;
    works(&server, "/set?key=a").await;
    assert_eq!(done(&server, "/increment?key=n&by=5", "").await, "5");
    let log = server.log.text().len();
    redis.kill();
    for _ in 0..5 {
        let start = Instant::now();
        let (status, text) = tell(&server, "/get?key=a", "").await;
        assert_eq!(status, 409, "{text}");
        assert!(text == "Internal(\"the store `main` failed\")" || text == "Timeout", "{text}");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    redis.start_again();
    works(&server, "/set?key=b").await;
    assert_eq!(done(&server, "/get?key=a", "").await, "x");
    assert_eq!(done(&server, "/increment?key=n", "").await, "6");
    server.log.message("a store answers again").await;
    let log = server.log.text()[log..].to_owned();
    assert_eq!(log.matches("a store has ceased to answer").count(), 1, "{log}");
    assert_eq!(log.matches("a store answers again").count(), 1, "{log}");
    assert!(operations(&server, "get", "failed").await + operations(&server, "get", "timeout").await >= 5.0);
    server.is_quiet().await;
}

/// A connection lost while idle goes unnoticed, and nothing is done twice.
#[tokio::test]
async fn redis_is_restarted_between_two_operations() {
    let Some(mut redis) = Redis::start("redis_is_restarted_between_two_operations", &[]) else { return };
    let components = ["first", "second"].map(|name| {
        format!(
            "[component.{name}]\nfile = \"{{guests}}/stores.wasm\"\nstores = [\"main\"]\n\
             [[route]]\npath = \"/*rest\"\nhosts = [\"{name}\"]\ncomponent = \"{name}\"\n"
        )
    });
    let server = Setup::with(&format!("[store.main]\nurl = {:?}\ntimeout = \"5s\"\n", redis.url()))
        .and(&components.concat())
        .start()
        .await;
    let on = async |host: &str, path: &str, body: &str| {
        let ask = if body.is_empty() { Ask::get(path) } else { Ask::post(path, body.to_owned()) };
        let answer = server.fetch(Way::H2c, ask.host(host)).await;
        assert_eq!(answer.status, 200, "{host} {path}: {}\n{}", answer.text(), server.log);
        answer.text()
    };
    let up = within(Duration::from_secs(15), async || {
        (server.fetch(Way::H1, Ask::post("/set?key=a", "x".to_owned()).host("first")).await.status == 200).then_some(())
    });
    assert!(up.await.is_some(), "{}", server.log);
    assert_eq!(on("second", "/set?key=a", "x").await, "set");
    for (round, operation) in [
        ("/get?key=a", "", "x"),
        ("/increment?key=n", "", "1"),
        ("/set?key=a", "y", "set"),
        ("/set-if?key=a&expected=y", "x", "true"),
        ("/exists?key=a", "", "true"),
        ("/increment?key=n", "", "2"),
        ("/keys", "", ""),
        ("/delete?key=n", "", "true"),
    ]
    .into_iter()
    .enumerate()
    {
        redis.kill();
        redis.start_again();
        assert!(redis.is_up().await, "redis-server is not up");
        // The host hears of the loss on a thread that may have to wait for the processor.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (path, body, answer) = operation;
        for host in ["first", "second"] {
            let seen = on(host, path, body).await;
            assert!(answer.is_empty() || seen == answer, "round {round}, {host} {path}: {seen}");
        }
    }
    server.is_quiet().await;
}

/// While the server goes and comes, each answered increment has happened once, and each failed one at most once.
#[tokio::test]
async fn no_increment_happens_twice() {
    let Some(mut redis) = Redis::start("no_increment_happens_twice", &[]) else { return };
    let server = setup(&format!("url = {:?}\ntimeout = \"2s\"", redis.url())).start().await;
    works(&server, "/set?key=a").await;
    let (mut answered, mut failed) = (0, 0);
    for _ in 0..6 {
        // Some before the server goes, some while it is gone, some after it.
        let goal = answered + 30;
        let back = std::cell::Cell::new(false);
        let increments = async {
            while answered < goal || !back.get() {
                match tell(&server, "/increment?key=n", "").await.0 {
                    200 => answered += 1,
                    _ => {
                        failed += 1;
                        assert!(failed < 10_000, "the store does not come back");
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
            }
        };
        let restart = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            redis.kill();
            tokio::time::sleep(Duration::from_millis(50)).await;
            redis.start_again();
            back.set(true);
        };
        tokio::join!(increments, restart);
        assert!(redis.is_up().await, "redis-server is not up");
    }
    works(&server, "/set?key=a").await;
    let count: u32 = done(&server, "/increment?key=n&by=0", "").await.parse().expect("a number");
    assert!((answered..=answered + failed).contains(&count), "{count} for {answered} answers and {failed} failures");
    assert!(failed > 0, "the server was never gone");
}

#[tokio::test]
async fn hosts_share_a_redis_server() {
    let Some(redis) = Redis::start("hosts_share_a_redis_server", &[]) else { return };
    let store = format!("url = {:?}\ntimeout = \"1s\"", redis.url());
    let one = setup(&store).start().await;
    let two = setup(&store).beside().start().await;
    works(&one, "/set?key=a").await;
    assert_eq!(done(&two, "/get?key=a", "").await, "x");
    for (index, server) in [&one, &two, &one, &two].into_iter().enumerate() {
        assert_eq!(done(server, "/increment?key=n", "").await, (index + 1).to_string());
    }
    assert_eq!(done(&two, "/set-if?key=a&expected=x", "y").await, "true");
    assert_eq!(done(&one, "/set-if?key=a&expected=x", "z").await, "false");
    assert_eq!(done(&one, "/keys", "").await.matches("\"a\"").count(), 1);
}

/// Over TLS, with an authority that the host trusts; a server with an unknown authority gets no commands.
#[tokio::test]
async fn redis_over_tls() {
    let Some(redis) = Redis::start_with_tls("redis_over_tls") else { return };
    let store = format!("url = {:?}\ntimeout = \"5s\"", redis.url());
    let trusted = redis.certificate().display().to_string();
    let server = setup(&store).environment("SSL_CERT_FILE", &trusted).start().await;
    works(&server, "/set?key=a").await;
    for (index, way) in Way::EACH.into_iter().enumerate() {
        assert_eq!(ask(&server, way, "/get?key=a", "").await.text(), "x", "{way:?}");
        assert_eq!(ask(&server, way, "/increment?key=n", "").await.text(), (index + 1).to_string(), "{way:?}");
    }
    let others = setup(&store).beside().start().await;
    assert_eq!(tell(&others, "/get?key=a", "").await, (409, "Internal(\"the store `main` failed\")".to_owned()));
    let line = others.log.message("a store has ceased to answer").await.to_string();
    assert!(line.contains("certificate") || line.contains("UnknownIssuer"), "{line}");
    let plain = setup(&store.replace("rediss:", "redis:")).beside().start().await;
    assert_eq!(tell(&plain, "/get?key=a", "").await.0, 409, "it speaks TLS alone");
}

/// If several tenants are granted a shared store, each has the keys of its own components, and those without a tenant
/// have others.
#[tokio::test]
async fn tenants_never_share() {
    tenants_are_apart("memory = true").await;
    let folder = TempDir::new().expect("a folder");
    tenants_are_apart(&format!("path = {:?}", folder.path().join("store.db"))).await;
    let Some(redis) = Redis::start("tenants_never_share", &[]) else { return };
    tenants_are_apart(&format!("url = {:?}\ntimeout = \"1s\"", redis.url())).await;
}

async fn tenants_are_apart(place: &str) {
    let mut text = format!(
        "[store.main]\n{place}\nshared = true\n[tenant.one]\nhosts = [\"*.one\"]\n[tenant.two]\nhosts = [\"*.two\"]\n"
    );
    for (component, tenant) in [("a", "one"), ("b", "one"), ("c", "two"), ("d", "")] {
        let tenant = if tenant.is_empty() { tenant.to_owned() } else { format!("tenant = \"{tenant}\"\n") };
        text += &format!("[component.{component}]\nfile = \"{{guests}}/stores.wasm\"\nstores = [\"main\"]\n{tenant}");
    }
    for (host, component) in [("a.one", "a"), ("b.one", "b"), ("c.two", "c"), ("d.none", "d")] {
        text += &format!("[[route]]\npath = \"/*rest\"\nhosts = [\"{host}\"]\ncomponent = \"{component}\"\n");
    }
    let server = Setup::with(&text).start().await;
    let on = async |host: &str, path: &str, body: &str| {
        let ask = if body.is_empty() { Ask::get(path) } else { Ask::post(path, body.to_owned()) };
        let answer = server.fetch(Way::H2c, ask.host(host)).await;
        (answer.status, answer.text())
    };
    let is = |status: u16, text: &str| (status, text.to_owned());
    let up = within(Duration::from_secs(15), async || (on("a.one", "/set?key=a", "ours").await.0 == 200).then_some(()));
    assert!(up.await.is_some(), "{place}: {}", server.log);
    assert_eq!(on("b.one", "/get?key=a", "").await, is(200, "ours"), "{place}: one tenant's components share");
    for stranger in ["c.two", "d.none"] {
        for key in ["a", "tenant/one:a", "../one/a", "one:a"] {
            assert_eq!(on(stranger, &format!("/get?key={key}"), "").await.0, 404, "{place}: {stranger} {key}");
        }
        assert_eq!(on(stranger, "/exists?key=a", "").await, is(200, "false"), "{place}: {stranger}");
        assert_eq!(on(stranger, "/keys", "").await, is(200, "{\"cursor\":null,\"keys\":[]}"), "{place}: {stranger}");
        assert_eq!(on(stranger, "/delete?key=a", "").await, is(200, "false"), "{place}: {stranger}");
        assert_eq!(on(stranger, "/set-if?key=a&expected=ours", "x").await, is(200, "false"), "{place}: {stranger}");
        assert_eq!(on(stranger, "/increment?key=n", "").await, is(200, "1"), "{place}: {stranger}");
        assert_eq!(on(stranger, "/set?key=a", stranger).await, is(200, "set"), "{place}: {stranger}");
    }
    for (host, value) in [("a.one", "ours"), ("b.one", "ours"), ("c.two", "c.two"), ("d.none", "d.none")] {
        assert_eq!(on(host, "/get?key=a", "").await, is(200, value), "{place}: {host}");
    }
    assert_eq!(on("a.one", "/increment?key=n", "").await, is(200, "1"), "{place}");
    assert_eq!(on("c.two", "/delete?key=a", "").await, is(200, "true"), "{place}");
    assert_eq!(on("a.one", "/get?key=a", "").await, is(200, "ours"), "{place}");
    assert_eq!(on("d.none", "/get?key=a", "").await, is(200, "d.none"), "{place}");
    server.is_quiet().await;
}

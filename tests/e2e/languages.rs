//! One list of checks for the demo in every language: the five shapes over every protocol, and the host's interfaces.
//!
//! A language whose tools were missing when the guests were built is skipped, with the reason.

use std::process::Command;
use std::time::Duration;

use roadrunner_tests::websocket::Handshake;
use roadrunner_tests::{Ask, End, Server, Setup, Way, command, within};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{run, served};
use crate::hibernation::settled;

/// Opcodes of RFC 6455, 5.2.
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// How long a build or a compilation of a language's runtime may take.
pub const BUILD: Duration = Duration::from_secs(300);

#[tokio::test]
async fn rust() {
    holds("rust", "demo").await;
}

#[tokio::test]
async fn js() {
    holds("js", "demo-js").await;
}

#[tokio::test]
async fn python() {
    holds("python", "demo-python").await;
}

#[tokio::test]
async fn c() {
    holds("c", "demo-c").await;
}

/// A feature of Rust and C only: `guests/sockets` shows it for Rust.
#[tokio::test]
async fn c_sessions_hibernate() {
    if !is_built("languages::c_sessions_hibernate", "demo-c") {
        return;
    }
    let server = Setup::of("demo-c").limit("hibernate = \"50ms\"").compiled().await.start().await;
    for way in Way::ALL {
        let mut socket = Handshake::to("/count").open(&server, way).await;
        let mut stays = Handshake::to("/ws").open(&server, way).await;
        for count in 1..4 {
            settled(&server, 1, 1).await;
            assert!(socket.text("h\u{e9}llo").await, "{way:?}");
            assert_eq!(socket.next_text().await, format!("{count} h\u{e9}llo"), "{way:?}");
        }
        assert!(stays.text("still here").await, "{way:?}");
        assert_eq!(stays.next_text().await, "still here", "{way:?}");
        drop((socket, stays));
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn a_new_c_project_builds_and_answers() {
    let test = "languages::a_new_c_project_builds_and_answers";
    if c_compiler(test) {
        a_new_project_builds_and_answers("c", "c.md").await;
    }
}

/// The SDK's script names a missing tool, and so does this.
#[tokio::test]
async fn without_a_compiler_the_build_of_a_c_project_says_what_is_missing() {
    let folder = TempDir::new().expect("a folder");
    assert_eq!(run(folder.path(), &["new", "--lang", "c", "my-app"]).await.code, 0);
    let bare = folder.path().join("bin");
    std::fs::create_dir(&bare).expect("a folder");
    for tool in ["basename", "dirname", "mktemp", "rm", "sh"] {
        let place = ["/bin", "/usr/bin"].map(|folder| std::path::Path::new(folder).join(tool));
        let place = place.into_iter().find(|place| place.exists()).expect("every system has it");
        std::os::unix::fs::symlink(place, bare.join(tool)).expect("a link");
    }
    let mut shell = Command::new("/bin/sh");
    shell.args(["build.sh", "app.c"]).current_dir(folder.path().join("my-app"));
    shell.env("PATH", &bare).env_remove("ZIG").env_remove("WASI_SDK_PATH");
    let built = command::output_within(BUILD, shell).await;
    if built.code == 0 || std::path::Path::new("/opt/wasi-sdk").exists() {
        println!("SKIPPED: languages::without_a_compiler: there is a wasi-sdk in /opt");
        return;
    }
    assert_eq!(built.code, 1, "{built:?}");
    assert!(built.stderr.contains("There is no C compiler for wasm32-wasi. Install one of"), "{built:?}");
    assert!(built.stderr.contains("pip install ziglang"), "{built:?}");
}

/// Any file other than a core module of an SDK is refused with the reason.
#[tokio::test]
async fn componentize_says_what_is_wrong() {
    let folder = TempDir::new().expect("a folder");
    let missing = run(folder.path(), &["componentize", "none.wasm"]).await;
    assert_eq!((missing.code, missing.stderr.contains("cannot read none.wasm")), (1, true), "{missing:?}");
    std::fs::write(folder.path().join("empty.wasm"), b"\0asm\x01\0\0\0").expect("a file");
    let untyped = run(folder.path(), &["componentize", "empty.wasm"]).await;
    assert_eq!((untyped.code, untyped.stderr.contains("no section `component-type`")), (1, true), "{untyped:?}");
    let hello = command::guest("hello");
    let component = run(folder.path(), &["componentize", hello.to_str().expect("UTF-8"), "-o", "out.wasm"]).await;
    assert_eq!((component.code, component.stderr.contains("a component already")), (1, true), "{component:?}");
    assert!(!folder.path().join("out.wasm").exists());
}

#[tokio::test]
async fn a_new_js_project_builds_and_answers() {
    let test = "languages::a_new_js_project_builds_and_answers";
    if command::tool(test, "npm").is_some() {
        a_new_project_builds_and_answers("js", "javascript.md").await;
    }
}

/// A beginner's first steps: the two commands that `roadrunner new` prints.
#[tokio::test]
async fn a_new_python_project_builds_and_answers() {
    let test = "languages::a_new_python_project_builds_and_answers";
    if command::tool(test, "python3").is_some() {
        a_new_project_builds_and_answers("python", "python.md").await;
    }
}

/// Whether there is a compiler that the C SDK can use. Otherwise prints that the test is skipped.
pub fn c_compiler(test: &str) -> bool {
    let mut find = Command::new("sh");
    find.arg(command::workspace().join("guest-sdk/c/build.sh")).arg("--compiler");
    match find.output() {
        Ok(found) if found.status.success() => true,
        _ => {
            println!("SKIPPED: {test}: no C compiler for wasm32-wasi: tests/requirements.txt has one");
            false
        }
    }
}

/// Runs the commands of a language's page, up to the last, which serves; `roadrunner new` prints the same commands.
async fn a_new_project_builds_and_answers(language: &str, page: &str) {
    let folder = TempDir::new().expect("a folder");
    let mut commands = documented(page);
    assert_eq!(commands.pop().as_deref(), Some("roadrunner serve"));
    let programs = folder.path().join("programs");
    std::fs::create_dir(&programs).expect("a folder");
    std::os::unix::fs::symlink(command::roadrunner().get_program(), programs.join("roadrunner")).expect("a link");
    let path = std::env::var("PATH").expect("there is one");
    let mut shell = Command::new("sh");
    shell.args(["-ec", &commands.join("\n")]).current_dir(folder.path());
    // As on a machine with the program installed.
    shell.env("PATH", format!("{}:{path}", programs.display()));
    let built = command::output_within(BUILD, shell).await;
    assert_eq!(built.code, 0, "{commands:?}: {built:?}");
    assert_eq!(commands[0], format!("roadrunner new --lang {language} my-app"));
    let mut printed = built.stdout.lines().skip(1).map(str::trim);
    let build: Vec<String> = printed.next().expect("a command").split(" && ").map(without_quiet).collect();
    assert_eq!((build.as_slice(), printed.next()), (&commands[1..], Some("roadrunner serve")), "{}", built.stdout);

    let project = folder.path().join("my-app");
    let mut compile = command::roadrunner();
    compile.arg("compile").current_dir(&project).env("XDG_CACHE_HOME", command::cache());
    let compiled = command::output_within(BUILD, compile).await;
    assert_eq!(compiled.code, 0, "{compiled:?}");
    let manifest = std::fs::read_to_string(project.join("roadrunner.toml")).expect("it is part of the project");
    let listener = "\n[[listener]]\naddress = \"127.0.0.1:0\"\n";
    std::fs::write(project.join("roadrunner.toml"), manifest + listener).expect("a file");
    assert_eq!(served(&project, &[], "/hello/you").await, "200 hello, you\n");
}

/// The first commands of a language's page, for a project whose name differs from those of the guests.
pub fn documented(page: &str) -> Vec<String> {
    let path = command::workspace().join("docs/guests").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let block = text.split("```\n").nth(1).expect("it shows commands");
    block.lines().map(|line| line.replace("hello", "my-app")).collect()
}

fn without_quiet(command: &str) -> String {
    let quiet = ["--no-audit", "--no-fund", "--quiet"];
    let words: Vec<&str> = command.split_whitespace().filter(|word| !quiet.contains(word)).collect();
    words.join(" ")
}

/// The whole list.
async fn holds(language: &str, guest: &str) {
    let Some(server) = start(language, guest).await else { return };
    for way in Way::EACH {
        buffered(&server, way).await;
        streams(&server, way).await;
        bodies(&server, way).await;
        files(&server, way).await;
        held(&server, way, guest).await;
        capabilities(&server, way).await;
        secrets(&server, way).await;
        stores(&server, way).await;
        negative(&server, way, language).await;
    }
    server.is_quiet().await;
}

async fn start(language: &str, guest: &str) -> Option<Server> {
    if !is_built(&format!("languages::{language}"), guest) {
        return None;
    }
    let setup = Setup::of(guest)
        .component("directories = [\"files\"]\nsecrets = [\"demo\"]\nstores = [\"demo\"]")
        .route("config = { greeting = \"good morning\" }")
        .and("[directory.files]\npath = \"public\"")
        .and("[secret.demo]\nenv = \"PATH\"\n[secret.hidden]\nenv = \"PATH\"")
        .and("[store.demo]\nmemory = true\nkey-size = \"64B\"\nvalue-size = \"1KiB\"\nsize = \"4KiB\"")
        .and("[store.hidden]\nmemory = true")
        .file("public/small.txt", "beep, beep")
        .manual();
    Some(setup.compiled().await.start().await)
}

/// Whether the demo was built. Otherwise prints that the test is skipped.
pub fn is_built(test: &str, guest: &str) -> bool {
    let component = command::guest(guest);
    if !component.is_file() {
        let reason = std::fs::read_to_string(component.with_extension("missing"));
        println!("SKIPPED: {test}: {}", reason.unwrap_or("run `cargo xtask guests` first".into()).trim());
    }
    component.is_file()
}

async fn buffered(server: &Server, way: Way) {
    let mut client = server.connect(way).await;
    let answer = client.fetch(Ask::get("/hello")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello, world\n"), "{way:?}");
    assert_eq!(answer.header("content-length"), "13", "{way:?}");
    assert!(answer.header("content-type").starts_with("text/plain"), "{way:?}: {answer:?}");
    assert_eq!(answer.end, End::sized(way), "{way:?}");

    let answer = client.fetch(Ask::get("/json")).await;
    assert_eq!(answer.header("content-type"), "application/json", "{way:?}");
    let seen: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{way:?}: {}", answer.text()));
    assert_eq!(seen["message"], "hello, world", "{way:?}");
    assert_eq!(seen["method"], "GET", "{way:?}");
    assert_eq!(seen["version"], way.version(), "{way:?}");
    assert!(seen["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{way:?}: {seen}");

    let answer = client.fetch(Ask::get("/nothing")).await;
    assert_eq!((answer.status, answer.text().as_str()), (404, "there is nothing here\n"), "{way:?}");
}

async fn streams(server: &Server, way: Way) {
    let mut client = server.connect(way).await;
    let answer = client.fetch(Ask::get("/stream?n=3&delay=1").header("te", "trailers")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "chunk 0\nchunk 1\nchunk 2\n"), "{way:?}");
    assert!(!answer.headers.contains_key("content-length"), "{way:?}");
    assert_eq!(answer.trailer("x-chunks"), "3", "{way:?}");
    assert_eq!(answer.end, End::streamed(way), "{way:?}");
    let answer = client.fetch(Ask::get("/stream").header("te", "trailers")).await;
    assert_eq!((answer.text().lines().count(), answer.trailer("x-chunks")), (10, "10"), "{way:?}");
}

async fn bodies(server: &Server, way: Way) {
    let mut client = server.connect(way).await;
    let ask = Ask::post_unsized("/echo", "hello").header("content-type", "text/x-test").header("te", "trailers");
    let answer = client.fetch(ask.header("trailer", "x-sum").trailer("x-sum", "5")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{way:?}");
    assert_eq!(answer.header("content-type"), "text/x-test", "{way:?}");
    assert_eq!(answer.trailer("x-sum"), "5", "{way:?}");

    // Both directions at once: each piece is back before the next is sent.
    let mut exchange = client.open(Ask::post_open("/echo")).await;
    assert!(exchange.send("one.").await, "{way:?}");
    assert_eq!(exchange.head().await, 200, "{way:?}");
    exchange.read_until("one.").await;
    assert!(exchange.send("two.").await, "{way:?}");
    exchange.read_until("two.").await;
    assert!(exchange.finish(&[]).await, "{way:?}");
    assert!(exchange.rest().await.end.is_whole(), "{way:?}");

    let mut client = server.connect(way).await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let answer = client.fetch(Ask::post("/upload", bytes.clone())).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "3000000\n"), "{way:?}");
    let answer = client.fetch(Ask::post("/echo", bytes[..100_000].to_vec())).await;
    assert!(answer.body == bytes[..100_000], "{way:?}: {} bytes, or others", answer.body.len());
}

async fn files(server: &Server, way: Way) {
    let mut client = server.connect(way).await;
    for path in ["/files/small.txt", "/files/sm%61ll.txt"] {
        let answer = client.fetch(Ask::get(path)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "beep, beep"), "{way:?} {path}");
        assert_eq!(answer.end, End::sized(way), "{way:?} {path}");
    }
    let answer = client.fetch(Ask::get("/files/small.txt").header("range", "bytes=6-9")).await;
    assert_eq!((answer.status, answer.text().as_str()), (206, "beep"), "{way:?}");
    for path in ["/files/none.txt", "/files/..%2froadrunner.toml"] {
        assert_eq!(client.fetch(Ask::get(path)).await.status, 404, "{way:?} {path}");
    }
}

async fn held(server: &Server, way: Way, guest: &str) {
    let mut client = server.connect(way).await;
    let mut clock = client.open(Ask::get("/clock")).await;
    assert_eq!(clock.head().await, 200, "{way:?}");
    assert_eq!(clock.headers()["content-type"], "text/event-stream", "{way:?}");
    clock.read_until("data: 1\n\n").await;
    clock.read_until("data: 2\n\n").await;
    let held = server.has_instances(1).await;
    assert_eq!((&held[0]["shape"], &held[0]["component"]), (&"loop".into(), &guest.into()), "{way:?}");
    drop(clock);
    drop(client);
    assert!(server.is_empty_after().await < Duration::from_secs(5), "{way:?}: the loop outlives its client");

    let mut socket = Handshake::to("/ws").open(server, way).await;
    for (opcode, payload) in [(TEXT, "h\u{e9}llo".as_bytes()), (BINARY, b"\0\xff"), (TEXT, b"")] {
        assert!(socket.send(opcode, payload).await, "{way:?}");
        let frame = socket.next().await.unwrap_or_else(|| panic!("{way:?}: no answer to {payload:?}"));
        assert_eq!((frame.opcode, frame.payload.as_slice()), (opcode, payload), "{way:?}");
    }
    assert!(socket.close(1000).await, "{way:?}");
    assert_eq!(socket.closed().await.0, 1000, "{way:?}");
}

/// Bus, timers, configuration and log.
async fn capabilities(server: &Server, way: Way) {
    let warned = || {
        let is_ours = |line: &&Value| line["message"] == "the greeting was asked for" && line["level"] == "WARN";
        server.log.lines().iter().filter(is_ours).count()
    };
    let before = warned();
    let mut client = server.connect(way).await;
    let answer = client.fetch(Ask::get("/settings")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "good morning\n"), "{way:?}");
    let logged = within(Duration::from_secs(5), || async { (warned() == before + 1).then_some(()) }).await;
    assert!(logged.is_some(), "{way:?}: no line in the log:\n{}", server.log);

    let mut room = client.open(Ask::get("/room")).await;
    assert_eq!(room.head().await, 200, "{way:?}");
    let text = room.read_until("data: 0\n\n").await;
    assert_eq!(text, "data: ping\n\ndata: 0\n\n", "{way:?}");
    // The timer is cancelled and the subscription ended, so that nothing more comes.
    let more = tokio::time::timeout(Duration::from_millis(200), room.piece()).await;
    assert!(more.is_err(), "{way:?}: {more:?}");
    drop(room);
    drop(client);
    assert!(server.is_empty_after().await < Duration::from_secs(5), "{way:?}: the loop outlives its client");
}

async fn secrets(server: &Server, way: Way) {
    let mut client = server.connect(way).await;
    let answer = client.fetch(Ask::get("/secret?name=demo")).await;
    let path = std::env::var("PATH").expect("there is one");
    assert_eq!((answer.status, answer.text()), (200, path), "{way:?}");
    for name in ["hidden", "missing"] {
        let answer = client.fetch(Ask::get(&format!("/secret?name={name}"))).await;
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{way:?}: {name}");
    }
}

/// Every operation, and its errors. The store is empty before and after.
async fn stores(server: &Server, way: Way) {
    let mut client = server.connect(way).await;
    let (long, large) = ("k".repeat(65), "v".repeat(1000));
    let unset = "";
    for (operation, value, status, text) in [
        ("get?key=a", unset, 404, ""),
        ("set?key=a", "one", 200, "done\n"),
        ("get?key=a", unset, 200, "one"),
        ("exists?key=a", unset, 200, "true\n"),
        ("set-if?key=a", "two", 200, "false\n"),
        ("set-if?key=a&expected=one", "two", 200, "true\n"),
        ("set-if?key=b", "three", 200, "true\n"),
        ("get?key=a", unset, 200, "two"),
        ("increment?key=a", unset, 409, "refused\n"),
        ("delete?key=a", unset, 200, "true\n"),
        ("delete?key=a", unset, 200, "false\n"),
        ("exists?key=a", unset, 200, "false\n"),
        ("delete?key=b", unset, 200, "true\n"),
        ("increment?key=n", unset, 200, "1\n"),
        ("increment?key=n&by=41", unset, 200, "42\n"),
        ("set?key=n", "-7", 200, "done\n"),
        ("increment?key=n&by=2", unset, 200, "-5\n"),
        ("get?key=n", unset, 200, "-5"),
        // An empty value differs from a missing key.
        ("set?key=n", unset, 200, "done\n"),
        ("get?key=n", unset, 200, ""),
        ("set-if?key=n&expected=", "x", 200, "true\n"),
        ("set?key=n", "h\u{e9}llo", 200, "done\n"),
        ("get?key=n", unset, 200, "h\u{e9}llo"),
        ("delete?key=n", unset, 200, "true\n"),
        // Errors: names without a grant, above the sizes of a key, a value and the store.
        ("get?store=hidden&key=a", unset, 409, "refused\n"),
        ("get?store=missing&key=a", unset, 409, "refused\n"),
        (&format!("get?key={long}"), unset, 409, "too-large 64\n"),
        ("set?key=a", &"v".repeat(1025), 409, "too-large 1024\n"),
        ("set?key=a", &large, 200, "done\n"),
        ("set?key=b", &large, 200, "done\n"),
        ("set?key=c", &large, 200, "done\n"),
        ("set?key=d", &large, 409, "too-large 4096\n"),
        ("delete?key=a", unset, 200, "true\n"),
        ("delete?key=b", unset, 200, "true\n"),
        ("delete?key=c", unset, 200, "true\n"),
        ("conjure?key=a", unset, 404, "there is nothing here\n"),
    ] {
        let answer = client.fetch(Ask::post(&format!("/store/{operation}"), value.to_owned())).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{way:?}: {operation}");
    }
    let bytes = b"\0\xff\r\n".to_vec();
    assert_eq!(client.fetch(Ask::post("/store/set?key=bytes", bytes.clone())).await.status, 200, "{way:?}");
    assert_eq!(client.fetch(Ask::get("/store/get?key=bytes")).await.body, bytes, "{way:?}");
    assert_eq!(client.fetch(Ask::get("/store/delete?key=bytes")).await.text(), "true\n", "{way:?}");
    lives_end(server, way).await;
    pages(server, way).await;
}

/// JavaScript's tools cannot pass a negative number to the host; its SDK reports that.
async fn negative(server: &Server, way: Way, language: &str) {
    let answer = server.fetch(way, Ask::get("/store/increment?key=n&by=-5")).await;
    let expected = if language == "js" { (409, "refused\n") } else { (200, "-5\n") };
    assert_eq!((answer.status, answer.text().as_str()), expected, "{way:?}");
    server.fetch(way, Ask::get("/store/delete?key=n")).await;
}

async fn lives_end(server: &Server, way: Way) {
    for operation in ["set", "set-if"] {
        let set = Ask::post(&format!("/store/{operation}?key=short&ttl=500"), "x");
        assert_eq!(server.fetch(way, set).await.status, 200, "{way:?}: {operation}");
        assert_eq!(server.fetch(way, Ask::get("/store/increment?key=other")).await.status, 200, "{way:?}");
        let gone = async || {
            let answer = server.fetch(way, Ask::get("/store/exists?key=short")).await;
            (answer.text() == "false\n").then_some(())
        };
        assert!(within(Duration::from_secs(10), gone).await.is_some(), "{way:?}: {operation}");
        assert_eq!(server.text_of(way, Ask::get("/store/delete?key=other")).await, "true\n", "{way:?}: it has no end");
    }
}

async fn pages(server: &Server, way: Way) {
    let mut client = server.connect(way).await;
    let names: Vec<String> = (0..5).map(|index| format!("p\u{e9}/{index} \"")).collect();
    let encoded = |name: &str| name.replace('\u{e9}', "%C3%A9").replace('"', "%22").replace(' ', "%20");
    for key in names.iter().map(String::as_str).chain(["q"]) {
        let set = Ask::post(&format!("/store/set?key={}", encoded(key)), "x");
        assert_eq!(client.fetch(set).await.status, 200, "{way:?}: {key}");
    }
    let (mut keys, mut cursor, mut count) = (Vec::new(), String::new(), 0);
    loop {
        let answer = client.fetch(Ask::get(&format!("/store/keys?key=p&limit=2{cursor}"))).await;
        let page: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{way:?}: {answer:?}"));
        let found = page["keys"].as_array().unwrap_or_else(|| panic!("{way:?}: {page}"));
        assert!(found.len() <= 2, "{way:?}: {page}");
        keys.extend(found.iter().map(|key| key.as_str().expect("text").to_owned()));
        count += 1;
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={}", encoded(next));
    }
    keys.sort();
    assert_eq!((keys, count), (names.clone(), 3), "{way:?}");
    for key in names.iter().map(String::as_str).chain(["q"]) {
        let answer = client.fetch(Ask::get(&format!("/store/delete?key={}", encoded(key)))).await;
        assert_eq!(answer.text(), "true\n", "{way:?}: {key}");
    }
}

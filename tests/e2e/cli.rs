//! The command line: every command, and its errors.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use roadrunner_tests::command::{self, Done};
use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Setup, Way, within};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

pub(crate) async fn run(folder: &Path, arguments: &[&str]) -> Done {
    let mut command = command::roadrunner();
    command.args(arguments).current_dir(folder).env("XDG_CACHE_HOME", command::cache());
    command::output(command).await
}

fn setup() -> Setup {
    Setup::with(&(component("hello") + &component("loops") + "[directory.files]\npath = \"public\"\n"))
        .and(
            "[[route]]\npath = \"/hello\"\ncomponent = \"hello\"\nmethods = [\"GET\"]\nname = \"greeting\"\n\
             [[route]]\npath = \"/files/*path\"\nstatic = { directory = \"files\" }\n\
             [[group]]\nprefix = \"/live\"\nhosts = [\"example.org\"]\n[[group.route]]\npath = \"/:topic\"\ncomponent = \"loops\"\n",
        )
        .file("public/a.txt", "a")
}

#[tokio::test]
async fn check_says_what_is_right() {
    let (folder, _) = setup().write();
    let done = run(folder.path(), &["check"]).await;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    for part in ["2 listeners", "2 components", "3 routes", "hello", "loops", "127.0.0.1:0"] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
}

#[tokio::test]
async fn check_says_what_is_wrong_with_file_line_key_and_fix() {
    let (folder, manifest) =
        setup().and("[[route]]\npath = \"/typo\"\ncomponent = \"helo\"\nmehtods = [\"GET\"]\n").write();
    let text = std::fs::read_to_string(&manifest).expect("it was written");
    let line = 1 + text.lines().position(|line| line.starts_with("mehtods")).expect("it is there");
    let done = run(folder.path(), &["check"]).await;
    assert_eq!(done.code, 1, "{done:?}");
    for part in [&format!("roadrunner.toml:{line}:"), "mehtods", "methods", "helo", "hello"] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    assert!(done.stdout.is_empty(), "{done:?}");
    // `serve` says the same and serves nothing.
    let served = run(folder.path(), &["serve"]).await;
    assert_eq!((served.code, served.stderr), (1, done.stderr));
}

#[tokio::test]
async fn routes_are_a_table() {
    let (folder, _) = setup().write();
    let done = run(folder.path(), &["routes"]).await;
    assert_eq!(done.code, 0, "{done:?}");
    for parts in [
        &["/hello", "GET", "hello", "greeting"][..],
        &["/files/*path", "files"],
        &["/live/:topic", "example.org", "loops"],
    ] {
        assert!(
            done.stdout.lines().any(|line| parts.iter().all(|part| line.contains(part))),
            "{parts:?}: {}",
            done.stdout
        );
    }
}

#[tokio::test]
async fn compile_fills_the_cache() {
    let folder = TempDir::new().expect("a folder");
    let cache = folder.path().join("cache");
    let manifest = format!(
        "[server]\ncache-dir = {cache:?}\n[component.hello]\nfile = {:?}\n[[route]]\npath = \"/\"\ncomponent = \"hello\"\n",
        command::guest("hello")
    );
    std::fs::write(folder.path().join("roadrunner.toml"), manifest).expect("a file");
    let done = run(folder.path(), &["compile"]).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("hello.wasm") && done.stdout.contains("sha256:"), "{done:?}");
    assert!(std::fs::read_dir(&cache).expect("it was made").count() > 0);
    let missing = run(folder.path(), &["compile", "none.wasm"]).await;
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.stderr.contains("none.wasm"), "{missing:?}");
}

#[tokio::test]
async fn inspect_shows_what_a_component_is() {
    let folder = TempDir::new().expect("a folder");
    let hello = run(folder.path(), &["inspect", &command::guest("hello").display().to_string()]).await;
    assert_eq!(hello.code, 0, "{hello:?}");
    for part in [
        "sha256:",
        "exports  roadrunner:handler/handler@0.1.0",
        "imports  roadrunner:handler/",
        "shapes   buffered, sendfile, stream, loop",
    ] {
        assert!(hello.stdout.contains(part), "{part}: {}", hello.stdout);
    }
    let minimal = run(folder.path(), &["inspect", &command::guest("minimal").display().to_string()]).await;
    assert!(minimal.stdout.contains("shapes   buffered, sendfile\n"), "{}", minimal.stdout);
}

/// An empty component; sections can follow these bytes.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

/// A component that needs a host function that no host has.
fn needy() -> Vec<u8> {
    let name = b"missing-thing";
    let mut bytes = EMPTY.to_vec();
    // The type of a function without parameters and results; then its import.
    bytes.extend_from_slice(&[7, 5, 1, 0x40, 0, 1, 0]);
    bytes.extend_from_slice(&[10, name.len() as u8 + 5, 1, 0, name.len() as u8]);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&[1, 0]);
    bytes
}

#[tokio::test]
async fn files_that_are_no_components_are_refused_in_clear_words() {
    let folder = TempDir::new().expect("a folder");
    for (name, content, words) in [
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec(), &["core WebAssembly module", "wasm32-wasip2"][..]),
        ("text.wasm", b"hello".to_vec(), &["not a WebAssembly component"]),
        ("empty.wasm", Vec::new(), &["not a WebAssembly component"]),
        ("nothing.wasm", EMPTY.to_vec(), &["does not export roadrunner:handler/handler@0.1.0"]),
        ("needy.wasm", needy(), &["missing-thing"]),
        ("broken.wasm", [EMPTY, &[7, 200]].concat(), &["broken.wasm"]),
    ] {
        std::fs::write(folder.path().join(name), content).expect("a file");
        for arguments in [&["serve", name, "--listen", "127.0.0.1:0"][..], &["compile", name]] {
            let done = run(folder.path(), arguments).await;
            assert_eq!(done.code, 1, "{arguments:?}: {done:?}");
            let said = done.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or("");
            assert!(said.contains(name), "{arguments:?}: {}", done.stderr);
            for word in words {
                assert!(done.stderr.contains(word), "{arguments:?}: {word}: {}", done.stderr);
            }
            assert!(!done.stderr.contains("panicked"), "{arguments:?}: {}", done.stderr);
        }
    }
    let done = run(folder.path(), &["serve", "none.wasm"]).await;
    assert!(done.code == 1 && done.stderr.contains("none.wasm"), "{done:?}");
    let done = run(folder.path(), &["serve"]).await;
    assert!(done.code == 1 && done.stderr.contains("roadrunner.toml"), "{done:?}");
}

#[tokio::test]
async fn ps_and_kill() {
    let server = Setup::of("loops").start().await;
    let mut client = server.connect(Way::H2c).await;
    let mut exchange = client.open(Ask::get("/idle")).await;
    assert_eq!(exchange.head().await, 200);
    let admin = format!("unix:{}", server.admin().display());

    let table = run(server.folder(), &["ps"]).await;
    assert_eq!(table.code, 0, "{table:?}");
    assert_eq!(table.stdout.lines().count(), 3, "{}", table.stdout);
    assert!(table.stdout.contains("held for requests: "), "{}", table.stdout);
    for part in ["loops", "/*rest", "loop", "127.0.0.1:"] {
        assert!(table.stdout.lines().nth(1).is_some_and(|line| line.contains(part)), "{part}: {}", table.stdout);
    }
    let json = run(server.folder(), &["ps", "--json", "--admin", &admin]).await;
    let listed: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    let id = listed[0]["id"].to_string();

    let killed = run(server.folder(), &["kill", &id]).await;
    assert_eq!(killed.code, 0, "{killed:?}");
    assert!(!exchange.rest().await.end.is_whole());
    server.is_quiet().await;
    let again = run(server.folder(), &["kill", &id]).await;
    assert!(again.code == 1 && again.stderr.contains(&id), "{again:?}");
    let nobody = run(server.folder(), &["ps", "--admin", "unix:/nowhere/admin.sock"]).await;
    assert!(nobody.code == 1 && nobody.stderr.contains("/nowhere/admin.sock"), "{nobody:?}");
}

#[tokio::test]
async fn schema_is_the_one_in_the_docs() {
    let folder = TempDir::new().expect("a folder");
    let done = run(folder.path(), &["schema"]).await;
    assert_eq!(done.code, 0, "{done:?}");
    let printed: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    let kept = std::fs::read_to_string(command::workspace().join("docs/roadrunner.schema.json")).expect("it is there");
    assert_eq!(printed, serde_json::from_str::<serde_json::Value>(&kept).expect("JSON"));
}

/// Starts a server with arguments other than a manifest, and returns its first answer.
pub(crate) async fn served(folder: &Path, arguments: &[&str], path: &str) -> String {
    let mut child = tokio::process::Command::from(command::roadrunner())
        .arg("serve")
        .args(arguments)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", command::cache())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it can be started");
    let mut stderr = child.stderr.take().expect("it is piped");
    let mut log = String::new();
    let address = loop {
        let mut buffer = [0; 1024];
        let read = roadrunner_tests::soon(stderr.read(&mut buffer)).await.expect("a pipe");
        assert!(read > 0, "it ended: {log}");
        log += &String::from_utf8_lossy(&buffer[..read]);
        if let Some(line) = log.lines().find_map(|line| line.strip_prefix("listening on "))
            && log.ends_with('\n')
        {
            break line.split(' ').next().and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        }
    };
    let answer = roadrunner_tests::Client::connect(address, Way::H2c).await.fetch(Ask::get(path)).await;
    child.start_kill().expect("it runs");
    child.wait().await.expect("it ends");
    format!("{} {}", answer.status, answer.text())
}

#[tokio::test]
async fn a_component_is_served_without_a_manifest() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("a.txt"), "from a directory").expect("a file");
    let listen = ["--listen", "127.0.0.1:0"];
    let hello = command::guest("hello").display().to_string();
    assert_eq!(served(folder.path(), &[&[hello.as_str()], &listen[..]].concat(), "/any").await, "200 hello, world\n");
    let files = command::guest("files").display().to_string();
    let granted =
        served(folder.path(), &[&[files.as_str(), "--dir", "files=."], &listen[..]].concat(), "/?path=a.txt").await;
    assert_eq!(granted, "200 from a directory");
    let inspector = command::guest("inspector").display().to_string();
    let seen =
        served(folder.path(), &[&[inspector.as_str(), "--config", "key=value"], &listen[..]].concat(), "/").await;
    assert!(seen.contains(r#""config":[["key","value"]]"#), "{seen}");
}

/// A beginner's first steps: a new project, built and served.
#[tokio::test]
async fn a_new_project_builds_and_answers() {
    let test = "cli::a_new_project_builds_and_answers";
    if command::tool(test, "cargo").is_none() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let made = run(folder.path(), &["new", "my-app"]).await;
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.stdout.contains("cargo build --release"), "{}", made.stdout);
    // The documentation page shows the same commands.
    let documented = crate::languages::documented("rust.md");
    assert_eq!(documented, ["roadrunner new my-app", "cd my-app", "cargo build --release", "roadrunner serve"]);
    let again = run(folder.path(), &["new", "my-app"]).await;
    assert!(again.code == 1 && again.stderr.contains("my-app"), "nothing is overwritten: {again:?}");

    let project = folder.path().join("my-app");
    // Reuses the build output of the tests' guests.
    let target = command::workspace().join("guests/target");
    let mut build = std::process::Command::new("cargo");
    build.args(["build", "--release", "--quiet", "--target-dir"]).arg(&target).current_dir(&project);
    for name in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        build.env_remove(name);
    }
    let built = command::output_within(Duration::from_secs(300), build).await;
    assert_eq!(built.code, 0, "{}", built.stderr);
    let wasm = target.join("wasm32-wasip2/release/my_app.wasm");
    std::fs::create_dir_all(project.join("target/wasm32-wasip2/release")).expect("a folder");
    std::fs::copy(&wasm, project.join("target/wasm32-wasip2/release/my_app.wasm")).expect("it was built");

    // Its own test runs natively.
    let mut native = std::process::Command::new("cargo");
    native.args(["test", "--target", "host-tuple", "--target-dir"]).arg(&target).current_dir(&project);
    for name in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        native.env_remove(name);
    }
    let tested = command::output_within(Duration::from_secs(300), native).await;
    assert!(tested.code == 0 && tested.stdout.contains("1 passed"), "{tested:?}");

    let manifest = std::fs::read_to_string(project.join("roadrunner.toml")).expect("it is part of the project");
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    std::fs::write(project.join("roadrunner.toml"), manifest + listener).expect("a file");
    let checked = run(&project, &["check"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let answer = within(Duration::from_secs(1), async || Some(served(&project, &[], "/hello/you").await)).await;
    let (answer, _) = answer.expect("it answers at once");
    assert!(answer.starts_with("200 ") && answer.contains("you"), "{answer}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child =
        command::roadrunner().arg("schema").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let done = child.wait_with_output().expect("it ends");
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()), (Some(0), ""));
}

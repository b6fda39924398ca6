//! Components that are deployed while the host runs: by which users, which are refused, which survive, and that no
//! request is lost or answered by two versions at once.
//!
//! A thousand switches under two hundred thousand requests: `cargo xtask soak`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use roadrunner_tests::command::{self, Done};
use roadrunner_tests::server::component;
use roadrunner_tests::{Answer, Ask, Client, Server, Setup, Way, soon, within};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use super::compile::{COMPONENT, section};

/// The length of an answer of [`version`].
const LENGTH: usize = 16 << 10;

/// The guest `versions` that answers with this letter.
pub fn version(letter: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(command::guest("versions")).expect("a guest");
    let mark = b"versions-letter:";
    let at = bytes.windows(mark.len()).position(|part| part == mark).expect("the mark") + mark.len();
    assert_eq!(bytes[at], b'A');
    bytes[at] = letter;
    bytes
}

fn setup() -> Setup {
    Setup::with(&component("hello"))
        .and("[component.app]\nfile = \"app.wasm\"\n[deploy]\ndirectory = \"deployed\"\nkeep = 2\n")
        .and("[[route]]\npath = \"/hello\"\ncomponent = \"hello\"\n[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n")
        .file("app.wasm", version(b'A'))
}

/// Sends one request to the admin listener, over HTTP/1.0, and returns status and body.
pub(super) async fn ask(server: &Server, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let socket = soon(UnixStream::connect(server.admin())).await.expect("the admin listener accepts");
    converse(
        socket,
        &format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len()),
        body,
    )
    .await
}

pub(super) async fn converse(
    mut socket: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    head: &str,
    body: &[u8],
) -> (u16, String) {
    // A host that refuses the rest has answered with the reason.
    let _ = socket.write_all(&[head.as_bytes(), body].concat()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(120), socket.read_to_end(&mut answer)).await;
    read.expect("an answer in time").ok();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("cut short: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("not HTTP: {head:?}")), body.to_owned())
}

async fn put(server: &Server, bytes: &[u8]) -> (u16, String) {
    ask(server, "PUT", "/components/app", bytes).await
}

/// Deploys, and returns the digest that serves from then on.
pub(super) async fn deploy(server: &Server, letter: u8) -> String {
    let (status, body) = put(server, &version(letter)).await;
    assert_eq!(status, 200, "{body}\n{}", server.log);
    let info: Value = serde_json::from_str(&body).expect("JSON");
    info["digest"].as_str().expect("a digest").to_owned()
}

pub(super) async fn letter(server: &Server, way: Way) -> u8 {
    let answer = server.fetch(way, Ask::get("/")).await;
    whole(&answer).unwrap_or_else(|reason| panic!("{way:?}: {reason}"))
}

/// The letter of an answer that is whole and of one version.
fn whole(answer: &Answer) -> Result<u8, String> {
    let letter = answer.header("x-version").bytes().next().unwrap_or_default();
    let is_whole = answer.status == 200 && answer.end.is_whole() && answer.body.len() == LENGTH;
    if is_whole && answer.body.iter().all(|byte| *byte == letter) {
        return Ok(letter);
    }
    let mut letters = answer.body.clone();
    letters.dedup();
    Err(format!(
        "status {}, {:?}, {} bytes of {:?} from the version {letter}",
        answer.status,
        answer.end,
        answer.body.len(),
        String::from_utf8_lossy(&letters)
    ))
}

async fn components(server: &Server) -> Vec<Value> {
    let (status, body) = ask(server, "GET", "/components", b"").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn stored(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("deployed/wasm")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_version_is_deployed_and_taken_back() {
    let server = setup().start().await;
    let before = components(&server).await;
    assert_eq!((before[0]["name"].as_str(), before[0]["source"].as_str()), (Some("app"), Some("file")));
    assert_eq!(letter(&server, Way::H1).await, b'A');
    let digests = [deploy(&server, b'B').await, deploy(&server, b'C').await];
    for way in Way::ALL {
        assert_eq!(letter(&server, way).await, b'C', "{way:?}");
    }
    assert_eq!(server.text("/hello").await, "hello, world\n");
    let info = components(&server).await[0].clone();
    assert_eq!(info["digest"], digests[1].as_str());
    assert_eq!((info["source"].as_str(), info["previous"].as_array().map(Vec::len)), (Some("deployed"), Some(1)));
    assert!(info["since"].as_u64().is_some_and(|since| since > 1_600_000_000), "{info}");

    // After a reload of the manifest, the deployed component stays.
    assert_eq!(ask(&server, "POST", "/reload", b"").await.0, 200);
    assert_eq!(letter(&server, Way::H1).await, b'C');
    for (wanted, source) in [(b'B', "deployed"), (b'A', "file")] {
        let (status, body) = ask(&server, "POST", "/components/app/rollback", b"").await;
        assert!(status == 200 && body.contains(source), "{status} {body}");
        assert_eq!(letter(&server, Way::H2c).await, wanted);
    }
    let (status, body) = ask(&server, "POST", "/components/app/rollback", b"").await;
    assert_eq!(status, 409, "{body}");
    assert_eq!(stored(server.folder()), 0, "what nobody can go back to is gone");

    // This many are kept, and each can be removed, except the one that serves.
    let mut digests = Vec::new();
    for letter in b"BCDE" {
        digests.push(deploy(&server, *letter).await);
    }
    assert_eq!(stored(server.folder()), 3);
    assert_eq!(ask(&server, "DELETE", &format!("/components/app/{}", digests[0]), b"").await.0, 404, "it was too old");
    assert_eq!(ask(&server, "DELETE", &format!("/components/app/{}", digests[3]), b"").await.0, 409, "it serves");
    assert_eq!(ask(&server, "DELETE", &format!("/components/app/{}", digests[2]), b"").await.0, 204);
    assert_eq!(ask(&server, "POST", "/components/app/rollback", b"").await.0, 200);
    assert_eq!(letter(&server, Way::H1).await, b'C');
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_deployments_total", "taken"), 9.0);
}

#[tokio::test]
async fn the_command_line_deploys() {
    let server = setup().start().await;
    let file = server.folder().join("new.wasm");
    std::fs::write(&file, version(b'B')).expect("a file");
    let run = async |arguments: &[&str]| -> Done {
        let mut command = command::roadrunner();
        command.args(arguments).current_dir(server.folder());
        command::output(command).await
    };
    let file = file.display().to_string();
    let done = run(&["deploy", "app", &file]).await;
    assert!(done.code == 0 && done.stdout.starts_with("app serves sha256:"), "{done:?}");
    assert_eq!(letter(&server, Way::H1).await, b'B');
    let admin = format!("unix:{}", server.admin().display());
    let done = run(&["components", "--admin", &admin]).await;
    assert!(done.code == 0 && done.stdout.contains("deployed") && done.stdout.contains("hello"), "{done:?}");
    let done = run(&["rollback", "app", "--admin", &admin]).await;
    assert!(done.code == 0 && done.stdout.contains("(file)"), "{done:?}");
    assert_eq!(letter(&server, Way::H1).await, b'A');
    for (arguments, reason) in [
        (&["deploy", "nobody", &file][..], "no component nobody"),
        (&["deploy", "no/body", &file], "not the name of a component"),
        (&["deploy", "app", "roadrunner.toml"], "not a WebAssembly component"),
        (&["deploy", "app", "gone.wasm"], "gone.wasm"),
        (&["rollback", "app"], "nothing to go back to"),
    ] {
        let done = run(arguments).await;
        assert!(done.code == 1 && done.stderr.contains(reason), "{reason}: {done:?}");
    }
}

/// Requests see nothing of it, and nothing stays on disk.
#[tokio::test]
async fn what_is_wrong_is_refused() {
    let server = setup().and("[compile]\nmax-wasm = \"2MiB\"\ncpu = \"5s\"\n").start().await;
    let import = {
        // A function without parameters and results, imported by an unknown name.
        let name = b"missing-thing";
        let import = [&[1, 0, name.len() as u8][..], name, &[1, 0]].concat();
        [COMPONENT, &section(7, &[1, 0x40, 0, 1, 0]), &section(10, &import)].concat()
    };
    let half = version(b'B');
    for (body, status, reason) in [
        (b"not wasm".to_vec(), 422, "not a WebAssembly component"),
        (Vec::new(), 422, "not a WebAssembly component"),
        (b"\0asm\x01\0\0\0".to_vec(), 422, "core WebAssembly module"),
        (COMPONENT.to_vec(), 422, "does not export"),
        (import, 422, "missing-thing"),
        (half[..half.len() / 2].to_vec(), 422, "not a valid component"),
        (vec![0; 3 << 20], 413, "max-wasm"),
    ] {
        let (told, text) = put(&server, &body).await;
        assert!(told == status && text.contains(reason), "{reason}: {told} {text}");
        assert!(!text.contains("deployed/"), "the host's paths are its own: {text}");
        assert_eq!(letter(&server, Way::H1).await, b'A', "{reason}");
    }
    for (method, path, status) in [
        ("PUT", "/components/nobody", 404),
        ("PUT", "/components/..%2f..%2fapp", 404),
        ("POST", "/components/nobody/rollback", 404),
        ("DELETE", "/components/app/0000", 404),
        ("POST", "/components/app", 405),
        ("PUT", "/components", 405),
        ("PUT", "/components/app/rollback/more", 404),
    ] {
        assert_eq!(ask(&server, method, path, b"").await.0, status, "{method} {path}");
    }
    assert_eq!(server.metrics().await.sum("roadrunner_deployments_total", "refused"), 11.0);
    // A client that leaves in the middle of its upload.
    let bytes = version(b'B');
    let mut socket = soon(UnixStream::connect(server.admin())).await.expect("the admin listener accepts");
    let head = format!("PUT /components/app HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", bytes.len());
    socket.write_all(&[head.as_bytes(), &bytes[..1000]].concat()).await.expect("the admin listener reads");
    let arrived = within(Duration::from_secs(10), async || (stored(server.folder()) == 1).then_some(())).await;
    assert!(arrived.is_some(), "the upload goes to disk");
    // Meanwhile no other request can change the component, but requests about others are answered.
    assert_eq!(put(&server, &bytes).await.0, 409);
    assert_eq!(ask(&server, "POST", "/components/app/rollback", b"").await.0, 409);
    drop(socket);
    let gone = within(Duration::from_secs(10), async || (stored(server.folder()) == 0).then_some(())).await;
    assert!(gone.is_some(), "half an upload is left");
    assert_eq!(letter(&server, Way::H1).await, b'A');
    deploy(&server, b'C').await;
    assert_eq!(letter(&server, Way::H1).await, b'C');
}

#[tokio::test]
async fn without_a_directory_nothing_can_be_deployed() {
    let server = Setup::of("hello").start().await;
    let (status, text) = ask(&server, "PUT", "/components/hello", &version(b'B')).await;
    assert!(status == 404 && text.contains("[deploy]"), "{status} {text}");
    assert_eq!(components(&server).await.len(), 1);
}

/// The socket that only the host's user can open, and the token.
#[tokio::test]
async fn only_who_may_can_deploy() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = setup().start().await;
    let mode = std::fs::metadata(server.admin()).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let head =
        |more: &str| format!("PUT /components/app HTTP/1.0\r\nhost: localhost\r\n{more}content-length: 0\r\n\r\n");
    let socket = soon(UnixStream::connect(server.admin())).await.expect("the admin listener accepts");
    assert_eq!(converse(socket, &head("origin: http://localhost\r\n"), b"").await.0, 403, "a page");
    drop(server);

    // Over TCP.
    let token = "0123456789abcdef0123456789abcdef";
    let (folder, manifest) = setup().file("token", token).write();
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let serve = |admin: &str| {
        std::fs::write(&manifest, text.replace("address = \"unix:admin.sock\"", admin)).expect("a file");
        let mut command = command::roadrunner();
        command.arg("serve").arg(&manifest).current_dir(folder.path()).stdin(std::process::Stdio::null());
        command
    };
    let keys = "address = \"127.0.0.1:0\"\ntoken-file = \"token\"";
    std::fs::set_permissions(folder.path().join("token"), std::fs::Permissions::from_mode(0o644))
        .expect("our own file");
    let done = command::output(serve(keys)).await;
    assert!(done.code == 1 && done.stderr.contains("chmod 600"), "{done:?}");
    std::fs::set_permissions(folder.path().join("token"), std::fs::Permissions::from_mode(0o600))
        .expect("our own file");

    let without = Host::start(serve("address = \"127.0.0.1:0\"")).await;
    assert_eq!(without.ask("GET", "/components", None).await.0, 200);
    let (status, text) = without.ask("PUT", "/components/app", Some(token)).await;
    assert!(status == 403 && text.contains("token-file"), "{status} {text}");
    drop(without);
    let with = Host::start(serve(keys)).await;
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/components"),
        ("PUT", "/components/app"),
        ("POST", "/reload"),
        ("DELETE", "/instances/1"),
    ] {
        for wrong in [None, Some("0123456789abcdef"), Some("0123456789abcdef0123456789abcdeF"), Some("")] {
            assert_eq!(with.ask(method, path, wrong).await.0, 401, "{method} {path} {wrong:?}");
        }
        assert_ne!(with.ask(method, path, Some(token)).await.0, 401, "{method} {path}");
    }
    assert_eq!(with.ask("GET", "/live", None).await.0, 200);
    assert_eq!(with.ask("GET", "/ready", None).await.0, 200);
    std::fs::write(folder.path().join("b.wasm"), version(b'B')).expect("a file");
    let mut deploy = command::roadrunner();
    deploy.args(["deploy", "app", "b.wasm", "--admin", &with.admin]).current_dir(folder.path());
    let done = command::output(deploy).await;
    assert!(done.code == 1 && done.stderr.contains("401"), "{done:?}");
    let mut deploy = command::roadrunner();
    deploy
        .args(["deploy", "app", "b.wasm", "--token-file", "token", "--admin", &with.admin])
        .current_dir(folder.path());
    let done = command::output(deploy).await;
    assert_eq!(done.code, 0, "{done:?}");
}

/// A host whose admin listener is on TCP.
struct Host {
    child: std::process::Child,
    admin: String,
}

impl Host {
    async fn start(mut command: std::process::Command) -> Self {
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("the server can be started");
        let log = child.stderr.take().expect("it is piped");
        let (told, address) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut told = Some(told);
            for line in std::io::BufRead::lines(std::io::BufReader::new(log)).map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("admin on ")
                    && let Some(told) = told.take()
                {
                    let _ = told.send(address.to_owned());
                }
            }
        });
        let admin = tokio::time::timeout(Duration::from_secs(60), address).await;
        let host = Self { child, admin: admin.expect("a start in time").expect("an address") };
        let ready =
            within(Duration::from_secs(10), async || (host.ask("GET", "/ready", None).await.0 == 200).then_some(()));
        assert!(ready.await.is_some(), "not ready");
        host
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>) -> (u16, String) {
        let socket = soon(TcpStream::connect(&self.admin)).await.expect("the admin listener accepts");
        let shown = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        converse(
            socket,
            &format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\n{shown}content-length: 0\r\n\r\n"),
            b"",
        )
        .await
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A restart serves the last complete deployment, and no incomplete one.
#[tokio::test]
async fn a_restart_serves_what_was_deployed_last() {
    let (state, _) = Setup::with("").write();
    let setup = || {
        Setup::with("[component.app]\nfile = \"app.wasm\"\n[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n")
            .and(&format!("[deploy]\ndirectory = {:?}\n", state.path().join("deployed")))
            .file("app.wasm", version(b'A'))
    };
    let server = setup().start().await;
    deploy(&server, b'B').await;
    deploy(&server, b'C').await;
    // Killed while one upload is half done, and another is anywhere between upload and switch.
    let bytes = version(b'D');
    let mut socket = soon(UnixStream::connect(server.admin())).await.expect("the admin listener accepts");
    let head = format!("PUT /components/app HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", bytes.len());
    socket.write_all(&[head.as_bytes(), &bytes[..bytes.len() / 2]].concat()).await.expect("the admin listener reads");
    let arrived = within(Duration::from_secs(10), async || (stored(state.path()) == 3).then_some(())).await;
    assert!(arrived.is_some(), "the upload goes to disk");
    server.signal(Signal::KILL);
    drop(server);
    let mut last = b'C';
    for (round, next) in (b'D'..=b'H').enumerate() {
        let server = setup().start().await;
        let found = letter(&server, Way::H1).await;
        assert!(found == last || round > 0 && found == next - 1, "round {round}: {found} after {last}");
        let leftover = std::fs::read_dir(state.path().join("deployed/wasm")).expect("a folder").flatten();
        let leftover = leftover.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "tmp"));
        assert_eq!(leftover.count(), 0, "round {round}");
        last = found;
        let bytes = version(next);
        let mut socket = soon(UnixStream::connect(server.admin())).await.expect("the admin listener accepts");
        let head =
            format!("PUT /components/app HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", bytes.len());
        socket.write_all(&[head.as_bytes(), &bytes].concat()).await.expect("the admin listener reads");
        tokio::time::sleep(Duration::from_millis(40 * round as u64)).await;
        server.signal(Signal::KILL);
        drop(server);
    }
    // Corrupted bytes.
    let server = setup().start().await;
    deploy(&server, b'Z').await;
    drop(server);
    for entry in std::fs::read_dir(state.path().join("deployed/wasm")).expect("a folder").flatten() {
        std::fs::write(entry.path(), version(b'Y')).expect("a file");
    }
    let (folder, manifest) = setup().write();
    let mut check = command::roadrunner();
    check.arg("check").arg("--manifest").arg(manifest).current_dir(folder.path());
    let done = command::output(check).await;
    assert!(done.code == 1 && done.stderr.contains("damaged"), "{done:?}");
}

/// Requests and streams that began before a switch end with the code that they began with.
#[tokio::test]
async fn what_is_under_way_ends_as_it_began() {
    let server = setup().start().await;
    let mut clients = Vec::new();
    for way in Way::ALL {
        clients.push((way, server.connect(way).await, server.connect(way).await));
    }
    let mut under_way = Vec::new();
    for (way, one, two) in &mut clients {
        under_way.push((*way, one.open(Ask::get("/?delay=3000")).await, two.open(Ask::get("/stream?delay=400")).await));
    }
    server.has_instances(2 * Way::ALL.len()).await;
    deploy(&server, b'B').await;
    assert_eq!(letter(&server, Way::H1).await, b'B');
    for (way, buffered, stream) in under_way {
        assert_eq!(whole(&buffered.rest().await), Ok(b'A'), "{way:?}");
        assert_eq!(whole(&stream.rest().await), Ok(b'A'), "{way:?}");
    }
    server.is_quiet().await;
}

/// Concurrent changes of one component: each is applied wholly or refused as busy.
#[tokio::test]
async fn one_change_at_a_time() {
    let server = Arc::new(setup().start().await);
    let mut changes = JoinSet::new();
    for letter in b'B'..=b'I' {
        let server = server.clone();
        changes.spawn(async move { (letter, put(&server, &version(letter)).await) });
    }
    let (mut taken, mut busy) = (Vec::new(), 0);
    while let Some(done) = changes.join_next().await {
        match done.expect("no panic") {
            (letter, (200, _)) => taken.push(letter),
            (_, (409, _)) => busy += 1,
            other => panic!("{other:?}\n{}", server.log),
        }
    }
    assert!(!taken.is_empty() && taken.len() + busy == 8, "{taken:?} {busy}");
    assert!(taken.contains(&letter(&server, Way::H1).await));
}

/// A component that changes in place, and the folder watched: the same bounds hold.
#[tokio::test]
async fn a_watched_file_is_compiled_like_any_other() {
    let server =
        Setup::with("[component.app]\nfile = \"app.wasm\"\n[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n")
            .and("[compile]\nmax-wasm = \"2MiB\"\n")
            .file("app.wasm", version(b'A'))
            .server("watch = true")
            .start()
            .await;
    let file = server.folder().join("app.wasm");
    std::fs::write(&file, [version(b'B'), vec![0; 3 << 20]].concat()).expect("a file");
    let refused = within(Duration::from_secs(20), async || {
        (server.metrics().await.sum("roadrunner_reloads_total", "refused") > 0.0).then_some(())
    });
    assert!(refused.await.is_some(), "{}", server.log);
    server.log.message("max-wasm").await;
    assert_eq!(letter(&server, Way::H1).await, b'A');
    std::fs::write(&file, version(b'B')).expect("a file");
    let taken = within(Duration::from_secs(30), async || (letter(&server, Way::H1).await == b'B').then_some(()));
    assert!(taken.await.is_some(), "{}", server.log);
}

#[tokio::test]
async fn no_request_is_lost_in_a_switch() {
    switches(25, 2000).await;
}

#[tokio::test]
#[ignore = "it takes minutes"]
async fn no_request_is_lost_in_a_thousand_switches() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    switches(number("ROADRUNNER_SOAK_SWITCHES", 1000), number("ROADRUNNER_SOAK_DEPLOY_REQUESTS", 200_000)).await;
}

/// This many switches, and at least this many requests, whichever takes longer.
async fn switches(switches: u64, requests: u64) {
    let server = Arc::new(setup().start().await);
    let (ended, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut load = JoinSet::new();
    for way in [Way::H1, Way::H1, Way::H2c, Way::H3] {
        for path in ["/", "/stream"] {
            let (server, ended, served) = (server.clone(), ended.clone(), served.clone());
            load.spawn(async move {
                let mut client: Client = server.connect(way).await;
                let mut seen = [0_u64; 2];
                while !ended.load(Relaxed) || served.load(Relaxed) < requests {
                    match whole(&client.fetch(Ask::get(path)).await) {
                        Ok(letter @ (b'A' | b'B')) => seen[usize::from(letter - b'A')] += 1,
                        other => panic!("{way:?} {path}: {other:?}"),
                    }
                    served.fetch_add(1, Relaxed);
                }
                seen
            });
        }
    }
    let versions = [version(b'B'), version(b'A')];
    for count in 0..switches {
        let (status, told) = put(&server, &versions[(count % 2) as usize]).await;
        assert_eq!(status, 200, "{told}");
        if let Some(failed) = load.try_join_next() {
            panic!("a client ended: {:?}\n{}", failed.map_err(|error| error.to_string()), server.log);
        }
    }
    ended.store(true, Relaxed);
    let seen = load.join_all().await;
    let total: u64 = seen.iter().flatten().sum();
    println!("{switches} switches, {total} requests: {seen:?}");
    assert!(total >= requests, "{total}");
    assert!(seen.iter().all(|seen| seen.iter().all(|count| *count > 0)), "every client saw both: {seen:?}");
    server.is_quiet().await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_deployments_total", "taken"), switches as f64);
    assert_eq!(metrics.sum("roadrunner_panics_total", ""), 0.0);
}

//! Components from a registry: which are pulled and when, which are refused, and what a registry cannot do to the host.
//!
//! The registry is Debian's, and oras pushes to it. Tests of the required signatures are in `signatures`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use roadrunner_tests::command::{self, Done};
use roadrunner_tests::registry::{CONFIG, Guard, LAYER, Liar, Lie, PASSWORD, USER};
use roadrunner_tests::{Registry, Server, Setup, Way, within};
use serde_json::json;
use tempfile::TempDir;

use super::compile::children;
use super::deploy::{letter, version};

const OLDER_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// A component that serves every path, and an empty cache.
fn setup(reference: &str, cache: &Path) -> Setup {
    Setup::with(&format!("[component.app]\nfile = {reference:?}\n[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n"))
        .cache(cache)
}

/// Runs `roadrunner check`, which loads the same components as serving would.
async fn check(setup: &Setup) -> Done {
    let (folder, manifest) = setup.write();
    let mut program = command::roadrunner();
    program.args(["check", "--manifest"]).arg(manifest).current_dir(folder.path());
    command::output(program).await
}

/// The reason why `roadrunner check` refuses a manifest.
async fn refusal(setup: &Setup) -> String {
    let done = check(setup).await;
    assert_eq!(done.code, 1, "{done:?}");
    done.stderr
}

async fn reload(server: &Server) -> (u16, String) {
    server.admin_request("POST", "/reload").await
}

#[tokio::test]
async fn a_tag_is_looked_up_again_and_its_component_pulled_once() {
    let Some(registry) = Registry::start("registry").await else { return };
    let cache = TempDir::new().expect("a folder");
    registry.push("acme/app:1", &version(b'A')).await;
    let server =
        setup(&registry.reference("acme/app:1"), cache.path()).and(&registry.section("plaintext = true")).start().await;
    assert_eq!(letter(&server, Way::H1).await, b'A');
    server.log.message("pulled a component").await;

    // A kept component is not requested: the registry no longer has it.
    let hex = sha256(&version(b'A'));
    std::fs::remove_file(registry.blob(&hex)).expect("the registry has it");
    let (status, text) = reload(&server).await;
    assert_eq!(status, 200, "{text}");
    let pulls = || server.log.count("pulled a component");
    assert_eq!(pulls().await, 1);

    registry.push("acme/app:1", &version(b'B')).await;
    assert_eq!(letter(&server, Way::H1).await, b'A', "nothing is looked up between reloads");
    let (status, text) = reload(&server).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!((letter(&server, Way::H1).await, pulls().await), (b'B', 2));

    // A kept component that has changed is not trusted: it is pulled again.
    let kept = cache.path().join("pulled").join(format!("{}.wasm", sha256(&version(b'B'))));
    std::fs::write(&kept, version(b'C')).expect("our own cache");
    let (status, text) = reload(&server).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!((letter(&server, Way::H1).await, pulls().await), (b'B', 3));
    assert_eq!(std::fs::read(&kept).expect("it is kept"), version(b'B'));
}

#[tokio::test]
async fn the_older_layout_is_served_too() {
    let Some(registry) = Registry::start("registry").await else { return };
    let cache = TempDir::new().expect("a folder");
    let component = version(b'A');
    for config in ["application/vnd.wasm.config.v1+json", "application/vnd.unknown.config.v1+json"] {
        registry.push_image("old:1", config, &[(OLDER_LAYER, &component, json!({}))]).await;
        let setup = setup(&registry.reference("old:1"), cache.path()).and(&registry.section("plaintext = true"));
        let done = check(&setup).await;
        assert!(done.code == 0 && done.stdout.contains("app is native"), "{config}: {done:?}");
    }
}

#[tokio::test]
async fn a_digest_serves_without_its_registry() {
    let Some(mut registry) = Registry::start("registry").await else { return };
    let cache = TempDir::new().expect("a folder");
    let digest = registry.push("app:1", &version(b'A')).await;
    let other = registry.push("app:2", &version(b'B')).await;
    let named = |rest: &str| setup(&registry.reference(rest), cache.path()).and(&registry.section("plaintext = true"));
    let (pinned, tagged) = (named(&format!("app:2@{digest}")), named("app:1"));
    let nowhere = named(&format!("app:1@sha256:{}", "0a".repeat(32)));
    let unpulled = named(&format!("app@{other}"));
    let server = pinned.clone().start().await;
    assert_eq!(letter(&server, Way::H1).await, b'A', "the digest, and not the tag beside it");
    drop(server);
    assert_eq!(check(&tagged).await.code, 0);
    let text = refusal(&nowhere).await;
    assert!(text.contains("has no oci://") && text.contains("push it, or correct the name"), "{text}");

    registry.kill();
    let server = pinned.start().await;
    assert_eq!(letter(&server, Way::H1).await, b'A');
    assert_eq!(reload(&server).await.0, 200);
    for setup in [tagged, unpulled] {
        let text = refusal(&setup).await;
        assert!(text.contains(&format!("cannot reach the registry {}", registry.name())), "{text}");
        assert!(text.contains("where `file` names its digest"), "{text}");
    }
}

#[tokio::test]
async fn a_reload_without_the_registry_changes_nothing() {
    let Some(mut registry) = Registry::start("registry").await else { return };
    let cache = TempDir::new().expect("a folder");
    registry.push("app:1", &version(b'A')).await;
    let server =
        setup(&registry.reference("app:1"), cache.path()).and(&registry.section("plaintext = true")).start().await;
    registry.kill();
    let (status, text) = reload(&server).await;
    assert!(status == 422 && text.contains("cannot reach the registry"), "{status} {text}");
    assert_eq!(letter(&server, Way::H1).await, b'A');
}

#[tokio::test]
async fn what_is_no_component_is_refused_by_name() {
    let Some(registry) = Registry::start("registry").await else { return };
    let cache = TempDir::new().expect("a folder");
    let component = version(b'A');
    let layer = |kind: &'static str| (kind, component.as_slice(), json!({}));
    let image = "application/vnd.oci.image.config.v1+json";
    registry.push_image("image:1", image, &[layer("application/vnd.oci.image.layer.v1.tar+gzip")]).await;
    registry.push_image("config:1", image, &[layer(LAYER)]).await;
    registry.push_image("two:1", CONFIG, &[layer(LAYER), layer(LAYER)]).await;
    registry.push("text:1", b"no component at all").await;
    for (name, reason) in [
        ("image:1", "its layer has the media type \"application/vnd.oci.image.layer.v1.tar+gzip\""),
        ("config:1", "its config has the media type \"application/vnd.oci.image.config.v1+json\""),
        ("two:1", "it has 2 layers; a component is one"),
        ("text:1", "is not a WebAssembly component"),
        ("text:2", "push it, or correct the name"),
        ("nothing:1", "push it, or correct the name"),
    ] {
        let reference = registry.reference(name);
        let text = refusal(&setup(&reference, cache.path()).and(&registry.section("plaintext = true"))).await;
        assert!(text.contains(reason) && text.contains(&reference), "{name}: {text}");
    }
    // The host uses TLS unless the manifest says otherwise.
    registry.push("app:1", &component).await;
    let text = refusal(&setup(&registry.reference("app:1"), cache.path())).await;
    assert!(text.contains("cannot reach the registry"), "{text}");
}

#[tokio::test]
async fn a_component_has_a_size() {
    let Some(registry) = Registry::start("registry").await else { return };
    let cache = TempDir::new().expect("a folder");
    registry.push("app:1", &version(b'A')).await;
    let setup = setup(&registry.reference("app:1"), cache.path())
        .and(&registry.section("plaintext = true"))
        .and("[compile]\nmax-wasm = \"16KiB\"\n");
    let text = refusal(&setup).await;
    assert!(text.contains("the component is larger than 16384 bytes (`max-wasm` in [compile])"), "{text}");
    assert!(!cache.path().join("pulled").join(format!("{}.wasm", sha256(&version(b'A')))).exists());
}

#[tokio::test]
async fn credentials_are_shown_and_never_told() {
    let Some(mut registry) = Registry::start("registry").await else { return };
    let cache = TempDir::new().expect("a folder");
    registry.push("app:1", &version(b'A')).await;
    registry.kill();
    registry.run(Guard::Password).await;
    let setup = |keys: &str, password: &str| {
        setup(&registry.reference("app:1"), cache.path())
            .and(&registry.section(&format!("plaintext = true\n{keys}")))
            .and("[secret.registry]\nfile = \"password\"\n")
            .private_file("password", password)
    };
    let keys = format!("user = \"{USER}\"\npassword = \"registry\"");
    for (keys, password) in [("", PASSWORD), (&keys, "wrong horse")] {
        let text = refusal(&setup(keys, password)).await;
        assert!(text.contains("does not let this host read") && text.contains("check `user` and `password`"), "{text}");
        assert!(!text.contains("wrong horse") && !text.contains(PASSWORD), "{text}");
    }
    let server = setup(&keys, PASSWORD).start().await;
    assert_eq!(letter(&server, Way::H1).await, b'A');
    assert!(!server.log.text().contains(PASSWORD), "{}", server.log);
}

#[tokio::test]
async fn tls_believes_the_authorities_of_the_section() {
    let Some(mut registry) = Registry::start("registry").await else { return };
    let cache = TempDir::new().expect("a folder");
    registry.push("app:1", &version(b'A')).await;
    registry.kill();
    registry.run(Guard::Tls).await;
    let setup = |keys: &str| setup(&registry.reference("app:1"), cache.path()).and(&registry.section(keys));
    let text = refusal(&setup("")).await;
    assert!(text.contains("cannot reach the registry") && text.contains("certificate"), "{text}");
    let server = setup("ca-file = \"certificate.pem\"").start().await;
    assert_eq!(letter(&server, Way::H1).await, b'A');
}

/// A malicious or broken registry: the host stays within its bounds, and names the fault.
#[tokio::test]
async fn a_registry_that_lies_is_bounded() {
    let cache = TempDir::new().expect("a folder");
    let component = version(b'A');
    let manifest = |size: usize| {
        let digest = format!("sha256:{}", sha256(&component));
        json!({
            "schemaVersion": 2,
            "config": { "mediaType": CONFIG, "digest": digest, "size": 2 },
            "layers": [{ "mediaType": LAYER, "digest": digest, "size": size }],
        })
        .to_string()
        .into_bytes()
    };
    let answers = |blob: &[u8]| {
        vec![("manifests", Lie::Answer(manifest(component.len()))), ("blobs", Lie::Answer(blob.to_vec()))]
    };
    let changed = version(b'B');
    for (lies, reason) in [
        (vec![("manifests", Lie::Endless)], "what it answers takes more than 256 MiB of memory"),
        (vec![("manifests", Lie::Answer(vec![b' '; 2 << 20]))], "its manifest is larger than 1048576 bytes"),
        (vec![("manifests", Lie::Silence)], "it has not answered in full within 1s (`timeout` in [registry])"),
        (vec![("manifests", Lie::Answer(b"{".to_vec()))], "its manifest is not understood"),
        (answers(&changed), "igest"),
        (
            vec![("manifests", Lie::Answer(manifest(1000))), ("blobs", Lie::Answer(component.clone()))],
            "what it calls the component is larger than 1000 bytes",
        ),
        (
            vec![("manifests", Lie::Answer(manifest(component.len()))), ("blobs", Lie::Endless)],
            &format!("what it calls the component is larger than {} bytes", component.len()),
        ),
    ] {
        let liar = Liar::start(&lies).await;
        let timeout = if matches!(lies[0].1, Lie::Silence) { "1s" } else { "1m" };
        let section = format!("[registry.\"{}\"]\nplaintext = true\ntimeout = \"{timeout}\"\n", liar.name());
        let text = refusal(&setup(&format!("oci://{}/app:1", liar.name()), cache.path()).and(&section)).await;
        assert!(text.contains(reason) && text.contains(&liar.name()), "{reason}: {text}");
    }
    // Other content under the requested digest.
    let liar = Liar::start(&answers(&component)).await;
    let section = format!("[registry.\"{}\"]\nplaintext = true\n", liar.name());
    let pinned = format!("oci://{}/app@sha256:{}", liar.name(), "0a".repeat(32));
    let text = refusal(&setup(&pinned, cache.path()).and(&section)).await;
    assert!(text.contains("igest"), "{text}");
    // The same registry, when it tells the truth.
    let done = check(&setup(&format!("oci://{}/app:1", liar.name()), cache.path()).and(&section)).await;
    assert_eq!(done.code, 0, "{done:?}");
}

/// The process that connects to a registry has only its pipes and its sockets, and stays within its bounds, while the
/// registry does not answer.
#[tokio::test]
async fn who_asks_a_registry_has_nothing_else() {
    let cache = TempDir::new().expect("a folder");
    let liar = Liar::start(&[("manifests", Lie::Silence)]).await;
    let section = format!("[registry.\"{}\"]\nplaintext = true\n", liar.name());
    let (folder, _) = setup(&format!("oci://{}/app:1", liar.name()), cache.path()).and(&section).write();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").expect("a file");
    // A descriptor that the host inherits from its parent, and that survives exec.
    let program = command::roadrunner();
    let mut host = Command::new("sh")
        .args(["-c", "exec 9<\"$1\"; exec \"$0\" check"])
        .arg(program.get_program())
        .arg(&secret)
        .current_dir(folder.path())
        .env("ROADRUNNER_TEST_STRAY", "stray")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can be started");
    let asking = async || {
        let id = children(host.id()).into_iter().next()?;
        // It has its socket by the time that it waits.
        let descriptors = descriptors(id);
        descriptors.iter().any(|to| to.starts_with("socket:")).then_some((id, descriptors))
    };
    let found = within(Duration::from_secs(30), asking).await;
    let ((id, descriptors), _) = found.unwrap_or_else(|| {
        let _ = host.kill();
        panic!("nobody asks the registry")
    });
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{id}/{name}")).expect("it runs");
    let (limits, environment, status) = (read("limits"), read("environ"), read("status"));
    host.kill().expect("it is our own process");
    host.wait().expect("it is our own process");

    // The process itself reads the authorities and the resolver's configuration from /etc.
    let own = ["pipe:", "socket:", "anon_inode:", "/etc/", "/usr/share/ca-certificates/"];
    let is_own = |to: &String| own.iter().any(|kind| to.starts_with(kind));
    assert!(descriptors.iter().all(is_own), "{descriptors:?}");
    for limit in [
        "Max cpu time              60                   65  ",
        "Max file size             0                    0  ",
        "Max data size             268435456            268435456  ",
        "Max core file size        0                    0  ",
        "Max open files            64                   64  ",
        "Max address space         805306368            805306368  ",
    ] {
        assert!(limits.contains(limit), "{limit}: {limits}");
    }
    assert!(status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])), "{status}");
    assert!(!environment.contains("STRAY"), "{environment:?}");
    let gone = async || (!Path::new(&format!("/proc/{id}")).exists()).then_some(());
    assert!(within(Duration::from_secs(10), gone).await.is_some(), "it outlives the host");
}

fn descriptors(id: u32) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{id}/fd")) else { return Vec::new() };
    let to = |entry: std::fs::DirEntry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string());
    entries.flatten().filter_map(to).collect()
}

#[tokio::test]
async fn the_command_line_deploys_from_a_registry() {
    let Some(registry) = Registry::start("registry").await else { return };
    let cache = TempDir::new().expect("a folder");
    registry.push("acme/app:2", &version(b'B')).await;
    let server = setup("app.wasm", cache.path())
        .and(&registry.section("plaintext = true"))
        .and("[deploy]\ndirectory = \"deployed\"\n")
        .file("app.wasm", version(b'A'))
        .start()
        .await;
    let run = async |arguments: &[&str]| -> Done {
        let mut program = command::roadrunner();
        program.args(arguments).current_dir(server.folder());
        command::output(program).await
    };
    let done = run(&["deploy", "app", &registry.reference("acme/app:2")]).await;
    assert!(done.code == 0 && done.stdout.contains("(deployed)"), "{done:?}");
    assert_eq!(letter(&server, Way::H1).await, b'B');
    for (reference, reason) in [
        (registry.reference("acme/app:3"), "push it, or correct the name"),
        ("oci://registry.example.com/app:1".to_owned(), "does not name the registry registry.example.com"),
        ("oci://registry.example.com".to_owned(), "names no repository"),
    ] {
        let done = run(&["deploy", "app", &reference]).await;
        assert!(done.code == 1 && done.stderr.contains(reason), "{reason}: {done:?}");
        assert_eq!(letter(&server, Way::H1).await, b'B');
    }
    let done = run(&["rollback", "app"]).await;
    assert!(done.code == 0 && done.stdout.contains("(file)"), "{done:?}");
    assert_eq!(letter(&server, Way::H1).await, b'A');
}

/// The host's credentials may give access to another tenant's components.
#[tokio::test]
async fn a_tenant_deploys_from_the_repository_of_its_component_alone() {
    let Some(registry) = Registry::start("registry").await else { return };
    let cache = TempDir::new().expect("a folder");
    for (name, letter) in [("acme/app:1", b'A'), ("acme/app:2", b'B'), ("other/app:1", b'C')] {
        registry.push(name, &version(letter)).await;
    }
    let server = Setup::with(&format!(
        "[tenant.acme]\nadmin-token-file = \"acme.token\"\n\
         [component.app]\nfile = {:?}\ntenant = \"acme\"\n[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n",
        registry.reference("acme/app:1")
    ))
    .cache(cache.path())
    .and(&registry.section("plaintext = true"))
    .and("[deploy]\ndirectory = \"deployed\"\n")
    .admin("address = \"unix:admin.sock\"\ntoken-file = \"host.token\"")
    .private_file("host.token", "0123456789abcdef-of-the-host")
    .private_file("acme.token", "0123456789abcdef-of-acme")
    .start()
    .await;
    let deploy = async |token: &str, name: &str| -> Done {
        let mut program = command::roadrunner();
        program.args(["deploy", "app", &registry.reference(name), "--token-file", token]).current_dir(server.folder());
        command::output(program).await
    };
    let done = deploy("acme.token", "other/app:1").await;
    assert!(done.code == 1 && done.stderr.contains("from the repository that its `file` names alone"), "{done:?}");
    assert_eq!(letter(&server, Way::H1).await, b'A');
    let done = deploy("acme.token", "acme/app:2").await;
    assert_eq!((done.code, letter(&server, Way::H1).await), (0, b'B'), "{done:?}");
    let done = deploy("host.token", "other/app:1").await;
    assert_eq!((done.code, letter(&server, Way::H1).await), (0, b'C'), "{done:?}");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

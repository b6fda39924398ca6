//! Secrets: only components with a grant see them, wherever others look.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use roadrunner_tests::{Ask, Server, Setup, Way, command};
use tempfile::TempDir;

const SECRET: &str = "correct-horse-battery-staple";

/// Writes a file with a secret, as an operator would make it.
fn written(folder: &Path, content: &str, mode: u32) -> PathBuf {
    let path = folder.join("secret");
    std::fs::write(&path, content).expect("a file");
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
    path
}

/// Two components of the same file, one of which has a grant.
fn setup(path: &Path) -> Setup {
    let file = "file = \"{guests}/stores.wasm\"";
    Setup::with(&format!(
        "[secret.token]\nfile = {path:?}\n[secret.path]\nenv = \"PATH\"\n[secret.other]\nenv = \"PATH\"\n\
         [component.granted]\n{file}\nsecrets = [\"token\", \"path\"]\n[component.bare]\n{file}\n\
         [[route]]\npath = \"/secret\"\ncomponent = \"granted\"\n\
         [[group]]\nprefix = \"/bare\"\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"bare\"\n\
         [[route]]\npath = \"/secret\"\nhosts = [\"bare.example\"]\ncomponent = \"bare\"\n"
    ))
}

async fn secret(server: &Server, way: Way, name: &str) -> Option<String> {
    let answer = server.fetch(way, Ask::get(&format!("/secret?name={name}"))).await;
    (answer.status == 200).then(|| answer.text())
}

#[tokio::test]
async fn are_seen_by_whom_they_are_granted_to() {
    let folder = TempDir::new().expect("a folder");
    let server = setup(&written(folder.path(), &format!("{SECRET}\n"), 0o600)).start().await;
    for way in Way::EACH {
        assert_eq!(secret(&server, way, "token").await.as_deref(), Some(SECRET), "{way:?}");
        assert_eq!(secret(&server, way, "path").await, std::env::var("PATH").ok(), "{way:?}");
        for name in ["other", "missing", "", "TOKEN"] {
            assert_eq!(secret(&server, way, name).await, None, "{way:?}: {name}");
        }
        let answer = server.fetch(way, Ask::get("/secret?name=token").host("bare.example")).await;
        assert_eq!(answer.status, 404, "{way:?}: the same file under another name has no grant");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn are_in_nothing_that_the_host_says() {
    let folder = TempDir::new().expect("a folder");
    let setup = setup(&written(folder.path(), SECRET, 0o640));
    let (unserved, manifest) = setup.write();
    for arguments in [["check", "--manifest"], ["routes", "--manifest"]] {
        let mut program = command::roadrunner();
        program.args(arguments).arg(&manifest).current_dir(unserved.path());
        let done = command::output(program).await;
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(!done.stdout.contains(SECRET) && !done.stderr.contains(SECRET), "{arguments:?}");
    }
    let server = setup.start().await;
    assert_eq!(secret(&server, Way::H2c, "token").await.as_deref(), Some(SECRET));
    for path in ["/metrics", "/instances", "/ready"] {
        let (_, text) = server.admin_request("GET", path).await;
        assert!(!text.contains(SECRET), "{path}");
    }
    assert_eq!(server.admin_request("POST", "/reload").await.0, 200);
    server.log.message("reloaded").await;
    assert!(!server.log.text().contains(SECRET), "the log");
}

#[tokio::test]
async fn files_that_others_can_read_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let (unserved, manifest) = setup(&written(folder.path(), SECRET, 0o644)).write();
    for command in ["check", "serve"] {
        let mut program = command::roadrunner();
        match command {
            "check" => program.args(["check", "--manifest"]).arg(&manifest),
            _ => program.arg("serve").arg(&manifest),
        };
        program.current_dir(unserved.path());
        let done = command::output(program).await;
        assert_ne!(done.code, 0, "{command}");
        assert!(done.stderr.contains("cannot read the secret token") && done.stderr.contains("chmod 600"), "{done:?}");
        assert!(!done.stderr.contains(SECRET), "{done:?}");
    }
}

/// Tokens, passwords and private keys are read in the same way, wherever the manifest names them.
#[tokio::test]
async fn all_files_with_secrets_are_refused_alike() {
    let tls = "tls = { certificate = \"certificate.pem\", key = \"key.pem\" }";
    let admin = |keys: &str| format!("address = \"127.0.0.1:0\"\n{keys}");
    let setup = || Setup::of("hello").private_file("secret", "0123456789abcdef");
    let listener = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{tls}\n");
    let more = listener.replace(" }", ", certificates = [{ certificate = \"certificate.pem\", key = \"secret\" }] }");
    let bus = |keys: &str| format!("[bus]\nurl = \"nats://127.0.0.1:1\"\n{keys}\n");
    let tenant = "[tenant.acme]\nhosts = [\"acme.test\"]\nadmin-token-file = \"secret\"\n";
    for (what, file, setup) in [
        ("the key of a listener", "key.pem", setup().and(&listener)),
        ("a further key", "secret", setup().and(&more)),
        ("the key of the admin listener", "key.pem", setup().admin(&admin(tls))),
        ("the token of the admin listener", "secret", setup().admin(&admin("token-file = \"secret\""))),
        (
            "the token of a tenant",
            "secret",
            setup().private_file("own", "0123456789abcdee").and(tenant).admin(&admin("token-file = \"own\"")),
        ),
        ("the token of the bus", "secret", setup().and(&bus("token-file = \"secret\""))),
        ("the password of the bus", "secret", setup().and(&bus("user = \"me\"\npassword-file = \"secret\""))),
        ("the seed of the bus", "secret", setup().and(&bus("nkey-file = \"secret\""))),
        ("the credentials of the bus", "secret", setup().and(&bus("creds-file = \"secret\""))),
    ] {
        let (folder, manifest) = setup.write();
        let path = folder.path().join(file);
        for mode in [0o666, 0o644, 0o604, 0o620] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our own file");
            for arguments in [&["check", "--manifest"][..], &["serve"]] {
                let mut program = command::roadrunner();
                program.args(arguments).arg(&manifest).current_dir(folder.path());
                let done = command::output(program).await;
                let path = path.display();
                let wanted =
                    format!("{path} has the mode {mode:04o}, so that others can read or change it: chmod 600 {path}");
                assert!(done.code == 1 && done.stderr.contains(&wanted), "{what}, {arguments:?}: {done:?}");
                assert!(!done.stderr.contains("0123456789abcdef"), "{what}: {done:?}");
            }
        }
    }
}

#[tokio::test]
async fn are_read_again_at_a_reload() {
    let folder = TempDir::new().expect("a folder");
    let path = written(folder.path(), "one", 0o600);
    let server = setup(&path).start().await;
    assert_eq!(secret(&server, Way::H1, "token").await.as_deref(), Some("one"));
    written(folder.path(), "two", 0o600);
    assert_eq!(secret(&server, Way::H1, "token").await.as_deref(), Some("one"), "not before");
    assert_eq!(server.admin_request("POST", "/reload").await.0, 200);
    assert_eq!(secret(&server, Way::H1, "token").await.as_deref(), Some("two"));
    std::fs::remove_file(&path).expect("it is there");
    let (status, text) = server.admin_request("POST", "/reload").await;
    assert_eq!(status, 422);
    assert!(text.contains("cannot read the secret token"), "{text}");
    assert_eq!(secret(&server, Way::H1, "token").await.as_deref(), Some("two"), "what was there stays");
}

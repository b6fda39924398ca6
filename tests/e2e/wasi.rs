//! WASI grants besides directories: the environment of the manifest, and no network.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use roadrunner_tests::{Ask, Setup, Way, command};
use tempfile::TempDir;

#[tokio::test]
async fn the_environment_is_that_of_the_manifest() {
    let folder = TempDir::new().expect("a folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "correct-horse\n").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let granted = "environment = { B = \"two = 2\", A = \"\" }\nsecret-environment = { TOKEN = \"token\" }";
    let server = Setup::with(&format!(
        "[secret.token]\nfile = {secret:?}\n\
         [component.granted]\nfile = \"{{guests}}/disk.wasm\"\n{granted}\n\
         [component.bare]\nfile = \"{{guests}}/disk.wasm\"\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"granted\"\n\
         [[route]]\npath = \"/*rest\"\nhosts = [\"bare.example\"]\ncomponent = \"bare\"\n"
    ))
    .start()
    .await;
    for way in Way::EACH {
        let seen = server.text_of(way, Ask::get("/environment")).await;
        let expected = r#"[("A", ""), ("B", "two = 2"), ("TOKEN", "correct-horse")] [] None"#;
        assert_eq!(seen, expected, "{way:?}: no arguments, no directory, nothing of the host's");
        let bare = server.text_of(way, Ask::get("/environment").host("bare.example")).await;
        assert_eq!(bare, "[] [] None", "{way:?}");
    }
}

#[tokio::test]
async fn a_secret_that_is_no_text_is_not_put_into_an_environment() {
    let folder = TempDir::new().expect("a folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, b"\xff\xfehunter2").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let setup = Setup::of("disk").component("secret-environment = { TOKEN = \"token\" }");
    let (unserved, manifest) = setup.and(&format!("[secret.token]\nfile = {secret:?}\n")).write();
    let mut program = command::roadrunner();
    program.arg("serve").arg(&manifest).current_dir(unserved.path());
    let done = command::output(program).await;
    let said = done.stderr;
    assert_ne!(done.code, 0);
    assert!(said.contains("the secret token is no text, which TOKEN in an environment is"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn sockets_and_names_are_refused() {
    let server = Setup::of("disk").start().await;
    let answer = server.text("/sockets").await;
    let mut lines = 0;
    for line in answer.lines() {
        let (what, outcome) = line.split_once(": ").expect("a name and an outcome");
        assert!(outcome != "done", "{what} was allowed: {answer}");
        lines += 1;
    }
    assert_eq!(lines, 4, "{answer}");
}

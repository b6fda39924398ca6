//! The required signatures of components: from files, from uploads and from registries, at the start and later.
//!
//! Keys and signatures are made by openssl, and put into the registry in cosign's form.

use std::path::Path;
use std::time::Duration;

use roadrunner_tests::command::{self, Done};
use roadrunner_tests::signer::Algorithm;
use roadrunner_tests::{Registry, Server, Setup, Signer, Way, soon, within};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::deploy::{converse, letter, version};

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The error for a component without a signature.
const UNSIGNED: &str = "is not signed, and the component app must be";

/// The error for a component signed with another key, or changed since.
const WRONG: &str = "has no signature of a key of the component app: it is of another key, or of other bytes";

/// A component that serves every path and needs a signature by one of these.
fn setup(file: &str, signers: &[&Signer]) -> Setup {
    let names: Vec<String> = (0..signers.len()).map(|number| format!("key-{number}.pem")).collect();
    let setup = Setup::with(&format!(
        "[signatures]\nkeys = {names:?}\n[component.app]\nfile = {file:?}\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n"
    ));
    names.iter().zip(signers).fold(setup, |setup, (name, signer)| setup.file(name, signer.public()))
}

fn file(signers: &[&Signer], letter: u8, signature: Option<String>) -> Setup {
    let setup = setup("app.wasm", signers).file("app.wasm", version(letter));
    match signature {
        Some(signature) => setup.file("app.wasm.sig", signature),
        None => setup,
    }
}

async fn run(folder: &Path, arguments: &[&str]) -> Done {
    let mut program = command::roadrunner();
    program.args(arguments).current_dir(folder);
    command::output(program).await
}

/// The reason why each command that loads the manifest's components refuses it. None of them has compiled anything.
async fn refusal(setup: &Setup) -> String {
    let told = refused(setup, &["compile"]).await;
    assert_eq!(refusal_to_serve(setup).await, told);
    told
}

/// The same for those that load deployed components.
async fn refusal_to_serve(setup: &Setup) -> String {
    let told = refused(setup, &["check"]).await;
    assert_eq!(refused(setup, &["serve", "roadrunner.toml"]).await, told);
    told
}

async fn refused(setup: &Setup, arguments: &[&str]) -> String {
    let cache = TempDir::new().expect("a folder");
    let (folder, _) = setup.clone().cache(cache.path()).write();
    let done = run(folder.path(), arguments).await;
    assert_eq!(done.code, 1, "{arguments:?}: {done:?}");
    let entries = std::fs::read_dir(cache.path()).expect("the cache").flatten();
    let compiled = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "compiled"));
    assert_eq!(compiled.count(), 0, "{arguments:?}: it was compiled");
    let folder = folder.path().display().to_string();
    let lines = done.stderr.lines().filter(|line| line.starts_with("error: "));
    lines.collect::<String>().replace(&folder, "FOLDER")
}

fn signers(test: &str) -> Option<(Signer, Signer)> {
    Some((Signer::new(test, Algorithm::Ecdsa)?, Signer::new(test, Algorithm::Ed25519)?))
}

#[tokio::test]
async fn a_file_is_signed_beside_it() {
    let Some((ecdsa, ed25519)) = signers("signatures") else { return };
    for signer in [&ecdsa, &ed25519] {
        let signature = Some(signer.sign(&version(b'A')));
        let server = file(&[&ecdsa, &ed25519], b'A', signature).start().await;
        assert_eq!(letter(&server, Way::H1).await, b'A');
    }
    let one_line = ed25519.sign(&version(b'A')).replace('\n', "");
    assert_eq!(run(file(&[&ed25519], b'A', Some(one_line)).write().0.path(), &["check"]).await.code, 0);
}

#[tokio::test]
async fn a_file_that_is_not_signed_is_not_compiled() {
    let Some((ecdsa, ed25519)) = signers("signatures") else { return };
    let text = refusal(&file(&[&ecdsa], b'A', None)).await;
    assert!(text.contains(UNSIGNED) && text.contains("in FILE.sig"), "{text}");
    for (what, setup, reason) in [
        ("another key", file(&[&ecdsa], b'A', Some(ed25519.sign(&version(b'A')))), WRONG),
        ("another component", file(&[&ecdsa], b'A', Some(ecdsa.sign(&version(b'B')))), WRONG),
        ("a changed component", file(&[&ed25519], b'B', Some(ed25519.sign(&version(b'A')))), WRONG),
        ("no base64", file(&[&ecdsa], b'A', Some("!".to_owned())), "cannot be read: a signature is base64"),
        ("an empty one", file(&[&ecdsa], b'A', Some(String::new())), "cannot be read: a signature is base64"),
        ("a long one", file(&[&ecdsa], b'A', Some("A".repeat(4096))), "cannot be read: a signature is base64"),
    ] {
        let text = refusal(&setup).await;
        assert!(text.contains(reason) && text.contains("app.wasm"), "{what}: {text}");
    }
    let setup = file(&[&ecdsa], b'A', Some(ecdsa.sign(&version(b'A')))).file("key-0.pem", "no key");
    let text = refusal(&setup).await;
    assert!(text.contains("key-0.pem has no public key in PEM"), "{text}");
}

#[tokio::test]
async fn a_component_can_have_keys_of_its_own() {
    let Some((ecdsa, ed25519)) = signers("signatures") else { return };
    let setup = |signer: &Signer| {
        Setup::with(
            "[signatures]\nkeys = [\"all.pem\"]\n[tenant.acme]\nsigned-by = [\"acme.pem\"]\n\
             [component.app]\nfile = \"app.wasm\"\ntenant = \"acme\"\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n",
        )
        .file("all.pem", ecdsa.public())
        .file("acme.pem", ed25519.public())
        .file("app.wasm", version(b'A'))
        .file("app.wasm.sig", signer.sign(&version(b'A')))
    };
    assert_eq!(run(setup(&ed25519).write().0.path(), &["check"]).await.code, 0);
    let text = refusal(&setup(&ecdsa)).await;
    assert!(text.contains(WRONG), "{text}");
}

#[tokio::test]
async fn a_watched_file_is_signed_like_any_other() {
    let Some((ecdsa, _)) = signers("signatures") else { return };
    let server = file(&[&ecdsa], b'A', Some(ecdsa.sign(&version(b'A')))).server("watch = true").start().await;
    std::fs::write(server.folder().join("app.wasm"), version(b'B')).expect("a file");
    let refused = within(Duration::from_secs(30), async || server.log.text().contains(WRONG).then_some(()));
    assert!(refused.await.is_some(), "{}", server.log);
    assert_eq!(letter(&server, Way::H1).await, b'A');
    std::fs::write(server.folder().join("app.wasm.sig"), ecdsa.sign(&version(b'B'))).expect("a file");
    let taken = within(Duration::from_secs(30), async || (letter(&server, Way::H1).await == b'B').then_some(()));
    assert!(taken.await.is_some(), "{}", server.log);
}

/// A new list of keys applies from the next reload on, also to components that already serve.
#[tokio::test]
async fn a_reload_verifies_again() {
    let Some((ecdsa, ed25519)) = signers("signatures") else { return };
    let server = file(&[&ecdsa], b'A', Some(ecdsa.sign(&version(b'A')))).start().await;
    std::fs::write(server.folder().join("key-0.pem"), ed25519.public()).expect("a file");
    let (status, text) = server.admin_request("POST", "/reload").await;
    assert!(status == 422 && text.contains(WRONG), "{status} {text}");
    assert_eq!(letter(&server, Way::H1).await, b'A');
    std::fs::write(server.folder().join("app.wasm.sig"), ed25519.sign(&version(b'A'))).expect("a file");
    let (status, text) = server.admin_request("POST", "/reload").await;
    assert_eq!(status, 200, "{text}");
}

async fn put(server: &Server, bytes: &[u8], signature: Option<&str>) -> (u16, String) {
    let socket = soon(UnixStream::connect(server.admin())).await.expect("the admin listener accepts");
    let shown = signature.map(|text| format!("roadrunner-signature: {}\r\n", text.replace('\n', "")));
    let head = format!(
        "PUT /components/app HTTP/1.0\r\nhost: localhost\r\n{}content-length: {}\r\n\r\n",
        shown.unwrap_or_default(),
        bytes.len()
    );
    converse(socket, &head, bytes).await
}

#[tokio::test]
async fn an_upload_shows_its_signature() {
    let Some((ecdsa, ed25519)) = signers("signatures") else { return };
    let (state, cache) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let deployable = |signers: &[&Signer]| {
        file(signers, b'A', Some(signers[0].sign(&version(b'A'))))
            .and(&format!("[deploy]\ndirectory = {:?}\n", state.path().join("deployed")))
            .cache(cache.path())
    };
    let compiled = || std::fs::read_dir(cache.path()).expect("the cache").count();
    let server = deployable(&[&ecdsa, &ed25519]).start().await;
    let before = compiled();
    for (what, signature, reason) in [
        ("unsigned", None, UNSIGNED),
        ("another component's", Some(ecdsa.sign(&version(b'A'))), WRONG),
        ("no signature", Some("no signature".to_owned()), "cannot be read: a signature is base64"),
    ] {
        let (status, text) = put(&server, &version(b'B'), signature.as_deref()).await;
        assert!(status == 422 && text.contains(reason), "{what}: {status} {text}");
        assert_eq!(letter(&server, Way::H1).await, b'A', "{what}");
    }
    let stranger = Signer::new("signatures", Algorithm::Ecdsa).expect("openssl is there");
    let (status, text) = put(&server, &version(b'B'), Some(&stranger.sign(&version(b'B')))).await;
    assert!(status == 422 && text.contains(WRONG), "{status} {text}");
    assert_eq!(compiled(), before, "none of them was compiled");

    let (status, text) = put(&server, &version(b'B'), Some(&ecdsa.sign(&version(b'B')))).await;
    assert_eq!(status, 200, "{text}");
    // The command line sends the signature next to the file.
    std::fs::write(server.folder().join("new.wasm"), version(b'C')).expect("a file");
    let done = run(server.folder(), &["deploy", "app", "new.wasm"]).await;
    assert!(done.code == 1 && done.stderr.contains(UNSIGNED), "{done:?}");
    std::fs::write(server.folder().join("new.wasm.sig"), ed25519.sign(&version(b'C'))).expect("a file");
    let done = run(server.folder(), &["deploy", "app", "new.wasm"]).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(letter(&server, Way::H1).await, b'C');
    drop(server);

    // Signatures are kept with the versions: a restart verifies them again, and so does a rollback.
    let server = deployable(&[&ecdsa, &ed25519]).start().await;
    assert_eq!(letter(&server, Way::H1).await, b'C');
    assert_eq!(run(server.folder(), &["rollback", "app"]).await.code, 0);
    assert_eq!(letter(&server, Way::H1).await, b'B');
    std::fs::write(server.folder().join("new.wasm"), version(b'D')).expect("a file");
    std::fs::write(server.folder().join("new.wasm.sig"), ed25519.sign(&version(b'D'))).expect("a file");
    assert_eq!(run(server.folder(), &["deploy", "app", "new.wasm"]).await.code, 0);

    // The key of the previous version is no longer trusted.
    std::fs::write(server.folder().join("key-0.pem"), ed25519.public()).expect("a file");
    let (status, text) = server.admin_request("POST", "/reload").await;
    assert_eq!(status, 200, "what serves is by the other key: {text}");
    let done = run(server.folder(), &["rollback", "app"]).await;
    assert!(done.code == 1 && done.stderr.contains(WRONG), "{done:?}");
    assert_eq!(letter(&server, Way::H1).await, b'D');
    drop(server);
    let text = refusal_to_serve(&deployable(&[&ecdsa])).await;
    assert!(text.contains("the deployed version of the component app does not load") && text.contains(WRONG), "{text}");
}

/// Puts a signature next to an image, as `cosign sign` does.
async fn sign(registry: &Registry, name: &str, digest: &str, payload: &str, signature: &str) {
    let tag = digest.replace(':', "-");
    let annotations = json!({ "dev.cosignproject.cosign/signature": signature.replace('\n', "") });
    let layers = [(SIMPLE_SIGNING, payload.as_bytes(), annotations)];
    registry.push_image(&format!("{name}:{tag}.sig"), "application/vnd.oci.image.config.v1+json", &layers).await;
}

/// The payload that cosign signs for a manifest.
fn payload(digest: &str) -> String {
    json!({
        "critical": {
            "identity": { "docker-reference": "registry.example.com/app" },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

#[tokio::test]
async fn an_image_is_signed_in_its_registry() {
    let Some((ecdsa, ed25519)) = signers("signatures") else { return };
    let Some(mut registry) = Registry::start("signatures").await else { return };
    let (a, b) = (registry.push("app:a", &version(b'A')).await, registry.push("app:b", &version(b'B')).await);
    let pulled = |rest: &str, signer: &Signer| {
        setup(&registry.reference(rest), &[signer]).and(&registry.section("plaintext = true"))
    };
    let text = refusal(&pulled("app:a", &ecdsa)).await;
    assert!(text.contains(UNSIGNED) && text.contains("`cosign sign` leaves its signature in the registry"), "{text}");
    let signed = payload(&a);
    let type_missing = signed.replace("cosign container image signature", "something else");
    for (what, payload, signature) in [
        ("another key", signed.clone(), ed25519.sign(signed.as_bytes())),
        ("another image", payload(&b), ecdsa.sign(payload(&b).as_bytes())),
        ("a changed payload", signed.clone(), ecdsa.sign(payload(&b).as_bytes())),
        ("another type", type_missing.clone(), ecdsa.sign(type_missing.as_bytes())),
        ("the component, and not its manifest", signed.clone(), ecdsa.sign(&version(b'A'))),
        ("no JSON", "{".to_owned(), ecdsa.sign(b"{")),
        ("no signature", signed.clone(), "!".to_owned()),
    ] {
        sign(&registry, "app", &a, &payload, &signature).await;
        let text = refusal(&pulled("app:a", &ecdsa)).await;
        assert!(text.contains(WRONG) && text.contains("app:a"), "{what}: {text}");
    }
    // A digest that was pulled without a valid signature is looked up again.
    let (cache, pinned) = (TempDir::new().expect("a folder"), pulled(&format!("app@{a}"), &ed25519));
    let pinned = pinned.cache(cache.path());
    let done = run(pinned.write().0.path(), &["check"]).await;
    assert!(done.code == 1 && done.stderr.contains(WRONG), "{done:?}");
    for signer in [&ecdsa, &ed25519] {
        sign(&registry, "app", &a, &signed, &signer.sign(signed.as_bytes())).await;
        let server = pulled("app:a", signer).start().await;
        assert_eq!(letter(&server, Way::H1).await, b'A');
    }
    assert_eq!(run(pinned.write().0.path(), &["check"]).await.code, 0);
    // It is then valid without its registry, for those keys only.
    let other = pulled(&format!("app@{a}"), &ecdsa).cache(cache.path());
    registry.kill();
    assert_eq!(run(pinned.write().0.path(), &["check"]).await.code, 0);
    let done = run(other.write().0.path(), &["check"]).await;
    assert!(done.code == 1 && done.stderr.contains("cannot reach the registry"), "{done:?}");
}

#[tokio::test]
async fn an_image_is_deployed_and_taken_back_under_the_policy() {
    let Some((ecdsa, ed25519)) = signers("signatures") else { return };
    let Some(mut registry) = Registry::start("signatures").await else { return };
    let state = TempDir::new().expect("a folder");
    let deployable = |signer: &Signer| {
        file(&[signer], b'A', Some(signer.sign(&version(b'A'))))
            .and(&format!("[deploy]\ndirectory = {:?}\n", state.path().join("deployed")))
    };
    let section = registry.section("plaintext = true");
    let server = deployable(&ecdsa).and(&section).start().await;
    for (tag, letter) in [("b", b'B'), ("c", b'C')] {
        let digest = registry.push(&format!("app:{tag}"), &version(letter)).await;
        let done = run(server.folder(), &["deploy", "app", &registry.reference(&format!("app:{tag}"))]).await;
        assert!(done.code == 1 && done.stderr.contains(UNSIGNED), "{done:?}");
        sign(&registry, "app", &digest, &payload(&digest), &ecdsa.sign(payload(&digest).as_bytes())).await;
        let done = run(server.folder(), &["deploy", "app", &registry.reference(&format!("app:{tag}"))]).await;
        assert_eq!(done.code, 0, "{done:?}");
    }
    // A deployed component needs no registry.
    registry.kill();
    assert_eq!(letter(&server, Way::H1).await, b'C');
    assert_eq!(run(server.folder(), &["rollback", "app"]).await.code, 0);
    assert_eq!(letter(&server, Way::H1).await, b'B');
    drop(server);
    let server = deployable(&ecdsa).and(&section).start().await;
    assert_eq!(letter(&server, Way::H1).await, b'B');
    drop(server);
    let text = refusal_to_serve(&deployable(&ed25519).and(&section)).await;
    assert!(text.contains("the deployed version of the component app does not load") && text.contains(WRONG), "{text}");
}

//! A rollback past the first deployment restores the component that served before it, whatever happened to it
//! meanwhile.

use std::path::Path;

use roadrunner_tests::{Registry, Server, Setup, Way};
use tempfile::TempDir;

use super::deploy::{ask, deploy, letter, version};

/// A host whose state is in a folder of the test, so that another host can follow it.
fn setup(state: &Path, file: &str) -> Setup {
    Setup::with(&format!("[component.app]\nfile = {file:?}\n[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n"))
        .and(&format!("[deploy]\ndirectory = {:?}\nkeep = 1\n", state.join("deployed")))
}

/// The same with `app.wasm` beside the state.
fn of_file(state: &Path) -> Setup {
    setup(state, &state.join("app.wasm").display().to_string())
}

fn build(state: &Path, letter: u8) {
    std::fs::write(state.join("app.wasm"), version(letter)).expect("a file");
}

async fn rollback(server: &Server) -> u16 {
    ask(server, "POST", "/components/app/rollback", b"").await.0
}

async fn reload(server: &Server) {
    assert_eq!(ask(server, "POST", "/reload", b"").await.0, 200, "{}", server.log);
}

#[tokio::test]
async fn a_build_that_overwrote_the_file_is_undone() {
    let state = TempDir::new().expect("a folder");
    build(state.path(), b'A');
    let server = of_file(state.path()).start().await;
    build(state.path(), b'B');
    deploy(&server, b'B').await;
    assert_eq!(rollback(&server).await, 200, "{}", server.log);
    for way in Way::ALL {
        assert_eq!(letter(&server, way).await, b'A', "{way:?}");
    }
    assert_eq!(rollback(&server).await, 409, "there is nothing before it");
    reload(&server).await;
    assert_eq!(letter(&server, Way::H1).await, b'A', "after a reload");
    // Deployed and rolled back once more, past more versions than are kept.
    for next in b"BCD" {
        deploy(&server, *next).await;
    }
    for wanted in b"CA" {
        assert_eq!(rollback(&server).await, 200, "{}", server.log);
        assert_eq!(letter(&server, Way::H1).await, *wanted);
    }
    drop(server);
    let server = of_file(state.path()).start().await;
    assert_eq!(letter(&server, Way::H1).await, b'A', "after a restart");
    // The operator builds a new one, and announces it.
    build(state.path(), b'E');
    reload(&server).await;
    assert_eq!(letter(&server, Way::H1).await, b'E');
    deploy(&server, b'F').await;
    assert_eq!(rollback(&server).await, 200, "{}", server.log);
    assert_eq!(letter(&server, Way::H1).await, b'E');
}

#[tokio::test]
async fn a_file_that_is_gone_comes_back() {
    let state = TempDir::new().expect("a folder");
    build(state.path(), b'A');
    let server = of_file(state.path()).start().await;
    std::fs::remove_file(state.path().join("app.wasm")).expect("a file");
    reload(&server).await;
    assert_eq!(letter(&server, Way::H1).await, b'A', "after a reload");
    server.log.message("serving a copy of what served before").await;
    deploy(&server, b'B').await;
    drop(server);
    let server = of_file(state.path()).start().await;
    assert_eq!(letter(&server, Way::H1).await, b'B', "after a restart");
    assert_eq!(rollback(&server).await, 200, "{}", server.log);
    assert_eq!(letter(&server, Way::H1).await, b'A');
    drop(server);
    let server = of_file(state.path()).start().await;
    assert_eq!(letter(&server, Way::H1).await, b'A', "after another restart");
    build(state.path(), b'C');
    reload(&server).await;
    assert_eq!(letter(&server, Way::H1).await, b'C', "it is there again");
}

/// A component that failed to load never served; one that a watch or a reload loaded did.
#[tokio::test]
async fn what_served_last_before_the_first_deployment_counts() {
    let state = TempDir::new().expect("a folder");
    build(state.path(), b'A');
    let server = of_file(state.path()).start().await;
    build(state.path(), b'B');
    reload(&server).await;
    std::fs::write(state.path().join("app.wasm"), b"no component").expect("a file");
    assert_eq!(ask(&server, "POST", "/reload", b"").await.0, 422, "{}", server.log);
    assert_eq!(letter(&server, Way::H1).await, b'B');
    deploy(&server, b'C').await;
    assert_eq!(rollback(&server).await, 200, "{}", server.log);
    assert_eq!(letter(&server, Way::H1).await, b'B');
}

#[tokio::test]
async fn a_watched_file_serves_again_once_it_changes() {
    let state = TempDir::new().expect("a folder");
    build(state.path(), b'A');
    let server = of_file(state.path()).server("watch = true").start().await;
    deploy(&server, b'B').await;
    build(state.path(), b'B');
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(rollback(&server).await, 200, "{}", server.log);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(letter(&server, Way::H1).await, b'A');
    build(state.path(), b'C');
    let taken = roadrunner_tests::within(std::time::Duration::from_secs(30), async || {
        (letter(&server, Way::H1).await == b'C').then_some(())
    });
    assert!(taken.await.is_some(), "{}", server.log);
}

#[tokio::test]
async fn a_tag_that_has_moved_is_not_followed() {
    let Some(registry) = Registry::start("registry").await else { return };
    let (state, cache) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    registry.push("acme/app:1", &version(b'A')).await;
    let setup = || {
        setup(state.path(), &registry.reference("acme/app:1"))
            .cache(cache.path())
            .and(&registry.section("plaintext = true"))
    };
    let server = setup().start().await;
    assert_eq!(letter(&server, Way::H1).await, b'A');
    deploy(&server, b'C').await;
    registry.push("acme/app:1", &version(b'B')).await;
    assert_eq!(rollback(&server).await, 200, "{}", server.log);
    assert_eq!(letter(&server, Way::H1).await, b'A');
    reload(&server).await;
    assert_eq!(letter(&server, Way::H1).await, b'A', "after a reload");
    drop(server);
    let server = setup().start().await;
    assert_eq!(letter(&server, Way::H1).await, b'A', "after a restart");
    registry.push("acme/app:1", &version(b'D')).await;
    reload(&server).await;
    assert_eq!(letter(&server, Way::H1).await, b'D', "it has moved again");
}

//! The admin listener for a tenant that shows its token: everything that concerns the tenant, and nothing about anybody
//! else.

use std::collections::BTreeSet;

use roadrunner_tests::command::{self, Done};
use roadrunner_tests::{Ask, Server, Setup, Way, soon};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::deploy::version;

const HOST: &str = "host-0123456789abcdef";
const ALPHA: &str = "alpha-0123456789abcdef";
const BRAVO: &str = "bravo-0123456789abcdef";

/// Two tenants with tokens, which have the same kinds of resources, and a component of the host.
fn setup() -> Setup {
    let tenant = |name: &str, token: &str| {
        format!(
            "[tenant.{name}]\nhosts = [\"{name}.test\"]\nadmin-token-file = \"{token}\"\nquota = {{ instances = 20 }}\n\
             [component.{name}-app]\nfile = \"{name}.wasm\"\ntenant = \"{name}\"\nlimits = {{ instances = 10 }}\n\
             [component.{name}-slow]\nfile = \"{{guests}}/hostile.wasm\"\ntenant = \"{name}\"\n\
             outbound = [\"http://{name}.example\"]\nstores = [\"shared\"]\n\
             [[route]]\npath = \"/{name}\"\ncomponent = \"{name}-app\"\nlimits = {{ instances = 5 }}\n\
             [[route]]\npath = \"/sleep\"\ncomponent = \"{name}-slow\"\n"
        )
    };
    Setup::with(&(tenant("alpha", "alpha.token") + &tenant("bravo", "bravo.token")))
        .and("[store.shared]\nmemory = true\n[deploy]\ndirectory = \"deployed\"\n")
        .and("[component.own]\nfile = \"{guests}/hello.wasm\"\n[[route]]\npath = \"/own\"\ncomponent = \"own\"\n")
        .file("alpha.wasm", version(b'A'))
        .file("bravo.wasm", version(b'A'))
        .and("[secret.password]\nfile = \"password\"\n")
        .private_file("password", "correct-horse")
        .private_file("alpha.token", ALPHA)
        .private_file("bravo.token", BRAVO)
        .private_file("host.token", HOST)
        .admin("address = \"unix:admin.sock\"\ntoken-file = \"host.token\"")
}

/// Sends one request with a token, and returns status and body.
async fn ask(server: &Server, token: &str, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let mut socket = soon(UnixStream::connect(server.admin())).await.expect("the admin listener accepts");
    let shown = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\n{shown}content-length: {length}\r\n\r\n");
    // A host that refuses the rest has answered with the reason.
    let _ = socket.write_all(&[head.as_bytes(), body].concat()).await;
    let mut answer = Vec::new();
    soon(socket.read_to_end(&mut answer)).await.ok();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("cut short: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("not HTTP: {head:?}")), body.to_owned())
}

/// The items that a token sees in a list.
async fn list(server: &Server, token: &str, path: &str) -> Vec<Value> {
    let (status, body) = ask(server, token, "GET", path, b"").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn names(list: &[Value], key: &str) -> BTreeSet<String> {
    list.iter().map(|object| object[key].as_str().expect("a text").to_owned()).collect()
}

/// The lines of `/metrics` that are samples, without their values.
async fn series(server: &Server, token: &str) -> BTreeSet<String> {
    let (status, text) = ask(server, token, "GET", "/metrics", b"").await;
    assert_eq!(status, 200, "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
}

#[tokio::test]
async fn a_tenant_sees_its_own_metrics_and_no_others() {
    let server = setup().start().await;
    for (host, path) in [("alpha.test", "/alpha"), ("bravo.test", "/bravo"), ("else.test", "/own")] {
        assert_eq!(server.fetch(Way::H1, Ask::get(path).host(host)).await.status, 200, "{host}");
    }
    let (all, alpha, bravo) = (series(&server, HOST).await, series(&server, ALPHA).await, series(&server, BRAVO).await);
    assert!(alpha.is_subset(&all) && bravo.is_subset(&all), "the host sees all");
    assert!(alpha.is_disjoint(&bravo) && alpha.len() == bravo.len());
    for series in &alpha {
        assert!(series.contains("alpha"), "not of this tenant: {series}");
        assert!(!series.contains("bravo") && !series.contains("own"), "of somebody else: {series}");
    }
    for of in [
        "roadrunner_requests_total{route=\"/alpha\",component=\"alpha-app\",tenant=\"alpha\",outcome=\"ok\"}",
        "roadrunner_tenant_requests_total{tenant=\"alpha\"}",
        "roadrunner_tenant_deployed_bytes{tenant=\"alpha\"}",
        "roadrunner_tenant_store_bytes{tenant=\"alpha\"}",
        "roadrunner_tenant_quota_exceeded_total{tenant=\"alpha\",quota=\"memory\"}",
        "roadrunner_instances_running{gate=\"tenant:alpha\"}",
        "roadrunner_instances_running{gate=\"component:alpha-app\"}",
        "roadrunner_instances_running{gate=\"route: alpha.test/alpha\"}",
        "roadrunner_outbound_requests_total{component=\"alpha-slow\",result=\"refused\"}",
    ] {
        assert!(alpha.contains(of), "{of} is missing: {alpha:#?}");
    }
    let of_host: BTreeSet<_> =
        all.iter().filter(|series| !series.contains("alpha") && !series.contains("bravo")).collect();
    assert!(of_host.len() > 50, "{of_host:?}");
    // Comments do not reveal other tenants either.
    let (_, text) = ask(&server, ALPHA, "GET", "/metrics", b"").await;
    assert!(!text.contains("bravo") && !text.contains("shared"), "{text}");
}

#[tokio::test]
async fn a_tenant_sees_and_ends_its_own_instances_alone() {
    let server = setup().start().await;
    let (mut one, mut two) = (server.connect(Way::H1).await, server.connect(Way::H1).await);
    let first = one.open(Ask::get("/sleep").host("alpha.test")).await;
    let second = two.open(Ask::get("/sleep").host("bravo.test")).await;
    let two_there = async || (list(&server, HOST, "/instances").await.len() == 2).then_some(());
    roadrunner_tests::within(std::time::Duration::from_secs(10), two_there).await.expect("both are there");
    let all = list(&server, HOST, "/instances").await;
    let id = |tenant: &str| {
        let instance = all.iter().find(|instance| instance["tenant"] == tenant).expect("it is there");
        instance["id"].as_u64().expect("a number")
    };
    let seen = list(&server, ALPHA, "/instances").await;
    assert_eq!(names(&seen, "tenant"), BTreeSet::from(["alpha".to_owned()]));
    let missing = ask(&server, ALPHA, "DELETE", "/instances/4000000000", b"").await;
    assert_eq!(missing.0, 404);
    let theirs = format!("/instances/{}", id("bravo"));
    assert_eq!(ask(&server, ALPHA, "DELETE", &theirs, b"").await, missing, "as if there were none");
    assert_eq!(list(&server, BRAVO, "/instances").await.len(), 1);
    assert_eq!(ask(&server, ALPHA, "DELETE", &format!("/instances/{}", id("alpha")), b"").await.0, 204);
    assert_eq!(first.rest().await.status, 503, "it was ended");
    assert_eq!(ask(&server, HOST, "DELETE", &theirs, b"").await.0, 204);
    assert_eq!(second.rest().await.status, 503);
}

#[tokio::test]
async fn a_tenant_changes_its_own_components_alone() {
    let server = setup().start().await;
    let seen = list(&server, ALPHA, "/components").await;
    assert_eq!(names(&seen, "name"), BTreeSet::from(["alpha-app".to_owned(), "alpha-slow".to_owned()]));
    assert_eq!(list(&server, HOST, "/components").await.len(), 5);
    let wasm = version(b'B');
    let (status, told) = ask(&server, BRAVO, "PUT", "/components/bravo-app", &wasm).await;
    assert_eq!(status, 200, "{told}");
    let digest = serde_json::from_str::<Value>(&told).expect("JSON")["digest"].as_str().expect("a digest").to_owned();

    // Another tenant's resource seems not to exist, whatever the request.
    for (method, end) in [("PUT", String::new()), ("POST", "/rollback".to_owned()), ("DELETE", format!("/{digest}"))] {
        let (status, nothing) = ask(&server, ALPHA, method, &format!("/components/nobody{end}"), &wasm).await;
        assert_eq!(status, 404, "{method} {end}");
        for name in ["bravo-app", "own"] {
            let (status, text) = ask(&server, ALPHA, method, &format!("/components/{name}{end}"), &wasm).await;
            assert_eq!((status, text), (404, nothing.replace("nobody", name)), "{method} {name}{end}");
        }
    }
    let answer = server.fetch(Way::H1, Ask::get("/bravo").host("bravo.test")).await;
    assert_eq!(answer.header("x-version"), "B", "nobody else has touched it");
    assert_eq!(ask(&server, ALPHA, "PUT", "/components/alpha-app", &wasm).await.0, 200);
    assert_eq!(server.fetch(Way::H1, Ask::get("/alpha").host("alpha.test")).await.header("x-version"), "B");
    let (status, told) = ask(&server, ALPHA, "POST", "/components/alpha-app/rollback", b"").await;
    assert!(status == 200 && told.contains("file"), "{status} {told}");
    let own_fault = ask(&server, ALPHA, "PUT", "/components/alpha-app", b"not wasm").await;
    assert!(own_fault.0 == 422 && own_fault.1.contains("not a WebAssembly component"), "{own_fault:?}");

    let (status, told) = ask(&server, ALPHA, "POST", "/reload", b"").await;
    assert!(status == 403 && told.contains("host's own"), "{status} {told}");
    assert_eq!(server.log.count("reloaded").await, 0);
    for token in ["", "alpha-0123456789abcdeF", "host-0123456789abcde"] {
        for path in ["/metrics", "/instances", "/components"] {
            assert_eq!(ask(&server, token, "GET", path, b"").await.0, 401, "{path} {token:?}");
        }
    }
    assert_eq!(ask(&server, "", "GET", "/ready", b"").await.0, 200);

    // The operator learns of faults of the host, and a tenant does not.
    std::fs::remove_file(server.folder().join("password")).expect("our own file");
    let (status, told) = ask(&server, ALPHA, "PUT", "/components/alpha-app", &wasm).await;
    assert!(status == 500 && told.contains("the host's log") && !told.contains("password"), "{status} {told}");
    let (status, told) =
        ask(&server, HOST, "PUT", "/components/own", &std::fs::read(command::guest("hello")).unwrap()).await;
    assert!(status == 500 && told.contains("password"), "{status} {told}");
}

#[tokio::test]
async fn the_command_line_speaks_for_a_tenant() {
    let server = setup().start().await;
    let run = async |arguments: &[&str]| -> Done {
        let mut command = command::roadrunner();
        command.args(arguments).args(["--token-file", "alpha.token"]).current_dir(server.folder());
        command::output(command).await
    };
    let done = run(&["components"]).await;
    assert!(done.code == 0 && done.stdout.contains("alpha-app") && !done.stdout.contains("bravo"), "{done:?}");
    let done = run(&["deploy", "alpha-app", "bravo.wasm"]).await;
    assert!(done.code == 0 && done.stdout.starts_with("alpha-app serves sha256:"), "{done:?}");
    let done = run(&["deploy", "bravo-app", "bravo.wasm"]).await;
    assert!(done.code == 1 && done.stderr.contains("no component bravo-app"), "{done:?}");
    let done = run(&["reload"]).await;
    assert!(done.code == 1 && done.stderr.contains("403"), "{done:?}");
}

/// Tenants and their tokens come, change and go with the manifest.
#[tokio::test]
async fn tokens_are_read_again_at_a_reload() {
    let server = setup().start().await;
    let manifest = server.folder().join("roadrunner.toml");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    let reload = async |token: &str| ask(&server, token, "POST", "/reload", b"").await;
    let sees = async |token: &str| ask(&server, token, "GET", "/components", b"").await.0;
    let token = |name: &str, text: &str| std::fs::write(server.folder().join(name), text).expect("a file");

    // Two tenants with the same token cannot be distinguished.
    for (name, whom) in
        [("bravo.token", "the tenant bravo and the tenant alpha"), ("host.token", "the tenant alpha and the host")]
    {
        let before = std::fs::read_to_string(server.folder().join(name)).expect("a file");
        token(name, ALPHA);
        let (status, told) = reload(HOST).await;
        assert!(status == 422 && told.contains(whom) && told.contains("the same token"), "{status} {told}");
        assert!(!told.contains(ALPHA), "{told}");
        assert_eq!((sees(HOST).await, sees(ALPHA).await, sees(BRAVO).await), (200, 200, 200), "all is as it was");
        token(name, &before);
    }
    // Others could read it.
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = server.folder().join("bravo.token");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own file");
    };
    mode(0o644);
    let (status, told) = reload(HOST).await;
    assert!(status == 422 && told.contains("chmod 600"), "{status} {told}");
    mode(0o600);

    token("bravo.token", "bravo-new-0123456789abcdef");
    token("host.token", "host-new-0123456789abcdef");
    assert_eq!(sees(BRAVO).await, 200, "nobody has looked yet");
    assert_eq!(reload(HOST).await.0, 200);
    let host = "host-new-0123456789abcdef";
    assert_eq!((sees(BRAVO).await, sees(HOST).await, sees(ALPHA).await), (401, 401, 200));
    assert_eq!((sees("bravo-new-0123456789abcdef").await, sees(host).await), (200, 200));

    let without = text.replace("admin-token-file = \"bravo.token\"\n", "");
    assert_ne!(without, text);
    std::fs::write(&manifest, &without).expect("a file");
    assert_eq!(reload(host).await.0, 200);
    assert_eq!((sees("bravo-new-0123456789abcdef").await, sees(ALPHA).await), (401, 200));
    // If tenants have tokens, the host has one too; a change of the listener itself waits for a restart.
    let open = text.replace("token-file = \"host.token\"\n", "");
    std::fs::write(&manifest, open).expect("a file");
    let (status, told) = reload(host).await;
    assert!(status == 422 && told.contains("add `token-file` to [admin]"), "{status} {told}");
    let elsewhere = without
        .replace("unix:admin.sock\"\ntoken-file = \"host.token\"", "unix:other.sock\"\ntoken-file = \"alpha.token\"");
    let elsewhere = elsewhere.replace("admin-token-file = \"alpha.token\"\n", "");
    std::fs::write(&manifest, elsewhere).expect("a file");
    let (status, told) = reload(host).await;
    assert!(status == 200 && told.contains("in [admin] cannot change without a restart"), "{status} {told}");
    assert_eq!((sees(host).await, sees(ALPHA).await), (200, 401));
}

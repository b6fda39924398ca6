//! Tenants' data on this host: versions of components, and keys and values in stores.

use std::time::Duration;

use roadrunner_tests::{Ask, Server, Setup, Way, soon, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::deploy::version;

async fn exceeded(server: &Server, quota: &str) -> f64 {
    let labels = format!("tenant=\"one\",quota=\"{quota}\"");
    server.metrics().await.sample(&format!("roadrunner_tenant_quota_exceeded_total{{{labels}}}"))
}

async fn gauge(server: &Server, name: &str) -> u64 {
    server.metrics().await.sample(&format!("{name}{{tenant=\"one\"}}")) as u64
}

/// Sends a head and a body to the admin listener, and returns status and text of the answer.
async fn send(server: &Server, head: &str, body: &[u8]) -> (u16, String) {
    let mut socket = soon(UnixStream::connect(server.admin())).await.expect("the admin listener accepts");
    // A host that refuses the rest has answered with the reason.
    let _ = socket.write_all(&[head.as_bytes(), b"\r\n\r\n", body].concat()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut answer)).await;
    read.expect("an answer in time").ok();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("cut short: {answer:?}"));
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
}

async fn put(server: &Server, name: &str, bytes: &[u8]) -> (u16, String) {
    let head = format!("PUT /components/{name} HTTP/1.0\r\nhost: localhost\r\ncontent-length: {}", bytes.len());
    send(server, &head, bytes).await
}

fn stored(server: &Server) -> usize {
    std::fs::read_dir(server.folder().join("deployed/wasm")).map_or(0, Iterator::count)
}

/// `deployed-bytes`: two versions fit, in any components of the tenant.
#[tokio::test]
async fn deployed_bytes() {
    let size = version(b'A').len() as u64;
    // Each component also has its previous version.
    let most = 4 * size + size / 2;
    let component = |name: &str, keys: &str| {
        format!(
            "[component.{name}]\nfile = \"app.wasm\"\n{keys}\n[[route]]\npath = \"/{name}\"\ncomponent = \"{name}\"\n"
        )
    };
    let server = Setup::with(&format!("[tenant.one]\nquota = {{ deployed-bytes = {most} }}\n[tenant.two]\n"))
        .and(&component("first", "tenant = \"one\""))
        .and(&component("second", "tenant = \"one\""))
        .and(&component("theirs", "tenant = \"two\""))
        .and(&component("own", ""))
        .and("[deploy]\ndirectory = \"deployed\"\nkeep = 1\n")
        .file("app.wasm", version(b'A'))
        .start()
        .await;
    assert_eq!(gauge(&server, "roadrunner_tenant_deployed_bytes").await, 0);
    for (name, letter) in [("first", b'B'), ("second", b'B')] {
        let (status, told) = put(&server, name, &version(letter)).await;
        assert_eq!(status, 200, "{told}");
    }
    assert_eq!(gauge(&server, "roadrunner_tenant_deployed_bytes").await, 4 * size, "one file, and two that keep it");
    let (status, told) = put(&server, "first", &version(b'C')).await;
    assert!(status == 507 && told.contains("deployed-bytes") && told.contains(&most.to_string()), "{status} {told}");
    assert_eq!(server.fetch(Way::H1, Ask::get("/first")).await.header("x-version"), "B");
    assert_eq!(exceeded(&server, "deployed-bytes").await, 1.0);

    // With an announced length, the upload is refused before any of it has come.
    let files = stored(&server);
    let head =
        format!("PUT /components/first HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {size}");
    assert_eq!(send(&server, &head, b"").await.0, 507);
    assert_eq!(stored(&server), files);
    // Without one, as soon as it no longer fits.
    let chunked =
        "PUT /components/first HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked";
    let bytes = version(b'C');
    let chunks = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(send(&server, chunked, &chunks).await.0, 507);
    assert_eq!(stored(&server), files, "nothing of it is left");
    // Others keep their versions, and the host's own components have no quota.
    for (name, letter) in [("theirs", b'B'), ("theirs", b'C'), ("own", b'B'), ("own", b'C')] {
        assert_eq!(put(&server, name, &version(letter)).await.0, 200, "{name}");
    }

    // A rollback makes room, and so do versions that a new one pushes out.
    assert_eq!(send(&server, "POST /components/second/rollback HTTP/1.0\r\nhost: localhost", b"").await.0, 200);
    assert_eq!(gauge(&server, "roadrunner_tenant_deployed_bytes").await, 2 * size);
    for letter in b"CDE" {
        let (status, told) = put(&server, "first", &version(*letter)).await;
        assert_eq!(status, 200, "{told}");
        assert_eq!(gauge(&server, "roadrunner_tenant_deployed_bytes").await, 3 * size);
    }
    // An upload in progress counts, too: it takes the room that a rollback has made.
    assert_eq!(send(&server, "POST /components/first/rollback HTTP/1.0\r\nhost: localhost", b"").await.0, 200);
    let mut socket = soon(UnixStream::connect(server.admin())).await.expect("the admin listener accepts");
    let head = format!("PUT /components/first HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n");
    let files = stored(&server);
    socket.write_all(&[head.as_bytes(), &version(b'F')[..1000]].concat()).await.expect("the admin listener reads");
    let arrived = within(Duration::from_secs(10), async || (stored(&server) > files).then_some(())).await;
    assert!(arrived.is_some(), "the upload goes to disk");
    assert_eq!(put(&server, "second", &version(b'B')).await.0, 507);
    drop(socket);
    let gone =
        within(Duration::from_secs(10), async || (put(&server, "second", &version(b'B')).await.0 == 200).then_some(()));
    assert!(gone.await.is_some(), "what did not come whole is given back");
    // The account matches the disk, and survives a reload that changes the quota.
    let manifest = server.folder().join("roadrunner.toml");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    std::fs::write(&manifest, text.replace(&most.to_string(), &size.to_string())).expect("a file");
    assert_eq!(send(&server, "POST /reload HTTP/1.0\r\nhost: localhost", b"").await.0, 200);
    assert_eq!(gauge(&server, "roadrunner_tenant_deployed_bytes").await, 4 * size);
    assert_eq!(put(&server, "second", &version(b'C')).await.0, 507);
}

/// `compiled-bytes`: the compiled code of two versions fits, and no more.
#[tokio::test]
async fn compiled_bytes() {
    let cache = tempfile::TempDir::new().expect("a folder");
    let component = |name: &str| {
        format!(
            "[component.{name}]\nfile = \"app.wasm\"\ntenant = \"one\"\n[[route]]\npath = \"/{name}\"\n\
             component = \"{name}\"\n"
        )
    };
    let setup = |most: u64| {
        Setup::with(&format!("[tenant.one]\nquota = {{ compiled-bytes = {most} }}\n"))
            .and(&component("first"))
            .and(&component("second"))
            .and("[deploy]\ndirectory = \"deployed\"\nkeep = 1\n")
            .file("app.wasm", version(b'A'))
            .cache(cache.path())
    };
    // The size of one version: a component that serves without having been deployed is the operator's.
    let server = setup(1 << 30).start().await;
    assert_eq!(gauge(&server, "roadrunner_tenant_compiled_bytes").await, 0);
    assert_eq!(put(&server, "first", &version(b'A')).await.0, 200);
    let size = gauge(&server, "roadrunner_tenant_compiled_bytes").await;
    assert!(size > version(b'A').len() as u64, "{size}");
    drop(server);

    let most = 2 * size + size / 2;
    let server = setup(most).start().await;
    for (name, letter) in [("first", b'B'), ("second", b'B'), ("second", b'C')] {
        let (status, told) = put(&server, name, &version(letter)).await;
        assert_eq!(status, 200, "{told}");
    }
    assert_eq!(gauge(&server, "roadrunner_tenant_compiled_bytes").await, 2 * size, "each digest once");
    let (status, told) = put(&server, "first", &version(b'D')).await;
    assert!(status == 507 && told.contains("compiled-bytes") && told.contains(&most.to_string()), "{status} {told}");
    assert_eq!(server.fetch(Way::H1, Ask::get("/first")).await.header("x-version"), "B");
    assert_eq!(exceeded(&server, "compiled-bytes").await, 1.0);
    assert_eq!(gauge(&server, "roadrunner_tenant_compiled_bytes").await, 2 * size);
    let entries = std::fs::read_dir(cache.path()).expect("a folder").flatten();
    let compiled = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "compiled"));
    assert!(compiled.count() <= 3, "two versions, and the file where it is kept");
    // Code that already exists takes no more room.
    let (status, told) = put(&server, "second", &version(b'B')).await;
    assert_eq!(status, 200, "{told}");
}

/// `store-bytes`: over two components and three stores, one of which is shared, and one in a file.
#[tokio::test]
async fn store_bytes() {
    let component = |name: &str, tenant: &str| {
        format!(
            "[component.{name}]\nfile = \"{{guests}}/stores.wasm\"\ntenant = \"{tenant}\"\n\
             stores = [\"main\", \"file\", \"all\"]\n\
             [[route]]\npath = \"/*rest\"\nhosts = [\"{name}\"]\ncomponent = \"{name}\"\n"
        )
    };
    let server = Setup::with("[tenant.one]\nquota = { store-bytes = \"8KiB\" }\n[tenant.two]\n")
        .and("[store.main]\nmemory = true\n[store.file]\npath = \"store.db\"\n[store.all]\nmemory = true\nshared = true\n")
        .and(&component("first", "one"))
        .and(&component("second", "one"))
        .and(&component("theirs", "two"))
        .start()
        .await;
    let tell = async |host: &str, path: &str, body: &str| {
        let ask = if body.is_empty() { Ask::get(path) } else { Ask::post(path, body.to_owned()) };
        let answer = server.fetch(Way::H1, ask.host(host)).await;
        (answer.status, answer.text())
    };
    let value = "v".repeat(1800);
    for (host, store) in [("first", "main"), ("first", "file"), ("second", "main"), ("second", "all")] {
        let (status, told) = tell(host, &format!("/set?store={store}&key=a"), &value).await;
        assert_eq!(status, 200, "{host} {store}: {told}");
    }
    let bytes = gauge(&server, "roadrunner_tenant_store_bytes").await;
    assert!((4 * 1800..8 << 10).contains(&bytes), "{bytes}");
    for (count, (host, store)) in [("first", "all"), ("first", "main"), ("second", "file")].into_iter().enumerate() {
        for (operation, tried) in [("set", 1), ("set-if", 2)] {
            let answer = tell(host, &format!("/{operation}?store={store}&key=b"), &value).await;
            assert_eq!(answer, (409, "TooLarge(8192)".to_owned()), "{host} {store} {operation}");
            assert_eq!(exceeded(&server, "store-bytes").await, (2 * count + tried) as f64);
        }
        assert_eq!(tell(host, &format!("/get?store={store}&key=b"), "").await.0, 404, "nothing was added");
    }
    assert_eq!(gauge(&server, "roadrunner_tenant_store_bytes").await, bytes, "what was refused takes nothing");
    // Replacing values, and other tenants.
    assert_eq!(tell("first", "/set?store=main&key=a", &value).await.0, 200);
    for key in 0..10 {
        assert_eq!(tell("theirs", &format!("/set?store=all&key={key}"), &value).await.0, 200);
    }
    assert_eq!(gauge(&server, "roadrunner_tenant_store_bytes").await, bytes);

    // Removed and expired entries make room.
    assert_eq!(tell("second", "/delete?store=all&key=a", "").await.1, "true");
    assert_eq!(tell("first", "/set?store=file&key=b&ttl=300", &value).await.0, 200);
    assert_eq!(tell("second", "/set?store=all&key=a", &value).await.0, 409);
    let room = async || (tell("second", "/set?store=all&key=a", &value).await.0 == 200).then_some(());
    assert!(within(Duration::from_secs(20), room).await.is_some(), "what has expired is given back");

    // With a lowered quota usage can only shrink; a raised quota counts from the current usage.
    let manifest = server.folder().join("roadrunner.toml");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    for (quota, body, status) in
        [("4KiB", "v", 200), ("4KiB", &*"v".repeat(1900), 409), ("64KiB", &*"v".repeat(1900), 200)]
    {
        std::fs::write(&manifest, text.replace("8KiB", quota)).expect("a file");
        let (done, told) = server.admin_request("POST", "/reload").await;
        assert_eq!(done, 200, "{told}");
        assert_eq!(tell("first", "/set?store=main&key=a", body).await.0, status, "{quota}");
    }
    server.is_quiet().await;
}

/// The account of a file is the same after a restart.
#[tokio::test]
async fn what_is_in_a_file_counts_after_a_restart() {
    let (folder, _) = Setup::with("").write();
    let path = folder.path().join("store.db");
    let setup = || {
        Setup::of("stores")
            .component("tenant = \"one\"\nstores = [\"main\"]")
            .and("[tenant.one]\nquota = { store-bytes = \"4KiB\" }\n")
            .and(&format!("[store.main]\npath = {path:?}\n"))
    };
    let set = async |server: &Server, key: &str| {
        server.fetch(Way::H1, Ask::post(&format!("/set?key={key}"), "v".repeat(1500))).await.status
    };
    let server = setup().start().await;
    assert_eq!((set(&server, "a").await, set(&server, "b").await, set(&server, "c").await), (200, 200, 409));
    let bytes = gauge(&server, "roadrunner_tenant_store_bytes").await;
    drop(server);
    let server = setup().start().await;
    assert_eq!(gauge(&server, "roadrunner_tenant_store_bytes").await, bytes);
    assert_eq!((set(&server, "c").await, set(&server, "a").await), (409, 200));
}

/// The work on an upload is CPU time of the tenant, whatever its result.
#[tokio::test]
async fn an_upload_is_cpu_time_of_its_tenant() {
    let server = Setup::with(
        "[tenant.one]\n[component.app]\nfile = \"app.wasm\"\ntenant = \"one\"\n\
         [[route]]\npath = \"/\"\ncomponent = \"app\"\n[deploy]\ndirectory = \"deployed\"\n",
    )
    .file("app.wasm", version(b'A'))
    .start()
    .await;
    let cpu = async || server.metrics().await.sample("roadrunner_tenant_cpu_seconds_total{tenant=\"one\"}");
    let before = cpu().await;
    let (status, text) = put(&server, "app", &vec![b'x'; 30 << 20]).await;
    assert_eq!(status, 422, "{text}");
    let charged = cpu().await - before;
    // Sixty megabytes are hashed: at three gigabytes a second, on a machine with instructions for that, it takes 20 ms.
    assert!(charged > 0.01, "{charged} s");
}

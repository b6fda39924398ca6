//! How much guests may write into directories, and how many files they may have open.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roadrunner_tests::{Ask, Server, Setup, Way, within};
use rustix::process::Signal;
use tempfile::TempDir;

/// The standard library's error when there is no room for another file.
const FULL: &str = "No space left on device (os error 51)";

/// Its error when there is no room for the written bytes: it does not read the error code of a stream.
const NOT_WRITTEN: &str = "I/O error (os error 29)";

const KIB: u64 = 1 << 10;

/// A guest that may write to the directory `data`, which has these keys.
fn setup(folder: &TempDir, keys: &str) -> Setup {
    let path = folder.path();
    Setup::of("disk")
        .component("preopens = [{ directory = \"data\", mode = \"write\" }]")
        .and(&format!("[directory.data]\npath = {path:?}\n{keys}\n"))
}

async fn tell(server: &Server, way: Way, path: &str, body: &str) -> String {
    let ask = if body.is_empty() { Ask::get(path) } else { Ask::post(path, body.to_owned()) };
    let answer = server.fetch(way, ask).await;
    assert!([200, 409].contains(&answer.status), "{path}: {answer:?}");
    answer.text()
}

/// The size of the files in a folder according to `du`, and the sum of their lengths.
fn on_disk(folder: &Path) -> (u64, u64) {
    let data =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").metadata().expect("its data"));
    data.fold((0, 0), |(blocks, bytes), data| (blocks + data.blocks() * 512, bytes + data.len()))
}

async fn gauge(server: &Server, name: &str) -> u64 {
    server.metrics().await.sample(&format!("roadrunner_directory_{name}{{directory=\"data\"}}")) as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_has_a_size() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("before"), vec![0; 10_000]).expect("a file");
    let server = Arc::new(setup(&folder, "size = \"1MiB\"").start().await);
    assert_eq!(gauge(&server, "bytes").await, 12 * KIB, "three blocks are there from before");
    // Several instances, on separate files and on a shared one, with pieces that do not end at a block.
    let fills = (0..6).map(|n| {
        let name = if n < 4 { n.to_string() } else { "shared".to_owned() };
        let path = format!("/fill?path=/data/{name}&size={}", 3000 + n);
        let (server, way) = (server.clone(), Way::EACH[n % Way::EACH.len()]);
        tokio::spawn(async move { tell(&server, way, &path, "").await })
    });
    for fill in fills.collect::<Vec<_>>() {
        let answer = fill.await.expect("an answer");
        let (written, why) = answer.split_once(", then ").expect("how much, and why no more");
        assert_eq!(why, NOT_WRITTEN);
        assert!(written.parse::<u64>().is_ok());
    }
    let (blocks, bytes) = on_disk(folder.path());
    assert!(blocks <= 1024 * KIB, "{blocks} bytes are taken on the disk");
    assert!(bytes > 1024 * KIB - 7 * 4 * KIB, "only {bytes} bytes were written");
    assert_eq!(gauge(&server, "bytes").await, 1024 * KIB);
    assert!(gauge(&server, "refused_total").await >= 6);
    let large = "x".repeat(5000);
    assert_eq!(tell(&server, Way::H1, "/write?path=/data/more", &large).await, NOT_WRITTEN);
    for operation in ["bare-put?path=more&size=5000", "bare-write?path=0&size=4096"] {
        let answer = tell(&server, Way::H1, &format!("/{operation}"), "").await;
        assert_eq!(answer, "Err(insufficient-space)", "{operation}");
    }
    assert_eq!(tell(&server, Way::H1, "/size?path=/data/before&size=1000000", "").await, FULL, "holes count, too");
    assert_eq!(tell(&server, Way::H1, "/overwrite?path=/data/before", &large).await, "done", "this adds nothing");
    // Removed files give their room back; the write waits until it is counted.
    assert_eq!(tell(&server, Way::H1, "/remove?path=/data/shared", "").await, "done");
    assert_eq!(tell(&server, Way::H1, "/write?path=/data/more", &large).await, "done");
    // Files without a name take room for as long as they are open.
    let removed = tell(&server, Way::H1, "/fill-removed?path=/data/gone&size=20000", "").await;
    assert!(removed.ends_with(NOT_WRITTEN), "{removed}");
    let (blocks, _) = on_disk(folder.path());
    let removed: u64 = removed.split(',').next().and_then(|bytes| bytes.parse().ok()).expect("a number");
    assert!(removed > 0 && blocks + removed <= 1024 * KIB, "{blocks} and {removed}");
    let free = within(Duration::from_secs(20), async || {
        (gauge(&server, "bytes").await <= on_disk(folder.path()).1.next_multiple_of(4 * KIB) + 7 * 4 * KIB)
            .then_some(())
    });
    assert!(free.await.is_some(), "they are gone with the instance");
    server.is_quiet().await;
}

#[tokio::test]
async fn a_directory_has_so_many_files() {
    let folder = TempDir::new().expect("a folder");
    let server = setup(&folder, "files = 20").start().await;
    assert_eq!(tell(&server, Way::H1, "/make-directory?path=/data/d", "").await, "done");
    assert_eq!(tell(&server, Way::H2c, "/many-files?path=/data/d&n=1000", "").await, format!("19, then {FULL}"));
    for operation in ["make-directory?path=/data/e", "symlink?path=/data/e&to=d", "link?path=/data/d/1&to=/data/e"] {
        assert_eq!(tell(&server, Way::H1, &format!("/{operation}"), "").await, FULL, "{operation}");
    }
    assert_eq!(gauge(&server, "files").await, 20);
    assert_eq!(tell(&server, Way::H1, "/write?path=/data/d/1", "content").await, "done", "it is there already");
    assert_eq!(tell(&server, Way::H1, "/remove?path=/data/d/2", "").await, "done");
    assert_eq!(tell(&server, Way::H1, "/make-directory?path=/data/e", "").await, "done");
}

#[tokio::test]
async fn sizes_change_with_the_manifest_and_nothing_is_forgotten() {
    let folder = TempDir::new().expect("a folder");
    let server = setup(&folder, "size = \"8KiB\"").start().await;
    let block = "x".repeat(8192);
    assert_eq!(tell(&server, Way::H1, "/write?path=/data/a", &block).await, "done");
    assert_eq!(tell(&server, Way::H1, "/append?path=/data/a", "x").await, NOT_WRITTEN);
    let manifest = server.folder().join("roadrunner.toml");
    let text = fs::read_to_string(&manifest).expect("the manifest");
    fs::write(&manifest, text.replace("size = \"8KiB\"", "size = \"16KiB\"")).expect("it is ours");
    server.signal(Signal::HUP);
    let larger = within(Duration::from_secs(20), async || {
        (tell(&server, Way::H1, "/append?path=/data/a", "x").await == "done").then_some(())
    });
    assert!(larger.await.is_some());
    assert_eq!(gauge(&server, "bytes").await, 12 * KIB, "what was there before counts on");
    // Removals by others are noticed, too, sooner or later.
    fs::remove_file(folder.path().join("a")).expect("it is there");
    let seen = within(Duration::from_secs(20), async || {
        (tell(&server, Way::H1, "/write?path=/data/b", &format!("{block}{block}")).await == "done").then_some(())
    });
    assert!(seen.await.is_some());
}

#[tokio::test]
async fn tenants_have_a_quota_of_disk() {
    let (one, two) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let preopens = "preopens = [{ directory = \"one\", mode = \"write\" }, { directory = \"two\", mode = \"write\" }]";
    let server = Setup::with(&format!(
        "[tenant.acme.quota]\ndisk = \"64KiB\"\n\
         [directory.one]\npath = {:?}\ntenant = \"acme\"\n[directory.two]\npath = {:?}\ntenant = \"acme\"\n\
         [component.disk]\nfile = \"{{guests}}/disk.wasm\"\ntenant = \"acme\"\n{preopens}\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"disk\"\n",
        one.path(),
        two.path()
    ))
    .start()
    .await;
    let block = "x".repeat(40_000);
    assert_eq!(tell(&server, Way::H1, "/write?path=/one/a", &block).await, "done");
    assert_eq!(tell(&server, Way::H1, "/write?path=/two/a", &block).await, NOT_WRITTEN);
    assert_eq!(tell(&server, Way::H1, "/bare-put?path=b&size=40000", "").await, "Err(quota)");
    assert_eq!(tell(&server, Way::H1, "/bare-write?path=a&size=4096", "").await, "Ok(())", "there is room for this");
    for _ in 0..10 {
        tell(&server, Way::H1, "/bare-write?path=a&size=4096", "").await;
    }
    assert_eq!(tell(&server, Way::H1, "/bare-write?path=a&size=4096", "").await, "Err(quota)");
    let bytes = async || server.metrics().await.sample("roadrunner_tenant_disk_bytes{tenant=\"acme\"}") as u64;
    assert!((40 * KIB..=64 * KIB).contains(&bytes().await));
    let exceeded = "roadrunner_tenant_quota_exceeded_total{tenant=\"acme\",quota=\"disk\"}";
    assert!(server.metrics().await.sample(exceeded) >= 1.0);
    assert_eq!(tell(&server, Way::H1, "/remove?path=/one/a", "").await, "done");
    let room = within(Duration::from_secs(20), async || {
        (tell(&server, Way::H1, "/write?path=/two/a", &block).await == "done").then_some(())
    });
    assert!(room.await.is_some(), "the room of one directory is that of the other");
    assert_eq!(bytes().await, 40 * KIB);
}

#[tokio::test]
async fn what_is_open_is_bounded() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("a"), "a").expect("a file");
    for n in 0..500 {
        fs::write(folder.path().join(format!("file-with-a-long-name-{n}")), "").expect("a file");
    }
    let server = setup(&folder, "").limit("handles = 100, memory = \"4MiB\"").start().await;
    assert_eq!(tell(&server, Way::H1, "/open-many?path=/data/a&n=50", "").await, "50 open");
    let open = || fs::read_dir(format!("/proc/{}/fd", server.id())).expect("its descriptors").count();
    let before = open();
    let server = &server;
    let fetch = async |path: &str, outcome: &str| {
        let answer = server.fetch(Way::H2c, Ask::get(path)).await;
        assert!(answer.status >= 500, "{path}: {answer:?}");
        assert_eq!(server.access(path).await["outcome"], outcome, "{path}");
    };
    fetch("/open-many?path=/data/a&n=5000", "handles-exceeded").await;
    fetch("/listings?path=.&n=90", "memory-exceeded").await;
    fetch("/streams?path=a&n=95", "memory-exceeded").await;
    assert_eq!(tell(server, Way::H1, "/listings?path=.&n=3", "").await, "Ok(3)");
    assert_eq!(tell(server, Way::H1, "/streams?path=a&n=20", "").await, "Ok(20)");
    let closed = within(Duration::from_secs(10), async || (open() <= before).then_some(()));
    assert!(closed.await.is_some(), "{before} descriptors, and then {}", open());
}

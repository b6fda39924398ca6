//! Directories that guests have open: the allowed operations, and that nothing outside is reached.
//!
//! `wasi_limits` tests how much they may write.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use roadrunner_tests::{Answer, Ask, Server, Setup, Way, command, within};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use tempfile::TempDir;

const SECRET: &str = "what is outside";

/// `data`, which guests can change, `pictures`, which they can read, and `outside`, which they cannot reach.
struct Folders(TempDir);

impl Folders {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        for name in ["data", "pictures", "outside"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        fs::write(folder.path().join("pictures/cat"), "meow").expect("a file");
        fs::write(folder.path().join("outside/secret"), SECRET).expect("a file");
        Self(folder)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    /// The directories in a manifest.
    fn sections(&self) -> String {
        let (data, pictures) = (self.path("data"), self.path("pictures"));
        format!("[directory.data]\npath = {data:?}\n[directory.pictures]\npath = {pictures:?}\n")
    }

    async fn start(&self) -> Server {
        let preopens = "preopens = [{ directory = \"data\", mode = \"write\" }, { directory = \"pictures\" }]";
        Setup::of("disk").component(preopens).and(&self.sections()).start().await
    }
}

async fn ask(server: &Server, way: Way, path: &str, body: &str) -> Answer {
    let ask = if body.is_empty() { Ask::get(path) } else { Ask::post(path, body.to_owned()) };
    server.fetch(way, ask).await
}

/// Runs one operation over HTTP/1.1, which may fail in the guest, and returns its answer.
async fn tell(server: &Server, path: &str) -> String {
    let answer = ask(server, Way::H1, path, "").await;
    assert!([200, 409].contains(&answer.status), "{path}: {answer:?}");
    answer.text()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn the_standard_library_works_on_them() {
    let folders = Folders::new();
    let server = folders.start().await;
    for way in Way::EACH {
        for (operation, body, answer) in [
            ("write?path=/data/a", "one", "done"),
            ("append?path=/data/a", " two", "done"),
            ("overwrite?path=/data/a", "ONE", "done"),
            ("read?path=/data/a", "", "ONE two"),
            ("size?path=/data/a", "", "7"),
            ("create-new?path=/data/a", "x", "File exists (os error 20)"),
            ("make-directory?path=/data/d", "", "done"),
            ("rename?path=/data/a&to=/data/d/b", "", "done"),
            ("read?path=/data/a", "", "No such file or directory (os error 44)"),
            ("copy?path=/data/d/b&to=/data/c", "", "done"),
            ("size?path=/data/c&size=3", "", "done"),
            ("read?path=/data/c", "", "ONE"),
            ("link?path=/data/c&to=/data/e", "", "done"),
            ("list?path=/data", "", "c\nd\ne\n"),
            ("remove-directory?path=/data/d", "", "Directory not empty (os error 55)"),
            ("symlink?path=/data/l&to=d/b", "", "done"),
            ("read?path=/data/l", "", "ONE two"),
            ("remove?path=/data/l", "", "done"),
            ("remove?path=/data/d/b", "", "done"),
            ("remove-directory?path=/data/d", "", "done"),
            ("remove?path=/data/c", "", "done"),
            ("read?path=/data/e", "", "ONE"),
            ("remove?path=/data/e", "", "done"),
            ("list?path=/data", "", ""),
            ("read?path=/pictures/cat", "", "meow"),
            ("list?path=/pictures", "", "cat\n"),
        ] {
            let seen = ask(&server, way, &format!("/{operation}"), body).await;
            assert_eq!(seen.text(), answer, "{way:?}: {operation}");
        }
    }
    let large = "x".repeat(300_000);
    assert_eq!(ask(&server, Way::H2c, "/write?path=/data/large", &large).await.text(), "done");
    assert_eq!(read(&folders.path("data/large")), large);
    assert_eq!(ask(&server, Way::H2c, "/read?path=/data/large", "").await.text(), large);
    server.is_quiet().await;
}

#[tokio::test]
async fn what_is_granted_to_read_is_not_changed() {
    let folders = Folders::new();
    let server = folders.start().await;
    for operation in [
        "write?path=/pictures/cat",
        "write?path=/pictures/dog",
        "append?path=/pictures/cat",
        "create-new?path=/pictures/dog",
        "size?path=/pictures/cat&size=0",
        "make-directory?path=/pictures/d",
        "remove?path=/pictures/cat",
        "rename?path=/pictures/cat&to=/pictures/dog",
        "link?path=/pictures/cat&to=/pictures/dog",
        "symlink?path=/pictures/dog&to=cat",
        "rename?path=/pictures/cat&to=/data/cat",
        "link?path=/pictures/cat&to=/data/cat",
    ] {
        let answer = tell(&server, &format!("/{operation}")).await;
        assert!(answer.contains("os error 69"), "read-only, but {operation}: {answer}");
    }
    assert_eq!(fs::read_dir(folders.path("pictures")).expect("a folder").count(), 1);
    assert_eq!(read(&folders.path("pictures/cat")), "meow");
    assert_eq!(fs::read_dir(folders.path("data")).expect("a folder").count(), 0);
}

#[tokio::test]
async fn standard_components_have_them_too_and_others_have_none() {
    let folders = Folders::new();
    let preopens = "preopens = [{ directory = \"pictures\", path = \"/srv/pictures\" }]";
    let server = Setup::with(&format!(
        "{}[component.standard]\nfile = \"{{guests}}/standard.wasm\"\n{preopens}\n\
         [component.bare]\nfile = \"{{guests}}/disk.wasm\"\ndirectories = [\"pictures\"]\n\
         [[route]]\npath = \"/*rest\"\ncomponent = \"standard\"\n\
         [[route]]\npath = \"/*rest\"\nhosts = [\"bare.example\"]\ncomponent = \"bare\"\n",
        folders.sections()
    ))
    .start()
    .await;
    assert_eq!(tell(&server, "/file?/srv/pictures/cat").await, "meow");
    assert!(tell(&server, "/file?/pictures/cat").await.contains("os error"), "it is where the manifest puts it");
    for path in ["/read?path=/pictures/cat", "/read?path=/srv/pictures/cat", "/bare-open?path=cat"] {
        let answer = server.fetch(Way::H2c, Ask::get(path).host("bare.example")).await.text();
        assert!(answer.contains("os error") || answer == "no preopens", "sendfile grants nothing else: {answer}");
    }
}

#[tokio::test]
async fn python_opens_them_as_it_opens_files() {
    let component = command::guests().join("standard_python.wasm");
    if !component.is_file() {
        let reason = "it was not built: run `cargo xtask guests`";
        println!("SKIPPED: wasi_files::python_opens_them_as_it_opens_files: standard_python: {reason}");
        return;
    }
    let folders = Folders::new();
    let server = Setup::with(&format!(
        "{}[component.app]\nfile = {component:?}\npreopens = [{{ directory = \"pictures\" }}]\n\
         limits = {{ cpu = \"10s\" }}\n[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n",
        folders.sections()
    ))
    .compiled()
    .await
    .start()
    .await;
    assert_eq!(server.text("/cat").await, "meow");
}

#[tokio::test]
async fn are_opened_once_and_not_for_each_request() {
    let folders = Folders::new();
    let server = folders.start().await;
    assert_eq!(ask(&server, Way::H1, "/write?path=/data/a", "first").await.text(), "done");
    fs::rename(folders.path("data"), folders.path("moved")).expect("it is ours");
    fs::create_dir(folders.path("data")).expect("a folder");
    fs::write(folders.path("data/a"), "second").expect("a file");
    for way in Way::EACH {
        assert_eq!(ask(&server, way, "/read?path=/data/a", "").await.text(), "first", "{way:?}: no path is resolved");
    }
    let open = || fs::read_dir(format!("/proc/{}/fd", server.id())).expect("its descriptors").count();
    let before = open();
    for _ in 0..200 {
        assert_eq!(tell(&server, "/read?path=/data/a").await, "first");
    }
    let after = within(Duration::from_secs(10), async || (open() <= before).then_some(()));
    assert!(after.await.is_some(), "{before} descriptors, and then {}", open());
    server.signal(Signal::HUP);
    let reloaded =
        within(Duration::from_secs(20), async || (tell(&server, "/read?path=/data/a").await == "second").then_some(()));
    assert!(reloaded.await.is_some(), "a reload opens what is there then");
}

#[tokio::test]
async fn nothing_outside_is_reached() {
    let folders = Folders::new();
    fs::create_dir(folders.path("data/inner")).expect("a folder");
    fs::write(folders.path("data/a"), "a").expect("a file");
    symlink("../outside/secret", folders.path("data/relative")).expect("a link");
    symlink(folders.path("outside/secret"), folders.path("data/absolute")).expect("a link");
    symlink("../../outside", folders.path("data/inner/up")).expect("a link");
    symlink("/proc/self", folders.path("data/proc")).expect("a link");
    let server = folders.start().await;
    let absolute = folders.path("outside/secret").display().to_string();
    let made = tell(&server, "/bare-symlink?path=made&to=../outside/secret").await;
    assert_eq!(made, "Ok(())", "a link may say what it likes");
    assert!(tell(&server, &format!("/bare-symlink?path=made2&to={absolute}")).await.starts_with("Err("));
    let paths = [
        "../outside/secret",
        "inner/../../outside/secret",
        &absolute,
        "relative",
        "absolute",
        "made",
        "inner/up/secret",
        "proc/environ",
        "proc/root",
        "proc/fd/0",
        "/proc/self/environ",
        "../../../../../../../../../../proc/self/environ",
        "..",
        "../data",
    ];
    for path in paths {
        for operation in ["bare-open", "bare-create", "bare-stat"] {
            let answer = tell(&server, &format!("/{operation}?path={path}")).await;
            assert!(answer.starts_with("Err("), "{operation} {path}: {answer}");
            assert!(!answer.contains(SECRET), "{operation} {path}");
        }
        let answer = tell(&server, &format!("/read?path=/data/{path}")).await;
        assert!(answer.contains("os error"), "{path}: {answer}");
    }
    for operation in [
        "bare-link?path=../outside/secret&to=stolen",
        "bare-rename?path=../outside/secret&to=stolen",
        "bare-rename?path=a&to=../outside/a",
        "bare-link?path=a&to=../outside/a",
        "bare-link?path=a&to=inner/up/a",
        "bare-rename?path=a&to=inner/up/a",
        "bare-symlink?path=../outside/l&to=a",
    ] {
        let answer = tell(&server, &format!("/{operation}")).await;
        assert!(answer.starts_with("Err("), "{operation}: {answer}");
    }
    let outside: Vec<_> = fs::read_dir(folders.path("outside")).expect("a folder").collect();
    assert_eq!((outside.len(), read(&folders.path("outside/secret")).as_str()), (1, SECRET));
    assert!(!folders.path("data/stolen").exists());
    server.is_quiet().await;
}

#[tokio::test]
async fn nothing_moves_from_one_directory_to_another() {
    let folders = Folders::new();
    fs::write(folders.path("data/a"), "a").expect("a file");
    let preopens =
        "preopens = [{ directory = \"data\", mode = \"write\" }, { directory = \"pictures\", mode = \"write\" }]";
    let server = Setup::of("disk").component(preopens).and(&folders.sections()).start().await;
    assert_eq!(tell(&server, "/bare-rename?path=a&to=a").await, "Err(cross-device)");
    assert_eq!(tell(&server, "/bare-link?path=a&to=a").await, "Err(cross-device)");
    assert!(tell(&server, "/rename?path=/data/a&to=/pictures/a").await.contains("os error 75"));
    assert_eq!(tell(&server, "/copy?path=/data/a&to=/pictures/a").await, "done", "as between two file systems");
    assert_eq!(read(&folders.path("pictures/a")), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn races_with_links_do_not_lead_out() {
    let folders = Folders::new();
    fs::create_dir(folders.path("data/dir")).expect("a folder");
    fs::write(folders.path("data/dir/secret"), "inside").expect("a file");
    symlink(folders.path("outside"), folders.path("data/aside")).expect("a link");
    let server = folders.start().await;
    let (done, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let swapping = std::thread::spawn({
        let (done, swaps, data) = (done.clone(), swaps.clone(), folders.path("data"));
        move || {
            let swap = |a: &str, b: &str| {
                rustix::fs::renameat_with(CWD, data.join(a), CWD, data.join(b), rustix::fs::RenameFlags::EXCHANGE)
            };
            while !done.load(Relaxed) {
                // The directory, and a link out of it, exchange their names.
                swap("dir", "aside").expect("they are both there");
                swaps.fetch_add(1, Relaxed);
            }
        }
    });
    let mut seen = String::new();
    for _ in 0..10 {
        seen += &tell(&server, "/race?path=/data/dir/secret&n=300").await;
    }
    let answer = ask(&server, Way::H1, "/race-write?path=/data/dir/secret&n=500", "").await;
    done.store(true, Relaxed);
    swapping.join().expect("the swaps");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(swaps.load(Relaxed) > 1000, "there was hardly a race");
    assert!(seen.contains("inside"), "the file was there, now and then: {seen}");
    assert!(seen.contains("os error"), "so was the link: {seen}");
    assert!(!seen.contains(SECRET), "{seen}");
    assert_eq!(read(&folders.path("outside/secret")), SECRET, "nor was it written");
}

#[tokio::test]
async fn what_is_no_file_is_not_opened_and_holds_nobody_up() {
    let folders = Folders::new();
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, folders.path("data/fifo"), FileType::Fifo, mode, 0).expect("a FIFO");
    symlink("fifo", folders.path("data/link")).expect("a link");
    let zero = rustix::fs::makedev(1, 5);
    let has_device = mknodat(CWD, folders.path("data/zero"), FileType::CharacterDevice, mode, zero).is_ok();
    let socket = std::os::unix::net::UnixListener::bind(folders.path("data/socket")).expect("a socket");
    let server = folders.start().await;
    let names = ["link", "fifo", "socket", "zero"];
    for name in &names[..if has_device { 4 } else { 3 }] {
        for operation in ["read", "write", "append"] {
            let answer = ask(&server, Way::H1, &format!("/{operation}?path=/data/{name}"), "x").await.text();
            assert!(answer.contains("os error 63"), "not permitted, but {operation} {name}: {answer}");
        }
        assert_eq!(tell(&server, &format!("/bare-stat?path={name}")).await, "Ok(0)");
        assert_eq!(tell(&server, &format!("/remove?path=/data/{name}")).await, "done");
    }
    drop(socket);
    server.is_quiet().await;
}

//! Compiling in an unprivileged process: a component that takes too much is refused with the relevant key, and the host
//! continues. The bombs are made here, so that each is as large as its test needs.

use std::collections::BTreeSet;
use std::future::ready;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use roadrunner_tests::command::{self, Done};
use roadrunner_tests::server::component;
use roadrunner_tests::{Setup, soon, within};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

/// An empty component; sections can follow.
pub(crate) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// An empty module; sections can follow.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// An unsigned number in LEB128.
pub(crate) fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

pub(crate) fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len()), content].concat()
}

/// A function whose every block needs every local: the compiler has a value for each local in each block.
fn bomb(locals: usize, blocks: usize) -> Vec<u8> {
    // One run of this many locals of type i32.
    let mut body = [&[1][..], &leb(locals), &[0x7f]].concat();
    for block in 0..blocks {
        let local = leb(block % locals);
        // block, local.get, br_if 0, local.get, i32.const 1, i32.add, local.set, end
        body.extend(
            [&[0x02, 0x40, 0x20][..], &local, &[0x0d, 0, 0x20], &local, &[0x41, 1, 0x6a, 0x21], &local, &[0x0b]]
                .concat(),
        );
    }
    body.extend([0x41, 0]);
    for local in 0..locals {
        body.extend([&[0x20][..], &leb(local), &[0x6a]].concat());
    }
    // The sum is not used elsewhere, but not optimised away: it decides whether there is a trap.
    body.extend([0x04, 0x40, 0x00, 0x0b, 0x0b]);
    let code = [&leb(1)[..], &leb(body.len()), &body].concat();
    let module = [MODULE, &section(1, &[1, 0x60, 0, 0]), &section(3, &[1, 0]), &section(10, &code)].concat();
    [COMPONENT, &section(1, &module)].concat()
}

/// A bomb that takes a long time and much memory, each far above the tests' limits.
fn large_bomb() -> Vec<u8> {
    bomb(3000, 12_000)
}

fn setup(bounds: &str, bomb: Vec<u8>) -> Setup {
    Setup::with("[component.bomb]\nfile = \"bomb.wasm\"\n[[route]]\npath = \"/\"\ncomponent = \"bomb\"\n")
        .and(&format!("[compile]\n{bounds}\n"))
        .file("bomb.wasm", bomb)
}

async fn check(setup: &Setup) -> Done {
    let (folder, _) = setup.write();
    super::cli::run(folder.path(), &["check"]).await
}

/// Checks that it is refused, in one sentence that contains this text.
#[track_caller]
fn is_refused(done: &Done, reason: &str) {
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("bomb.wasm") && done.stderr.contains(reason), "{reason}: {done:?}");
    assert_eq!(done.stderr.trim().lines().count(), 1, "one sentence: {done:?}");
    assert_eq!(done.stderr.matches(reason).count(), 1, "said once: {done:?}");
}

#[tokio::test]
async fn cpu() {
    let start = Instant::now();
    let done = check(&setup("cpu = \"1s\"\nmemory = \"16GiB\"", large_bomb())).await;
    is_refused(&done, "compiling took more than 1s of CPU time (`cpu` in [compile])");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[tokio::test]
async fn time() {
    let done = check(&setup("time = \"1s\"\nmemory = \"16GiB\"", large_bomb())).await;
    is_refused(&done, "compiling took more than 1s (`time` in [compile])");
}

#[tokio::test]
async fn memory() {
    let done = check(&setup("memory = \"64MiB\"", large_bomb())).await;
    is_refused(&done, "compiling took more than 64 MiB of memory (`memory` in [compile])");
}

#[tokio::test]
async fn max_wasm() {
    // A sparse file, which is not read into memory.
    let (folder, _) = setup("", COMPONENT.to_vec()).write();
    let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("bomb.wasm")).expect("a file");
    file.set_len(200 << 20).expect("a sparse file");
    let done = super::cli::run(folder.path(), &["check"]).await;
    is_refused(&done, "larger than 67108864 bytes (`max-wasm` in [compile])");
    let done = check(&setup("max-wasm = \"1KiB\"", bomb(10, 1000))).await;
    is_refused(&done, "larger than 1024 bytes (`max-wasm` in [compile])");
}

#[tokio::test]
async fn what_has_too_much_of_something() {
    let nested = (0..5000).fold(COMPONENT.to_vec(), |inner, _| [COMPONENT, &section(4, &inner)].concat());
    is_refused(&check(&setup("", nested)).await, "it has more than 16 levels of nesting");
    // A type section of functions without parameters and results.
    let types =
        |count: usize| [COMPONENT, &section(7, &[&leb(count)[..], &[0x40, 0, 1, 0].repeat(count)].concat())].concat();
    is_refused(&check(&setup("", types(300_000))).await, "it has more than 200000 types");
    // Types nested more deeply than any stack can take, and certainly the host's.
    let depth = 1_000_000;
    let deep = [&[1][..], &[0x41, 1, 1].repeat(depth), &[0x40, 0, 1, 0]].concat();
    let deep = [COMPONENT, &section(7, &deep)].concat();
    let done = check(&setup("", deep)).await;
    assert!(done.code == 1 && done.stderr.starts_with("error: bomb.wasm"), "{done:?}");
}

/// The child processes of this one.
pub(crate) fn children(parent: u32) -> BTreeSet<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return BTreeSet::new() };
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        // The name in brackets may contain spaces; after it come the state and the parent.
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1) == Some(&parent.to_string())
    })
    .collect()
}

/// Starts `check`, and leaves it running.
fn start(setup: &Setup) -> (TempDir, Child) {
    let (folder, _) = setup.write();
    let mut check = command::roadrunner();
    check.arg("check").current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = check.spawn().expect("the program can be started");
    (folder, child)
}

/// The compiler that it has started, once the compiler has read its component.
async fn compiler(of: u32) -> u32 {
    let found = within(Duration::from_secs(30), async || {
        children(of).into_iter().find(|id| status(*id, "Seccomp").is_some_and(|mode| mode == "2"))
    });
    found.await.expect("a compiler with a filter").0
}

fn status(id: u32, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned()))
}

fn kill(child: &mut Child) {
    child.kill().expect("it is our own process");
    child.wait().expect("it is our own process");
}

#[tokio::test]
async fn a_compiler_has_nothing_and_dies_with_the_host() {
    let (_folder, mut host) = start(&setup("memory = \"16GiB\"", large_bomb()));
    let id = compiler(host.id()).await;
    assert_eq!(status(id, "NoNewPrivs").as_deref(), Some("1"));
    let descriptors: Vec<_> = std::fs::read_dir(format!("/proc/{id}/fd"))
        .expect("it runs")
        .map(|entry| std::fs::read_link(entry.expect("an entry").path()).unwrap_or_default())
        .collect();
    let is_pipe = |path: &PathBuf| path.display().to_string().starts_with("pipe:");
    assert!(descriptors.len() <= 3 && descriptors.iter().all(is_pipe), "{descriptors:?}");
    let environment = std::fs::read_to_string(format!("/proc/{id}/environ")).expect("it runs");
    let known = |variable: &str| ["", "RAYON_NUM_THREADS", "MIMALLOC_ARENA_RESERVE"].contains(&variable);
    let mut names = environment.split('\0').map(|pair| pair.split('=').next().unwrap_or_default());
    assert!(names.all(known), "{environment:?}");
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).expect("it runs");
    for limit in ["Max open files            3  ", "Max file size             0  ", "Max core file size        0  "] {
        assert!(limits.contains(limit), "{limit}: {limits}");
    }

    let own = i32::try_from(host.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(own, Signal::KILL).expect("it is our own process");
    host.wait().expect("it is our own process");
    let gone = within(Duration::from_secs(10), async || (!Path::new(&format!("/proc/{id}")).exists()).then_some(()));
    assert!(gone.await.is_some(), "the compiler outlives the host");
}

#[tokio::test]
async fn concurrency() {
    let names = ["a", "b", "c"];
    let mut setup = Setup::with("[compile]\nconcurrency = 1\ntime = \"2s\"\nmemory = \"16GiB\"\n");
    for (index, name) in names.into_iter().enumerate() {
        setup = setup
            .and(&format!(
                "[component.{name}]\nfile = \"{name}.wasm\"\n[[route]]\npath = \"/{name}\"\ncomponent = \"{name}\"\n"
            ))
            .file(&format!("{name}.wasm"), bomb(3000, 12_000 + index));
    }
    let (_folder, mut host) = start(&setup);
    let mut seen = BTreeSet::new();
    while host.try_wait().expect("it is our own process").is_none() {
        let running = children(host.id());
        assert!(running.len() <= 1, "more than one compiler: {running:?}");
        seen.extend(running);
        if seen.len() > 1 {
            kill(&mut host);
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(seen.len() > 1, "the next one follows: {seen:?}");
}

/// A refused component leaves nothing; compiled code is loaded without a compiler.
#[tokio::test]
async fn the_cache_has_what_was_compiled_and_nothing_else() {
    let folder = TempDir::new().expect("a folder");
    let cache = folder.path().join("cache");
    let manifest = |name: &str, rest: &str| {
        let text = format!(
            "[server]\ncache-dir = {cache:?}\n{rest}\n{}[[route]]\npath = \"/\"\ncomponent = \"{name}\"\n",
            component(name)
        );
        std::fs::write(
            folder.path().join("roadrunner.toml"),
            text.replace("{guests}", &command::guests().display().to_string()),
        )
        .expect("a file");
    };
    let entries = || std::fs::read_dir(&cache).map_or(0, Iterator::count);
    manifest("streams", "[compile]\nmemory = \"64MiB\"\ncpu = \"1s\"\ntime = \"1s\"\nmax-wasm = \"1KiB\"");
    assert_eq!(super::cli::run(folder.path(), &["check"]).await.code, 1);
    assert_eq!(entries(), 0);
    manifest("streams", "");
    let done = super::cli::run(folder.path(), &["check"]).await;
    assert_eq!((done.code, entries()), (0, 1), "{done:?}");
    let entry = std::fs::read_dir(&cache).expect("a folder").next().expect("one entry").expect("an entry").path();
    // A damaged entry is compiled again, and a valid one is not rewritten.
    std::fs::write(&entry, "not code").expect("a file");
    assert_eq!(super::cli::run(folder.path(), &["check"]).await.code, 0);
    let written = std::fs::metadata(&entry).and_then(|data| data.modified()).expect("a file");
    assert!(std::fs::metadata(&entry).expect("a file").len() > 1000);
    assert_eq!(super::cli::run(folder.path(), &["check"]).await.code, 0);
    assert_eq!(std::fs::metadata(&entry).and_then(|data| data.modified()).expect("a file"), written);
}

/// A server that has begun to compile a component that takes minutes.
async fn starting(cache: &Path) -> (TempDir, Child, BufReader<ChildStderr>, u32) {
    let (folder, manifest) = setup("memory = \"16GiB\"\ncpu = \"10m\"", large_bomb()).cache(cache).write();
    let mut serve = command::roadrunner();
    serve.arg("serve").arg(manifest).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = serve.stderr(Stdio::piped()).spawn().expect("the program can be started");
    let log = BufReader::new(child.stderr.take().expect("it is piped"));
    let id = compiler(child.id()).await;
    (folder, child, log, id)
}

/// Shutting down the host does not wait for a compiler.
#[tokio::test]
async fn a_start_says_what_it_compiles_and_ends_at_once() {
    let cache = TempDir::new().expect("a folder");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (_folder, mut host, mut log, compiler) = starting(cache.path()).await;
        let mut line = String::new();
        log.read_line(&mut line).expect("a line");
        let bytes = large_bomb().len();
        for part in ["compiling a component", "\"component\":\"bomb\"", &format!("\"bytes\":{bytes}")] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let own = i32::try_from(host.id()).ok().and_then(Pid::from_raw).expect("a process id");
        let start = Instant::now();
        kill_process(own, signal).expect("it is our own process");
        let ended = within(Duration::from_secs(5), || ready(host.try_wait().expect("it is our own process"))).await;
        let Some((status, _)) = ended else {
            kill(&mut host);
            panic!("it does not end after {signal:?}");
        };
        assert_eq!(status.code(), Some(code), "{signal:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "{signal:?}: {:?}", start.elapsed());
        let gone = async || (!Path::new(&format!("/proc/{compiler}")).exists()).then_some(());
        assert!(within(Duration::from_secs(2), gone).await.is_some(), "the compiler outlives the host");
    }
    assert_eq!(std::fs::read_dir(cache.path()).expect("a folder").count(), 0, "nothing is half-written");
}

/// The same for the commands that compile.
#[tokio::test]
async fn check_and_compile_end_at_once() {
    for command in ["check", "compile"] {
        let cache = TempDir::new().expect("a folder");
        let (folder, _) = setup("memory = \"16GiB\"\ncpu = \"10m\"", large_bomb()).cache(cache.path()).write();
        let mut program = command::roadrunner();
        program
            .arg(command)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = program.spawn().expect("the program can be started");
        let compiler = compiler(child.id()).await;
        let own = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(own, Signal::INT).expect("it is our own process");
        let ended = within(Duration::from_secs(5), || ready(child.try_wait().expect("it is our own process"))).await;
        assert!(ended.is_some(), "{command} does not end");
        let gone = async || (!Path::new(&format!("/proc/{compiler}")).exists()).then_some(());
        assert!(within(Duration::from_secs(2), gone).await.is_some(), "the compiler outlives {command}");
    }
}

/// One component under two names, requested in parallel and again.
#[tokio::test]
async fn the_same_component_is_compiled_once() {
    let cache = TempDir::new().expect("a folder");
    let text = |name: &str| {
        format!(
            "[component.{name}]\nfile = \"{{guests}}/streams.wasm\"\n[[route]]\npath = \"/{name}\"\n\
             component = \"{name}\"\n"
        )
    };
    let server = Setup::with(&["one", "two", "three"].map(text).concat())
        .and("[compile]\nconcurrency = 3\n[deploy]\ndirectory = \"deployed\"\n")
        .cache(cache.path())
        .start()
        .await;
    let compiled = || server.log.count("compiled a component");
    assert_eq!(compiled().await, 1, "{}", server.log);
    // Deployed under two names at once, with a reload between them.
    let bytes = std::fs::read(command::guest("loops")).expect("a guest");
    let (one, two, reload) = tokio::join!(
        super::deploy::ask(&server, "PUT", "/components/one", &bytes),
        super::deploy::ask(&server, "PUT", "/components/two", &bytes),
        super::deploy::ask(&server, "POST", "/reload", b""),
    );
    assert_eq!((one.0, two.0, reload.0), (200, 200, 200), "{one:?} {two:?} {reload:?}");
    assert_eq!(compiled().await, 2, "{}", server.log);
}

/// A tenant whose component compiles for long delays no other tenant's deployment.
#[tokio::test]
async fn one_component_of_a_tenant_at_a_time() {
    let component = |tenant: &str, name: &str| {
        format!(
            "[component.{name}]\nfile = \"app.wasm\"\ntenant = \"{tenant}\"\n[[route]]\npath = \"/{name}\"\n\
             component = \"{name}\"\n"
        )
    };
    let names = [("busy", "a"), ("busy", "b"), ("busy", "c"), ("quiet", "d")];
    let server = Setup::with("[tenant.busy]\n[tenant.quiet]\n")
        .and(&names.map(|(tenant, name)| component(tenant, name)).concat())
        .and("[compile]\nconcurrency = 3\ntime = \"5s\"\nmemory = \"16GiB\"\n[deploy]\ndirectory = \"deployed\"\n")
        .file("app.wasm", super::deploy::version(b'A'))
        .start()
        .await;
    let bombs: Vec<_> = (0..3).map(|index| bomb(3000, 12_000 + index)).collect();
    let busy = async {
        tokio::join!(
            super::deploy::ask(&server, "PUT", "/components/a", &bombs[0]),
            super::deploy::ask(&server, "PUT", "/components/b", &bombs[1]),
            super::deploy::ask(&server, "PUT", "/components/c", &bombs[2]),
        )
    };
    let quiet = async {
        compiler(server.id()).await;
        for letter in b'B'..=b'D' {
            let start = Instant::now();
            let answer = super::deploy::ask(&server, "PUT", "/components/d", &super::deploy::version(letter)).await;
            assert_eq!(answer.0, 200, "{answer:?}");
            assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
            let filtered = |id: &u32| status(*id, "Seccomp").is_some_and(|mode| mode == "2");
            assert!(children(server.id()).iter().filter(|id| filtered(id)).count() <= 1, "one at a time");
        }
    };
    let (busy, ()) = tokio::join!(busy, quiet);
    for (status, text) in [busy.0, busy.1, busy.2] {
        assert!(status == 422 && text.contains("`time` in [compile]"), "{status} {text}");
    }
}

/// A host that shuts down does not wait for a deployment in progress.
#[tokio::test]
async fn a_deployment_ends_with_the_host() {
    let mut server =
        Setup::with("[component.app]\nfile = \"app.wasm\"\n[[route]]\npath = \"/\"\ncomponent = \"app\"\n")
            .and("[compile]\ncpu = \"10m\"\nmemory = \"16GiB\"\n[deploy]\ndirectory = \"deployed\"\n")
            .file("app.wasm", super::deploy::version(b'A'))
            .start()
            .await;
    let bomb = large_bomb();
    let mut upload = soon(UnixStream::connect(server.admin())).await.expect("the admin listener accepts");
    let head = format!("PUT /components/app HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", bomb.len());
    upload.write_all(&[head.as_bytes(), &bomb].concat()).await.expect("the admin listener reads");
    let compiler = compiler(server.id()).await;
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let gone = async || (!Path::new(&format!("/proc/{compiler}")).exists()).then_some(());
    assert!(within(Duration::from_secs(2), gone).await.is_some(), "the compiler outlives the host");
}

/// A tenant that deploys repeatedly: the compiled code of versions that are not kept is removed.
#[tokio::test]
async fn compiled_code_goes_with_its_version() {
    let cache = TempDir::new().expect("a folder");
    let server = Setup::with("[tenant.one]\nquota = { compiled-bytes = \"1GiB\" }\n")
        .and("[component.app]\nfile = \"app.wasm\"\ntenant = \"one\"\n[deploy]\ndirectory = \"deployed\"\nkeep = 1\n")
        .and("[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n")
        .file("app.wasm", super::deploy::version(b'A'))
        .cache(cache.path())
        .start()
        .await;
    let entries = || {
        let entries = std::fs::read_dir(cache.path()).expect("a folder").flatten();
        let sizes = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "compiled"));
        sizes.map(|entry| entry.metadata().expect("a file").len()).collect::<Vec<_>>()
    };
    for letter in b'B'..=b'G' {
        let answer = super::deploy::ask(&server, "PUT", "/components/app", &super::deploy::version(letter)).await;
        assert_eq!(answer.0, 200, "{answer:?}");
        assert!(entries().len() <= 3, "two versions, and the one that has just left: {:?}", entries());
    }
    // A component that is refused after its compilation leaves nothing.
    let useless = [COMPONENT, &section(0, b"\x04none")].concat();
    assert_eq!(super::deploy::ask(&server, "PUT", "/components/app", &useless).await.0, 422);
    assert_eq!(entries().len(), 2, "{:?}", entries());
    let gauge = server.metrics().await.sample("roadrunner_tenant_compiled_bytes{tenant=\"one\"}");
    assert_eq!(gauge as u64, entries().iter().sum::<u64>());
    // A rollback compiles nothing, and neither does a start.
    assert_eq!(super::deploy::ask(&server, "POST", "/components/app/rollback", b"").await.0, 200);
    let compiled = server.log.count("compiled a component").await;
    assert_eq!(compiled, 8, "{}", server.log);
}

//! A running server: the real program, on free ports, with the test's own manifest.
//!
//! It is stopped by its own process id when the [`Server`] is dropped, also when the test panics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::client::{Client, Way};
use crate::{Ask, Metrics, command, soon, within};

/// The places for servers that run at once. A test that measures waits until it has them all.
static PLACES: Semaphore = Semaphore::const_new(PLACES_IN_ALL);
const PLACES_IN_ALL: usize = 4;

/// How long a server may take to be ready, including the first compilation of a component.
const START: Duration = Duration::from_secs(60);

/// How long components may take to compile on a busy machine.
const COMPILE: Duration = Duration::from_secs(600);

/// The configuration of a server to be started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    text: String,
    component: String,
    route: String,
    server: String,
    cache: Option<PathBuf>,
    limits: Option<String>,
    listener: String,
    human: bool,
    alone: bool,
    beside: bool,
    admin: Option<String>,
    inherited: Vec<Arc<std::net::TcpListener>>,
    environment: Vec<(String, String)>,
    /// The files with their contents and modes.
    files: Vec<(String, Vec<u8>, u32)>,
}

impl Setup {
    /// One guest that serves every path.
    pub fn of(guest: &str) -> Self {
        Self {
            component: component(guest),
            route: format!("[[route]]\npath = \"/*rest\"\ncomponent = \"{guest}\"\n"),
            ..Self::default()
        }
    }

    /// A whole manifest, except for listeners and admin. `{guests}` stands for the folder of the guests; paths are
    /// relative to a fresh folder.
    pub fn with(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// Adds keys for the component of [`Setup::of`].
    pub fn component(mut self, keys: &str) -> Self {
        let _ = writeln!(self.component, "{keys}");
        self
    }

    /// Adds limits for the component of [`Setup::of`].
    pub fn limit(self, limits: &str) -> Self {
        self.component(&format!("limits = {{ {limits} }}"))
    }

    /// Adds keys for the route of [`Setup::of`].
    pub fn route(mut self, keys: &str) -> Self {
        let _ = writeln!(self.route, "{keys}");
        self
    }

    /// Makes the guest read request bodies from the wire.
    pub fn manual(self) -> Self {
        self.route("body = \"manual\"")
    }

    /// Adds sections.
    pub fn and(mut self, text: &str) -> Self {
        let _ = writeln!(self.text, "{text}");
        self
    }

    /// Adds keys for `[server]`.
    pub fn server(mut self, keys: &str) -> Self {
        let _ = writeln!(self.server, "{keys}");
        self
    }

    /// Sets a separate cache, for tests in which nothing may have been compiled or pulled before.
    pub fn cache(mut self, directory: &Path) -> Self {
        self.cache = Some(directory.to_owned());
        self
    }

    /// Sets the keys of `[limits]`; the default has room for 40 instances and 40 held sessions.
    pub fn host_limits(mut self, keys: &str) -> Self {
        self.limits = Some(keys.to_owned());
        self
    }

    /// Adds keys for both listeners.
    pub fn listener(mut self, keys: &str) -> Self {
        let _ = writeln!(self.listener, "{keys}");
        self
    }

    /// Adds a listening socket that the server inherits at its start, as from systemd. Up to two; the first is named
    /// `first`, the other `second`.
    pub fn inherit(mut self, socket: std::net::TcpListener) -> Self {
        self.inherited.push(Arc::new(socket));
        self
    }

    /// Sets a variable of the server's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a file in the manifest's folder.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), content.into(), 0o644));
        self
    }

    /// Adds a file that nobody else can read.
    pub fn private_file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), content.into(), 0o600));
        self
    }

    /// Sets the keys of `[admin]`; by default it listens on the unix socket `admin.sock`.
    pub fn admin(mut self, keys: &str) -> Self {
        self.admin = Some(keys.to_owned());
        self
    }

    /// Makes the log human-readable instead of JSON.
    pub fn human_log(mut self) -> Self {
        self.human = true;
        self
    }

    /// Lets no other server run at the same time: the test measures time or memory.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Marks a second server of one test, whose place is already reserved.
    pub fn beside(mut self) -> Self {
        self.beside = true;
        self
    }

    /// Writes the manifest's folder and file, without a server.
    pub fn write(&self) -> (TempDir, PathBuf) {
        let folder = TempDir::with_prefix("roadrunner-").expect("a temporary folder");
        let manifest = folder.path().join("roadrunner.toml");
        for (path, content, mode) in &self.files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("it is below the folder")).expect("a folder");
            std::fs::write(&path, content).expect("a file");
            std::fs::set_permissions(path, Permissions::from_mode(*mode)).expect("our own file");
        }
        let (certificate, key) = certificate();
        std::fs::write(folder.path().join("certificate.pem"), certificate).expect("a file");
        std::fs::write(folder.path().join("key.pem"), key).expect("a file");
        std::fs::set_permissions(folder.path().join("key.pem"), Permissions::from_mode(0o600)).expect("our own file");
        std::fs::write(&manifest, self.manifest()).expect("a file");
        (folder, manifest)
    }

    /// Compiles the components before the start: the first compilation of a language's runtime takes longer than a
    /// server may take to start.
    ///
    /// # Panics
    /// When one does not compile, or not within ten minutes.
    pub async fn compiled(self) -> Self {
        let (_folder, manifest) = self.write();
        let mut compile = command::roadrunner();
        compile.args(["compile", "--manifest"]).arg(manifest);
        let done = command::output_within(COMPILE, compile).await;
        assert_eq!(done.code, 0, "{done:?}");
        self
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready, with its log.
    pub async fn start(self) -> Server {
        let places = match (self.alone, self.beside) {
            (_, true) => 0,
            (true, false) => PLACES_IN_ALL as u32,
            (false, false) => 1,
        };
        let place = PLACES.acquire_many(places).await.expect("it is never closed");
        let (folder, manifest) = self.write();
        let mut child = self
            .program()
            .arg("serve")
            .arg(&manifest)
            .current_dir(folder.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server can be started");
        let log = Log::of(child.stderr.take().expect("it is piped"));
        let mut server = Server { child, log, addresses: BTreeMap::new(), folder, _place: place };
        server.wait_until_ready().await;
        server
    }

    /// The program, with the sockets that it inherits.
    fn program(&self) -> Command {
        let open = |index: usize| match self.inherited.get(index) {
            Some(socket) => Stdio::from(OwnedFd::from(socket.try_clone().expect("a descriptor"))),
            None => Stdio::null(),
        };
        let program = command::roadrunner();
        if self.inherited.is_empty() {
            let mut program = program;
            program.stdin(Stdio::null()).stdout(Stdio::null());
            return program;
        }
        // sd_listen_fds(3): sockets from descriptor 3 on, for the process with this id. A shell can move descriptors
        // and keeps its id through exec.
        let script = "exec 3<&0 4<&1 0</dev/null 1>/dev/null; export LISTEN_PID=$$; exec \"$0\" \"$@\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(program.get_program()).env_remove("RUST_LOG");
        shell.env("LISTEN_FDS", self.inherited.len().to_string()).env("LISTEN_FDNAMES", "first:second");
        shell.stdin(open(0)).stdout(open(1));
        shell
    }

    fn manifest(&self) -> String {
        let listener = &self.listener;
        let limits = self.limits.as_deref().unwrap_or("instances = 40\nheld = 40");
        let protocols = match self.listener.contains("protocols") {
            true => "",
            false => "protocols = [\"http1\", \"http2\", \"http3\"]",
        };
        let log = if self.human { "human" } else { "json" };
        let text = format!(
            "[server]\nlog = \"{log}\"\ncache-dir = {cache:?}\n{server}\n[limits]\n{limits}\n\
             [admin]\n{admin}\n\
             [[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n{listener}\n\
             [[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n\
             tls = {{ certificate = \"certificate.pem\", key = \"key.pem\" }}\n{protocols}\n{listener}\n\
             {component}\n{route}\n{rest}\n",
            cache = self.cache.clone().unwrap_or_else(command::cache),
            server = self.server,
            admin = self.admin.as_deref().unwrap_or("address = \"unix:admin.sock\""),
            component = self.component,
            route = self.route,
            rest = self.text,
        );
        text.replace("{guests}", &command::guests().display().to_string())
    }
}

/// The section of a component of this guest, with the same name.
pub fn component(guest: &str) -> String {
    format!("[component.{guest}]\nfile = \"{{guests}}/{}.wasm\"\n", guest.replace('-', "_"))
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Its standard error so far.
    pub log: Log,
    addresses: BTreeMap<String, SocketAddr>,
    folder: TempDir,
    _place: SemaphorePermit<'static>,
}

/// An object of `GET /instances`.
pub type Instance = Value;

impl Server {
    /// The address of a listener, by its name.
    pub fn address(&self, listener: &str) -> SocketAddr {
        *self.addresses.get(listener).unwrap_or_else(|| panic!("no listener {listener}: {:?}", self.addresses))
    }

    /// The manifest's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The admin listener's socket.
    pub fn admin(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    /// The admin listener's port, if it is not on a unix socket.
    pub fn admin_port(&self) -> u16 {
        let address = self.admin_address().expect("it listens").parse::<SocketAddr>();
        address.expect("it is not on a unix socket").port()
    }

    /// The admin listener's address, once it exists.
    fn admin_address(&self) -> Option<String> {
        self.log.text().lines().find_map(|line| line.strip_prefix("admin on ").map(str::to_owned))
    }

    /// The certificate, in PEM.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A connection.
    pub async fn connect(&self, way: Way) -> Client {
        Client::connect(self.address(if way.is_tls() { "tls" } else { "plain" }), way).await
    }

    /// Sends one request on a new connection, and returns its whole answer.
    pub async fn fetch(&self, way: Way, ask: Ask) -> crate::Answer {
        self.connect(way).await.fetch(ask).await
    }

    /// Sends one GET over HTTP/1.1, and returns the body as text. The status must be 200.
    pub async fn text(&self, path: &str) -> String {
        let answer = self.fetch(Way::H1, Ask::get(path)).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.text()
    }

    /// Sends one request on a new connection, and returns the body as text.
    pub async fn text_of(&self, way: Way, ask: Ask) -> String {
        self.fetch(way, ask).await.text()
    }

    /// Sends a request to the admin listener, and returns status and body.
    pub async fn admin_request(&self, method: &str, path: &str) -> (u16, String) {
        let mut socket = soon(UnixStream::connect(self.admin())).await.expect("the admin listener accepts");
        let request = format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("the admin listener reads");
        let mut answer = String::new();
        soon(socket.read_to_string(&mut answer)).await.expect("the admin listener answers");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("cut short: {answer:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("not HTTP: {head:?}")), body.to_owned())
    }

    /// The current contents of `/metrics`.
    pub async fn metrics(&self) -> Metrics {
        let (status, text) = self.admin_request("GET", "/metrics").await;
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text)
    }

    /// The live instances.
    pub async fn instances(&self) -> Vec<Instance> {
        let (status, text) = self.admin_request("GET", "/instances").await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("a JSON array")
    }

    /// Waits until there are this many instances.
    pub async fn has_instances(&self, wanted: usize) -> Vec<Instance> {
        let mut last = Vec::new();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            last = self.instances().await;
            if last.len() == wanted {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("not {wanted} instances within ten seconds, but {}: {last:?}", last.len());
    }

    /// Waits until there is no instance, and returns how long that took.
    pub async fn is_empty_after(&self) -> Duration {
        let gone = within(Duration::from_secs(10), || async { self.instances().await.is_empty().then_some(()) }).await;
        match gone {
            Some(((), time)) => time,
            None => panic!("still there after ten seconds: {:?}", self.instances().await),
        }
    }

    /// Waits until every gauge is back at zero.
    ///
    /// # Panics
    /// When one is not within ten seconds: what is held for a session goes with its connection, which may take five.
    #[track_caller]
    pub fn is_quiet(&self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let quiet =
                within(Duration::from_secs(10), || async { self.metrics().await.busy().is_empty().then_some(()) });
            if quiet.await.is_none() {
                let (busy, instances) = (self.metrics().await.busy(), self.instances().await);
                panic!("not at zero after ten seconds: {busy:?} (asked at {caller}): {instances:?}");
            }
        }
    }

    /// The access log's line for a request whose target ends with this text.
    pub async fn access(&self, target: &str) -> Value {
        let found = self
            .log
            .wait(|line| line["target"] == "access" && line["uri"].as_str().is_some_and(|uri| uri.ends_with(target)));
        found.await.unwrap_or_else(|| panic!("no line in the access log for {target}:\n{}", self.log))
    }

    /// The CPU time that it has used, in steps of a hundredth of a second.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("the server runs");
        // The name may contain blanks; after it come the state and ten numbers, then user and system time
        // (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
        let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// Its resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS")
    }

    /// The part of its resident memory that is not backed by files, in bytes.
    pub fn resident_anonymous(&self) -> u64 {
        self.status("RssAnon")
    }

    fn status(&self, key: &str) -> u64 {
        status(self.id(), key)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("it is our own process");
    }

    /// Waits for it to exit.
    pub async fn exit(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < crate::PATIENCE {
            if let Some(status) = self.child.try_wait().expect("it is our own process") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the server still runs after {:?}:\n{}", crate::PATIENCE, self.log);
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    async fn wait_until_ready(&mut self) {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                panic!("the server ended with {status}:\n{}", self.log);
            }
            assert!(start.elapsed() < START, "the server is not ready after {START:?}:\n{}", self.log);
            self.addresses = self.log.text().lines().filter_map(listening).collect();
            let is_ready = match self.admin_address() {
                Some(address) if address.starts_with("unix:") => self.admin_request("GET", "/ready").await.0 == 200,
                // Not every process may ask for it.
                Some(_) => true,
                None => false,
            };
            if self.addresses.len() >= 2 && is_ready {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The resident memory of a process, in bytes.
pub fn resident(process: u32) -> u64 {
    status(process, "VmRSS")
}

fn status(process: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let mut lines = status.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let line = lines.next().expect("Linux says it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

impl Drop for Server {
    fn drop(&mut self) {
        // By the handle: the process is ours and not yet reaped, so the id cannot belong to another.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = self.log.text();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("--- end of the server's log\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

/// Parses `listening on 127.0.0.1:37445 (plain)`.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let (address, name) = line.strip_prefix("listening on ")?.split_once(' ')?;
    Some((name.trim_matches(['(', ')']).to_owned(), address.parse().ok()?))
}

/// The standard error of a server so far.
#[derive(Clone, Debug)]
pub struct Log {
    text: Arc<Mutex<String>>,
    is_paused: Arc<AtomicBool>,
}

impl Log {
    fn of(stream: impl std::io::Read + Send + 'static) -> Self {
        let log = Self { text: Arc::default(), is_paused: Arc::default() };
        let Self { text, is_paused } = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                while is_paused.load(Relaxed) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                let Ok(line) = line else { return };
                let mut text = text.lock().expect("no holder panics");
                text.push_str(&line);
                text.push('\n');
            }
        });
        log
    }

    /// Stops reading the server's output, or continues.
    pub fn pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Relaxed);
    }

    /// The whole text.
    pub fn text(&self) -> String {
        self.text.lock().expect("no holder panics").clone()
    }

    /// The lines that are JSON.
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for the first JSON line that satisfies the predicate.
    pub async fn wait(&self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let find = || {
            let found = self.lines().into_iter().find(|line| wanted(line));
            async move { found }
        };
        within(Duration::from_secs(5), find).await.map(|(line, _)| line)
    }

    /// Waits for a JSON line whose message contains this text.
    ///
    /// # Panics
    /// When there is none within five seconds.
    pub async fn message(&self, text: &str) -> Value {
        let found = self.wait(|line| line["message"].as_str().is_some_and(|message| message.contains(text))).await;
        found.unwrap_or_else(|| panic!("no message with {text:?} in the log:\n{self}"))
    }

    /// Waits until nothing has come for 200 ms: lines are written a little later than the events in them, and are read
    /// later still.
    pub async fn settled(&self) -> &Self {
        let mut length = None;
        while length.replace(self.text().len()) != Some(self.text().len()) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self
    }

    /// The number of JSON lines with this message, once nothing more comes.
    pub async fn count(&self, message: &str) -> usize {
        self.settled().await.lines().iter().filter(|line| line["message"] == message).count()
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

/// The certificate of every test's server, and its key; clients trust it and nothing else.
pub fn certificate() -> &'static (String, String) {
    static CERTIFICATE: OnceLock<(String, String)> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
}

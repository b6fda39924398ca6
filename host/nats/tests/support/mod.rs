//! A NATS server of the test's own, and clients that write down what they are told.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use roadrunner_names::Resolver;
use roadrunner_nats::{Client, Credentials, Handler, PublishError, Server, Settings};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// How long anything may take.
pub const SOON: Duration = Duration::from_secs(20);

/// A server that runs; killed by its process id when it is dropped.
pub struct Broker {
    child: Option<Child>,
    folder: TempDir,
    pub port: u16,
}

impl Broker {
    /// With these lines in its configuration. It does not run yet. None, and a line that says so, where the program is not
    /// installed.
    pub fn stopped(config: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = |folder: PathBuf| folder.join("nats-server").is_file();
        if !std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(program) {
            println!("SKIPPED: nats-server is not installed");
            return None;
        }
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let config = format!("listen: \"127.0.0.1:{port}\"\n{config}\n");
        fs::write(folder.path().join("nats.conf"), config).unwrap();
        Some(Self { child: None, folder, port })
    }

    pub async fn start(config: &str) -> Option<Self> {
        let mut broker = Self::stopped(config)?;
        broker.run().await;
        Some(broker)
    }

    /// Starts it, and waits until it accepts connections.
    pub async fn run(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let path = std::env::var("PATH").unwrap_or_default();
        let log = fs::File::create(self.log()).unwrap();
        let child = Command::new("nats-server")
            .env("PATH", format!("{path}:/usr/sbin"))
            .arg("--config")
            .arg(self.folder.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("nats-server can be started"));
        let port = self.port;
        let is_up = until(|| TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        assert!(is_up, "nats-server does not accept connections:\n{}", fs::read_to_string(self.log()).unwrap());
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().map(Child::id).expect("it runs");
        let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("it is our own process");
    }

    pub fn server(&self) -> Server {
        Server { host: "127.0.0.1".to_owned(), port: self.port }
    }

    /// The first line that it writes on a connection.
    pub fn info(&self) -> serde_json::Value {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).expect("it accepts");
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).expect("it speaks");
        serde_json::from_str(line.strip_prefix("INFO ").expect("a greeting")).expect("JSON")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Settings with short times.
pub fn settings(servers: &[Server]) -> Settings {
    Settings {
        servers: servers.to_vec(),
        names: Resolver::new(roadrunner_names::Settings::default()).own(),
        tls: None,
        credentials: Credentials::None,
        name: "test".to_owned(),
        label: "Test-Number",
        queue_bytes: 1 << 20,
        queue_messages: 1000,
        max_payload: 512 << 10,
        connect_timeout: Duration::from_secs(2),
        ping_interval: Duration::from_millis(300),
        min_backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(200),
    }
}

/// What a handler was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Gap,
    Message(String, Option<String>, Bytes),
    Overrun(String),
    Skipped(String),
}

#[derive(Default)]
struct Recorder {
    told: Mutex<Vec<Told>>,
    /// How long each message takes.
    pause: Mutex<Duration>,
}

impl Handler for Recorder {
    fn gap(&self) {
        self.told.lock().push(Told::Gap);
    }

    fn message(&self, subject: &Arc<str>, label: Option<&str>, payload: Bytes) {
        std::thread::sleep(*self.pause.lock());
        self.told.lock().push(Told::Message(subject.to_string(), label.map(str::to_owned), payload));
    }

    fn overrun(&self, subject: &Arc<str>) {
        self.told.lock().push(Told::Overrun(subject.to_string()));
    }

    fn skipped(&self, subject: &Arc<str>) {
        self.told.lock().push(Told::Skipped(subject.to_string()));
    }
}

/// A client whose driver runs; ended when it is dropped.
pub struct Member {
    pub client: Client,
    recorder: Arc<Recorder>,
    driver: JoinHandle<()>,
}

impl Member {
    pub fn start(settings: Settings) -> Self {
        let recorder = Arc::new(Recorder::default());
        let (client, driver) = Client::new(settings, recorder.clone()).expect("the credentials are right");
        Self { client, recorder, driver: tokio::spawn(driver.run()) }
    }

    pub async fn connected(settings: Settings) -> Self {
        let member = Self::start(settings);
        member.is_connected(true).await;
        member
    }

    pub async fn is_connected(&self, wanted: bool) {
        assert!(until(|| self.client.is_connected() == wanted).await, "it is not {wanted}");
    }

    /// Publishes to the account `a`. Whether there was a connection.
    pub fn publish(&self, subject: &str, label: impl ToString, payload: &[u8]) -> Result<bool, PublishError> {
        self.client.publish(&"a".into(), &subject.into(), label.to_string(), Bytes::copy_from_slice(payload))
    }

    pub fn subscribe(&self, subject: &str) {
        self.client.subscribe(&subject.into());
    }

    /// Subscribes, and waits until another one's messages come.
    pub async fn hears(&self, other: &Self, subject: &str) {
        self.subscribe(subject);
        self.heard_again(other, subject).await;
    }

    /// Waits until another one's messages come, and those under way have come as well.
    pub async fn heard_again(&self, other: &Self, subject: &str) {
        let start = Instant::now();
        let heard = |label: &str| {
            let is_it = |told: &Told| matches!(told, Told::Message(_, Some(found), _) if found == label);
            self.recorder.told.lock().iter().any(is_it)
        };
        while !heard("probe") {
            assert!(start.elapsed() < SOON, "nothing comes over");
            other.publish(subject, "probe", b"").unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let last = format!("last probe {:?}", Instant::now());
        other.publish(subject, &last, b"").unwrap();
        assert!(until(|| heard(&last)).await, "probes do not end");
        self.recorder
            .told
            .lock()
            .retain(|told| !matches!(told, Told::Message(_, Some(label), _) if label == "probe" || label == &last));
    }

    /// What it was told since the last call, when it is this much.
    pub async fn told(&self, count: usize) -> Vec<Told> {
        let all = until(|| self.recorder.told.lock().len() >= count).await;
        let told = self.take();
        assert!(all, "only {}: {told:?}", told.len());
        told
    }

    /// What it was told since the last call.
    pub fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.recorder.told.lock())
    }

    /// Makes it slow.
    pub fn pause(&self, pause: Duration) {
        *self.recorder.pause.lock() = pause;
    }

    pub fn connects(&self) -> u64 {
        self.client.counters().connects.load(Relaxed)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A message as a [`Member`] is told of it.
pub fn message(subject: &str, label: impl ToString, payload: &[u8]) -> Told {
    Told::Message(subject.to_owned(), Some(label.to_string()), Bytes::copy_from_slice(payload))
}

/// Whether it comes true soon.
pub async fn until(mut is_true: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < SOON {
        if is_true() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// A client that writes what it likes.
pub struct Stranger(BufReader<TcpStream>);

impl Stranger {
    pub fn connect(broker: &Broker) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut stranger = Self(BufReader::new(socket));
        stranger.0.read_line(&mut String::new()).unwrap();
        stranger.write(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n");
        stranger
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    pub fn publish(&mut self, subject: &str, headers: &[u8], payload: &[u8]) {
        let length = payload.len();
        if headers.is_empty() {
            self.write(format!("PUB {subject} {length}\r\n").as_bytes());
        } else {
            self.write(format!("HPUB {subject} {} {}\r\n", headers.len(), headers.len() + length).as_bytes());
        }
        self.write(&[headers, payload, b"\r\n"].concat());
    }

    /// Waits until the server has taken everything.
    pub fn settle(&mut self) {
        self.write(b"PING\r\n");
        let mut line = String::new();
        while line.trim_end() != "PONG" {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the server has gone");
        }
    }
}

/// Text as a file that a server is configured with.
pub fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

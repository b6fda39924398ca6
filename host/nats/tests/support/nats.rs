//! A NATS server of the test's own, and a client that implements the protocol by hand. The end-to-end tests take this
//! file, too.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::ports;

/// How long the server may take for anything.
const SOON: Duration = Duration::from_secs(20);

/// A server; killed by its process id when it is dropped.
#[derive(Debug)]
pub struct Nats {
    child: Option<Child>,
    folder: TempDir,
    port: u16,
}

impl Nats {
    /// Starts a server on a free port of loopback, with these lines in its configuration. `None`, with a line that says
    /// so, if the program is not installed.
    pub async fn start(test: &str, config: &str) -> Option<Self> {
        let mut nats = Self::stopped(test, config)?;
        nats.run().await;
        Some(nats)
    }

    /// Starts servers that are one cluster and know of each other, with these lines in the configuration of each. `None`
    /// as above.
    pub async fn cluster(test: &str, count: usize, config: &str) -> Option<Vec<Self>> {
        let routes: Vec<u16> = (0..count).map(|_| ports::reserved()).collect();
        let urls: Vec<String> = routes.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
        let urls = urls.join(", ");
        let mut servers = Vec::new();
        for port in routes {
            let cluster = format!("cluster {{ name: \"test\", listen: \"127.0.0.1:{port}\", routes: [{urls}] }}");
            servers.push(Self::start(test, &format!("{config}\n{cluster}")).await?);
        }
        for server in &servers {
            server.is_told_of(count).await;
        }
        Some(servers)
    }

    /// Prepares a server that does not run yet.
    pub fn stopped(test: &str, config: &str) -> Option<Self> {
        if program().is_none() {
            println!("SKIPPED: {test}: nats-server is not installed");
            return None;
        }
        let nats = Self { child: None, folder: TempDir::new().expect("a folder"), port: ports::reserved() };
        nats.configure(config);
        Some(nats)
    }

    /// Sets the lines of the configuration for the next start.
    pub fn configure(&self, config: &str) {
        let config = format!("listen: \"127.0.0.1:{}\"\n{config}\n", self.port);
        fs::write(self.folder.path().join("nats.conf"), config).expect("a file");
    }

    /// Starts it, and waits until it accepts connections.
    pub async fn run(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = self.folder.path().join("log");
        let child = Command::new(program().expect("it was there"))
            .arg("--config")
            .arg(self.folder.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a file"))
            .spawn();
        self.child = Some(child.expect("nats-server can be started"));
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(start.elapsed() < SOON, "nats-server does not accept connections:\n{}", said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().map(Child::id).expect("it runs");
        let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("it is our own process");
    }

    /// The port, which stays the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The first line that it writes on a connection.
    pub async fn info(&self) -> Value {
        let line = self.socket().await.line().await;
        serde_json::from_str(line.strip_prefix("INFO ").expect("a greeting")).expect("JSON")
    }

    /// Waits until it tells clients of this many servers of its cluster.
    pub async fn is_told_of(&self, count: usize) {
        let start = Instant::now();
        loop {
            let info = self.info().await;
            if info["connect_urls"].as_array().is_some_and(|urls| urls.len() == count) {
                return;
            }
            assert!(start.elapsed() < SOON, "it tells of others: {info}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Connects a client that is not Roadrunner.
    pub async fn stranger(&self) -> Stranger {
        let mut stranger = self.socket().await;
        assert!(stranger.line().await.starts_with("INFO "));
        stranger.write(b"CONNECT {\"verbose\":false,\"headers\":true,\"echo\":false}\r\n").await;
        stranger.settle().await;
        stranger
    }

    async fn socket(&self) -> Stranger {
        Stranger(BufReader::new(soon(TcpStream::connect(("127.0.0.1", self.port))).await.expect("it accepts")))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client of the NATS server that can write any bytes.
#[derive(Debug)]
pub struct Stranger(BufReader<TcpStream>);

/// A message that a [`Stranger`] has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its subject.
    pub subject: String,
    /// Its headers, unparsed.
    pub headers: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Stranger {
    /// Writes bytes unchanged.
    pub async fn write(&mut self, bytes: &[u8]) {
        soon(self.0.get_mut().write_all(bytes)).await.expect("the server reads");
    }

    /// Publishes without headers.
    pub async fn publish(&mut self, subject: &str, payload: &[u8]) {
        self.write(format!("PUB {subject} {}\r\n", payload.len()).as_bytes()).await;
        self.write(payload).await;
        self.write(b"\r\n").await;
    }

    /// Publishes with headers.
    pub async fn publish_with(&mut self, subject: &str, headers: &[u8], payload: &[u8]) {
        let total = headers.len() + payload.len();
        self.write(format!("HPUB {subject} {} {total}\r\n", headers.len()).as_bytes()).await;
        self.write(&[headers, payload, b"\r\n"].concat()).await;
    }

    /// Subscribes, and waits until the subscription is active.
    pub async fn subscribe(&mut self, subject: &str) {
        self.write(format!("SUB {subject} 1\r\n").as_bytes()).await;
        self.settle().await;
    }

    /// Ends the subscription of [`Stranger::subscribe`].
    pub async fn unsubscribe(&mut self) {
        self.write(b"UNSUB 1\r\n").await;
        self.settle().await;
    }

    /// Waits until the server has processed everything.
    pub async fn settle(&mut self) {
        self.write(b"PING\r\n").await;
        loop {
            match &*self.line().await {
                "PONG" => return,
                "PING" => self.write(b"PONG\r\n").await,
                line => panic!("not a PONG: {line}"),
            }
        }
    }

    /// Receives the next message.
    pub async fn next(&mut self) -> Heard {
        loop {
            let line = self.line().await;
            let words: Vec<&str> = line.split(' ').collect();
            let number = |word: &str| word.parse::<usize>().expect("a number");
            let (headers, total) = match words[..] {
                ["PING"] => {
                    self.write(b"PONG\r\n").await;
                    continue;
                }
                ["MSG", _, _, total] => (0, number(total)),
                ["HMSG", _, _, headers, total] => (number(headers), number(total)),
                _ => panic!("not a message: {line}"),
            };
            let mut message = vec![0; total + 2];
            soon(self.0.read_exact(&mut message)).await.expect("all of it");
            message.truncate(total);
            let payload = message.split_off(headers);
            let headers = String::from_utf8(message).expect("text");
            return Heard { subject: words[1].to_owned(), headers, payload };
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        soon(self.0.read_line(&mut line)).await.expect("the server speaks");
        line.trim_end().to_owned()
    }
}

/// The path of nats-server, where it is installed. Debian has it in a folder that a user's path may lack.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join("nats-server")).find(|file| file.is_file())
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.expect("nats-server is in time")
}

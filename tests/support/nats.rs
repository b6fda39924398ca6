//! The test's own NATS server, and a client that implements the protocol by hand.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::{command, ports, soon, within};

/// A running server; killed by its process id when it is dropped.
#[derive(Debug)]
pub struct Nats {
    child: Option<Child>,
    port: u16,
    arguments: Vec<String>,
}

impl Nats {
    /// Starts a server on a free port of loopback. `None`, with a line that says so, if the program is not installed.
    pub async fn start(test: &str) -> Option<Self> {
        let mut nats = Self::stopped(test)?;
        nats.run().await;
        Some(nats)
    }

    /// Three that are one cluster, and know of each other. None as above.
    pub async fn cluster(test: &str) -> Option<Vec<Self>> {
        let mut nats = Vec::new();
        for _ in 0..3 {
            nats.push(Self::stopped(test)?);
        }
        let routes: Vec<String> = (0..3).map(|_| format!("nats://127.0.0.1:{}", ports::reserved())).collect();
        for (server, own) in nats.iter_mut().zip(&routes) {
            server.arguments(&["--cluster_name", "test", "--cluster", own, "--routes", &routes.join(",")]);
            server.run().await;
        }
        for server in &nats {
            let told = || async {
                let info: Value = serde_json::from_str(server.greeting().await.strip_prefix("INFO ")?).ok()?;
                info["connect_urls"].as_array().is_some_and(|urls| urls.len() == 3).then_some(())
            };
            assert!(within(Duration::from_secs(20), told).await.is_some(), "the cluster does not meet");
        }
        Some(nats)
    }

    /// Prepares a server that does not run yet.
    pub fn stopped(test: &str) -> Option<Self> {
        command::tool(test, "nats-server")?;
        Some(Self { child: None, port: ports::reserved(), arguments: Vec::new() })
    }

    /// Adds arguments for the next start.
    pub fn arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    }

    /// The port, which stays the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The section `[bus]` of a manifest, with these further keys.
    pub fn section(&self, keys: &str) -> String {
        format!("[bus]\nurl = \"nats://127.0.0.1:{}\"\n{keys}\n", self.port)
    }

    /// Starts it, and waits until it accepts connections.
    pub async fn run(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let child = Command::new("nats-server")
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server can be started");
        self.child = Some(child);
        let address = ("127.0.0.1", self.port);
        let up = within(Duration::from_secs(10), || async { TcpStream::connect(address).await.ok() }).await;
        assert!(up.is_some(), "nats-server does not accept connections");
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

    /// The first line that it writes on a connection.
    async fn greeting(&self) -> String {
        let socket = soon(TcpStream::connect(("127.0.0.1", self.port))).await.expect("it accepts");
        Stranger(BufReader::new(socket)).line().await
    }

    /// Connects a client that is not Roadrunner.
    pub async fn stranger(&self) -> Stranger {
        let socket = soon(TcpStream::connect(("127.0.0.1", self.port))).await.expect("it accepts");
        let mut stranger = Stranger(BufReader::new(socket));
        assert!(stranger.line().await.starts_with("INFO "));
        stranger.write(b"CONNECT {\"verbose\":false,\"headers\":true,\"echo\":false}\r\n").await;
        stranger.settle().await;
        stranger
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

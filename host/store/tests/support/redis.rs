//! A Redis server of the test's own. The end-to-end tests take this file, too.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::ports;

/// A server, on a port of loopback that stays the same after a restart; killed by its process id when it is dropped.
/// Acknowledged data survives.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Redis {
    /// Starts a server with these further arguments. `None`, with a line that says so, if the program is not installed.
    pub fn start(test: &str, arguments: &[&str]) -> Option<Self> {
        let port = ports::reserved();
        let number = port.to_string();
        Self::start_on(test, port, &[&["--port", &number][..], arguments].concat(), folder())
    }

    /// Starts a server that supports TLS only, with this certificate and its key in PEM. `None` as above.
    pub fn start_with_certificate(test: &str, certificate: &str, key: &str) -> Option<Self> {
        let (port, folder) = (ports::reserved(), folder());
        std::fs::write(folder.path().join("certificate.pem"), certificate).expect("a file");
        std::fs::write(folder.path().join("key.pem"), key).expect("a file");
        let number = port.to_string();
        let ports = ["--port", "0", "--tls-port", &number, "--tls-auth-clients", "no"];
        let files = ["--tls-cert-file", "certificate.pem", "--tls-key-file", "key.pem"];
        Self::start_on(test, port, &[&ports[..], &files].concat(), folder)
    }

    fn start_on(test: &str, port: u16, arguments: &[&str], folder: TempDir) -> Option<Self> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        match spawn(&arguments, &folder) {
            Ok(child) => Some(Self { child, port, arguments, folder }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("SKIPPED: {test}: redis-server is not installed");
                None
            }
            Err(error) => panic!("redis-server cannot be started: {error}"),
        }
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        // By the handle: the process is ours and not yet reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it after [`Redis::kill`].
    pub fn start_again(&mut self) {
        self.child = spawn(&self.arguments, &self.folder).expect("redis-server can be started");
    }

    /// The URL.
    pub fn url(&self) -> String {
        let is_tls = self.certificate().exists();
        format!("redis{}://127.0.0.1:{}", if is_tls { "s" } else { "" }, self.port)
    }

    /// The file with the certificate of a server with TLS.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Waits until it accepts connections.
    pub async fn is_up(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < SOON {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

fn spawn(arguments: &[String], folder: &TempDir) -> std::io::Result<Child> {
    Command::new("redis-server")
        // On a slow disk, `everysec` acknowledges data that it has not written.
        .args(["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always"])
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// How long the server may take to start.
const SOON: Duration = Duration::from_secs(20);

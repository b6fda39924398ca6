//! The test's own Redis server.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::{command, ports, server};

/// A running server, on a port that stays the same after a restart; killed by its process id when it is dropped.
/// Acknowledged data survives.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    port: u16,
    is_tls: bool,
    folder: TempDir,
}

impl Redis {
    /// Starts a server on a free port of loopback. `None`, with a line that says so, if the program is not installed.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_on(test, false)
    }

    /// Starts a server that supports TLS only, with the certificate of [`Redis::certificate`].
    pub fn start_with_tls(test: &str) -> Option<Self> {
        Self::start_on(test, true)
    }

    fn start_on(test: &str, is_tls: bool) -> Option<Self> {
        let mut program = command::tool(test, "redis-server")?;
        let port = ports::reserved();
        let folder = TempDir::new().expect("a folder");
        if is_tls {
            let (certificate, key) = server::certificate();
            std::fs::write(folder.path().join("certificate.pem"), certificate).expect("a file");
            std::fs::write(folder.path().join("key.pem"), key).expect("a file");
        }
        let child = spawn(&mut program, port, is_tls, &folder);
        Some(Self { child, port, is_tls, folder })
    }

    /// The URL for a manifest.
    pub fn url(&self) -> String {
        format!("redis{}://127.0.0.1:{}", if self.is_tls { "s" } else { "" }, self.port)
    }

    /// The server's certificate, for clients that are to trust it. It is for `localhost` and 127.0.0.1.
    pub fn certificate(&self) -> std::path::PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        // By the handle: the process is ours and not yet reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it accepts connections.
    pub async fn is_up(&self) -> bool {
        let connect = || async { tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok() };
        crate::within(crate::PATIENCE, connect).await.is_some()
    }

    /// Starts it after [`Redis::kill`].
    pub fn start_again(&mut self) {
        self.child = spawn(&mut Command::new("redis-server"), self.port, self.is_tls, &self.folder);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(program: &mut Command, port: u16, is_tls: bool, folder: &TempDir) -> Child {
    let port = port.to_string();
    // On a slow disk, `everysec` acknowledges data that it has not written.
    program.args(["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always"]);
    if is_tls {
        program.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
        program.args(["--tls-cert-file", "certificate.pem", "--tls-key-file", "key.pem"]);
    } else {
        program.args(["--port", &port]);
    }
    program.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    program.spawn().expect("redis-server can be started")
}

//! The test's own registry of components, a client that pushes to it, and a registry that lies.
//!
//! The registry is Debian's `docker-registry`, and oras pushes to it: neither knows how Roadrunner pulls.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::server::certificate;
use crate::{command, ports, within};

/// The config of a component in the CNCF's layout.
pub const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// Its layer.
pub const LAYER: &str = "application/wasm";

/// The user that [`Guard::Password`] lets in.
pub const USER: &str = "shop";

/// The user's password.
pub const PASSWORD: &str = "correct horse";

/// The password's bcrypt hash, in the format of htpasswd(1).
const HTPASSWD: &str = "shop:$2b$04$URHM6gSrV6j479btiYh.N.EzAvEEyJEFWQgN8qDrC23hVqHPMt0yq\n";

/// The requirement on clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    None,
    /// [`USER`] and [`PASSWORD`].
    Password,
    /// Trust in the certificate of every test's server.
    Tls,
}

/// A running registry; killed by its process id when it is dropped.
#[derive(Debug)]
pub struct Registry {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    python: PathBuf,
}

impl Registry {
    /// Starts a registry on a free port of loopback, without access control. `None`, with a line that says so, if it or
    /// its client is not installed.
    pub async fn start(test: &str) -> Option<Self> {
        command::tool(test, "docker-registry")?;
        let python = command::python(test, "oras")?.get_program().into();
        let port = ports::reserved();
        let folder = TempDir::with_prefix("roadrunner-registry-").expect("a temporary folder");
        let mut registry = Self { child: None, port, folder, python };
        registry.run(Guard::None).await;
        Some(registry)
    }

    /// Starts it with its earlier contents, and waits until it accepts connections.
    pub async fn run(&mut self, guard: Guard) {
        assert!(self.child.is_none(), "it runs already");
        let path = |name: &str| self.folder.path().join(name);
        let (certificate, key) = certificate();
        for (name, content) in [("certificate.pem", certificate.as_str()), ("key.pem", key), ("htpasswd", HTPASSWD)] {
            std::fs::write(path(name), content).expect("a file");
        }
        let data = self.storage();
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "error", "accesslog": { "disabled": true } },
            "storage": { "filesystem": { "rootdirectory": data } },
            "http": { "addr": self.name() },
        });
        match guard {
            Guard::None => {}
            Guard::Password => config["auth"] = json!({ "htpasswd": { "realm": "test", "path": path("htpasswd") } }),
            Guard::Tls => {
                config["http"]["tls"] = json!({ "certificate": path("certificate.pem"), "key": path("key.pem") });
            }
        }
        // JSON is valid YAML.
        std::fs::write(path("config.yml"), config.to_string()).expect("a file");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(path("config.yml"))
            .env_clear()
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry can be started");
        self.child = Some(child);
        let up = within(Duration::from_secs(20), || async { TcpStream::connect(self.name()).await.ok() }).await;
        assert!(up.is_some(), "docker-registry does not accept connections");
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Its name: address and port.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The section of a manifest for it, with these keys.
    pub fn section(&self, keys: &str) -> String {
        format!("[registry.\"{}\"]\n{keys}\n", self.name())
    }

    /// A reference to an item in it: `REPOSITORY:TAG`, with or without a digest.
    pub fn reference(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.name())
    }

    /// Pushes a component, and returns the digest of its manifest, `sha256:HEX`.
    pub async fn push(&self, name: &str, component: &[u8]) -> String {
        self.push_image(name, CONFIG, &[(LAYER, component, json!({}))]).await
    }

    /// Pushes layers with their media types and annotations.
    pub async fn push_image(&self, name: &str, config: &str, layers: &[(&str, &[u8], Value)]) -> String {
        let folder = TempDir::new().expect("a temporary folder");
        let layer = |(number, (kind, bytes, annotations)): (usize, &(&str, &[u8], Value))| {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, bytes).expect("a file");
            json!({ "path": path, "type": kind, "annotations": annotations })
        };
        let layers: Vec<_> = layers.iter().enumerate().map(layer).collect();
        let order = json!({ "target": format!("{}/{name}", self.name()), "config": config, "layers": layers });
        let path = folder.path().join("order.json");
        std::fs::write(&path, order.to_string()).expect("a file");
        let mut client = Command::new(&self.python);
        client.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("support/registry.py"));
        client.stdin(std::fs::File::open(path).expect("our own file"));
        let done = command::output(client).await;
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout.lines().last().expect("a digest").to_owned()
    }

    /// The path of the file with a blob, by its SHA-256.
    pub fn blob(&self, hex: &str) -> PathBuf {
        self.storage().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    fn storage(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The reaction of a [`Liar`] to a request for a path.
#[derive(Clone, Debug)]
pub enum Lie {
    /// Answers with this.
    Answer(Vec<u8>),
    /// Begins an endless answer, and continues while it is read, up to 2 GiB.
    Endless,
    /// Stays silent for a minute.
    Silence,
}

/// A registry with the answers that the test chooses.
#[derive(Debug)]
pub struct Liar {
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Liar {
    /// Starts a registry. For a path that contains one of these texts, it does what is paired with the first such text;
    /// other paths are empty.
    pub async fn start(lies: &[(&str, Lie)]) -> Self {
        let lies: Vec<_> = lies.iter().map(|(path, lie)| ((*path).to_owned(), lie.clone())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(lie(socket, lies.clone()));
            }
        });
        Self { port, task }
    }

    /// Its name: address and port.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn lie(mut socket: TcpStream, lies: Vec<(String, Lie)>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 << 10 {
        let Ok(byte) = socket.read_u8().await else { return };
        head.push(byte);
    }
    let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
    let lie = lies.into_iter().find(|(part, _)| path.contains(part.as_str())).map(|(_, lie)| lie);
    let head = |length: u64| {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")
    };
    match lie.unwrap_or(Lie::Answer(Vec::new())) {
        Lie::Answer(bytes) => {
            let _ = socket.write_all(&[head(bytes.len() as u64).as_bytes(), &bytes].concat()).await;
        }
        Lie::Endless => {
            let _ = socket.write_all(head(1 << 40).as_bytes()).await;
            let piece = vec![b' '; 1 << 20];
            for _ in 0..2048 {
                if socket.write_all(&piece).await.is_err() {
                    return;
                }
            }
        }
        Lie::Silence => tokio::time::sleep(Duration::from_secs(60)).await,
    }
}

//! A client for the admin listener: what `ps`, `kill`, `reload` and `deploy` use.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use roadrunner_manifest::Address;

/// How long the admin listener may take to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to compile something first. The host has a limit of its own.
const PATIENCE_WITH_COMPILERS: Duration = Duration::from_secs(3600);

/// The largest answer, in bytes.
const LARGEST: u64 = 64 << 20;

/// A running host, and what it is shown.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: Address,
    pub(crate) token: Option<String>,
}

impl Client {
    /// One request without a body. Status and body of the answer.
    pub(crate) fn request(&self, method: &str, path: &str) -> Result<(u16, String)> {
        self.exchange(method, path, None, PATIENCE)
    }

    /// One request that may make the host compile a component, which is its body if there is one.
    pub(crate) fn deploy(&self, method: &str, path: &str, component: Option<&Path>) -> Result<(u16, String)> {
        let open = |path: &Path| {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            io::Result::Ok((file, length))
        };
        let body = component.map(|path| open(path).with_context(|| format!("cannot read {}", path.display())));
        self.exchange(method, path, body.transpose()?, PATIENCE_WITH_COMPILERS)
    }

    /// HTTP/1.0: the answer ends with the connection.
    fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<(File, u64)>,
        patience: Duration,
    ) -> Result<(u16, String)> {
        let address = &self.address;
        let failed = || format!("cannot reach the admin listener at {address}; is the host running, with [admin] set?");
        let mut head = format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\n");
        if let Some(token) = &self.token {
            head += &format!("authorization: Bearer {token}\r\n");
        }
        if let Some((_, length)) = &body {
            head += &format!("content-length: {length}\r\n");
        }
        head += "\r\n";
        let answer = match address {
            Address::Systemd(name) => {
                bail!("the admin listener is systemd's socket {name}: name its address with --admin")
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE).with_context(failed)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                converse(stream, &head, body)
            }
            Address::Unix(path_of_socket) => {
                let stream = UnixStream::connect(path_of_socket).with_context(failed)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                converse(stream, &head, body)
            }
        };
        parse(&answer.with_context(failed)?)
    }
}

fn converse(mut stream: impl Read + Write, head: &str, body: Option<(File, u64)>) -> io::Result<String> {
    stream.write_all(head.as_bytes())?;
    // A host that refuses the rest has answered why.
    let sent = body.map_or(Ok(0), |(file, length)| io::copy(&mut file.take(length), &mut stream));
    let mut answer = Vec::new();
    let read = stream.take(LARGEST).read_to_end(&mut answer);
    match (sent, read) {
        (Err(error), _) | (Ok(_), Err(error)) if answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

fn parse(answer: &str) -> Result<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the admin listener's answer is cut short")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => bail!("the admin listener's answer is not HTTP: {head:?}"),
    }
}

//! A client for the admin listener: what `ps` and `kill` use.

use std::io::{Read as _, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use roadrunner_manifest::Address;

/// How long the admin listener may take to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer, in bytes.
const LARGEST: u64 = 64 << 20;

/// One request, HTTP/1.0: the answer ends with the connection. Status and body.
pub(crate) fn request(address: &Address, method: &str, path: &str) -> Result<(u16, String)> {
    let failed = || format!("cannot reach the admin listener at {address}; is the host running, with [admin] set?");
    let answer = match address {
        Address::Systemd(name) => bail!("the admin listener is systemd's socket {name}: name its address with --admin"),
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE).with_context(failed)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, method, path)
        }
        Address::Unix(path_of_socket) => {
            let stream = UnixStream::connect(path_of_socket).with_context(failed)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, method, path)
        }
    };
    parse(&answer.with_context(failed)?)
}

fn exchange(mut stream: impl std::io::Read + Write, method: &str, path: &str) -> std::io::Result<String> {
    stream.write_all(format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(LARGEST).read_to_string(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &str) -> Result<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the admin listener's answer is cut short")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => bail!("the admin listener's answer is not HTTP: {head:?}"),
    }
}

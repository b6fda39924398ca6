//! A minimal HTTP/1.1 client: one request on its own connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer with a length.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, unless it was left to the caller.
    pub body: Vec<u8>,
}

/// Asks for a path and reads the whole answer.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    let mut socket = connect(address)?;
    ask(&mut socket, address, "GET", path, "")?;
    finish(socket)
}

/// Sends a body to a path and reads the whole answer.
pub fn post(address: SocketAddr, path: &str, body: &[u8]) -> Result<Answer> {
    let mut socket = connect(address)?;
    ask(&mut socket, address, "POST", path, &format!("content-length: {}\r\n", body.len()))?;
    socket.write_all(body).context("cannot send the body")?;
    finish(socket)
}

/// Reads and discards an answer, until it ends or `limit` bytes have come; pauses after each piece of `burst` bytes.
/// Returns the number of bytes.
pub fn download(address: SocketAddr, path: &str, limit: u64, burst: u64, rest: Duration) -> Result<u64> {
    let mut socket = connect(address)?;
    ask(&mut socket, address, "GET", path, "")?;
    let mut buffer = vec![0; 64 * 1024];
    let (mut total, mut rested) = (0, 0);
    while total < limit {
        let read = socket.read(&mut buffer).context("the answer broke off")?;
        if total == 0 {
            ensure!(buffer.starts_with(b"HTTP/1.1 200 "), "the answer is not a 200");
        }
        if read == 0 {
            break;
        }
        total += read as u64;
        if total - rested >= burst {
            rested = total;
            std::thread::sleep(rest);
        }
    }
    Ok(total)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect(address).context("cannot connect")?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn ask(socket: &mut TcpStream, address: SocketAddr, method: &str, path: &str, fields: &str) -> Result<()> {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{fields}\r\n");
    socket.write_all(head.as_bytes()).context("cannot send the request")
}

fn finish(mut socket: TcpStream) -> Result<Answer> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).context("the answer broke off")?;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("the answer has no head")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer has no status")?;
    Ok(Answer { status, body: bytes.split_off(end + 4) })
}

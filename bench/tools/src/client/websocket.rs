//! WebSockets on HTTP/1.1, without compression.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow, bail, ensure};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use roadrunner_websocket::handshake::ClientHandshake;
use roadrunner_websocket::{Config, Event, Message, Role, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Target;

/// Bytes that are read at once.
const READ: usize = 16 << 10;

/// The longest head of an answer.
const MAX_HEAD: usize = 16 << 10;

/// A WebSocket.
pub struct Client {
    socket: TcpStream,
    session: Session,
    message: String,
}

impl Client {
    pub(super) async fn connect(target: &Arc<Target>) -> Result<Self> {
        let handshake = ClientHandshake::upgrade(&[], None).map_err(|error| anyhow!("no random bytes: {error}"))?;
        let mut socket = target.socket().await?;
        let mut request = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n", target.paths[0]);
        for (name, value) in &handshake.request() {
            request += &format!("{name}: {}\r\n", value.to_str()?);
        }
        socket.write_all((request + "\r\n").as_bytes()).await?;
        let mut bytes = Vec::new();
        let (length, status, headers) = loop {
            ensure!(socket.read_buf(&mut bytes).await? > 0, "the server closed the connection");
            if let Some(answer) = parse(&bytes)? {
                break answer;
            }
            ensure!(bytes.len() < MAX_HEAD, "the head of the answer has no end");
        };
        handshake.verify(status, &headers)?;
        let mut session = Session::new(Role::Client, Arc::new(Config::default()), None, Instant::now());
        session.feed(&bytes[length..]);
        Ok(Self { socket, session, message: String::from_utf8(target.answer.to_vec())? })
    }

    pub(super) async fn exchange(&mut self) -> Result<u64> {
        let now = Instant::now();
        self.session.send_text(&self.message, now)?;
        loop {
            while !self.session.outgoing().is_empty() {
                let written = self.socket.write(self.session.outgoing()).await?;
                self.session.written(written);
            }
            match self.session.next_event(now) {
                Some(Event::Message(Message::Text(text))) if *text == *self.message => return Ok(1),
                Some(other) => bail!("something else came back: {other:?}"),
                None => {}
            }
            let read = self.socket.read_buf(self.session.read_buffer(READ)).await?;
            ensure!(read > 0, "the server closed the connection");
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Length, status and fields of an answer's head; none if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(usize, StatusCode, HeaderMap)>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = answer.parse(bytes)? else {
        return Ok(None);
    };
    let status = StatusCode::from_u16(answer.code.unwrap_or_default())?;
    let mut headers = HeaderMap::new();
    for field in answer.headers.iter() {
        headers.append(HeaderName::from_bytes(field.name.as_bytes())?, HeaderValue::from_bytes(field.value)?);
    }
    Ok(Some((length, status, headers)))
}

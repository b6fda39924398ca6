//! HTTP/1.1. Requests are made once and written as they are; pipelining needs that, and it costs the machine little.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, BytesMut};
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answers, Target};
use crate::scenarios::Does;

/// Bytes that are read at once.
const READ: usize = 64 << 10;

/// The longest head of an answer.
const MAX_HEAD: usize = 16 << 10;

/// A connection.
#[derive(Debug)]
pub struct Client {
    target: Arc<Target>,
    socket: TcpStream,
    requests: Vec<Vec<u8>>,
    next: usize,
    buffer: BytesMut,
    body: Vec<u8>,
    answers: Answers,
    listening: bool,
}

/// How the end of a body is known.
enum Length {
    Chunked,
    Known(usize),
}

struct Head {
    status: u16,
    length: Option<Length>,
    encoding: Option<Vec<u8>>,
}

impl Client {
    pub(super) async fn connect(target: &Arc<Target>) -> Result<Self> {
        let requests = target.paths.iter().map(|path| request(target, path)).collect();
        Ok(Self {
            target: target.clone(),
            socket: target.socket().await?,
            requests,
            next: 0,
            buffer: BytesMut::with_capacity(READ),
            body: Vec::new(),
            answers: Answers::default(),
            listening: false,
        })
    }

    pub(super) async fn exchange(&mut self) -> Result<u64> {
        if self.target.scenario.does == Does::Listen {
            return self.events().await;
        }
        self.ask().await?;
        let batch = self.target.scenario.batch();
        for _ in 0..batch {
            let head = self.head().await?;
            match head.length {
                Some(Length::Known(length)) => self.take(length).await?,
                Some(Length::Chunked) => self.chunks().await?,
                None => bail!("the answer has no length"),
            }
            self.target.check(head.status, &self.body, head.encoding.as_deref(), &mut self.answers)?;
            self.body.clear();
        }
        ensure!(self.buffer.is_empty(), "the server sends more than was asked for");
        Ok(batch as u64)
    }

    pub(super) async fn listen(&mut self) -> Result<()> {
        self.ask().await?;
        let head = self.head().await?;
        ensure!(head.status == self.target.scenario.status, "the server answered {}", head.status);
        self.listening = true;
        Ok(())
    }

    /// Closes without leaving a port in TIME_WAIT, of which there are too few for a load of new connections.
    pub(super) fn reset(&self) -> Result<()> {
        rustix::net::sockopt::set_socket_linger(&self.socket, Some(std::time::Duration::ZERO))
            .context("cannot set the linger time")
    }

    async fn events(&mut self) -> Result<u64> {
        if !self.listening {
            self.listen().await?;
        }
        if self.buffer.is_empty() {
            self.read().await?;
        }
        let events = Target::events(&self.buffer);
        self.buffer.clear();
        Ok(events)
    }

    async fn ask(&mut self) -> Result<()> {
        self.socket.write_all(&self.requests[self.next]).await.context("cannot send the request")?;
        self.next = (self.next + 1) % self.requests.len();
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        self.buffer.reserve(READ);
        let read = self.socket.read_buf(&mut self.buffer).await.context("the answer broke off")?;
        ensure!(read > 0, "the server closed the connection");
        Ok(())
    }

    async fn head(&mut self) -> Result<Head> {
        loop {
            if !self.buffer.is_empty()
                && let Some((length, head)) = parse(&self.buffer)?
            {
                self.buffer.advance(length);
                return Ok(head);
            }
            ensure!(self.buffer.len() < MAX_HEAD, "the head of the answer has no end");
            self.read().await?;
        }
    }

    /// Moves so many bytes to the body.
    async fn take(&mut self, mut length: usize) -> Result<()> {
        loop {
            let piece = self.buffer.len().min(length);
            self.body.extend_from_slice(&self.buffer[..piece]);
            self.buffer.advance(piece);
            length -= piece;
            if length == 0 {
                return Ok(());
            }
            self.read().await?;
        }
    }

    async fn chunks(&mut self) -> Result<()> {
        loop {
            let Status::Complete((line, size)) =
                httparse::parse_chunk_size(&self.buffer).ok().context("the chunks of the answer are wrong")?
            else {
                self.read().await?;
                continue;
            };
            self.buffer.advance(line);
            self.take(usize::try_from(size)?).await?;
            while self.buffer.len() < 2 {
                self.read().await?;
            }
            ensure!(
                self.buffer.starts_with(b"\r\n"),
                "a chunk of the answer has another length, or there are trailers"
            );
            self.buffer.advance(2);
            if size == 0 {
                return Ok(());
            }
        }
    }
}

/// One request, as often as it is sent at once.
fn request(target: &Target, path: &str) -> Vec<u8> {
    let method = if target.body.is_empty() { "GET" } else { "POST" };
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in &target.fields {
        head += &format!("{name}: {value}\r\n");
    }
    if !target.body.is_empty() {
        head += &format!("content-length: {}\r\n", target.body.len());
    }
    let mut request = (head + "\r\n").into_bytes();
    request.extend_from_slice(&target.body);
    request.repeat(target.scenario.batch())
}

fn parse(bytes: &[u8]) -> Result<Option<(usize, Head)>> {
    let mut fields = [EMPTY_HEADER; 32];
    let mut answer = Response::new(&mut fields);
    let Status::Complete(size) = answer.parse(bytes).context("the answer has no head")? else { return Ok(None) };
    let mut head = Head { status: answer.code.unwrap_or_default(), length: None, encoding: None };
    for field in answer.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            head.length = Some(Length::Known(std::str::from_utf8(field.value)?.parse()?));
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            head.length = Some(Length::Chunked);
        } else if field.name.eq_ignore_ascii_case("content-encoding") {
            head.encoding = Some(field.value.to_vec());
        }
    }
    Ok(Some((size, head)))
}

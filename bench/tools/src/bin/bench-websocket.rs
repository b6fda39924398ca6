//! Loads a server that echoes WebSocket messages: so many connections, each with so many messages in flight. Speaks
//! HTTP/1.1 on loopback, offers no compression, and is bounded in time and count. Prints one line of JSON.
//!
//! Every message that comes back must be one that was sent; anything else ends the run with an error.

#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Parser;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use roadrunner_websocket::handshake::ClientHandshake;
use roadrunner_websocket::{CloseCode, Config, Event, Message, Role, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest head of an answer that is read.
const MAX_HEAD: usize = 16 << 10;

/// Bytes read at once.
const READ: usize = 64 << 10;

/// Sends messages and counts those that come back
#[derive(Debug, Parser)]
struct Options {
    /// Where the server listens; loopback only
    #[arg(long)]
    address: SocketAddr,
    /// The path of the echo
    #[arg(long)]
    path: String,
    /// How many WebSockets
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Messages in flight on each
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    depth: u32,
    /// Bytes of a message
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    size: u32,
    /// Milliseconds that are counted, at most a minute
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    milliseconds: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.address.ip().is_loopback(), "{} is not on loopback", options.address);
    // One thread: the servers need the rest of the machine.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(options))
}

async fn run(options: Options) -> Result<()> {
    let options = Arc::new(options);
    let mut opening = JoinSet::new();
    for _ in 0..options.connections {
        let options = options.clone();
        opening.spawn(async move { Echo::open(&options).await });
    }
    let mut echoes = Vec::new();
    while let Some(opened) = opening.join_next().await {
        echoes.push(opened??);
    }
    let until = Instant::now() + Duration::from_millis(options.milliseconds);
    let started = Instant::now();
    let mut running = JoinSet::new();
    for echo in echoes {
        running.spawn(echo.run(options.clone(), until));
    }
    let mut messages = 0;
    while let Some(count) = running.join_next().await {
        messages += count??;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({ "messages": messages, "seconds": seconds }));
    Ok(())
}

struct Echo {
    socket: TcpStream,
    session: Session,
}

impl Echo {
    async fn open(options: &Options) -> Result<Self> {
        let handshake = ClientHandshake::upgrade(&[], None).map_err(|error| anyhow!("no random bytes: {error}"))?;
        let mut socket = TcpStream::connect(options.address).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        let mut request = format!("GET {} HTTP/1.1\r\nhost: {}\r\n", options.path, options.address);
        for (name, value) in &handshake.request() {
            request += &format!("{name}: {}\r\n", value.to_str()?);
        }
        socket.write_all((request + "\r\n").as_bytes()).await?;
        let mut bytes = Vec::new();
        let answer = tokio::time::timeout(PATIENCE, async {
            loop {
                ensure!(socket.read_buf(&mut bytes).await? > 0, "the server closed the connection");
                if let Some(answer) = parse(&bytes)? {
                    return Ok(answer);
                }
                ensure!(bytes.len() < MAX_HEAD, "the server's head is too long");
            }
        });
        let (length, status, headers) = answer.await.context("the server does not answer")??;
        handshake.verify(status, &headers)?;
        let mut session = Session::new(Role::Client, Arc::new(Config::default()), None, Instant::now());
        session.feed(&bytes[length..]);
        Ok(Self { socket, session })
    }

    /// Keeps `depth` messages in flight until it is time, and says how many have come back by then.
    async fn run(mut self, options: Arc<Options>, until: Instant) -> Result<u64> {
        let payload = vec![b'x'; options.size as usize];
        let (mut count, mut in_flight) = (0, 0);
        loop {
            let now = Instant::now();
            if now >= until {
                self.session.close(CloseCode::NORMAL, "", now);
                self.socket.write_all(self.session.outgoing()).await?;
                return Ok(count);
            }
            while let Some(event) = self.session.next_event(now) {
                match event {
                    Event::Message(Message::Binary(bytes)) if bytes == payload => {
                        count += 1;
                        in_flight -= 1;
                    }
                    other => bail!("something else came back: {other:?}"),
                }
            }
            while in_flight < options.depth {
                self.session.send_binary(&payload, now)?;
                in_flight += 1;
            }
            while !self.session.outgoing().is_empty() {
                let written = self.socket.write(self.session.outgoing()).await?;
                self.session.written(written);
            }
            tokio::time::timeout(PATIENCE, self.socket.readable()).await.context("nothing comes back")??;
            match self.socket.try_read_buf(self.session.read_buffer(READ)) {
                Ok(0) => bail!("the server closed the connection"),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                _ => {}
            }
        }
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

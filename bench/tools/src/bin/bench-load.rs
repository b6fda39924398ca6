//! Loads a server with held sessions, which wrk and h2load cannot: `events` counts server-sent events, `hold` opens
//! silent sessions and keeps them until its standard input ends. It speaks to loopback addresses only, and each run is
//! bounded in time and count.

#![forbid(unsafe_code)]

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// HTTP/2 streams that share a connection.
const STREAMS: usize = 64;

/// How long a session may take to be accepted.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sessions that are opened before the answer to the first of them is awaited.
const BATCH: usize = 64;

#[derive(Debug, Parser)]
enum Command {
    /// Count the server-sent events that arrive in some time
    Events {
        #[command(flatten)]
        target: Target,
        /// How the server is spoken to
        #[arg(long)]
        protocol: Protocol,
        /// Milliseconds that are counted, at most a minute
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60_000))]
        milliseconds: u64,
    },
    /// Open HTTP/1.1 sessions, print a line, and keep them until standard input ends
    Hold {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(clap::Args, Debug)]
struct Target {
    /// A loopback address
    #[arg(long)]
    address: SocketAddr,
    /// What is asked for
    #[arg(long)]
    path: String,
    /// How many sessions are open at once
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    sessions: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    H1,
    H2c,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Events { target, protocol, milliseconds } => {
            events(&target, protocol, Duration::from_millis(milliseconds)).await
        }
        Command::Hold { target } => hold(&target).await,
    }
}

/// Opens every session, then counts for as long as told; prints the events, the microseconds they came in, and how many
/// came in all, with those that came while sessions were still being opened.
async fn events(target: &Target, protocol: Protocol, length: Duration) -> Result<()> {
    target.check()?;
    let counter = Arc::new(Counter::default());
    let mut sessions = JoinSet::new();
    match protocol {
        Protocol::H1 => {
            for mut socket in target.open().await? {
                let counter = counter.clone();
                sessions.spawn(async move {
                    let mut buffer = vec![0; 16 * 1024];
                    loop {
                        match socket.read(&mut buffer).await {
                            Ok(0) | Err(_) => return,
                            Ok(read) => counter.take(&buffer[..read]),
                        }
                    }
                });
            }
        }
        Protocol::H2c => target.open_http2(&counter, &mut sessions).await?,
    }
    let early = counter.events.load(Relaxed);
    let started = Instant::now();
    tokio::time::sleep(length).await;
    let (all, elapsed) = (counter.events.load(Relaxed), started.elapsed());
    ensure!(sessions.try_join_next().is_none(), "a session ended before its time");
    println!("{} {} {all}", all - early, elapsed.as_micros());
    Ok(())
}

async fn hold(target: &Target) -> Result<()> {
    target.check()?;
    let sessions = target.open().await?;
    println!("holding {}", sessions.len());
    let mut rest = Vec::new();
    // Nothing else has to run meanwhile: the sessions are silent.
    std::io::stdin().read_to_end(&mut rest)?;
    Ok(())
}

impl Target {
    fn check(&self) -> Result<()> {
        ensure!(self.address.ip().is_loopback(), "{} is not an address of this machine", self.address);
        Ok(())
    }

    /// HTTP/1.1 sessions whose response heads have arrived.
    async fn open(&self) -> Result<Vec<TcpStream>> {
        let request = format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", self.path, self.address);
        let mut sessions = Vec::with_capacity(self.sessions as usize);
        let mut batch = Vec::with_capacity(BATCH);
        for number in 1..=self.sessions {
            let mut socket = TcpStream::connect(self.address).await.context("cannot connect")?;
            socket.write_all(request.as_bytes()).await.context("cannot ask")?;
            batch.push(socket);
            if batch.len() < BATCH && number < self.sessions {
                continue;
            }
            for mut socket in batch.drain(..) {
                tokio::time::timeout(PATIENCE, head(&mut socket)).await.context("no answer in time")??;
                sessions.push(socket);
            }
        }
        Ok(sessions)
    }

    async fn open_http2(&self, counter: &Arc<Counter>, sessions: &mut JoinSet<()>) -> Result<()> {
        let mut left = self.sessions as usize;
        while left > 0 {
            let socket = TcpStream::connect(self.address).await.context("cannot connect")?;
            socket.set_nodelay(true)?;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
            let (mut client, connection) = builder.handshake::<_, bytes::Bytes>(socket).await.context("no HTTP/2")?;
            sessions.spawn(async move { drop(connection.await) });
            for _ in 0..left.min(STREAMS) {
                let uri = format!("http://{}{}", self.address, self.path);
                let request = Request::get(uri).body(()).context("the path is not one")?;
                client = client.ready().await.context("the server takes no stream")?;
                let (response, _) = client.send_request(request, true).context("cannot ask")?;
                let response = tokio::time::timeout(PATIENCE, response).await.context("no answer in time")??;
                ensure!(response.status() == 200, "the server answered {}", response.status());
                let mut body = response.into_body();
                let counter = counter.clone();
                let client = client.clone();
                sessions.spawn(async move {
                    // The connection lives as long as one of its clients.
                    let _client = client;
                    while let Some(Ok(data)) = body.data().await {
                        counter.take(&data);
                        if body.flow_control().release_capacity(data.len()).is_err() {
                            return;
                        }
                    }
                });
            }
            left -= left.min(STREAMS);
        }
        Ok(())
    }
}

/// Events of all sessions.
#[derive(Default)]
struct Counter {
    events: AtomicU64,
}

impl Counter {
    fn take(&self, bytes: &[u8]) {
        // Each event has one colon, behind `data`, and the sizes of chunks have none.
        let events = bytes.iter().filter(|byte| **byte == b':').count();
        self.events.fetch_add(events as u64, Relaxed);
    }
}

/// Reads a response head to its end, and not beyond.
async fn head(socket: &mut TcpStream) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < 16 * 1024, "the response head has no end");
        head.push(socket.read_u8().await.context("the server closed the connection")?);
    }
    if !head.starts_with(b"HTTP/1.1 200 ") {
        bail!("the server answered {:?}", String::from_utf8_lossy(&head).lines().next().unwrap_or_default());
    }
    Ok(())
}

//! What receive windows of HTTP/2 cost and bring: uploads over a long way, and clients that fill their window and wait.
//! Speaks HTTP/2 with prior knowledge on loopback, bounded in time and bytes, and prints one line of JSON.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use h2::SendStream;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes handed over at once.
const PIECE: usize = 64 << 10;

/// What the relay holds in each direction, in pieces: more than any window that is measured, so that the delay is all
/// that it adds.
const IN_FLIGHT: usize = 1024;

/// Uploads over a long way, and clients that fill their window and wait
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Uploads once over a connection with a delay; prints the seconds from the first byte to the answer
    Upload {
        /// Where the server listens; loopback only
        #[arg(long)]
        address: SocketAddr,
        /// The path that takes an upload
        #[arg(long)]
        path: String,
        /// Bytes of the body, at most 256 MiB
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=256 << 20))]
        bytes: u64,
        /// Milliseconds of a round trip, added by a relay
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1000))]
        round_trip: u64,
    },
    /// Opens connections, sends on each what its window takes, prints a line, and stays until standard input ends
    Hold {
        /// Where the server listens; loopback only
        #[arg(long)]
        address: SocketAddr,
        /// A path that is answered with a head, and reads nothing
        #[arg(long)]
        path: String,
        /// How many connections
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5000))]
        connections: u32,
        /// Whether the windows are filled; else the requests have no body
        #[arg(long)]
        fill: bool,
    },
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (What::Upload { address, .. } | What::Hold { address, .. }) = &options.what;
    ensure!(address.ip().is_loopback(), "{address} is not on loopback");
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        match options.what {
            What::Upload { address, path, bytes, round_trip } => {
                let one_way = Duration::from_millis(round_trip) / 2;
                let address = if one_way.is_zero() { address } else { relay(address, one_way).await? };
                let seconds = timeout(PATIENCE, upload(address, &path, bytes)).await.context("the upload hangs")??;
                println!("{{\"seconds\":{seconds}}}");
                Ok(())
            }
            What::Hold { address, path, connections, fill } => hold(address, &path, connections, fill).await,
        }
    })
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Bytes>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(socket).await?;
    tokio::spawn(async move {
        // Whoever waits for it hears of its end.
        let _ = connection.await;
    });
    Ok(sender.ready().await?)
}

fn request(address: SocketAddr, path: &str) -> Result<Request<()>> {
    Ok(Request::post(format!("http://{address}{path}")).body(())?)
}

async fn upload(address: SocketAddr, path: &str, bytes: u64) -> Result<f64> {
    let mut sender = connect(address).await?;
    // A round trip first: what is measured is the window, and not the handshake.
    let (answer, _) = sender.send_request(request(address, path)?, true)?;
    ensure!(answer.await?.status().is_success(), "{path} does not take an upload");
    let mut sender = sender.ready().await?;
    let start = Instant::now();
    let (answer, mut body) = sender.send_request(request(address, path)?, false)?;
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let mut left = bytes;
    while left > 0 {
        let room = credit(&mut body, left.min(PIECE as u64) as usize).await?;
        left -= room as u64;
        body.send_data(piece.slice(..room), left == 0)?;
    }
    let answer = answer.await?;
    ensure!(answer.status().is_success(), "the upload was answered with {}", answer.status());
    Ok(start.elapsed().as_secs_f64())
}

/// Waits until some of the window is there.
async fn credit(body: &mut SendStream<Bytes>, wanted: usize) -> Result<usize> {
    body.reserve_capacity(wanted);
    while body.capacity() == 0 {
        std::future::poll_fn(|context| body.poll_capacity(context)).await.context("the stream has ended")??;
    }
    Ok(body.capacity().min(wanted))
}

async fn hold(address: SocketAddr, path: &str, connections: u32, fill: bool) -> Result<()> {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let mut held = Vec::new();
    let mut sent = 0;
    for _ in 0..connections {
        let mut sender = timeout(PATIENCE, connect(address)).await.context("no connection")??;
        let (answer, mut body) = sender.send_request(request(address, path)?, !fill)?;
        let answer = timeout(PATIENCE, answer).await.context("no answer")??;
        ensure!(answer.status().is_success(), "{path} answered {}", answer.status());
        // Nobody reads, so what the window takes comes at once.
        let mut filled = !fill;
        while !filled {
            match timeout(Duration::from_millis(20), credit(&mut body, PIECE)).await {
                Ok(room) => {
                    let room = room?;
                    body.send_data(piece.slice(..room), false)?;
                    sent += room as u64;
                }
                Err(_) => filled = true,
            }
        }
        held.push((sender, answer, body));
    }
    // For what is still in the sockets.
    sleep(Duration::from_secs(1)).await;
    println!("{{\"sent\":{sent}}}");
    std::io::stdout().flush()?;
    // Whatever comes, it is the end of standard input that counts.
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    Ok(())
}

/// Stands before an address, and passes everything on after a while.
async fn relay(to: SocketAddr, one_way: Duration) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(to).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            pass(from_client, to_server, one_way);
            pass(from_server, to_client, one_way);
        }
    });
    Ok(address)
}

fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, one_way: Duration) {
    let (sender, mut receiver) = mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(IN_FLIGHT);
    tokio::spawn(async move {
        loop {
            let mut piece = vec![0; PIECE];
            let Ok(count) = from.read(&mut piece).await else { return };
            piece.truncate(count);
            let due = tokio::time::Instant::now() + one_way;
            if count == 0 || sender.send((due, piece)).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, piece)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
}

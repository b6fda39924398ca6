//! HTTP/3: the native server to compare with, a loader, and a client that counts header bytes.
//!
//! The native server is host/h3 on quinn with a function that returns the answer: what the layer costs without limits,
//! log, router or component. The loader is the client of the crate h3. Both speak to loopback addresses only, and each
//! run is bounded in time and count.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use clap::Parser;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use quinn::{Connection, RecvStream, SendStream};
use roadrunner_bench::{browser, tls};
use roadrunner_h3::frame::{self, FrameType};
use roadrunner_h3::settings::Settings;
use roadrunner_h3::{ConnectionInfo, DrainTrigger, Pool, PoolKeys, RequestBody, Service, varint};
use roadrunner_qpack::{Decoded, Decoder, DecoderConfig, Encoder, EncoderConfig};
use roadrunner_values::TransportSettings;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::Serialize;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The answer of `/hello`.
const HELLO: &str = "hello, world\n";

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Parser)]
enum Command {
    /// Count the header bytes of a browser's requests and of their answers, with the dynamic table or without
    Headers {
        /// A loopback address
        #[arg(long)]
        address: SocketAddr,
        /// What is asked for
        #[arg(long)]
        path: String,
        /// How many requests, one after the other
        #[arg(long, value_parser = clap::value_parser!(u64).range(2..=1000))]
        requests: u64,
        /// Neither side uses its dynamic table
        #[arg(long)]
        static_only: bool,
    },
    /// Ask again and again on every stream, and print how often that was and how long it took
    Load {
        /// A loopback address
        #[arg(long)]
        address: SocketAddr,
        /// What is asked for
        #[arg(long)]
        path: String,
        /// QUIC connections
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
        connections: u64,
        /// Requests that are under way at once on each
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100))]
        streams: u64,
        /// How long, at most a minute
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60_000))]
        milliseconds: u64,
    },
    /// Serve `/hello` until it is killed
    Native {
        /// Where
        #[arg(long)]
        address: SocketAddr,
    },
}

/// What a load came to.
#[derive(Debug, Serialize)]
struct Load {
    requests: u64,
    seconds: f64,
    p50_micros: u64,
    p99_micros: u64,
}

/// Header bytes of each exchange; what went over the streams of QPACK is counted where it was sent for.
#[derive(Debug, Serialize)]
struct Headers {
    up: Vec<u64>,
    down: Vec<u64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Headers { address, path, requests, static_only } => {
            let headers = headers(address, &path, requests, if static_only { 0 } else { 4096 }).await?;
            println!("{}", serde_json::to_string(&headers)?);
        }
        Command::Load { address, path, connections, streams, milliseconds } => {
            let load = load(address, &path, connections, streams, Duration::from_millis(milliseconds)).await?;
            println!("{}", serde_json::to_string(&load)?);
        }
        Command::Native { address } => native(address).await?,
    }
    Ok(())
}

/// The native server.
async fn native(address: SocketAddr) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    let config = TransportSettings::default();
    let pool = Pool::bind(address, roadrunner_h3::quinn(&config, tls)?, &config.http3, &PoolKeys::random()?)?;
    let (_trigger, signal) = DrainTrigger::new();
    roadrunner_h3::serve(pool, Arc::new(Hello), Arc::new(config), signal).await;
    Ok(())
}

struct Hello;

impl Service for Hello {
    type Body = Full<Bytes>;

    async fn call(&self, _: Request<RequestBody>, _: Arc<ConnectionInfo>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from_static(HELLO.as_bytes())));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(HELLO.len()));
        // Of the length that a date has; making it is not what is measured.
        headers.insert(header::DATE, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
        response
    }
}

async fn load(address: SocketAddr, path: &str, connections: u64, streams: u64, length: Duration) -> Result<Load> {
    let endpoint = tls::quic_client()?;
    let uri: http::Uri = format!("https://localhost{path}").parse().context("the path is not one")?;
    let mut drivers = JoinSet::new();
    let mut workers = JoinSet::new();
    let ends = Arc::new(AtomicBool::new(false));
    // Connected before the clock starts, and not loaded before it does.
    let mut connected = Vec::new();
    for _ in 0..connections {
        let quic = tls::quic_connect(&endpoint, address).await?;
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic)).await?;
        drivers.spawn(async move { drop(std::future::poll_fn(|context| driver.poll_close(context)).await) });
        connected.push(requests);
    }
    for requests in connected {
        for _ in 0..streams {
            let (mut requests, uri, ends) = (requests.clone(), uri.clone(), ends.clone());
            workers.spawn(async move {
                let mut micros = Vec::new();
                while !ends.load(Relaxed) {
                    let started = Instant::now();
                    tokio::time::timeout(PATIENCE, ask(&mut requests, &uri)).await.context("no answer in time")??;
                    micros.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
                anyhow::Ok(micros)
            });
        }
    }
    let started = Instant::now();
    tokio::time::sleep(length).await;
    ends.store(true, Relaxed);
    let mut micros = Vec::new();
    while let Some(worker) = workers.join_next().await {
        micros.extend(worker??);
    }
    let seconds = started.elapsed().as_secs_f64();
    ensure!(!micros.is_empty(), "no request was answered");
    micros.sort_unstable();
    let at = |share: f64| u64::from(micros[((micros.len() - 1) as f64 * share) as usize]);
    endpoint.close(0x100_u32.into(), b"");
    Ok(Load { requests: micros.len() as u64, seconds, p50_micros: at(0.5), p99_micros: at(0.99) })
}

async fn ask(requests: &mut h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>, uri: &http::Uri) -> Result<()> {
    let mut stream = requests.send_request(Request::get(uri.clone()).body(())?).await?;
    stream.finish().await?;
    let response = stream.recv_response().await?;
    ensure!(response.status() == 200, "the server answered {}", response.status());
    let mut length = 0;
    while let Some(data) = stream.recv_data().await? {
        length += data.remaining();
    }
    ensure!(length == HELLO.len(), "the answer has {length} bytes");
    Ok(())
}

/// Counts header bytes: a client with a QPACK of this repository, since that of the crate h3 has no dynamic table.
async fn headers(address: SocketAddr, path: &str, requests: u64, capacity: u64) -> Result<Headers> {
    let endpoint = tls::quic_client()?;
    let quic = tls::quic_connect(&endpoint, address).await?;
    let qpack = Arc::new(Qpack::new(capacity));
    let mut control = quic.open_uni().await?;
    let settings = Settings {
        qpack_max_table_capacity: capacity,
        qpack_blocked_streams: 0,
        max_field_section_size: None,
        enable_connect_protocol: false,
        h3_datagram: false,
        webtransport_draft_02: false,
        webtransport_max_sessions: 0,
    };
    let mut bytes = BytesMut::new();
    varint::write(CONTROL, &mut bytes);
    settings.write_frame(0, &mut bytes);
    control.write_all(&bytes).await?;
    let mut instructions = [open(&quic, ENCODER).await?, open(&quic, DECODER).await?];
    let streams = tokio::spawn(take_streams(quic.clone(), qpack.clone()));
    tokio::time::timeout(PATIENCE, qpack.settings_came.notified()).await.context("the server sends no SETTINGS")?;

    let mut counted = Headers { up: Vec::new(), down: Vec::new() };
    for index in 0..requests {
        let (mut send, mut receive) = quic.open_bi().await?;
        let id = u64::from(send.id());
        let fields = browser::request("localhost", path, index);
        let mut section = Vec::new();
        let inserts = {
            let mut encoder = qpack.encoder.lock().await;
            encoder.encode(id, fields.iter().map(|(name, value)| (*name, &value[..])), &mut section);
            encoder.take_encoder_stream()
        };
        instructions[0].write_all(&inserts).await?;
        let mut request = BytesMut::new();
        frame::write_header(FrameType::HEADERS, section.len() as u64, &mut request);
        request.extend_from_slice(&section);
        send.write_all(&request).await?;
        send.finish()?;
        counted.up.push((section.len() + inserts.len()) as u64);

        let answer =
            tokio::time::timeout(PATIENCE, receive.read_to_end(1 << 20)).await.context("no answer in time")??;
        let section = first_section(&answer).context("the answer has no HEADERS")?;
        let acknowledgment = {
            let mut decoder = qpack.decoder.lock().await;
            let decoded = decoder.decode(id, section)?;
            let Decoded::Fields(fields) = decoded else { anyhow::bail!("the head of the answer cannot be read") };
            ensure!(fields.iter().any(|field| field.value == b"200"[..]), "the server did not answer 200");
            decoder.take_decoder_stream()
        };
        instructions[1].write_all(&acknowledgment).await?;
        // Acknowledgements have their round trip, as between the requests of a person.
        tokio::time::sleep(Duration::from_millis(5)).await;
        counted.down.push(section.len() as u64 + qpack.inserted.swap(0, Relaxed));
    }
    streams.abort();
    quic.close(0x100_u32.into(), b"");
    endpoint.wait_idle().await;
    Ok(counted)
}

const CONTROL: u64 = 0;
const ENCODER: u64 = 2;
const DECODER: u64 = 3;

/// The QPACK of a client.
struct Qpack {
    encoder: Mutex<Encoder>,
    decoder: Mutex<Decoder>,
    settings_came: Notify,
    /// Bytes of the server's encoder stream that were not counted yet.
    inserted: AtomicU64,
    capacity: u64,
}

impl Qpack {
    fn new(capacity: u64) -> Self {
        let encoder = Encoder::new(EncoderConfig { max_table_capacity: capacity, ..EncoderConfig::default() });
        let decoder = Decoder::new(DecoderConfig {
            max_table_capacity: capacity,
            max_blocked_streams: 0,
            ..DecoderConfig::default()
        });
        Self {
            encoder: Mutex::new(encoder),
            decoder: Mutex::new(decoder),
            settings_came: Notify::new(),
            inserted: AtomicU64::new(0),
            capacity,
        }
    }

    async fn take(&self, kind: u64, bytes: &mut BytesMut) -> Result<()> {
        match kind {
            CONTROL => {
                let mut frame = &bytes[..];
                let (Some(_), Some(length)) = (varint::read(&mut frame), varint::read(&mut frame)) else {
                    return Ok(());
                };
                if (frame.len() as u64) < length {
                    return Ok(());
                }
                let settings = Settings::read_payload(&frame[..usize::try_from(length)?])?;
                let capacity = settings.qpack_max_table_capacity.min(self.capacity);
                self.encoder.lock().await.set_peer_settings(capacity, settings.qpack_blocked_streams);
                self.settings_came.notify_one();
            }
            ENCODER => {
                self.inserted.fetch_add(bytes.len() as u64, Relaxed);
                self.decoder.lock().await.on_encoder_stream(bytes)?;
            }
            DECODER => self.encoder.lock().await.on_decoder_stream(bytes)?,
            _ => {}
        }
        bytes.clear();
        Ok(())
    }
}

async fn take_streams(quic: Connection, qpack: Arc<Qpack>) -> Result<Infallible> {
    loop {
        let stream = quic.accept_uni().await?;
        let qpack = qpack.clone();
        tokio::spawn(async move {
            if let Err(error) = take_stream(stream, &qpack).await {
                eprintln!("a stream of the server ended: {error:#}");
            }
        });
    }
}

async fn take_stream(mut stream: RecvStream, qpack: &Qpack) -> Result<()> {
    let mut bytes = BytesMut::new();
    let mut kind = None;
    while let Ok(Some(chunk)) = stream.read_chunk(16 * 1024, true).await {
        bytes.extend_from_slice(&chunk.bytes);
        if kind.is_none() {
            kind = varint::read(&mut bytes);
        }
        if let Some(kind) = kind {
            qpack.take(kind, &mut bytes).await?;
        }
    }
    Ok(())
}

async fn open(quic: &Connection, kind: u64) -> Result<SendStream> {
    let mut stream = quic.open_uni().await?;
    let mut bytes = BytesMut::new();
    varint::write(kind, &mut bytes);
    stream.write_all(&bytes).await?;
    Ok(stream)
}

fn first_section(answer: &[u8]) -> Option<&[u8]> {
    let mut bytes = answer;
    let (kind, length) = (varint::read(&mut bytes)?, usize::try_from(varint::read(&mut bytes)?).ok()?);
    (kind == FrameType::HEADERS.0).then(|| bytes.get(..length)).flatten()
}

//! A server with one small service per behaviour, on a loopback address.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod client;
pub mod nat;

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use roadrunner_h3::webtransport::{Close, End, Event, Session, SessionLimits};
use roadrunner_h3::{
    BoxError, ConnectionInfo, DrainTrigger, Pool, PoolKeys, RequestBody, Service, Tunnel, TunnelRequest, serve,
};
use roadrunner_values::TransportSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

pub struct Server {
    pub address: SocketAddr,
    pub certificate: rustls_pki_types::CertificateDer<'static>,
    pub drain: DrainTrigger,
    pub counters: Arc<Counters>,
    pub pool: Pool,
    pub task: JoinHandle<()>,
}

#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that the service has begun.
    pub calls: AtomicUsize,
    /// Requests to `/wait` whose future was dropped.
    pub dropped: AtomicUsize,
}

/// The default settings with this change.
pub fn with(change: impl FnOnce(&mut TransportSettings)) -> TransportSettings {
    let mut config = TransportSettings::default();
    change(&mut config);
    config
}

impl Server {
    pub fn start(config: TransportSettings) -> Server {
        Server::with_keys(config, &PoolKeys::random().expect("randomness"))
    }

    pub fn with_keys(config: TransportSettings, keys: &PoolKeys) -> Server {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = key.cert.der().clone();
        let private = rustls_pki_types::PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], private.into())
            .expect("a certificate and its key");
        let quic = roadrunner_h3::quinn(&config, tls).expect("TLS 1.3");
        let pool = Pool::bind((Ipv4Addr::LOCALHOST, 0).into(), quic, &config.http3, keys).expect("a port");
        let address = pool.local_addr().expect("an address");
        let (drain, signal) = DrainTrigger::new();
        let counters = Arc::<Counters>::default();
        let service = Arc::new(Routes { counters: Arc::clone(&counters) });
        let task = tokio::spawn(serve(pool.clone(), service, Arc::new(config), signal));
        Server { address, certificate, drain, counters, pool, task }
    }

    /// Waits until `/wait` was dropped this often.
    pub async fn dropped(&self, count: usize) {
        for _ in 0..500 {
            if self.counters.dropped.load(Ordering::SeqCst) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the service future is still there");
    }
}

/// The Python with aioquic, or None with the reason on standard error.
pub fn python() -> Option<PathBuf> {
    let python = std::env::var_os("ROADRUNNER_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let probe = Command::new(&python).args(["-c", "import aioquic, pylsqpack"]).output();
    match probe {
        Ok(output) if output.status.success() => Some(python),
        Ok(_) => {
            eprintln!("SKIPPED: {} has no aioquic; set ROADRUNNER_PYTHON", python.display());
            None
        }
        Err(error) => {
            eprintln!("SKIPPED: cannot run {}: {error}; set ROADRUNNER_PYTHON", python.display());
            None
        }
    }
}

/// Runs a script of tests/python against a server, and returns its output. Fails if the script does.
pub async fn run_script(python: PathBuf, script: &str, server: &Server, arguments: &[&str]) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let mut command = Command::new(python);
    command.arg("-B").arg(path).arg(server.address.port().to_string()).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{text}{errors}");
    assert!(output.status.success(), "{script} {arguments:?} failed:\n{text}{errors}");
    text
}

struct Routes {
    counters: Arc<Counters>,
}

type TestBody = BoxBody<Bytes, BoxError>;

impl Service for Routes {
    type Body = TestBody;

    async fn call(&self, mut request: Request<RequestBody>, connection: Arc<ConnectionInfo>) -> Response<TestBody> {
        self.counters.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(tunnel) = TunnelRequest::take(&mut request) {
            return tunnel_to(tunnel, request.uri().path());
        }
        match request.uri().path() {
            "/hello" => {
                let mut response = text(format!("hello {}", request.method()));
                if let Some(early) = request.headers().get("early-data") {
                    response.headers_mut().insert("x-early-data", early.clone());
                }
                response.headers_mut().insert("x-server-name", name(&connection));
                response
                    .headers_mut()
                    .insert("content-length", HeaderValue::from(5 + 1 + request.method().as_str().len()));
                response
            }
            "/echo" => {
                let trailers = request.headers().clone();
                let mut response = Response::new(request.into_body().map_err(BoxError::from).boxed());
                if let Some(length) = trailers.get("content-length") {
                    response.headers_mut().insert("x-length", length.clone());
                }
                response
            }
            "/count" => match count(request.into_body()).await {
                Ok(length) => text(length.to_string()),
                Err(error) => {
                    let mut response = text(error.to_string());
                    *response.status_mut() = StatusCode::BAD_REQUEST;
                    response
                }
            },
            "/large" => {
                let length: usize = request.uri().query().and_then(|query| query.parse().ok()).unwrap_or(0);
                Response::new(Zeros { left: length }.map_err(|never| match never {}).boxed())
            }
            "/trailers" => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-trailer", HeaderValue::from_static("yes"));
                let frames = [Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(trailers))];
                Response::new(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames))))
            }
            "/wait" => {
                let _guard = Guard(Arc::clone(&self.counters));
                // The body is kept, so that nothing asks the client to stop.
                let _body = request.into_body();
                std::future::pending().await
            }
            "/slow" => {
                let milliseconds = request.uri().query().and_then(|query| query.parse().ok()).unwrap_or(400);
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                text("slow".to_owned())
            }
            "/unread" => text("unread".to_owned()),
            "/short" => {
                let mut response = text("short".to_owned());
                response.headers_mut().insert("content-length", HeaderValue::from_static("10"));
                response
            }
            "/hop" => {
                let mut response = text("hop".to_owned());
                response.headers_mut().insert("connection", HeaderValue::from_static("close"));
                response.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
                response
            }
            "/panic" => panic!("asked to"),
            _ => {
                let mut response = text("not found".to_owned());
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }
}

struct Guard(Arc<Counters>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn text(text: String) -> Response<TestBody> {
    Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed())
}

fn name(connection: &ConnectionInfo) -> HeaderValue {
    HeaderValue::from_str(connection.server_name().unwrap_or("none")).expect("a host name")
}

async fn count(mut body: RequestBody) -> Result<u64, roadrunner_h3::BodyError> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            length += data.len() as u64;
        }
    }
    Ok(length)
}

fn tunnel_to(tunnel: TunnelRequest, path: &str) -> Response<TestBody> {
    match path {
        "/ws" => {
            tokio::spawn(async move { echo(tunnel.accept().await.expect("a tunnel")).await });
            text(String::new())
        }
        path if path.starts_with("/wt") && !tunnel.is_webtransport() => {
            let mut response = text("no session here".to_owned());
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
            response
        }
        path if path.starts_with("/wt") => {
            let limits = SessionLimits { streams: 20, datagrams: 8 };
            let path = path.to_owned();
            tokio::spawn(async move {
                let tunnel = tunnel.accept().await.expect("a tunnel");
                let session = tunnel.into_webtransport(limits).expect("it asks for a session");
                webtransport(Arc::new(session), &path).await;
            });
            text(String::new())
        }
        "/datagrams" => {
            tokio::spawn(async move {
                let mut tunnel = tunnel.accept().await.expect("a tunnel");
                let datagrams = tunnel.take_datagrams().expect("they are on");
                while let Some(datagram) = datagrams.recv().await {
                    datagrams.send(&datagram).expect("the client takes them");
                }
            });
            text(String::new())
        }
        _ => {
            let mut response = text("no tunnel here".to_owned());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

/// Echoes each bidirectional stream, answers a unidirectional stream with one of its own, and echoes datagrams. The
/// first word on a stream may select another behaviour.
async fn webtransport(session: Arc<Session>, path: &str) {
    let mut answers = std::collections::HashMap::new();
    if path == "/wt/late" {
        // Bytes that come meanwhile are not read.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    if path == "/wt/drain" {
        session.drain();
    }
    loop {
        match poll_fn(|cx| session.poll_event(cx)).await {
            Event::Opened { stream, bidirectional: true } => {
                answers.insert(stream, stream);
            }
            Event::Opened { stream, bidirectional: false } => {
                let Ok(answer) = session.open(false).await else { continue };
                answers.insert(stream, answer);
            }
            Event::Data { stream, bytes } if bytes.starts_with(b"open bidi") => {
                let opened = session.open(true).await.expect("the client allows one");
                answers.insert(opened, opened);
                session.send(opened, format!("for {stream}").into()).await.expect("it is open");
            }
            Event::Data { bytes, .. } if bytes.starts_with(b"close") => {
                session.close(&Close::new(4711, "as you wish"));
                return poll_fn(|cx| session.poll_finish(cx)).await;
            }
            Event::Data { bytes, .. } if bytes.starts_with(b"vanish") => return,
            Event::Data { stream, bytes } if bytes.starts_with(b"refuse") => {
                session.stop(stream, 30);
                session.reset(stream, 31);
            }
            Event::Data { bytes, .. } if bytes.starts_with(b"sleep") => {
                tokio::time::sleep(Duration::from_secs(1)).await
            }
            Event::Data { stream, bytes } => {
                let to = answers.get(&stream).copied().expect("it was opened");
                // The code below learns of a client that stops a stream.
                let _ = session.send(to, bytes).await;
            }
            Event::Finished { stream } => {
                if let Some(to) = answers.remove(&stream) {
                    session.finish(to);
                }
            }
            said @ (Event::Reset { .. } | Event::Stopped { .. } | Event::Drain) => {
                let _ = session.send_datagram(format!("{said:?}").as_bytes());
            }
            Event::Datagram(payload) => {
                let _ = session.send_datagram(&payload);
            }
            Event::Ended(end) => {
                LAST_END.lock().expect("no panic").push(end);
                return poll_fn(|cx| session.poll_finish(cx)).await;
            }
        }
    }
}

/// How sessions ended in the process of this test.
pub static LAST_END: std::sync::Mutex<Vec<End>> = std::sync::Mutex::new(Vec::new());

async fn echo(mut tunnel: Tunnel) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match tunnel.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => {
                if tunnel.write_all(&buffer[..length]).await.is_err() || tunnel.flush().await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
    // The client may have left.
    let _ = tunnel.shutdown().await;
}

/// A body of this many zeros, in pieces of 32 KiB.
struct Zeros {
    left: usize,
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        static ZEROS: [u8; 32 * 1024] = [0; 32 * 1024];
        let length = self.left.min(ZEROS.len());
        self.left -= length;
        Poll::Ready((length > 0).then(|| Ok(Frame::data(Bytes::from_static(&ZEROS[..length])))))
    }
}

//! A server with one service for all tests, and clients for the four ways to reach it.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod frames;
mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use roadrunner_values::TransportSettings;
use roadrunner_wire::{Address, BodyError, Ending, ListenerConfig, Protocols, Server, TlsConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use service::App;

pub type Client = Box<dyn Stream>;
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    H1,
    H1Tls,
    H2,
    H2Tls,
}

impl Way {
    pub const ALL: [Way; 4] = [Way::H1, Way::H1Tls, Way::H2, Way::H2Tls];

    pub fn is_h2(self) -> bool {
        matches!(self, Way::H2 | Way::H2Tls)
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Way::H1Tls | Way::H2Tls)
    }
}

/// How long exchanges below `/total` may last.
pub const TOTAL: Duration = Duration::from_millis(600);

/// How long `/slow` and `/late` take.
pub const SLOW: Duration = Duration::from_millis(200);

/// How often `/ticks` sends something.
pub const TICK: Duration = Duration::from_millis(10);

/// A report of the service to a test.
#[derive(Debug)]
pub enum Told {
    /// An exchange of this path has begun.
    Began(String),
    /// It was dropped before its end, when the connection had ended in this way.
    Dropped(String, Ending, Instant),
    /// Reading its body failed with this error.
    BodyError(String, BodyError, Instant),
}

pub struct Harness {
    pub server: Server,
    pub told: mpsc::UnboundedReceiver<Told>,
    /// Bytes that bodies of `/flood` have given so far.
    pub given: Arc<AtomicUsize>,
    plain: SocketAddr,
    tls: SocketAddr,
    certificate: rustls_pki_types::CertificateDer<'static>,
}

pub async fn start() -> Harness {
    start_with(TransportSettings::default()).await
}

pub async fn start_with(settings: TransportSettings) -> Harness {
    let tls = TlsConfig::self_signed().expect("a certificate");
    let certificate = tls.certificate().clone();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listeners = vec![ListenerConfig::plain("plain", loopback), ListenerConfig::tls("tls", loopback, tls)];
    start_on(listeners, settings, certificate).await
}

pub async fn start_on(
    listeners: Vec<ListenerConfig>,
    settings: TransportSettings,
    certificate: rustls_pki_types::CertificateDer<'static>,
) -> Harness {
    let (tell, told) = mpsc::unbounded_channel();
    let given = Arc::new(AtomicUsize::new(0));
    let service = Arc::new(App { tell, given: Arc::clone(&given) });
    let server = Server::bind(listeners, settings, service).await.expect("a free port on loopback");
    let port = |index: usize| match server.addresses().get(index).map(|listener| &listener.address) {
        Some(Address::Ip(address)) => *address,
        _ => SocketAddr::from(([127, 0, 0, 1], 1)),
    };
    let (plain, tls) = (port(0), port(1));
    Harness { server, told, given, plain, tls, certificate }
}

impl Harness {
    pub fn address(&self, way: Way) -> SocketAddr {
        if way.is_tls() { self.tls } else { self.plain }
    }

    pub async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.plain).await.expect("the server accepts")
    }

    pub async fn connect(&self, way: Way) -> Client {
        let tcp = TcpStream::connect(self.address(way)).await.expect("the server accepts");
        if !way.is_tls() {
            return Box::new(tcp);
        }
        let alpn = if way.is_h2() { b"h2".to_vec() } else { b"http/1.1".to_vec() };
        Box::new(self.tls_over(tcp, vec![alpn]).await.expect("a handshake"))
    }

    pub async fn tls_over(
        &self,
        tcp: TcpStream,
        alpn: Vec<Vec<u8>>,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("our own certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn;
        let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    /// A client connection through which requests can be sent. Dropping the sender closes it.
    pub async fn sender(&self, way: Way) -> Sender {
        let io = TokioIo::new(self.connect(way).await);
        if way.is_h2() {
            let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .handshake(io)
                .await
                .expect("an HTTP/2 handshake");
            tokio::spawn(connection);
            Sender::H2(sender, way)
        } else {
            let (sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("an HTTP/1 client");
            tokio::spawn(connection.with_upgrades());
            Sender::H1(sender, way)
        }
    }

    /// Sends bytes as they are on HTTP/1, and reads until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut tcp = self.tcp().await;
        tcp.write_all(bytes).await.expect("written");
        read_to_close(&mut tcp).await
    }

    /// Waits until an exchange of this path has begun.
    pub async fn began(&mut self, path: &str) {
        loop {
            match soon(self.told.recv()).await.expect("the service lives") {
                Told::Began(told) if told == path => return,
                _ => {}
            }
        }
    }

    /// Waits until an exchange of this path was dropped, or its body has failed, and returns how long that took since
    /// `since`.
    pub async fn dropped(&mut self, path: &str, since: Instant) -> (Ending, Duration) {
        loop {
            let (told, ending, at) = match soon(self.told.recv()).await.expect("the service lives") {
                Told::Dropped(told, ending, at) => (told, ending, at),
                Told::BodyError(told, BodyError::Closed, at) => (told, Ending::PeerClosed, at),
                Told::BodyError(told, BodyError::ConnectionLost, at) => (told, Ending::Lost, at),
                Told::BodyError(told, BodyError::Reset, at) => (told, Ending::Open, at),
                _ => continue,
            };
            if told == path {
                return (ending, at.saturating_duration_since(since));
            }
        }
    }

    pub async fn body_error(&mut self, path: &str) -> BodyError {
        loop {
            match soon(self.told.recv()).await.expect("the service lives") {
                Told::BodyError(told, error, _) if told == path => return error,
                _ => {}
            }
        }
    }

    /// Waits until nothing is in flight and no socket is open.
    pub async fn is_quiet(&self) {
        let stats = Arc::clone(self.server.stats());
        eventually(|| stats.in_flight() == 0 && stats.open.load(SeqCst) == 0).await;
    }
}

pub enum Sender {
    H1(hyper::client::conn::http1::SendRequest<BoxBody<Bytes, std::io::Error>>, Way),
    H2(hyper::client::conn::http2::SendRequest<BoxBody<Bytes, std::io::Error>>, Way),
}

impl Sender {
    pub async fn send(
        &mut self,
        mut request: Request<BoxBody<Bytes, std::io::Error>>,
    ) -> hyper::Result<Response<hyper::body::Incoming>> {
        let (Sender::H1(_, way) | Sender::H2(_, way)) = self;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = url(*way, path).parse().expect("a URL");
        match self {
            Sender::H1(sender, _) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::H2(sender, _) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    pub async fn get(&mut self, path: &str) -> hyper::Result<Response<hyper::body::Incoming>> {
        let request = request("GET", path, Bytes::new());
        self.send(request).await
    }
}

/// A path of the server, with the scheme that it is reached by.
pub fn url(way: Way, path: &str) -> String {
    format!("{}://localhost{path}", if way.is_tls() { "https" } else { "http" })
}

pub fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<BoxBody<Bytes, std::io::Error>> {
    request_with(method, path, Full::new(body.into()).map_err(|never| match never {}).boxed())
}

pub fn request_with(
    method: &str,
    path: &str,
    body: BoxBody<Bytes, std::io::Error>,
) -> Request<BoxBody<Bytes, std::io::Error>> {
    Request::builder().method(method).uri(path).header("host", "localhost").body(body).expect("a request")
}

/// Bytes of a response, in text.
pub async fn text(response: Response<hyper::body::Incoming>) -> String {
    let bytes = soon(response.into_body().collect()).await.expect("a whole body").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub async fn read_to_close(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is a close too.
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until the text has appeared, and returns all that was read.
pub async fn read_until(stream: &mut (impl AsyncRead + Unpin), text: &str) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut buf = [0; 4096];
        let read = soon(stream.read(&mut buf)).await.expect("readable");
        bytes.extend(&buf[..read]);
        let so_far = String::from_utf8_lossy(&bytes).into_owned();
        assert!(read > 0, "closed before {text:?}: {so_far:?}");
        if so_far.contains(text) {
            return so_far;
        }
    }
}

/// Runs a future with a time limit: nothing in these tests takes long unless it hangs.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("within ten seconds")
}

pub async fn eventually(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition did not come true within five seconds");
}

/// A plain listener for one set of protocols.
pub fn only(protocols: Protocols) -> ListenerConfig {
    ListenerConfig { protocols, ..ListenerConfig::plain("only", SocketAddr::from(([127, 0, 0, 1], 0))) }
}

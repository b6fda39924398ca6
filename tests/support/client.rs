//! One client for the five ways to reach a server.
//!
//! It hides how a request is written, but not how a response arrives: [`Answer::end`] says how it ended.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::{http1, http2, http3, server, soon};

/// The transport under a protocol.
pub type Io = Box<dyn Stream>;

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The protocol of a client, and whether it uses TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// HTTP/1.1.
    H1,
    /// HTTP/1.1 over TLS.
    H1Tls,
    /// HTTP/2 with prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    H2Tls,
    /// HTTP/3.
    H3,
}

impl Way {
    /// All ways.
    pub const ALL: [Self; 5] = [Self::H1, Self::H1Tls, Self::H2c, Self::H2Tls, Self::H3];

    /// The ways over TCP.
    pub const TCP: [Self; 4] = [Self::H1, Self::H1Tls, Self::H2c, Self::H2Tls];

    /// One way for each protocol, plain if possible.
    pub const EACH: [Self; 3] = [Self::H1, Self::H2c, Self::H3];

    /// The ways over TCP without TLS.
    pub const PLAIN: [Self; 2] = [Self::H1, Self::H2c];

    /// Whether this is HTTP/2.
    pub fn is_h2(self) -> bool {
        matches!(self, Self::H2c | Self::H2Tls)
    }

    /// Whether one connection carries many streams: HTTP/2 and HTTP/3.
    pub fn has_streams(self) -> bool {
        self.is_h2() || self == Self::H3
    }

    /// Whether this uses TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::H1Tls | Self::H2Tls | Self::H3)
    }

    /// The version that a guest sees.
    pub fn version(self) -> &'static str {
        match self {
            Self::H1 | Self::H1Tls => "HTTP/1.1",
            Self::H2c | Self::H2Tls => "HTTP/2.0",
            Self::H3 => "HTTP/3.0",
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authority: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Payload,
}

#[derive(Clone, Debug)]
pub(crate) enum Payload {
    None,
    /// A body with `content-length`.
    Whole(Bytes),
    /// A body without a length, and with trailers.
    Unsized(Bytes, Vec<(String, String)>),
    /// A body that the test sends, with or without a length.
    Open(Option<u64>),
}

impl Ask {
    /// Makes a request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            authority: "localhost".into(),
            headers: Vec::new(),
            body: Payload::None,
        }
    }

    /// Makes a GET request.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// Makes a POST request of a body with `content-length`.
    pub fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: Payload::Whole(body.into()), ..Self::new("POST", path) }
    }

    /// Makes a POST request of a body without a length: chunked on HTTP/1.1.
    pub fn post_unsized(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: Payload::Unsized(body.into(), Vec::new()), ..Self::new("POST", path) }
    }

    /// Makes a POST request of a body that the test sends piece by piece.
    pub fn post_open(path: &str) -> Self {
        Self { body: Payload::Open(None), ..Self::new("POST", path) }
    }

    /// Makes a POST request of a body with `content-length` that the test sends piece by piece.
    pub fn post_open_with_length(path: &str, length: u64) -> Self {
        Self { body: Payload::Open(Some(length)), ..Self::new("POST", path) }
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a trailer field; the body is sent without a length.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        let (body, mut trailers) = match self.body {
            Payload::None | Payload::Open(_) => (Bytes::new(), Vec::new()),
            Payload::Whole(body) => (body, Vec::new()),
            Payload::Unsized(body, trailers) => (body, trailers),
        };
        trailers.push((name.into(), value.into()));
        self.body = Payload::Unsized(body, trailers);
        self
    }

    /// Sets the host of the request; the default is `localhost`.
    pub fn host(mut self, authority: &str) -> Self {
        self.authority = authority.into();
        self
    }
}

/// How a response ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// Its `content-length` was reached, or it has no body (HTTP/1.1).
    Length,
    /// The last chunk (HTTP/1.1).
    LastChunk,
    /// The connection was closed, and no field had announced the end of the body (HTTP/1.0).
    Close,
    /// END_STREAM (HTTP/2), or FIN (HTTP/3).
    EndStream,
    /// The connection was closed in the middle.
    Cut,
    /// RST_STREAM (HTTP/2) or RESET_STREAM (HTTP/3) with this code.
    Reset(h2::Reason),
}

impl End {
    /// The end of a whole response without a known length.
    pub fn streamed(way: Way) -> Self {
        if way.has_streams() { Self::EndStream } else { Self::LastChunk }
    }

    /// The end of a whole response of a known length.
    pub fn sized(way: Way) -> Self {
        if way.has_streams() { Self::EndStream } else { Self::Length }
    }

    /// The end of a response that the server has aborted.
    pub fn aborted(way: Way) -> Self {
        match way {
            Way::H1 | Way::H1Tls => Self::Cut,
            Way::H2c | Way::H2Tls => Self::Reset(h2::Reason::INTERNAL_ERROR),
            // H3_INTERNAL_ERROR (RFC 9114, 8.1).
            Way::H3 => Self::Reset(0x102.into()),
        }
    }

    /// Whether the client could take the response for a complete one.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Self::Cut | Self::Reset(_))
    }
}

/// A response, as far as it was received.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status; 0 when there was no head.
    pub status: u16,
    /// The interim statuses before it.
    pub interim: Vec<u16>,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body, as far as it was received.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: HeaderMap,
    /// How it ended.
    pub end: End,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header field's first value; empty without one.
    pub fn header(&self, name: &str) -> &str {
        text(&self.headers, name)
    }

    /// A trailer field's first value; empty without one.
    pub fn trailer(&self, name: &str) -> &str {
        text(&self.trailers, name)
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not text)"))
}

/// A connection.
pub enum Client {
    /// HTTP/1.1: one exchange after the other.
    H1(http1::Connection),
    /// HTTP/2.
    H2(http2::Connection),
    /// HTTP/3.
    H3(http3::Connection),
}

impl Client {
    /// Opens a connection. Over HTTP/1.1 it ends as with [`Client::connect_abortive`], since the close of a client that
    /// waits for its answer only means that it sends no more requests.
    pub async fn connect(address: SocketAddr, way: Way) -> Self {
        match way {
            Way::H1 | Way::H1Tls => Self::connect_abortive(address, way).await,
            Way::H3 => Self::H3(http3::Connection::start(address).await),
            _ => Self::on(dial(address, way).await, way).await,
        }
    }

    /// Opens a connection that ends with a TCP reset when it is dropped; on HTTP/3, which has no TCP reset, with a
    /// close.
    pub async fn connect_abortive(address: SocketAddr, way: Way) -> Self {
        if way == Way::H3 {
            return Self::H3(http3::Connection::start(address).await);
        }
        let tcp = tcp(address).await;
        tcp.set_zero_linger().expect("a socket option");
        Self::on(secure(tcp, way).await, way).await
    }

    /// Uses an existing connection.
    pub async fn on(io: Io, way: Way) -> Self {
        match way.is_h2() {
            true if way.is_tls() => Self::H2(http2::Connection::start(io).await.secure()),
            true => Self::H2(http2::Connection::start(io).await),
            false => Self::H1(http1::Connection::new(io)),
        }
    }

    /// Sends a request with its body, and reads the whole answer at the same time.
    pub async fn fetch(&mut self, ask: Ask) -> Answer {
        match self {
            Self::H1(connection) => connection.fetch(ask).await,
            Self::H2(connection) => connection.fetch(ask).await,
            Self::H3(connection) => connection.fetch(ask).await,
        }
    }

    /// Sends a request's head, and its body unless that is open.
    pub async fn open(&mut self, ask: Ask) -> Exchange<'_> {
        match self {
            Self::H1(connection) => Exchange::H1(connection.open(ask).await),
            Self::H2(connection) => Exchange::H2(connection.open(ask).await),
            Self::H3(connection) => Exchange::H3(Box::new(connection.open(ask).await)),
        }
    }

    /// Does the same concurrently with other requests, on a connection that has streams.
    ///
    /// # Panics
    /// On HTTP/1.1.
    pub async fn open_beside(&mut self, ask: Ask) -> Exchange<'static> {
        match self {
            Self::H1(_) => panic!("HTTP/1.1 has one exchange at a time"),
            Self::H2(connection) => Exchange::H2(connection.open(ask).await),
            Self::H3(connection) => Exchange::H3(Box::new(connection.open(ask).await)),
        }
    }

    /// The HTTP/1.1 connection.
    pub fn h1(&mut self) -> &mut http1::Connection {
        match self {
            Self::H1(connection) => connection,
            Self::H2(_) | Self::H3(_) => panic!("this is not an HTTP/1.1 connection"),
        }
    }

    /// The HTTP/2 connection.
    pub fn h2(&mut self) -> &mut http2::Connection {
        match self {
            Self::H1(_) | Self::H3(_) => panic!("this is not an HTTP/2 connection"),
            Self::H2(connection) => connection,
        }
    }

    /// The HTTP/3 connection.
    pub fn h3(&mut self) -> &mut http3::Connection {
        match self {
            Self::H1(_) | Self::H2(_) => panic!("this is not an HTTP/3 connection"),
            Self::H3(connection) => connection,
        }
    }
}

/// A request in progress.
pub enum Exchange<'c> {
    /// Over HTTP/1.1.
    H1(http1::Exchange<'c>),
    /// Over HTTP/2.
    H2(http2::Exchange),
    /// Over HTTP/3.
    H3(Box<http3::Exchange>),
}

impl Exchange<'_> {
    /// Sends a piece of the request body; returns false when the server takes no more.
    pub async fn send(&mut self, piece: impl Into<Bytes>) -> bool {
        match self {
            Self::H1(exchange) => exchange.send(piece.into()).await,
            Self::H2(exchange) => exchange.send(piece.into()).await,
            Self::H3(exchange) => exchange.send(piece.into()).await,
        }
    }

    /// Ends the request body.
    pub async fn finish(&mut self, trailers: &[(&str, &str)]) -> bool {
        match self {
            Self::H1(exchange) => exchange.finish(trailers).await,
            Self::H2(exchange) => exchange.finish(trailers),
            Self::H3(exchange) => exchange.finish(trailers).await,
        }
    }

    /// Waits for the head, and returns the status, or 0 when none comes.
    pub async fn head(&mut self) -> u16 {
        soon(async {
            match self {
                Self::H1(exchange) => exchange.head().await,
                Self::H2(exchange) => exchange.head().await,
                Self::H3(exchange) => exchange.head().await,
            }
        })
        .await
    }

    /// Waits for an interim response, or the final head if none comes before it, and returns the interim statuses so
    /// far.
    ///
    /// # Panics
    /// On HTTP/2.
    pub async fn interim(&mut self) -> Vec<u16> {
        match self {
            Self::H1(exchange) => soon(exchange.interim()).await,
            Self::H2(_) => panic!("interim responses are not looked at on HTTP/2"),
            Self::H3(exchange) => soon(exchange.interim()).await,
        }
    }

    /// Reads a piece of the body; `None` at its end.
    pub async fn piece(&mut self) -> Option<Bytes> {
        soon(async {
            match self {
                Self::H1(exchange) => exchange.piece().await,
                Self::H2(exchange) => exchange.piece().await,
                Self::H3(exchange) => exchange.piece().await,
            }
        })
        .await
    }

    /// Reads until the body so far contains this text, and returns the text read by this call.
    ///
    /// # Panics
    /// When the body ends before.
    pub async fn read_until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            match self.piece().await {
                Some(piece) => read.push_str(&String::from_utf8_lossy(&piece)),
                None => panic!("the body ended before {text:?}: {read:?}"),
            }
        }
        read
    }

    /// Reads the rest of the answer; its body is the part that was not read before.
    pub async fn rest(self) -> Answer {
        soon(async {
            match self {
                Self::H1(mut exchange) => exchange.rest().await,
                Self::H2(mut exchange) => exchange.rest().await,
                Self::H3(mut exchange) => exchange.rest().await,
            }
        })
        .await
    }

    /// The header fields of the answer, after [`Exchange::head`] was awaited.
    pub fn headers(&self) -> &HeaderMap {
        match self {
            Self::H1(exchange) => exchange.headers(),
            Self::H2(exchange) => exchange.headers(),
            Self::H3(exchange) => exchange.headers(),
        }
    }

    /// Resets the stream with CANCEL; on HTTP/3 both halves are cancelled.
    ///
    /// # Panics
    /// On HTTP/1.1, which has no equivalent.
    pub fn reset(self) {
        match self {
            Self::H1(_) => panic!("HTTP/1.1 cannot reset a stream"),
            Self::H2(exchange) => exchange.reset(h2::Reason::CANCEL),
            Self::H3(exchange) => exchange.reset(),
        }
    }
}

/// Opens a connection without a protocol yet, except for TLS with the protocol that ALPN chooses.
pub async fn dial(address: SocketAddr, way: Way) -> Io {
    secure(tcp(address).await, way).await
}

async fn tcp(address: SocketAddr) -> TcpStream {
    let tcp = soon(TcpStream::connect(address)).await.expect("the server accepts");
    tcp.set_nodelay(true).expect("a socket option");
    tcp
}

/// Completes the TLS handshake on an existing TCP connection, if the way uses TLS.
pub async fn secure(tcp: TcpStream, way: Way) -> Io {
    if !way.is_tls() {
        return Box::new(tcp);
    }
    let protocol: &[u8] = if way.is_h2() { b"h2" } else { b"http/1.1" };
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls(&[protocol])));
    let stream = soon(connector.connect(name, tcp)).await.expect("a TLS handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol), "ALPN");
    Box::new(stream)
}

/// A client's TLS settings with these protocols, which trust the servers of these tests.
pub fn tls(protocols: &[&[u8]]) -> rustls::ClientConfig {
    let certificate = CertificateDer::from_pem_slice(server::certificate().0.as_bytes()).expect("our own certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("our own certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

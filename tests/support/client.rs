//! One client for the five ways to reach a server.
//!
//! It hides how a request is written, and nothing of how a response comes: [`Answer::end`] says what ended it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::{http1, http2, http3, server, soon};

/// What a protocol is spoken over.
pub type Io = Box<dyn Stream>;

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How a client speaks.
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
    /// All of them.
    pub const ALL: [Self; 5] = [Self::H1, Self::H1Tls, Self::H2c, Self::H2Tls, Self::H3];

    /// Those over TCP.
    pub const TCP: [Self; 4] = [Self::H1, Self::H1Tls, Self::H2c, Self::H2Tls];

    /// One for each protocol, plain where it can be.
    pub const EACH: [Self; 3] = [Self::H1, Self::H2c, Self::H3];

    /// Those over TCP without TLS.
    pub const PLAIN: [Self; 2] = [Self::H1, Self::H2c];

    /// Whether it is HTTP/2.
    pub fn is_h2(self) -> bool {
        matches!(self, Self::H2c | Self::H2Tls)
    }

    /// Whether one connection carries many streams: HTTP/2 and HTTP/3.
    pub fn has_streams(self) -> bool {
        self.is_h2() || self == Self::H3
    }

    /// Whether it is TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::H1Tls | Self::H2Tls | Self::H3)
    }

    /// What a guest is told of the version.
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
    /// With `content-length`.
    Whole(Bytes),
    /// Without a length, and with trailers.
    Unsized(Bytes, Vec<(String, String)>),
    /// The test sends it; with a length or without.
    Open(Option<u64>),
}

impl Ask {
    /// A request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            authority: "localhost".into(),
            headers: Vec::new(),
            body: Payload::None,
        }
    }

    /// GET.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// POST of a body with `content-length`.
    pub fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: Payload::Whole(body.into()), ..Self::new("POST", path) }
    }

    /// POST of a body without a length: chunked on HTTP/1.1.
    pub fn post_unsized(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: Payload::Unsized(body.into(), Vec::new()), ..Self::new("POST", path) }
    }

    /// POST of a body that the test sends piece by piece.
    pub fn post_open(path: &str) -> Self {
        Self { body: Payload::Open(None), ..Self::new("POST", path) }
    }

    /// The same with `content-length`.
    pub fn post_open_with_length(path: &str, length: u64) -> Self {
        Self { body: Payload::Open(Some(length)), ..Self::new("POST", path) }
    }

    /// One more header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// One trailer field; the body goes without a length.
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

    /// The host that is asked; otherwise `localhost`.
    pub fn host(mut self, authority: &str) -> Self {
        self.authority = authority.into();
        self
    }
}

/// What ended a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// Its `content-length` was reached, or it has no body (HTTP/1.1).
    Length,
    /// The last chunk (HTTP/1.1).
    LastChunk,
    /// The connection was closed, and nothing had said where the body ends (HTTP/1.0).
    Close,
    /// END_STREAM (HTTP/2), or FIN (HTTP/3).
    EndStream,
    /// The connection was closed in the middle.
    Cut,
    /// RST_STREAM (HTTP/2) or RESET_STREAM (HTTP/3) with this code.
    Reset(h2::Reason),
}

impl End {
    /// How a whole response without a known length ends.
    pub fn streamed(way: Way) -> Self {
        if way.has_streams() { Self::EndStream } else { Self::LastChunk }
    }

    /// How a whole response of a known length ends.
    pub fn sized(way: Way) -> Self {
        if way.has_streams() { Self::EndStream } else { Self::Length }
    }

    /// How a response ends that the server has given up.
    pub fn aborted(way: Way) -> Self {
        match way {
            Way::H1 | Way::H1Tls => Self::Cut,
            Way::H2c | Way::H2Tls => Self::Reset(h2::Reason::INTERNAL_ERROR),
            // H3_INTERNAL_ERROR (RFC 9114, 8.1).
            Way::H3 => Self::Reset(0x102.into()),
        }
    }

    /// Whether the client could take the response for a whole one.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Self::Cut | Self::Reset(_))
    }
}

/// A response, as far as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 0 when there was no head.
    pub status: u16,
    /// Interim statuses before it.
    pub interim: Vec<u16>,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body, as far as it came.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: HeaderMap,
    /// What ended it.
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
    /// Opens one. Over HTTP/1.1 it ends as by [`Client::connect_abortive`]: the close of a client that waits for its answer
    /// only says that it asks for nothing more.
    pub async fn connect(address: SocketAddr, way: Way) -> Self {
        match way {
            Way::H1 | Way::H1Tls => Self::connect_abortive(address, way).await,
            Way::H3 => Self::H3(http3::Connection::start(address).await),
            _ => Self::on(dial(address, way).await, way).await,
        }
    }

    /// Opens one that ends with a TCP reset when it is dropped; on HTTP/3, which has no such thing, with a close.
    pub async fn connect_abortive(address: SocketAddr, way: Way) -> Self {
        if way == Way::H3 {
            return Self::H3(http3::Connection::start(address).await);
        }
        let tcp = tcp(address).await;
        tcp.set_zero_linger().expect("a socket option");
        Self::on(secure(tcp, way).await, way).await
    }

    /// Speaks on a connection that is there.
    pub async fn on(io: Io, way: Way) -> Self {
        match way.is_h2() {
            true if way.is_tls() => Self::H2(http2::Connection::start(io).await.secure()),
            true => Self::H2(http2::Connection::start(io).await),
            false => Self::H1(http1::Connection::new(io)),
        }
    }

    /// Sends a request, body included, and reads the whole answer, both at once.
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

    /// The same beside others, on a connection that has streams.
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

/// A request that is under way.
pub enum Exchange<'c> {
    /// Over HTTP/1.1.
    H1(http1::Exchange<'c>),
    /// Over HTTP/2.
    H2(http2::Exchange),
    /// Over HTTP/3.
    H3(Box<http3::Exchange>),
}

impl Exchange<'_> {
    /// Sends a piece of the request body; false when the server takes no more.
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

    /// Waits for the head: the status, or 0 when none comes.
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

    /// Waits for an interim response, or the final head if none comes before it: the interim statuses so far.
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

    /// A piece of the body; none at its end.
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

    /// Reads until the body so far contains this text, and returns what was read by this call.
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

    /// The rest of the answer; its body is what was not read before.
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

    /// Header fields of the answer, once [`Exchange::head`] has been waited for.
    pub fn headers(&self) -> &HeaderMap {
        match self {
            Self::H1(exchange) => exchange.headers(),
            Self::H2(exchange) => exchange.headers(),
            Self::H3(exchange) => exchange.headers(),
        }
    }

    /// RST_STREAM with CANCEL; on HTTP/3 both halves are cancelled.
    ///
    /// # Panics
    /// On HTTP/1.1, which has nothing like it.
    pub fn reset(self) {
        match self {
            Self::H1(_) => panic!("HTTP/1.1 cannot reset a stream"),
            Self::H2(exchange) => exchange.reset(h2::Reason::CANCEL),
            Self::H3(exchange) => exchange.reset(),
        }
    }
}

/// A connection without any protocol yet, but for TLS with the protocol that ALPN chooses.
pub async fn dial(address: SocketAddr, way: Way) -> Io {
    secure(tcp(address).await, way).await
}

async fn tcp(address: SocketAddr) -> TcpStream {
    let tcp = soon(TcpStream::connect(address)).await.expect("the server accepts");
    tcp.set_nodelay(true).expect("a socket option");
    tcp
}

/// A protocol on a TCP connection that is there.
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

/// A client's TLS settings, with these protocols, that trusts the servers of these tests.
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

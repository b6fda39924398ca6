//! One request: the two checks, a connection, and the head of the answer.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use roadrunner_names::Share;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::address::is_public;
use crate::body::ResponseBody;
use crate::error::Error;
use crate::grant::{Destination, Grant};

/// The most bytes that hyper buffers of an answer that is read slower than it comes; also the longest head.
pub const READ_BUFFER: usize = 64 << 10;

/// The permissions and limits of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The origins that it may contact. Default: none.
    pub grants: Vec<Grant>,
    /// Whether a granted name may resolve to an address that is not public. Default: no.
    ///
    /// Dangerous: the operator of a name's DNS can then point it at services of this machine and its network.
    pub private: bool,
    /// The most connections open at once. Default 64.
    pub connections: usize,
    /// How long each stage may take.
    pub timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Self {
        Self { grants: Vec::new(), private: false, connections: 64, timeouts: Timeouts::default() }
    }
}

/// How long each stage of a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To resolve the name, connect and complete the TLS handshake. Default 5 s.
    pub connect: Duration,
    /// From then to the head of the answer. Default 30 s.
    pub first_byte: Duration,
    /// Between two pieces of the answer, while the guest waits for one. Default 30 s.
    pub between_bytes: Duration,
    /// In total, to the end of the answer. Default 5 min.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let (connect, wait) = (Duration::from_secs(5), Duration::from_secs(30));
        Self { connect, first_byte: wait, between_bytes: wait, total: Duration::from_secs(300) }
    }
}

impl Timeouts {
    /// The shorter of each pair.
    #[must_use]
    pub fn within(self, host: Self) -> Self {
        Self {
            connect: self.connect.min(host.connect),
            first_byte: self.first_byte.min(host.first_byte),
            between_bytes: self.between_bytes.min(host.between_bytes),
            total: self.total.min(host.total),
        }
    }
}

/// Drives a connection for as long as it is polled; it ends when the answer has come, or at its deadline.
pub type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Sends the requests of one component.
#[derive(Clone, Debug)]
pub struct Client {
    settings: Arc<Settings>,
    names: Share,
    tls: Arc<ClientConfig>,
    connections: Arc<Semaphore>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Client {
    /// Makes a client that trusts Mozilla's authorities.
    pub fn new(settings: Settings, names: Share) -> Self {
        Self::trusting(settings, names, RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// Makes a client that trusts these authorities.
    pub fn trusting(settings: Settings, names: Share, authorities: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of its own default versions")
            .with_root_certificates(authorities)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connections = Arc::new(Semaphore::new(settings.connections.min(Semaphore::MAX_PERMITS)));
        Self { settings: Arc::new(settings), names, tls: Arc::new(tls), connections }
    }

    /// The settings of the client.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.settings.connections.min(Semaphore::MAX_PERMITS) - self.connections.available_permits()
    }

    /// Sends a request with an absolute target. `asked` can only shorten the timeouts of the settings. Poll the driver
    /// until the body has been read.
    pub async fn send<B>(&self, request: Request<B>, asked: Timeouts) -> Result<(Response<ResponseBody>, Driver), Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let timeouts = asked.within(self.settings.timeouts);
        let ends = Instant::now() + timeouts.total;
        let destination = Destination::of(request.uri()).ok_or(Error::InvalidTarget)?;
        let grant = self.grant(&destination)?;
        let permit = self.connections.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Error::TooManyConnections(self.settings.connections))?;

        let connected = tokio::time::timeout(timeouts.connect.min(timeouts.total), self.connect(&destination, grant));
        let stream = connected.await.map_err(|_| Error::ConnectTimeout)??;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(READ_BUFFER);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Error::Http)?;
        let mut driver: Driver = Box::pin(drive(connection, ends, permit));

        let limit = ends.min(Instant::now() + timeouts.first_byte);
        let answer = tokio::time::timeout_at(limit, sender.send_request(in_origin_form(request)));
        tokio::pin!(answer);
        let mut driven = false;
        let response = loop {
            tokio::select! {
                biased;
                answered = &mut answer => break answered.map_err(|_| Error::FirstByteTimeout)?.map_err(Error::Http)?,
                // The answer tells of the end of the connection.
                _ = &mut driver, if !driven => driven = true,
            }
        };
        if driven {
            driver = Box::pin(std::future::ready(Ok(())));
        }
        Ok((response.map(|incoming| ResponseBody::new(incoming, timeouts.between_bytes, ends)), driver))
    }

    /// The grant that covers a destination.
    fn grant(&self, destination: &Destination) -> Result<&Grant, Error> {
        self.settings.grants.iter().find(|grant| grant.covers(destination)).ok_or_else(|| {
            let scheme = if destination.tls { "https" } else { "http" };
            Error::NotGranted(scheme, destination.host.clone(), destination.port)
        })
    }

    async fn connect(&self, destination: &Destination, grant: &Grant) -> Result<Box<dyn Stream>, Error> {
        let addresses = self.addresses(destination, grant).await?;
        let stream = roadrunner_names::connect(&addresses).await.map_err(Error::Connect)?;
        stream.set_nodelay(true).map_err(Error::Connect)?;
        if !destination.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(destination.host.clone()).map_err(|_| Error::InvalidTarget)?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await.map_err(Error::Tls)?;
        Ok(Box::new(stream))
    }

    /// The allowed addresses of a destination; at least one.
    async fn addresses(&self, destination: &Destination, grant: &Grant) -> Result<Vec<SocketAddr>, Error> {
        if let Some(address) = destination.address() {
            let named = matches!(grant.host, crate::grant::Host::Address(_));
            if !named && !self.settings.private && !is_public(address) {
                return Err(Error::AddressRefused(destination.host.clone(), address));
            }
            return Ok(vec![SocketAddr::new(address, destination.port)]);
        }
        let found = self.names.resolve(&destination.host).await;
        let found = found.map_err(|error| Error::Resolve(destination.host.clone(), error))?;
        let is_allowed = |address: &&IpAddr| self.settings.private || is_public(**address);
        let allowed: Vec<_> =
            found.iter().filter(is_allowed).map(|address| SocketAddr::new(*address, destination.port)).collect();
        match found.first() {
            Some(refused) if allowed.is_empty() => Err(Error::AddressRefused(destination.host.clone(), *refused)),
            _ => Ok(allowed),
        }
    }
}

/// Drives a connection until it is closed or its time is over. It then gives its place back.
async fn drive<B>(
    connection: http1::Connection<TokioIo<Box<dyn Stream>>, B>,
    ends: Instant,
    permit: OwnedSemaphorePermit,
) -> Result<(), Error>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _permit = permit;
    match tokio::time::timeout_at(ends, connection).await {
        Ok(ended) => ended.map_err(Error::Http),
        Err(_) => Err(Error::TotalTimeout),
    }
}

/// Converts the target to origin form (RFC 9112, 3.2.1): path and query, with the name in `Host`.
fn in_origin_form<B>(mut request: Request<B>) -> Request<B> {
    if !request.headers().contains_key(http::header::HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = authority.as_str().parse()
    {
        request.headers_mut().insert(http::header::HOST, host);
    }
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = http::Version::HTTP_11;
    request
}

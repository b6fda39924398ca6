//! One connection: opened, and spoken on until it ends.
//!
//! Reading, writing and asking whether the server is there go on side by side, so that a server that does not read still
//! gets its messages taken, and one that is silent is given up.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Credentials, Handler, Settings, Shared};
use crate::codec::{self, Connect, Decoder, Info, Operation, Violation};

/// Bytes that are read at once.
const READ: usize = 64 << 10;

/// What headers may add to a payload before a message counts as too large.
const MAX_HEADERS: usize = 64 << 10;

/// Pings without an answer after which a server is taken for dead.
const SILENT_PINGS: u32 = 3;

/// How TLS is spoken: whom to trust.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// With the authorities that Mozilla trusts.
    pub fn public() -> Self {
        Self::trusting(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// With the authorities of a PEM file.
    pub fn with_authorities(pem: &[u8]) -> Result<Self, String> {
        let mut authorities = RootCertStore::empty();
        for certificate in rustls_pki_types::CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("no certificates in PEM: {error}"))?;
            authorities.add(certificate).map_err(|error| error.to_string())?;
        }
        if authorities.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        Ok(Self::trusting(authorities))
    }

    fn trusting(authorities: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of its own default versions")
            .with_root_certificates(authorities)
            .with_no_client_auth();
        Self(Arc::new(config))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There was something behind the greeting of a server that is about to speak TLS.
    #[error("the server spoke before the TLS handshake")]
    EarlyData,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The name is none that a certificate could be for.
    #[error("the name is none that a certificate could be for")]
    Name,
    /// The server does not want us: wrong credentials, most likely.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// It took longer than the settings allow.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server speaks TLS only.
    #[error("the server asks for TLS: write its URL with tls://")]
    TlsRequired,
    /// The server does not speak TLS.
    #[error("the server offers no TLS: write its URL with nats://")]
    TlsUnavailable,
    /// The server is something else.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the server closed it")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server does not answer")]
    Silent,
    #[error(transparent)]
    Violation(#[from] Violation),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that the server has taken.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    info: Info,
    /// What was read behind the greeting.
    read: BytesMut,
}

/// Connects, and shows the credentials.
pub(crate) async fn open(settings: &Settings) -> Result<Connection, ConnectError> {
    let limit = settings.connect_timeout;
    tokio::time::timeout(limit, greet(settings)).await.unwrap_or(Err(ConnectError::Timeout(limit)))
}

async fn greet(settings: &Settings) -> Result<Connection, ConnectError> {
    let mut socket = connect(settings).await?;
    let mut read = BytesMut::new();
    let mut decoder = Decoder::new(0);
    let info = match receive(&mut socket, &mut read, &mut decoder).await? {
        Operation::Info(info) => *info,
        Operation::Error(text) => return Err(ConnectError::Refused(text)),
        other => return Err(Violation::Malformed(format!("{other:?} as a greeting")).into()),
    };
    let mut stream: Box<dyn Stream> = match &settings.tls {
        None if info.tls_required => return Err(ConnectError::TlsRequired),
        None => Box::new(socket),
        Some(_) if !(info.tls_required || info.tls_available) => return Err(ConnectError::TlsUnavailable),
        // What stands there was not protected, and would be taken for what is.
        Some(_) if !read.is_empty() => return Err(ConnectError::EarlyData),
        Some(Tls(config)) => {
            let name = ServerName::try_from(settings.host.clone()).map_err(|_| ConnectError::Name)?;
            Box::new(TlsConnector::from(config.clone()).connect(name, socket).await?)
        }
    };
    let (user, pass, auth_token) = match &settings.credentials {
        Credentials::None => (None, None, None),
        Credentials::Token(token) => (None, None, Some(&**token)),
        Credentials::User { name, password } => (Some(&**name), Some(&**password), None),
    };
    let mut out = Vec::new();
    codec::connect(
        &mut out,
        &Connect {
            verbose: false,
            pedantic: false,
            tls_required: settings.tls.is_some(),
            name: &settings.name,
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            echo: false,
            headers: info.headers,
            user,
            pass,
            auth_token,
        },
    );
    out.extend_from_slice(codec::PING);
    stream.write_all(&out).await?;
    stream.flush().await?;
    loop {
        match receive(&mut stream, &mut read, &mut decoder).await? {
            Operation::Error(text) => return Err(ConnectError::Refused(text)),
            Operation::Ping => {
                stream.write_all(codec::PONG).await?;
                stream.flush().await?;
            }
            Operation::Pong => return Ok(Connection { stream, info, read }),
            // There are no subscriptions yet, so it is nothing but another INFO.
            _ => {}
        }
    }
}

async fn connect(settings: &Settings) -> io::Result<TcpStream> {
    let found = settings.names.resolve(&settings.host).await.map_err(io::Error::other)?;
    let addresses: Vec<_> = found.iter().map(|address| SocketAddr::new(*address, settings.port)).collect();
    let socket = roadrunner_names::connect(&addresses).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    read: &mut BytesMut,
    decoder: &mut Decoder,
) -> Result<Operation, ConnectError> {
    loop {
        if let Some(operation) = decoder.next(read)? {
            return Ok(operation);
        }
        if stream.read_buf(read).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

impl Connection {
    /// The largest payload that the server takes, headers included.
    pub(crate) fn max_payload(&self) -> usize {
        self.info.max_payload
    }

    /// Whether the server knows headers.
    pub(crate) fn has_headers(&self) -> bool {
        self.info.headers
    }

    /// Speaks until it ends.
    pub(crate) async fn run(self, shared: &Shared, handler: &dyn Handler) -> Lost {
        let (reader, writer) = tokio::io::split(self.stream);
        let heard = AtomicBool::new(true);
        tokio::select! {
            lost = read_all(reader, self.read, shared, handler, &heard) => lost,
            lost = write_all(writer, shared) => lost,
            lost = watch(shared, &heard) => lost,
        }
    }
}

async fn read_all(
    mut reader: ReadHalf<Box<dyn Stream>>,
    mut read: BytesMut,
    shared: &Shared,
    handler: &dyn Handler,
    heard: &AtomicBool,
) -> Lost {
    let mut decoder = Decoder::new(shared.settings.max_payload.saturating_add(MAX_HEADERS));
    loop {
        loop {
            match decoder.next(&mut read) {
                Ok(Some(operation)) => take(operation, shared, handler),
                Ok(None) => break,
                Err(error) => return error.into(),
            }
        }
        read.reserve(READ);
        match reader.read_buf(&mut read).await {
            Ok(0) => return Lost::Closed,
            Ok(_) => heard.store(true, Relaxed),
            Err(error) => return error.into(),
        }
        // Many small messages must not keep the thread from other tasks.
        tokio::task::consume_budget().await;
    }
}

fn take(operation: Operation, shared: &Shared, handler: &dyn Handler) {
    let skip = |sid| {
        shared.counters.dropped_large.fetch_add(1, Relaxed);
        if let Some(subject) = shared.subject(sid) {
            handler.skipped(&subject);
        }
    };
    match operation {
        Operation::Error(text) => {
            // A server can repeat itself for every message.
            if shared.complained() {
                tracing::warn!("the NATS server complains: {text}");
            } else {
                tracing::debug!("the NATS server complains: {text}");
            }
        }
        Operation::Info(info) => shared.set_max_payload(info.max_payload),
        Operation::Message { sid, payload, .. } if payload.len() > shared.settings.max_payload => skip(sid),
        Operation::Message { sid, headers, payload } => {
            shared.counters.received.fetch_add(1, Relaxed);
            if let Some(subject) = shared.subject(sid) {
                // A copy, so that a small message does not keep all that was read with it.
                handler.message(&subject, &headers, Bytes::copy_from_slice(&payload));
            }
        }
        Operation::Ping => shared.owe_pong(),
        Operation::Pong => shared.pong(),
        Operation::Skipped { sid } => skip(sid),
    }
}

async fn write_all(mut writer: WriteHalf<Box<dyn Stream>>, shared: &Shared) -> Lost {
    let mut out = Vec::new();
    loop {
        out.clear();
        if !shared.next_batch(&mut out) {
            // An idle connection keeps no buffer.
            out = Vec::new();
            shared.wake.notified().await;
            continue;
        }
        let written = async {
            writer.write_all(&out).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return error.into();
        }
        shared.written();
    }
}

/// Asks whether the server is there, and ends when it is not.
async fn watch(shared: &Shared, heard: &AtomicBool) -> Lost {
    let mut silent = 0;
    loop {
        tokio::time::sleep(shared.settings.ping_interval).await;
        silent = if heard.swap(false, Relaxed) { 0 } else { silent + 1 };
        if silent >= SILENT_PINGS {
            return Lost::Silent;
        }
        shared.want_ping();
    }
}

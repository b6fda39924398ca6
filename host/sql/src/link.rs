//! The way to a server: its name, TLS, the start of a connection, and cancellation beside it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use roadrunner_account::Span;
use roadrunner_names::Share;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::{CancelToken, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::either::Either;
use zeroize::Zeroizing;

use crate::bill::Bill;
use crate::connection::Connection;
use crate::guard::{Bound, Guarded, GuardedTls};
use crate::places::Place as Taken;
use crate::{Error, OpenError};

/// How long an unreachable server is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// The bytes of a message that are none of its row's: heads, and the texts of errors.
const OVERHEAD: usize = 64 << 10;

/// The place of a database, and how it is reached.
#[derive(Clone)]
pub struct Place {
    /// `postgres://USER@HOST:PORT/DATABASE`, without a password.
    pub url: String,
    /// The role's password.
    pub password: Option<Arc<Zeroizing<String>>>,
    /// Whether the server must speak TLS, and with whose certificate. It does not hold for a Unix socket.
    pub tls: Tls,
    /// Finds the server's address.
    pub names: Share,
}

/// Who vouches for the server's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// An authority of this PEM file's contents.
    Authorities(Vec<u8>),
    /// Nobody: there is no TLS.
    Off,
    /// An authority that Mozilla trusts.
    Public,
}

/// A way to a server.
pub(crate) struct Link {
    pub(crate) name: Arc<str>,
    address: Address,
    config: Config,
    tls: Option<MakeRustlsConnect>,
    names: Share,
    failed: Mutex<Option<(Instant, String)>>,
}

enum Address {
    Socket(PathBuf),
    Server(String, u16),
}

/// A connected socket.
type Socket = Either<TcpStream, UnixStream>;

/// A TLS handshake on a socket.
type Handshake = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

impl Link {
    pub(crate) fn new(name: &str, place: &Place) -> Result<Self, OpenError> {
        let wrong = |reason: String| OpenError::Url(name.to_owned(), reason);
        let mut config: Config = place.url.parse().map_err(|error: tokio_postgres::Error| wrong(error.to_string()))?;
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let address = match config.get_hosts() {
            [Host::Tcp(host)] => Address::Server(host.clone(), port),
            #[cfg(unix)]
            [Host::Unix(folder)] => Address::Socket(folder.join(format!(".s.PGSQL.{port}"))),
            _ => return Err(wrong("it names no server, or several".to_owned())),
        };
        let tls = match (&address, &place.tls) {
            (Address::Socket(_), _) | (_, Tls::Off) => None,
            (_, Tls::Public) => Some(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
            (_, Tls::Authorities(pem)) => {
                Some(authorities(pem).map_err(|reason| OpenError::Authorities(name.to_owned(), reason))?)
            }
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if let Some(password) = &place.password {
            config.password(password.as_bytes());
        }
        Ok(Self {
            name: name.into(),
            address,
            config,
            tls: tls.map(|roots| MakeRustlsConnect::new(client_config(roots))),
            names: place.names.clone(),
            failed: Mutex::default(),
        })
    }

    /// Makes a connection in a place, whose messages have at most this many bytes. A server that could not be reached a
    /// moment ago is not tried.
    pub(crate) async fn connect(
        &self,
        owner: &str,
        most: usize,
        bill: Bill,
        place: Taken,
    ) -> Result<Connection, Error> {
        if let Some((at, reason)) = &*self.failed.lock()
            && at.elapsed() < PAUSE
        {
            return Err(self.error(reason));
        }
        let made = self.make(owner, most, bill, place).await;
        self.note(made.as_ref().err().map(String::as_str));
        made.map_err(|reason| self.error(&reason))
    }

    /// Asks the server to cancel a connection's statement. There is no answer.
    pub(crate) async fn cancel(&self, token: CancelToken) -> Result<(), String> {
        let socket = self.socket().await.map_err(|error| error.to_string())?;
        let asked = match self.tls()? {
            Some(tls) => token.cancel_query_raw(socket, tls).await,
            None => token.cancel_query_raw(socket, NoTls).await,
        };
        asked.map_err(|error| reason(&error))
    }

    /// Notes whether a connection could be made, and logs when that changes.
    pub(crate) fn note(&self, failed: Option<&str>) {
        let now = failed.map(|reason| (Instant::now(), reason.to_owned()));
        let before = std::mem::replace(&mut *self.failed.lock(), now);
        match (before, failed) {
            (None, Some(reason)) => tracing::warn!(database = %self.name, "a database cannot be reached: {reason}"),
            (Some(_), None) => tracing::info!(database = %self.name, "a database can be reached again"),
            _ => {}
        }
    }

    /// An error with a reason for the log.
    pub(crate) fn error(&self, reason: &str) -> Error {
        Error::Failed { database: self.name.clone(), reason: reason.to_owned() }
    }

    async fn make(&self, owner: &str, most: usize, bill: Bill, place: Taken) -> Result<Connection, String> {
        let mut config = self.config.clone();
        config.application_name(format!("roadrunner {owner}"));
        let bound = Bound { most: most.saturating_add(OVERHEAD), is_passed: Arc::default() };
        let is_passed = bound.is_passed.clone();
        let socket = self.socket().await.map_err(|error| error.to_string())?;
        let (client, driver) = match self.tls()? {
            Some(tls) => {
                let tls = GuardedTls { tls, bound };
                start(&config, socket, tls, bill, place).await?
            }
            None => start(&config, Guarded::new(socket, bound), NoTls, bill, place).await?,
        };
        Ok(Connection::new(client, driver, is_passed))
    }

    async fn socket(&self) -> io::Result<Socket> {
        match &self.address {
            Address::Socket(path) => Ok(Either::Right(UnixStream::connect(path).await?)),
            Address::Server(host, port) => {
                let found = self.names.resolve(host).await.map_err(io::Error::other)?;
                let addresses: Vec<_> = found.iter().map(|address| SocketAddr::new(*address, *port)).collect();
                let stream = roadrunner_names::connect(&addresses).await?;
                stream.set_nodelay(true)?;
                Ok(Either::Left(stream))
            }
        }
    }

    /// The TLS handshake of one connection; `None` where there is no TLS.
    fn tls(&self) -> Result<Option<Handshake>, String> {
        let (Some(tls), Address::Server(host, _)) = (&self.tls, &self.address) else { return Ok(None) };
        let mut tls = tls.clone();
        let made = MakeTlsConnect::<Socket>::make_tls_connect(&mut tls, host);
        made.map(Some).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Starts a connection and the task that drives it. Notices and notifications are dropped: they are a guest's texts.
async fn start<S, T>(
    config: &Config,
    stream: S,
    tls: T,
    bill: Bill,
    place: Taken,
) -> Result<(Client, tokio::task::JoinHandle<()>), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let (client, mut connection) = config.connect_raw(stream, tls).await.map_err(|error| reason(&error))?;
    let drive = async move {
        poll_fn(|context| {
            let span = Span::begin(false);
            let polled = loop {
                match connection.poll_message(context) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(None | Some(Err(_))) => break Poll::Ready(()),
                    Poll::Pending => break Poll::Pending,
                }
            };
            bill.charge(span.end());
            polled
        })
        .await;
        // The socket first, so that a place is free when its connection is.
        drop(connection);
        drop(place);
    };
    Ok((client, tokio::spawn(drive)))
}

/// The reason for a failed connection, with its causes.
pub(crate) fn reason(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    match roots.is_empty() {
        true => Err("there is no certificate in it".to_owned()),
        false => Ok(roots),
    }
}

fn client_config(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of these versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

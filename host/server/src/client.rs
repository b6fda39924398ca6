//! A client for the admin listener, used by `ps`, `kill`, `reload` and `deploy`.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use roadrunner_manifest::Address;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::source::{SIGNATURE, read_signature, signature_of};

/// The longest time that the admin listener may take to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest time for an answer that needs a compilation. The host has a limit of its own.
const PATIENCE_WITH_COMPILERS: Duration = Duration::from_secs(3600);

/// The default port of https://.
const HTTPS: u16 = 443;

/// The largest answer, in bytes.
const LARGEST: u64 = 64 << 20;

/// The largest file of a private key, in bytes.
const LONGEST_KEY: usize = 256 << 10;

/// A running host, and the credentials for it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) place: Place,
    pub(crate) token: Option<String>,
}

/// The address of an admin listener.
#[derive(Debug)]
pub(crate) enum Place {
    /// A plaintext listener.
    Plain(Address),
    /// A TLS listener, with a name that its certificate is for.
    Tls {
        /// The name or the IP address.
        name: String,
        port: u16,
        config: Arc<ClientConfig>,
    },
}

impl Place {
    /// Parses `NAME:PORT`. An authority in the PEM file has to have signed the listener's certificate; the client shows
    /// the certificate in `shown`, with its key.
    pub(crate) fn tls(authority: &str, authorities: Option<&Path>, shown: Option<(&Path, &Path)>) -> Result<Self> {
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => {
                (name, port.parse().with_context(|| format!("{port:?} is not a port"))?)
            }
            _ => (authority, HTTPS),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut roots = RootCertStore::empty();
        match authorities {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .with_context(|| format!("cannot use the authority in {}", path.display()))?;
                }
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let read = || format!("cannot read the key in {} as PEM", key.display());
                let private = PrivateKeyDer::from_pem_slice(&roadrunner_private::read(key, LONGEST_KEY)?);
                let private = private.with_context(read)?;
                let unusable = || format!("cannot use the certificate in {} with its key", chain.display());
                builder.with_client_auth_cert(certificates(chain)?, private).with_context(unusable)?
            }
        };
        Ok(Self::Tls { name, port, config: Arc::new(config) })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(address) => address.fmt(f),
            Self::Tls { name, port, .. } if name.contains(':') => write!(f, "https://[{name}]:{port}"),
            Self::Tls { name, port, .. } => write!(f, "https://{name}:{port}"),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(|pem| pem.collect::<Result<Vec<_>, _>>());
    let read = read.with_context(|| format!("cannot read {} as PEM", path.display()))?;
    anyhow::ensure!(!read.is_empty(), "{} holds no certificate", path.display());
    Ok(read)
}

/// The body of a request.
pub(crate) struct Body {
    content: Box<dyn Read>,
    length: u64,
    /// The signature in base64, if the body is a component.
    signature: Option<String>,
}

impl Client {
    /// Sends a request without a body, and returns status and body of the answer.
    pub(crate) fn request(&self, method: &str, path: &str) -> Result<(u16, String)> {
        self.exchange(method, path, None, PATIENCE)
    }

    /// Sends a request that may make the host compile a component.
    pub(crate) fn deploy(&self, method: &str, path: &str, body: Option<Body>) -> Result<(u16, String)> {
        self.exchange(method, path, body, PATIENCE_WITH_COMPILERS)
    }

    /// Sends a request over HTTP/1.0: the answer ends with the connection.
    fn exchange(&self, method: &str, path: &str, body: Option<Body>, patience: Duration) -> Result<(u16, String)> {
        let place = &self.place;
        let failed = || format!("cannot reach the admin listener at {place}; is the host running, with [admin] set?");
        let shown = place.to_string();
        let host = match place {
            Place::Plain(_) => "localhost",
            Place::Tls { .. } => shown.trim_start_matches("https://"),
        };
        let mut head = format!("{method} {path} HTTP/1.0\r\nhost: {host}\r\n");
        if let Some(token) = &self.token {
            head += &format!("authorization: Bearer {token}\r\n");
        }
        if let Some(body) = &body {
            head += &format!("content-length: {}\r\n", body.length);
            if let Some(signature) = &body.signature {
                head += &format!("{SIGNATURE}: {signature}\r\n");
            }
        }
        head += "\r\n";
        let answer = match place {
            Place::Plain(Address::Systemd(name)) => {
                bail!("the admin listener is systemd's socket {name}: name its address with --admin")
            }
            Place::Plain(Address::Tcp(address)) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE).with_context(failed)?;
                patient(&stream, patience)?;
                converse(stream, &head, body)
            }
            Place::Plain(Address::Unix(path_of_socket)) => {
                let stream = UnixStream::connect(path_of_socket).with_context(failed)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                converse(stream, &head, body)
            }
            Place::Tls { name, port, config } => {
                let stream = connect(name, *port).with_context(failed)?;
                patient(&stream, patience)?;
                let name = ServerName::try_from(name.clone()).with_context(|| format!("{name:?} is not a name"))?;
                let connection = ClientConnection::new(config.clone(), name)?;
                converse(StreamOwned::new(connection, stream), &head, body)
            }
        };
        parse(&answer.with_context(failed)?)
    }
}

fn patient(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// Connects to the first address of a name that accepts a connection.
fn connect(name: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (name, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Body {
    /// Reads a file, with the signature beside it if there is one.
    pub(crate) fn file(path: &Path) -> Result<Self> {
        let open = || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            io::Result::Ok((file, length))
        };
        let (file, length) = open().with_context(|| format!("cannot read {}", path.display()))?;
        let signature = read_signature(&signature_of(path))?;
        // The signature becomes one line, whatever the file looks like.
        let signature = signature.map(|text| text.split_whitespace().collect());
        Ok(Self { content: Box::new(file), length, signature })
    }

    pub(crate) fn text(text: &str) -> Self {
        Self { content: Box::new(Cursor::new(text.to_owned())), length: text.len() as u64, signature: None }
    }
}

fn converse(mut stream: impl Read + Write, head: &str, body: Option<Body>) -> io::Result<String> {
    stream.write_all(head.as_bytes())?;
    // A host that refuses the rest has sent the reason.
    let sent = body.map_or(Ok(0), |body| io::copy(&mut body.content.take(body.length), &mut stream));
    let mut answer = Vec::new();
    let read = stream.take(LARGEST).read_to_end(&mut answer);
    match (sent, read) {
        (Err(error), _) | (Ok(_), Err(error)) if answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

fn parse(answer: &str) -> Result<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the admin listener's answer is cut short")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => bail!("the admin listener's answer is not HTTP: {head:?}"),
    }
}

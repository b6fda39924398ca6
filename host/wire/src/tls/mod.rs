//! Certificates, and the result of a handshake.
//!
//! A listener has one or more certificates. The client's server name (SNI) selects one; the first one serves clients
//! without a known name. Certificates and authorities are read from files, and can be read again while the listener
//! serves: existing connections keep their certificates, and later connections get the new ones. If the new set cannot
//! be used, the previous one stays in force.
//!
//! # Not covered
//!
//! Revocation (CRLs and OCSP) is not checked; remove an authority, or use short-lived certificates.

mod certificate;
mod client;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use roadrunner_h3::ConnectionInfo;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::CertificateDer;

use crate::{Protocol, Protocols};
use certificate::{Certificate, Chooser, Stamp};
use client::Authorities;
pub use client::{ClientAuth, ClientCertificate};

/// The certificates of a listener. It supports TLS 1.2 and 1.3, and prefers the post-quantum hybrid key exchange.
#[derive(Debug)]
pub struct TlsConfig {
    /// Never empty; the first is the default.
    certificates: Vec<Certificate>,
    clients: Option<Authorities>,
    watched: bool,
}

impl TlsConfig {
    /// Reads a certificate chain, leaf first, and its private key (PKCS#8, PKCS#1 or SEC 1) from PEM files.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is not PEM, or the two do not belong together.
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<TlsConfig, TlsError> {
        Ok(TlsConfig::of(Certificate::read(chain.as_ref(), key.as_ref())?))
    }

    /// Makes a self-signed certificate for `localhost`, `127.0.0.1` and `::1`, for development. It is ECDSA P-256 and
    /// valid for less than 14 days, so that browsers accept it by its hash for WebTransport.
    pub fn self_signed() -> Result<TlsConfig, TlsError> {
        Ok(TlsConfig::of(Certificate::self_signed()?))
    }

    fn of(certificate: Certificate) -> TlsConfig {
        TlsConfig { certificates: vec![certificate], clients: None, watched: false }
    }

    /// Adds a certificate for the names that it was issued for (its DNS subject alternative names). If several
    /// certificates have a name, the first whose key the client can verify is used.
    ///
    /// # Errors
    ///
    /// As [`TlsConfig::from_pem_files`].
    pub fn and_pem_files(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<TlsConfig, TlsError> {
        self.certificates.push(Certificate::read(chain.as_ref(), key.as_ref())?);
        Ok(self)
    }

    /// Asks clients for a certificate that is signed by an authority in this PEM file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not PEM, or holds no authority.
    pub fn with_client_auth(mut self, auth: ClientAuth, authorities: impl AsRef<Path>) -> Result<TlsConfig, TlsError> {
        self.clients = Some(Authorities::read(auth, authorities.as_ref())?);
        Ok(self)
    }

    /// Sets whether the server checks the files every two seconds, and reads them again when they have changed.
    ///
    /// # Defaults
    ///
    /// Off.
    pub fn watched(mut self, watched: bool) -> TlsConfig {
        self.watched = watched;
        self
    }

    /// Whether clients are asked for a certificate.
    pub(crate) fn asks_clients(&self) -> bool {
        self.clients.is_some()
    }

    /// The default certificate, in DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.certificates[0].leaf()
    }

    /// The rustls configuration that serves these protocols, in order of preference; for transports other than the
    /// listeners of this crate.
    ///
    /// # Errors
    ///
    /// The library refuses a certificate, a key or an authority.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        self.config_with(alpn, aws_lc_rs::Ticketer::new()?)
    }

    fn config_with(&self, alpn: &[&[u8]], tickets: Arc<dyn ProducesTickets>) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chooser = Arc::new(Chooser::new(&self.certificates, &provider)?);
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let mut config = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let roots = Arc::clone(&authorities.roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match authorities.auth {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    ClientAuth::Required => verifier,
                };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        }
        .with_cert_resolver(chooser);
        config.ticketer = tickets;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }

    /// Reads the configuration again from its files.
    fn read_again(&self) -> Result<TlsConfig, TlsError> {
        let certificates = self.certificates.iter().map(Certificate::read_again).collect::<Result<_, _>>()?;
        let clients = self.clients.as_ref().map(Authorities::read_again).transpose()?;
        Ok(TlsConfig { certificates, clients, watched: self.watched })
    }

    fn stamps(&self) -> Vec<Stamp> {
        let certificates = self.certificates.iter().filter_map(|certificate| certificate.files.as_ref());
        let authorities = self.clients.iter().map(|authorities| authorities.file.as_path());
        certificates
            .flat_map(|(chain, key)| [chain.as_path(), key.as_path()])
            .chain(authorities)
            .map(Stamp::of)
            .collect()
    }
}

/// The TLS of a running listener.
pub(crate) struct Tls {
    protocols: Protocols,
    /// The configuration for the next handshake.
    current: RwLock<Arc<ServerConfig>>,
    source: Mutex<Source>,
    /// Callbacks for a change.
    followers: Mutex<Vec<Follower>>,
}

/// A callback that takes the new configuration.
type Follower = Box<dyn Fn(&ServerConfig) + Send + Sync>;

struct Source {
    config: TlsConfig,
    tickets: Arc<dyn ProducesTickets>,
    /// The files' metadata at the last check.
    stamps: Vec<Stamp>,
}

impl Tls {
    pub(crate) fn new(config: TlsConfig, protocols: Protocols) -> Result<Tls, TlsError> {
        let tickets = aws_lc_rs::Ticketer::new()?;
        let current = config.config_with(alpn(protocols), Arc::clone(&tickets))?;
        let stamps = config.stamps();
        let source = Mutex::new(Source { config, tickets, stamps });
        Ok(Tls { protocols, current: RwLock::new(Arc::new(current)), source, followers: Mutex::default() })
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read())
    }

    /// Registers a callback that gets the new configuration after each change.
    pub(crate) fn follow(&self, follower: impl Fn(&ServerConfig) + Send + Sync + 'static) {
        self.followers.lock().push(Box::new(follower));
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.source.lock().config.watched
    }

    /// Uses these certificates from the next handshake on.
    pub(crate) fn replace(&self, config: TlsConfig) -> Result<(), TlsError> {
        let stamps = config.stamps();
        self.install(&mut self.source.lock(), config, stamps)
    }

    /// Reads the files again.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let mut source = self.source.lock();
        let stamps = source.config.stamps();
        let config = source.config.read_again()?;
        self.install(&mut source, config, stamps)
    }

    /// Reads the files again if they have changed since the last check. Returns false if they have not.
    pub(crate) fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let mut source = self.source.lock();
        let stamps = source.config.stamps();
        if stamps == source.stamps {
            return Ok(false);
        }
        // Also if they cannot be used: then only the next change is tried, and not the same files over and over.
        source.stamps.clone_from(&stamps);
        let config = source.config.read_again()?;
        self.install(&mut source, config, stamps).map(|()| true)
    }

    fn install(&self, source: &mut Source, config: TlsConfig, stamps: Vec<Stamp>) -> Result<(), TlsError> {
        // A ticket represents a client certificate that is not verified again. So tickets expire with the authorities
        // under which they were issued.
        let tickets = match (&source.config.clients, &config.clients) {
            (None, None) => Arc::clone(&source.tickets),
            _ => aws_lc_rs::Ticketer::new()?,
        };
        let current = Arc::new(config.config_with(alpn(self.protocols), Arc::clone(&tickets))?);
        for follower in &*self.followers.lock() {
            follower(&current);
        }
        *self.current.write() = current;
        *source = Source { config, tickets, stamps };
        Ok(())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("protocols", &self.protocols).finish_non_exhaustive()
    }
}

/// The result of a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: Option<&'static str>,
    /// The host name that the client asked for (SNI).
    pub server_name: Option<Arc<str>>,
    /// The client's verified certificate; `None` if the client has not sent one.
    pub client_certificate: Option<Arc<ClientCertificate>>,
}

impl TlsInfo {
    /// # Errors
    ///
    /// The client's certificate was verified, and yet cannot be read.
    pub(crate) fn of(connection: &ServerConnection) -> Result<TlsInfo, TlsError> {
        let client_certificate = match connection.peer_certificates().and_then(<[_]>::first) {
            Some(leaf) => Some(Arc::new(ClientCertificate::parse(leaf)?)),
            None => None,
        };
        Ok(TlsInfo {
            version: match connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
            server_name: connection.server_name().map(Arc::from),
            client_certificate,
        })
    }

    /// Reads the result of a QUIC handshake. QUIC has no other TLS version (RFC 9001, 4.2), and quinn does not report
    /// the cipher suite.
    ///
    /// # Errors
    ///
    /// As [`TlsInfo::of`].
    pub(crate) fn of_quic(connection: &ConnectionInfo) -> Result<TlsInfo, TlsError> {
        let client_certificate = match connection.client_certificate() {
            Some(leaf) => Some(Arc::new(ClientCertificate::parse(&leaf)?)),
            None => None,
        };
        let server_name = connection.server_name().map(Arc::from);
        Ok(TlsInfo { version: "TLSv1.3", cipher: None, server_name, client_certificate })
    }
}

fn alpn(protocols: Protocols) -> &'static [&'static [u8]] {
    match (protocols.http1(), protocols.http2()) {
        (true, false) => &[ALPN_HTTP1],
        (false, _) => &[ALPN_HTTP2],
        (true, true) => &[ALPN_HTTP2, ALPN_HTTP1],
    }
}

/// The protocol that ALPN chose. A client without ALPN uses HTTP/1 (RFC 9113, 3.2 requires ALPN for HTTP/2); `None` if
/// the listener does not serve it.
pub(crate) fn negotiated(connection: &ServerConnection, protocols: Protocols) -> Option<Protocol> {
    match connection.alpn_protocol() {
        Some(alpn) if alpn == ALPN_HTTP2 => Some(Protocol::Http2),
        _ if protocols.http1() => Some(Protocol::Http1),
        _ => None,
    }
}

/// A certificate, key or authority that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file holds something other than an authority for client certificates.
    #[error("cannot use the authorities in {}: {reason}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A client's certificate was verified and yet cannot be read.
    #[error("cannot read the client's certificate: {0}")]
    ClientCertificate(String),
    /// A development certificate could not be made.
    #[error("cannot make a self-signed certificate")]
    Generate(#[from] rcgen::Error),
    /// The library refuses the configuration.
    #[error("cannot set up TLS: {0}")]
    Invalid(#[from] rustls::Error),
    /// The certificate and the key do not match, or the library refuses them.
    #[error("cannot use the certificate in {} with its key: {source}", path.display())]
    Mismatch {
        /// The certificate's file.
        path: PathBuf,
        /// The reason.
        source: rustls::Error,
    },
    /// The file contains no certificate.
    #[error("{} holds no certificate; it should start with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file of a private key cannot be read, or other users can read or change it.
    #[error(transparent)]
    Key(#[from] roadrunner_private::Error),
    /// The file cannot be read, or is not PEM.
    #[error("cannot read {} as PEM: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: rustls_pki_types::pem::Error,
    },
    /// The verifier for client certificates cannot be built.
    #[error("cannot verify client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    use rustls_pki_types::pem::PemObject as _;
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(|pem| pem.collect::<Result<Vec<_>, _>>())
        .map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

/// The provider with which the parts of this module build keys and verifiers.
type Provider = CryptoProvider;

const ALPN_HTTP1: &[u8] = b"http/1.1";
const ALPN_HTTP2: &[u8] = b"h2";

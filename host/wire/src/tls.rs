//! Certificates, and what a handshake agreed on.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use roadrunner_h3::ConnectionInfo;
use rustls::{ServerConfig, ServerConnection, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use time::{Duration, OffsetDateTime};

use crate::{Protocol, Protocols};

/// The certificate of a listener. TLS 1.2 and 1.3 are spoken, with the post-quantum hybrid key exchange preferred.
#[derive(Debug)]
pub struct TlsConfig {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl TlsConfig {
    /// Reads a certificate chain, leaf first, and its private key (PKCS#8, PKCS#1 or SEC 1) from PEM files.
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<TlsConfig, TlsError> {
        let unreadable = |path: &Path, source| TlsError::Unreadable { path: path.to_owned(), source };
        let certificates = CertificateDer::pem_file_iter(chain.as_ref())
            .and_then(|pem| pem.collect::<Result<Vec<_>, _>>())
            .map_err(|source| unreadable(chain.as_ref(), source))?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate { path: chain.as_ref().to_owned() });
        }
        let key = PrivateKeyDer::from_pem_file(key.as_ref()).map_err(|source| unreadable(key.as_ref(), source))?;
        Ok(TlsConfig { chain: certificates, key })
    }

    /// Makes a certificate for `localhost`, `127.0.0.1` and `::1` that nobody else has signed, for development. It is
    /// ECDSA P-256 and valid for less than 14 days, so that browsers accept it by its hash for WebTransport.
    pub fn self_signed() -> Result<TlsConfig, TlsError> {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()])?;
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            params.subject_alt_names.push(rcgen::SanType::IpAddress(ip));
        }
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::HOUR;
        params.not_after = now + Duration::days(13);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?;
        Ok(TlsConfig {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    /// The leaf certificate, in DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    pub(crate) fn server_config(&self, protocols: Protocols) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        if protocols.http2() {
            config.alpn_protocols.push(ALPN_HTTP2.to_vec());
        }
        if protocols.http1() {
            config.alpn_protocols.push(ALPN_HTTP1.to_vec());
        }
        Ok(Arc::new(config))
    }
}

/// What a TLS handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: Option<&'static str>,
    /// The host name that the client asked for (SNI).
    pub server_name: Option<Arc<str>>,
}

impl TlsInfo {
    pub(crate) fn of(connection: &ServerConnection) -> TlsInfo {
        TlsInfo {
            version: match connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
            server_name: connection.server_name().map(Arc::from),
        }
    }

    /// QUIC has no other version (RFC 9001, 4.2), and quinn does not tell the cipher suite.
    pub(crate) fn of_quic(connection: &ConnectionInfo) -> TlsInfo {
        TlsInfo { version: "TLSv1.3", cipher: None, server_name: connection.server_name().map(Arc::from) }
    }
}

/// The protocol that ALPN chose. A client without ALPN speaks HTTP/1 (RFC 9113, 3.2 requires ALPN for HTTP/2); none if
/// the listener does not.
pub(crate) fn negotiated(connection: &ServerConnection, protocols: Protocols) -> Option<Protocol> {
    match connection.alpn_protocol() {
        Some(alpn) if alpn == ALPN_HTTP2 => Some(Protocol::Http2),
        _ if protocols.http1() => Some(Protocol::Http1),
        _ => None,
    }
}

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A development certificate could not be made.
    #[error("cannot make a self-signed certificate")]
    Generate(#[from] rcgen::Error),
    /// The certificate and the key do not go together, or the library refuses them.
    #[error("cannot use this certificate with this key")]
    Invalid(#[from] rustls::Error),
    /// The file has no certificate in it.
    #[error("{} holds no certificate; it should start with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read, or is not PEM.
    #[error("cannot read {} as PEM", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
}

const ALPN_HTTP1: &[u8] = b"http/1.1";
const ALPN_HTTP2: &[u8] = b"h2";

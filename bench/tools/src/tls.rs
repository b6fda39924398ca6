//! TLS between the programs of a benchmark: certificates without an authority, and clients that take any of them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use quinn::{ClientConfig, Connection, Endpoint};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes `certificate.pem` and `key.pem`, an ECDSA P-256 pair for `localhost`.
///
/// # Errors
/// The folder cannot be written to.
pub fn write_certificate(folder: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    fs::write(folder.join("certificate.pem"), made.cert.pem())?;
    let key = folder.join("key.pem");
    fs::write(&key, made.signing_key.serialize_pem())?;
    // Servers refuse a key that others can read.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// The server's side, with the pair of [`write_certificate`].
///
/// # Errors
/// The folder has no such pair.
pub fn server(folder: &Path, protocol: &str) -> Result<rustls::ServerConfig> {
    let certificate = CertificateDer::from_pem_file(folder.join("certificate.pem")).context("no certificate")?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).context("no key")?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(config)
}

/// The client's side: every handshake is a full one.
///
/// # Errors
/// None in practice: TLS 1.3 is compiled in.
pub fn client(protocol: &str) -> Result<rustls::ClientConfig> {
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// An endpoint for HTTP/3 connections to this machine.
///
/// # Errors
/// There is no socket to be had.
pub fn quic_client() -> Result<Endpoint> {
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(client("h3")?)?;
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
    Ok(endpoint)
}

/// A QUIC connection to a loopback address.
///
/// # Errors
/// The address is another one, or the handshake fails.
pub async fn quic_connect(endpoint: &Endpoint, address: SocketAddr) -> Result<Connection> {
    ensure!(address.ip().is_loopback(), "{address} is not an address of this machine");
    let connecting = endpoint.connect(address, "localhost")?;
    Ok(tokio::time::timeout(PATIENCE, connecting).await.context("no handshake in time")??)
}

/// Takes every certificate: the servers are on this machine, and have none that an authority signed.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

//! Whom we trust in a TLS handshake, and who we are in it.
//!
//! A connection is made to an address, and the certificate is checked against the name that the address was found by. For
//! a server of a cluster that is known by its address alone, that is the name of the server that told of it, as in the
//! other official clients.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// How TLS is spoken.
#[derive(Clone)]
pub struct Tls {
    verifier: Arc<WebPkiServerVerifier>,
    identity: Option<Arc<dyn ResolvesClientCert>>,
}

impl Tls {
    /// With the authorities that Mozilla trusts.
    pub fn public() -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self { verifier: verifier(roots).expect("there are authorities"), identity: None }
    }

    /// With the authorities of a PEM file.
    ///
    /// # Errors
    /// There is none in it.
    pub fn with_authorities(pem: &[u8]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        Ok(Self { verifier: verifier(roots)?, identity: None })
    }

    /// Shows this certificate to a server that asks for one. Both are PEM.
    ///
    /// # Errors
    /// There is no certificate or no key, or one is not the other's.
    pub fn identified_by(mut self, chain: &[u8], key: &[u8]) -> Result<Self, String> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("no private key in PEM: {error}"))?;
        let checked = builder(None, self.verifier.clone()).with_client_auth_cert(chain, key);
        self.identity = Some(checked.map_err(|error| error.to_string())?.client_auth_cert_resolver);
        Ok(self)
    }

    /// For a server whose certificate is for this name.
    pub(crate) fn config(&self, name: ServerName<'static>) -> ClientConfig {
        let builder = builder(Some(name), self.verifier.clone());
        match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(identity.clone()),
            None => builder.with_no_client_auth(),
        }
    }

    /// For a server that is spoken to in plaintext: async-nats would go over to TLS where the server asks for it, which
    /// is for the operator to decide.
    pub(crate) fn refused() -> ClientConfig {
        builder(None, Self::public().verifier).with_no_client_auth()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("has_identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}

/// Checks certificates against a name of its own, and not against what was connected to.
#[derive(Debug)]
struct Named {
    /// None refuses all.
    name: Option<ServerName<'static>>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.name {
            Some(name) => self.verifier.verify_server_cert(certificate, chain, name, ocsp, now),
            None => Err(Error::General("the server asks for TLS: write its URL with tls://".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("no certificates in PEM: {error}"))?;
    if found.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(found)
}

fn verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, String> {
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    built.map_err(|error| error.to_string())
}

fn builder(
    name: Option<ServerName<'static>>,
    verifier: Arc<WebPkiServerVerifier>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of its own default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Named { name, verifier }))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

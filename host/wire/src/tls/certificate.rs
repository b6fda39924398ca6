//! A listener's own certificates: their sources, and which certificate a client gets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use super::client::dns_names;
use super::{Provider, TlsError, read_certificates};

/// The largest file of a private key, in bytes.
const MAX_KEY: usize = 256 << 10;

/// A chain and its key.
#[derive(Debug)]
pub(super) struct Certificate {
    /// The files of chain and key; `None` if the certificate was made here.
    pub(super) files: Option<(PathBuf, PathBuf)>,
    /// Never empty; the leaf first.
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    pub(super) fn read(chain: &Path, key: &Path) -> Result<Certificate, TlsError> {
        let certificates = read_certificates(chain)?;
        let unreadable = |source| TlsError::Unreadable { path: key.to_owned(), source };
        let pem = roadrunner_private::read(key, MAX_KEY)?;
        let parsed = PrivateKeyDer::from_pem_slice(&pem).map_err(unreadable)?;
        let files = Some((chain.to_owned(), key.to_owned()));
        let certificate = Certificate { files, chain: certificates, key: parsed };
        // A mismatch is reported on reading, and not only at the first use.
        certificate.certified(&aws_lc_rs::default_provider())?;
        Ok(certificate)
    }

    pub(super) fn self_signed() -> Result<Certificate, TlsError> {
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
        Ok(Certificate {
            files: None,
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    /// Reads the certificate again from its files. A certificate that was made here stays.
    pub(super) fn read_again(&self) -> Result<Certificate, TlsError> {
        match &self.files {
            Some((chain, key)) => Certificate::read(chain, key),
            None => Ok(Certificate { files: None, chain: self.chain.clone(), key: self.key.clone_key() }),
        }
    }

    pub(super) fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    fn certified(&self, provider: &Provider) -> Result<CertifiedKey, TlsError> {
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), provider).map_err(|source| match &self.files {
            Some((path, _)) => TlsError::Mismatch { path: path.clone(), source },
            None => source.into(),
        })
    }
}

/// Chooses a certificate by the name that the client asks for.
#[derive(Debug)]
pub(super) struct Chooser {
    default: Arc<CertifiedKey>,
    /// Certificates by names in lower case; `*.example.com` is stored under `.example.com`.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Chooser {
    pub(super) fn new(certificates: &[Certificate], provider: &Provider) -> Result<Chooser, TlsError> {
        let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        let mut all = Vec::with_capacity(certificates.len());
        for certificate in certificates {
            let key = Arc::new(certificate.certified(provider)?);
            for name in dns_names(certificate.leaf()) {
                let name = name.to_ascii_lowercase();
                let name = name.strip_prefix('*').map(str::to_owned).unwrap_or(name);
                by_name.entry(name).or_default().push(Arc::clone(&key));
            }
            all.push(key);
        }
        // A configuration is made with one certificate, and never loses any.
        let default = all.swap_remove(0);
        Ok(Chooser { default, by_name })
    }

    /// The certificates for a name: those issued for it, or for the wildcard above it (RFC 6125, 6.4.3).
    fn named(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = name.to_ascii_lowercase();
        let exact = self.by_name.get(&name);
        exact.or_else(|| self.by_name.get(&name[name.find('.')?..])).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(named) = hello.server_name().and_then(|name| self.named(name)) else {
            return Some(Arc::clone(&self.default));
        };
        let understood = named.iter().find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        understood.or(named.first()).cloned()
    }
}

/// The metadata of a file. If any of it changes, the file may have been replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<(u64, u64, u64, i64, i64)>);

impl Stamp {
    /// Reads the metadata of a file. It follows links, since certificate managers point those to new files.
    pub(super) fn of(path: &Path) -> Stamp {
        Stamp(
            std::fs::metadata(path)
                .ok()
                .map(|file| (file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let certificate = params.expect("names").self_signed(&key).expect("a certificate");
        Certificate {
            files: None,
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    #[test]
    fn a_name_chooses_its_certificate() {
        let all = [&["default.test"][..], &["a.test", "*.b.test"], &["c.b.test"]].map(certificate);
        let chooser = Chooser::new(&all, &aws_lc_rs::default_provider()).expect("they are good");
        let leaf = |name| chooser.named(name).map(|keys| keys[0].cert[0].clone());
        assert_eq!(leaf("A.test").as_ref(), Some(all[1].leaf()));
        assert_eq!(leaf("x.b.test").as_ref(), Some(all[1].leaf()));
        assert_eq!(leaf("c.b.test").as_ref(), Some(all[2].leaf()), "its own name goes before the wildcard");
        assert_eq!(leaf("b.test"), None);
        assert_eq!(leaf("x.y.b.test"), None, "a wildcard is one label");
        assert_eq!(leaf("unknown"), None);
    }
}

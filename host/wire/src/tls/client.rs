//! Client certificates: their authorities and their contents.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{TlsError, read_certificates};

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They may. A certificate that does not verify still fails the handshake.
    Optional,
    /// They must.
    Required,
}

/// The contents of a client's certificate. It was verified when the session began, against the authorities of the
/// listener, its dates and its purpose; it is not verified again when a ticket resumes the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's distinguished name (RFC 4514), with the most specific part first: `CN=alice,O=Example`.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The serial number, in lower-case hexadecimal.
    pub serial: String,
    /// The subject's alternative names of the kinds DNS, email, IP and URI, as text.
    pub names: Vec<String>,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub sha256: String,
}

impl ClientCertificate {
    pub(super) fn parse(leaf: &CertificateDer<'_>) -> Result<ClientCertificate, TlsError> {
        let parsed = Certificate::from_der(leaf).map_err(|error| TlsError::ClientCertificate(error.to_string()))?;
        let certificate = &parsed.tbs_certificate;
        Ok(ClientCertificate {
            subject: certificate.subject.to_string(),
            issuer: certificate.issuer.to_string(),
            serial: hex(certificate.serial_number.as_bytes()),
            names: alternative_names(&parsed).iter().filter_map(text).collect(),
            sha256: hex(&Sha256::digest(leaf)),
        })
    }
}

/// The DNS names that a certificate was issued for; none if it cannot be read.
pub(super) fn dns_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let names = alternative_names(&parsed);
    let dns = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        _ => None,
    });
    dns.collect()
}

fn alternative_names(certificate: &Certificate) -> Vec<GeneralName> {
    let names = certificate.tbs_certificate.get::<SubjectAltName>().ok().flatten();
    names.map(|(_, names)| names.0).unwrap_or_default()
}

fn text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) | GeneralName::UniformResourceIdentifier(name) => {
            Some(name.as_str().to_owned())
        }
        GeneralName::IpAddress(bytes) => match *bytes.as_bytes() {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            ref bytes => <[u8; 16]>::try_from(bytes).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string()),
        },
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The authorities that may sign client certificates.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) auth: ClientAuth,
    pub(super) file: PathBuf,
    pub(super) roots: Arc<RootCertStore>,
}

impl Authorities {
    pub(super) fn read(auth: ClientAuth, file: &Path) -> Result<Authorities, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::Authority { path: file.to_owned(), reason: error.to_string() })?;
        }
        Ok(Authorities { auth, file: file.to_owned(), roots: Arc::new(roots) })
    }

    pub(super) fn read_again(&self) -> Result<Authorities, TlsError> {
        Authorities::read(self.auth, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_says() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["alice.test".to_owned()]).expect("a name");
        params.subject_alt_names.extend([
            rcgen::SanType::IpAddress([192, 0, 2, 1].into()),
            rcgen::SanType::IpAddress("2001:db8::1".parse().expect("an address")),
            rcgen::SanType::Rfc822Name("alice@example.com".try_into().expect("ASCII")),
            rcgen::SanType::URI("spiffe://example.com/alice".try_into().expect("ASCII")),
        ]);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example, Inc.");
        params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
        params.serial_number = Some(rcgen::SerialNumber::from(0x1a2b_u64));
        let certificate = params.self_signed(&key).expect("a certificate");
        let said = ClientCertificate::parse(certificate.der()).expect("it is one");
        assert_eq!(said.subject, "CN=alice,O=Example\\, Inc.");
        assert_eq!(said.issuer, said.subject);
        assert_eq!(said.serial, "1a2b");
        let names = ["alice.test", "192.0.2.1", "2001:db8::1", "alice@example.com", "spiffe://example.com/alice"];
        assert_eq!(said.names, names);
        assert_eq!(said.sha256.len(), 64);
        assert_eq!(dns_names(certificate.der()), ["alice.test"]);
    }
}

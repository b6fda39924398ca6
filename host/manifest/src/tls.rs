//! The certificates of a listener, and those of its clients.

use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place};
use crate::keys::Table;
use crate::resolver::{FileKind, Resolver, list};
use crate::scalar::{FilePath, choice};
use crate::section::section;

/// The origin of a listener's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// PEM files.
    Files {
        /// The certificate for clients that ask for no other.
        default: CertificateFiles,
        /// Further certificates, each for the names that it contains.
        others: Vec<CertificateFiles>,
        /// The rule for certificates of clients; `None` if clients are not asked.
        clients: Option<ClientCertificates>,
        /// Whether the files are read again when they change.
        watch: bool,
    },
    /// A certificate that is made when the server starts.
    SelfSigned,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The rule for certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Whether a certificate is required. Otherwise it is optional.
    pub required: bool,
    /// The PEM file of the authorities that sign them.
    pub authorities: PathBuf,
}

section! {
    /// A certificate chain and its key.
    #[title = "`tls` of a listener"]
    pub(crate) struct TlsSection {
        /// The PEM file of the certificate chain, the server's own certificate first.
        certificate: FilePath [required];
        /// The PEM file of its private key, which only its owner can read or change (`chmod 600`, or 640).
        key: FilePath [required];
        /// Further certificates, each for the names that it contains (its DNS alternative names), chosen by the name
        /// that the client asks for (SNI). A client that asks for another name, or for none, gets the first
        /// certificate.
        certificates: Vec<Spanned<CertificateSection>>;
        /// Whether clients show a certificate: `"optional"`, they may; `"required"`, they must. A certificate that does
        /// not verify fails the handshake. The guest sees its contents in `request.client-certificate`.
        client_auth: ClientAuth = "\"off\"";
        /// The PEM file of the authorities that sign certificates of clients. Revocation is not checked.
        client_ca: FilePath;
        /// Whether to look at these files every two seconds, and to read them again after a change. Open connections
        /// are not affected. If the new files cannot be used, the old certificates stay in use.
        watch: bool = "true";
    }
}

section! {
    /// One more certificate chain and its key.
    #[title = "`certificates` of `tls`"]
    pub(crate) struct CertificateSection {
        /// The PEM file of the certificate chain, the server's own certificate first.
        certificate: FilePath [required];
        /// The PEM file of its private key, which only its owner can read or change (`chmod 600`, or 640).
        key: FilePath [required];
    }
}

choice! {
    /// Whether clients show a certificate.
    pub enum ClientAuth {
        /// Clients are not asked.
        Off = "off",
        /// Clients may show one.
        Optional = "optional",
        /// Clients must show one.
        Required = "required",
    }
}

/// The value of `tls`.
#[derive(Clone, Debug)]
pub(crate) enum TlsChoice {
    Files(Box<TlsSection>),
    SelfSigned,
}

impl Decode for TlsChoice {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => TlsSection::decode(value, place, context).map(|files| Self::Files(Box::new(files))),
            DeValue::String(text) if text == "self-signed" => Some(Self::SelfSigned),
            _ => {
                let expected = "\"self-signed\", or { certificate = \"cert.pem\", key = \"key.pem\" }";
                context.report(value.span(), format!("{place} names no certificate"), format!("write {expected}"));
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "self-signed" }, TlsSection::schema(generator)] })
    }

    fn kind() -> String {
        "`\"self-signed\"`, or a section with `certificate` and `key`".to_owned()
    }

    fn tables(tables: &mut Vec<Table>) {
        TlsSection::tables(tables);
    }
}

impl Resolver<'_> {
    pub(crate) fn tls_choice(&mut self, choice: &TlsChoice) -> Tls {
        match choice {
            TlsChoice::SelfSigned => Tls::SelfSigned,
            TlsChoice::Files(files) => self.tls(files),
        }
    }

    fn tls(&mut self, section: &TlsSection) -> Tls {
        let default = self.certificate(&section.certificate, &section.key);
        let others = list(&section.certificates).iter().map(Spanned::get_ref);
        let others = others.map(|other| self.certificate(&other.certificate, &other.key)).collect();
        let authorities = self.path(&section.client_ca, FileKind::File);
        let clients = match (section.client_auth(), authorities) {
            (ClientAuth::Off, None) => None,
            (ClientAuth::Off, Some(_)) => {
                let fix = "add `client-auth = \"required\"`, or remove the key";
                let place = section.client_ca.as_ref().map_or(section.span.clone(), Spanned::span);
                self.context.report(place, "`client-ca` is set, but clients are not asked for certificates", fix);
                None
            }
            (auth, Some(authorities)) => {
                Some(ClientCertificates { required: auth == ClientAuth::Required, authorities })
            }
            (_, None) => {
                // A `client-ca` that did not decode has been reported.
                if !section.failed.iter().any(|key| key == "client-ca") {
                    let place = section.client_auth.as_ref().map_or(section.span.clone(), Spanned::span);
                    let message = "clients are asked for certificates, but no authority for these is named";
                    self.context.report(place, message, "add `client-ca = \"PEM file\"`");
                }
                None
            }
        };
        Tls::Files { default, others, clients, watch: section.watch() }
    }

    fn certificate(
        &mut self,
        certificate: &Option<Spanned<FilePath>>,
        key: &Option<Spanned<FilePath>>,
    ) -> CertificateFiles {
        CertificateFiles {
            certificate: self.path(certificate, FileKind::File).unwrap_or_default(),
            key: self.path(key, FileKind::File).unwrap_or_default(),
        }
    }
}

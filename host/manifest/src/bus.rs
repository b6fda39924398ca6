//! The bus, and the NATS servers through which hosts share it.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Field, Place};
use crate::resolver::{FileKind, Resolver, value};
use crate::scalar::units::{HOUR, KIB, MIB};
use crate::scalar::{Bytes, Count, Fault, FilePath, PlainText, Text, Time};
use crate::section::section;
use crate::tls::CertificateFiles;

/// `[bus]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bus {
    /// The largest payload of a message, in bytes.
    pub payload: usize,
    /// The broker through which hosts share their topics; `None` if each host has its own.
    pub broker: Option<Broker>,
}

/// The broker through which hosts share their topics. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The NATS servers, at least one. Either all use TLS or none does.
    pub urls: Vec<BrokerUrl>,
    /// The start of all subjects, which is a valid subject by itself.
    pub prefix: String,
    /// The credentials of the host.
    pub credentials: BrokerCredentials,
    /// The authorities of the server's certificate; `None` for the public ones.
    pub authorities: Option<PathBuf>,
    /// The certificate that the host shows to the server.
    pub certificate: Option<CertificateFiles>,
    /// Bytes that may wait to be sent; the same number may have arrived and wait.
    pub queue_bytes: usize,
    /// Messages that may wait to be sent.
    pub queue_messages: usize,
    /// The deadline to connect.
    pub connect_timeout: Duration,
}

/// The credentials of the host for a NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerCredentials {
    /// The file of a JWT and a seed.
    Creds(PathBuf),
    /// None.
    None,
    /// The file of the seed of an nkey.
    Nkey(PathBuf),
    /// The file of a token.
    Token(PathBuf),
    /// A user with a password.
    User {
        /// The user's name.
        name: String,
        /// The file of the password.
        password: PathBuf,
    },
}

section! {
    /// The bus, on which the sessions of one owner publish and subscribe to topics. With `url`, hosts with the same
    /// NATS server and the same `prefix` share their topics; without it, every host has its own.
    #[title = "`[bus]`"]
    pub(crate) struct BusSection {
        /// The NATS server, over plaintext (`nats://`) or TLS (`tls://`), or a list of several servers of one cluster.
        /// One server that is up is enough: it names the others. A client that may publish there can publish to every
        /// topic, so give the hosts a NATS account or a network of their own.
        url: BrokerUrls;
        /// The start of all subjects. Hosts with different prefixes do not share topics.
        prefix: SubjectPrefix = "\"roadrunner\"";
        /// The user name of the host at the server. It goes together with `password-file`.
        user: PlainText;
        /// The file of the user's password. A line break at its end is not part of the password.
        password_file: FilePath;
        /// The file of a token, if the server has no users.
        token_file: FilePath;
        /// The file of credentials that `nsc` writes: a JWT, and the seed of its nkey.
        creds_file: FilePath;
        /// The file of the seed of a user's nkey.
        nkey_file: FilePath;
        /// The PEM file of the authorities that sign the server's certificate. Without it, the authorities that Mozilla
        /// trusts.
        ca_file: FilePath;
        /// The PEM file of a certificate, with its chain, that the host shows to the server. It goes together with
        /// `key-file`.
        certificate_file: FilePath;
        /// The PEM file of the certificate's private key.
        key_file: FilePath;
        /// The largest payload of a message. Over it, publishing fails with `too-large`. The server's own limit applies
        /// too.
        payload: Bytes<1, { MIB - KIB }> = "\"512KiB\"";
        /// Bytes that may wait to be sent to the server; each message counts for 256 more. One owner may use half of
        /// them. Over it, publishing fails with `refused`. The same number may have arrived and wait; over it, messages
        /// are missed.
        queue_bytes: Bytes<{ MIB }, { 1024 * MIB }> = "\"8MiB\"";
        /// Messages that may wait to be sent to the server, with the same rules.
        queue_messages: Count<2, 1_000_000> = "10_000";
        /// From the look-up of the server's address until the server has accepted the credentials. Over it, the host
        /// tries the next server.
        connect_timeout: Time<100, { HOUR }> = "\"5s\"";
    }
}

impl Resolver<'_> {
    pub(crate) fn bus(&mut self, section: &Field<BusSection>) -> Bus {
        let bus = value(section).cloned().unwrap_or_default();
        let credentials = self.broker_credentials(&bus);
        let authorities = self.path(&bus.ca_file, FileKind::File);
        let certificate = self.broker_certificate(&bus);
        let urls = value(&bus.url).map(|urls| urls.0.clone()).unwrap_or_default();
        if urls.first().is_some_and(|url| !url.tls) {
            let fix = "write `url` with tls://, or remove the key";
            if let Some(file) = &bus.ca_file {
                self.context.report(file.span(), "without TLS there is no certificate to check", fix);
            }
            if let Some(file) = bus.certificate_file.as_ref().or(bus.key_file.as_ref()) {
                self.context.report(file.span(), "without TLS the host cannot show a certificate", fix);
            }
        }
        let broker = (!urls.is_empty()).then(|| Broker {
            urls,
            prefix: bus.prefix().0,
            credentials,
            authorities,
            certificate,
            queue_bytes: bus.queue_bytes().get() as usize,
            queue_messages: bus.queue_messages().get() as usize,
            connect_timeout: bus.connect_timeout().get(),
        });
        Bus { payload: bus.payload().get() as usize, broker }
    }

    fn broker_credentials(&mut self, bus: &BusSection) -> BrokerCredentials {
        let mut file = |field| self.path(field, FileKind::File);
        let files = (file(&bus.password_file), file(&bus.token_file), file(&bus.nkey_file), file(&bus.creds_file));
        match (&bus.user, files) {
            (None, (None, None, None, None)) => BrokerCredentials::None,
            (None, (None, Some(token), None, None)) => BrokerCredentials::Token(token),
            (None, (None, None, Some(seed), None)) => BrokerCredentials::Nkey(seed),
            (None, (None, None, None, Some(creds))) => BrokerCredentials::Creds(creds),
            (Some(user), (Some(password), None, None, None)) => {
                BrokerCredentials::User { name: user.get_ref().0.clone(), password }
            }
            _ => {
                let files = [&bus.password_file, &bus.token_file, &bus.nkey_file, &bus.creds_file];
                let mut spans = bus.user.as_ref().map(Spanned::span).into_iter();
                let span = spans.next().or_else(|| files.into_iter().flatten().map(Spanned::span).next());
                if let Some(span) = span {
                    let fix =
                        "write `user` with `password-file`, or one of `token-file`, `nkey-file` and `creds-file` alone";
                    self.context.report(span, "these keys of [bus] are no complete credentials", fix);
                }
                BrokerCredentials::None
            }
        }
    }

    fn broker_certificate(&mut self, bus: &BusSection) -> Option<CertificateFiles> {
        let certificate = self.path(&bus.certificate_file, FileKind::File);
        let key = self.path(&bus.key_file, FileKind::File);
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            (None, None) => None,
            _ => {
                if let Some(file) = bus.certificate_file.as_ref().or(bus.key_file.as_ref()) {
                    let fix = "write `certificate-file` with `key-file`";
                    self.context.report(file.span(), "a certificate and its private key go together", fix);
                }
                None
            }
        }
    }
}

/// The port of a URL without one.
const DEFAULT_PORT: u16 = 4222;

/// The address of a NATS server, and whether the connection uses TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Whether the connection uses TLS.
    pub tls: bool,
    /// A name or an address, an IPv6 address without its brackets.
    pub host: String,
    /// The port; 4222 by default.
    pub port: u16,
}

impl Text for BrokerUrl {
    const KIND: &'static str = "the URL of a NATS server, such as \"nats://127.0.0.1:4222\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let example = "write it as \"nats://127.0.0.1:4222\" or \"tls://nats.example.com\"";
        let fault = || Fault::new(format!("is \"{text}\", not the URL of a NATS server"), example);
        let (scheme, rest) = text.split_once("://").ok_or_else(fault)?;
        if rest.contains('@') {
            let fix = "write `user` with `password-file`, or another file of a secret";
            return Err(Fault::new("has credentials, which would stand in logs", fix));
        }
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "nats" => false,
            "tls" => true,
            _ => return Err(fault()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(fault)?;
                host.parse::<Ipv6Addr>().map_err(|_| fault())?;
                match port.strip_prefix(':') {
                    None if port.is_empty() => (host, None),
                    None => return Err(fault()),
                    port => (host, port),
                }
            }
            None => {
                let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
                let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if host.is_empty() || !host.chars().all(is_of_name) {
                    return Err(fault());
                }
                (host, port)
            }
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(fault)?,
        };
        Ok(Self { tls, host: host.to_owned(), port })
    }

    fn text_schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([nN][aA][tT][sS]|[tT][lL][sS])://[^/?#@]+/?$",
            "examples": ["nats://127.0.0.1:4222", "tls://nats.example.com"],
        })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

/// One server, or several of one cluster: a URL, or a list of them. Either all use TLS or none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerUrls(pub(crate) Vec<BrokerUrl>);

impl Decode for BrokerUrls {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        if value.get_ref().as_str().is_some() {
            return BrokerUrl::decode(value, place, context).map(|url| Self(vec![url]));
        }
        if !value.get_ref().is_array() {
            context.wrong_type(value, place, &Self::kind());
            return None;
        }
        let urls = Vec::<Spanned<BrokerUrl>>::decode(value, place, context)?;
        if urls.is_empty() {
            context.report(value.span(), format!("{place} is empty"), "name a server, or remove the key");
            return None;
        }
        for (index, url) in urls.iter().enumerate() {
            if urls[..index].iter().any(|other| other.get_ref() == url.get_ref()) {
                context.report(url.span(), format!("{place} has it twice"), "remove one");
                return None;
            }
        }
        if let Some(other) = urls.iter().find(|url| url.get_ref().tls != urls[0].get_ref().tls) {
            let fix = "write all of them with tls://, or all with nats://";
            context.report(other.span(), format!("{place} mixes TLS and plaintext"), fix);
            return None;
        }
        Some(Self(urls.into_iter().map(Spanned::into_inner).collect()))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let url = BrokerUrl::schema(generator);
        json_schema!({ "anyOf": [url, { "type": "array", "items": url, "minItems": 1, "uniqueItems": true }] })
    }

    fn kind() -> String {
        format!("{}, or a list of them", BrokerUrl::KIND)
    }
}

/// The start of the bus's subjects: tokens of letters, digits, `-` and `_`, joined by dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubjectPrefix(pub(crate) String);

impl Text for SubjectPrefix {
    const KIND: &'static str = "the beginning of a NATS subject, such as \"roadrunner\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_valid =
            text.len() <= 64 && text.split('.').all(|token| !token.is_empty() && token.bytes().all(is_of_token));
        if !is_valid {
            let fix = "write letters, digits, `-` and `_`, in one word or in several with dots between: \"roadrunner\"";
            return Err(Fault::new(format!("is \"{text}\", not the beginning of a NATS subject"), fix));
        }
        Ok(Self(text.to_owned()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$", "maxLength": 64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, shown) in [
            ("nats://127.0.0.1", "nats://127.0.0.1:4222"),
            ("NATS://broker.example.com:4223/", "nats://broker.example.com:4223"),
            ("tls://[::1]:4222", "tls://[::1]:4222"),
            ("tls://[::1]", "tls://[::1]:4222"),
        ] {
            assert_eq!(BrokerUrl::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "nats",
            "http://broker",
            "nats://",
            "nats://:4222",
            "nats://a b",
            "nats://[x]:1",
            "nats://[::1]x",
            "nats://broker:0",
            "nats://broker:65536",
            "nats://broker:",
            "nats://broker/path",
        ] {
            assert!(BrokerUrl::parse(text).is_err(), "{text}");
        }
        let fault = BrokerUrl::parse("nats://user:secret@broker").unwrap_err();
        assert!(!fault.what.contains("secret"), "{fault:?}");
    }

    #[test]
    fn prefixes() {
        for text in ["roadrunner", "a.b-c.d_e", "9"] {
            assert!(SubjectPrefix::parse(text).is_ok(), "{text}");
        }
        for text in ["", ".", "a.", ".a", "a..b", "a b", "a*", ">", "$SYS", &"a".repeat(65)] {
            assert!(SubjectPrefix::parse(text).is_err(), "{text}");
        }
    }
}

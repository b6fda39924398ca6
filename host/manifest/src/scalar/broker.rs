//! Where hosts meet for the bus: the URLs of NATS servers, and what their subjects begin with.

use std::fmt;
use std::net::Ipv6Addr;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::{Fault, Text};
use crate::decode::{Context, Decode, Place};

/// The port of a URL without one.
const DEFAULT_PORT: u16 = 4222;

/// Where a NATS server is, and whether it is spoken to over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Whether there is TLS.
    pub tls: bool,
    /// A name or an address, an IPv6 address without its brackets.
    pub host: String,
    /// The port; 4222 where none is written.
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

/// One server, or several of one cluster: a URL, or a list of them. All are spoken to over TLS, or none is.
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

/// What the subjects of the bus begin with: tokens of letters, digits, `-` and `_`, joined by dots.
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

//! The destinations of a component's outgoing requests: origins, such as `https://api.example.com`.

use std::fmt;
use std::time::Duration;

use schemars::{Schema, json_schema};

use crate::scalar::{Fault, HostPattern, Text};

/// The destinations and limits of a component's outgoing requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// The origins, at least one.
    pub origins: Vec<OutboundOrigin>,
    /// Whether names may resolve to addresses that are not public.
    pub private: bool,
    /// Connections open at once.
    pub connections: u32,
    /// The deadline to connect.
    pub connect_timeout: Duration,
    /// The longest wait for the head of the answer, and between two pieces of it.
    pub read_timeout: Duration,
    /// The deadline of the whole request.
    pub timeout: Duration,
}

/// An origin that outgoing requests may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundOrigin {
    /// Whether it is `https`.
    pub tls: bool,
    /// The host: a name, a wildcard, or an address, an IPv6 address in brackets.
    pub host: HostPattern,
    /// The port; that of the scheme by default.
    pub port: u16,
}

impl Text for OutboundOrigin {
    const KIND: &'static str = "an origin, such as \"https://api.example.com\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let example = "write it as \"https://api.example.com\" or \"http://10.0.0.7:8080\"";
        let fault = || Fault::new(format!("is \"{text}\", not an origin"), example);
        let (scheme, rest) = text.split_once("://").ok_or_else(fault)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(fault()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(Fault::new(format!("is \"{text}\", more than an origin"), "write scheme, host and port alone"));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !rest.ends_with(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let default = if tls { 443 } else { 80 };
        let port = match port {
            None => default,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(fault)?,
        };
        if host == "*" {
            return Err(Fault::new("has the host \"*\"", "name each host that the component needs"));
        }
        let host = HostPattern::parse(host)?;
        Ok(Self { tls, host, port })
    }

    fn text_schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[hH][tT][tT][pP][sS]?://[^/?#@]+/?$",
            "examples": ["https://api.example.com", "https://*.example.org", "http://10.0.0.7:8080"],
        })
    }
}

impl fmt::Display for OutboundOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default) = if self.tls { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != default { write!(f, ":{}", self.port) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for (good, shown) in [
            ("https://api.example.com", "https://api.example.com"),
            ("HTTPS://API.example.com:443/", "https://api.example.com"),
            ("https://*.example.com", "https://*.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]", "http://[::1]"),
            ("http://[::1]:81", "http://[::1]:81"),
        ] {
            assert_eq!(OutboundOrigin::parse(good).map(|origin| origin.to_string()).as_deref(), Ok(shown), "{good}");
        }
        for wrong in [
            "",
            "example.com",
            "ftp://example.com",
            "https://",
            "https://*",
            "https://example.com/path",
            "https://user@example.com",
            "https://example.com:0",
            "https://example.com:99999",
            "https://a.*.com",
        ] {
            assert!(OutboundOrigin::parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! The hosts that routes answer for.

use std::fmt;

use crate::scalar::{Fault, Text};

/// The hosts that a route answers for, in lower case and without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host: `example.com`.
    Exact(String),
    /// Every host with one or more additional labels: `*.example.org` is kept as `example.org` and means
    /// `a.example.org` and `a.b.example.org`, not `example.org`.
    Wildcard(String),
}

impl HostPattern {
    /// Reads `example.com`, `*.example.org`, `192.0.2.1` or `[2001:db8::1]`, without a port.
    pub fn new(text: &str) -> Result<Self, InvalidHost> {
        Self::parse(text).map_err(|fault| InvalidHost { host: text.to_owned(), what: fault.what, fix: fault.fix })
    }
}

/// A text that is not a host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host `{host}` {what}: {fix}")]
pub struct InvalidHost {
    host: String,
    what: String,
    fix: String,
}

impl Text for HostPattern {
    const KIND: &'static str = "a host, such as \"example.com\" or \"*.example.org\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let host = text.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        if host == "*" {
            return Err(Fault::new("is \"*\"", "leave `hosts` out to answer for every host"));
        }
        if let Some((_, rest)) = host.split_once("://") {
            let host = rest.split(['/', ':']).next().unwrap_or_default();
            return Err(Fault::new("is a URL", format!("write \"{host}\"")));
        }
        if let Some(address) = host.strip_prefix('[') {
            // RFC 3986, 3.2.2: an IPv6 address in a URL stands in brackets.
            return match address.strip_suffix(']').and_then(|address| address.parse::<std::net::Ipv6Addr>().ok()) {
                Some(address) => Ok(Self::Exact(format!("[{address}]"))),
                None => Err(Fault::new("is not an IPv6 address in brackets", "write it as \"[2001:db8::1]\"")),
            };
        }
        if let Some((host, port)) = host.rsplit_once(':')
            && !host.contains(':')
            && port.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(Fault::new("has a port", format!("write \"{host}\": hosts are matched without their port")));
        }
        if host.parse::<std::net::Ipv6Addr>().is_ok() {
            return Err(Fault::new("is an IPv6 address without brackets", format!("write \"[{host}]\"")));
        }
        let (name, wildcard) = match host.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (host, false),
        };
        if name.contains('*') {
            return Err(Fault::new("has a `*` that is not the first label", "a wildcard is \"*.\" and a host"));
        }
        if name.is_empty() || name.len() > MAX_HOST || !name.split('.').all(is_label) {
            let fix =
                if name.is_ascii() { "write a host name, such as \"example.com\"" } else { "write its \"xn--\" form" };
            return Err(Fault::new(format!("is \"{text}\", not a host"), fix));
        }
        Ok(if wildcard { Self::Wildcard(name.to_owned()) } else { Self::Exact(name.to_owned()) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(host) => write!(f, "*.{host}"),
        }
    }
}

/// The longest name, in octets (RFC 1035, 2.3.4).
const MAX_HOST: usize = 253;

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let exact = |host: &str| Ok(HostPattern::Exact(host.to_owned()));
        assert_eq!(HostPattern::parse("Example.COM."), exact("example.com"));
        assert_eq!(HostPattern::parse("192.0.2.1"), exact("192.0.2.1"));
        assert_eq!(HostPattern::parse("[2001:DB8::1]"), exact("[2001:db8::1]"));
        assert_eq!(HostPattern::parse("*.example.org"), Ok(HostPattern::Wildcard("example.org".to_owned())));
        for wrong in [
            "",
            ".",
            "*",
            "a..b",
            "a b",
            "-a",
            "*.*",
            "a.*.b",
            "example.com:80",
            "http://a/",
            "::1",
            "[::1",
            "[x]",
            "ä.de",
        ] {
            assert!(HostPattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}

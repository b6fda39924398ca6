//! The destinations of a component: origins (RFC 6454, 4), with a host that is a name, a wildcard or an address.

use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

/// An origin that may be contacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whether the origin uses TLS.
    pub tls: bool,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// The host of a [`Grant`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address. Naming it grants it, public or not.
    Address(IpAddr),
    /// A name, in lower case.
    Name(String),
    /// Every name below this one, in lower case.
    Below(String),
}

/// The destination of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) tls: bool,
    /// A name in lower case, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Destination {
    /// The destination of a target. `None` if it is not a URL of `http` or `https` (RFC 9110, 4.2), or names a user.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let tls = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTPS => true,
            scheme if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let host = host.strip_suffix('.').unwrap_or(host);
        // An empty port is the default one (RFC 3986, 3.2.3); anything but a number up to 65 535 is refused.
        let given = authority.as_str().rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        let port = match given {
            None | Some("") => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.parse().ok()?,
        };
        (!host.is_empty()).then(|| Self { tls, host: host.to_owned(), port })
    }

    /// The address, if the host is an address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl Grant {
    pub(crate) fn covers(&self, destination: &Destination) -> bool {
        self.tls == destination.tls
            && self.port == destination.port
            && match &self.host {
                Host::Address(address) => destination.address() == Some(*address),
                Host::Name(name) => *name == destination.host,
                Host::Below(name) => destination
                    .host
                    .strip_suffix(name.as_str())
                    .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(uri: &str) -> Option<Destination> {
        Destination::of(&uri.parse().unwrap())
    }

    #[test]
    fn destinations() {
        for (uri, tls, host, port) in [
            ("https://Example.COM/x", true, "example.com", 443),
            ("http://example.com.:8080", false, "example.com", 8080),
            ("http://[::1]:1/", false, "::1", 1),
            ("http://[::1]/", false, "::1", 80),
            ("https://example.com:/", true, "example.com", 443),
            ("http://127.0.0.1/", false, "127.0.0.1", 80),
        ] {
            assert_eq!(to(uri), Some(Destination { tls, host: host.into(), port }), "{uri}");
        }
        for refused in
            ["ftp://example.com/", "http://user@example.com/", "http://granted.com@evil.com/", "http://a:65536/", "/x"]
        {
            assert_eq!(to(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_grant_covers_its_origin_and_no_other() {
        let grant = |host| Grant { tls: true, host, port: 443 };
        let named = grant(Host::Name("example.com".into()));
        for (uri, covered) in [
            ("https://example.com/a", true),
            ("https://EXAMPLE.com:443", true),
            ("http://example.com", false),
            ("https://example.com:8443", false),
            ("https://www.example.com", false),
            ("https://example.com.evil.com", false),
        ] {
            assert_eq!(named.covers(&to(uri).unwrap()), covered, "{uri}");
        }
        let below = grant(Host::Below("example.com".into()));
        for (uri, covered) in [
            ("https://a.example.com", true),
            ("https://a.b.example.com", true),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("https://evilexample.com", false),
        ] {
            assert_eq!(below.covers(&to(uri).unwrap()), covered, "{uri}");
        }
        let address = grant(Host::Address("127.0.0.1".parse().unwrap()));
        assert!(address.covers(&to("https://127.0.0.1").unwrap()));
        assert!(!address.covers(&to("https://localhost").unwrap()));
    }
}

//! What HTTP and the network have names for: methods, header fields, hosts, origins, addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue, Method};
use schemars::{Schema, json_schema};

use super::{Fault, Text};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A listening socket that systemd has opened: the one of this name, or of this index, from 0.
    Systemd(String),
    /// An IP address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The same address with a relative socket path seen from the manifest's folder.
    pub(crate) fn resolve(self, folder: &Path) -> Self {
        match self {
            Self::Systemd(_) | Self::Tcp(_) => self,
            Self::Unix(path) => Self::Unix(folder.join(path)),
        }
    }
}

impl Text for Address {
    const KIND: &'static str = "an address: \"127.0.0.1:8080\", \"[::1]:8080\", \"unix:PATH\" or \"systemd:NAME\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return Err(Fault::new("has no socket path", "write \"unix:PATH\""));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            // systemd.socket(5), FileDescriptorName=.
            if name.is_empty() || name.len() > 255 || name.contains(|c: char| c == ':' || c.is_control()) {
                let fix = "write \"systemd:NAME\" with the socket's FileDescriptorName, or \"systemd:0\" for the first";
                return Err(Fault::new("names no socket", fix));
            }
            return Ok(Self::Systemd(name.to_owned()));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        Err(Fault::new(format!("is \"{text}\", not an address"), address_fix(text)))
    }
}

fn address_fix(text: &str) -> String {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return format!("add a port: \"{}\"", SocketAddr::new(ip, 8080));
    }
    let port = |text: &str| text.parse::<u16>().ok();
    if let Some(port) = port(text.trim_start_matches(':')) {
        return format!("write \"127.0.0.1:{port}\" for this machine only, \"0.0.0.0:{port}\" for every interface");
    }
    match text.rsplit_once(':') {
        Some(("localhost", number)) if port(number).is_some() => format!("write \"127.0.0.1:{number}\""),
        Some(("*", number)) if port(number).is_some() => format!("write \"0.0.0.0:{number}\" or \"[::]:{number}\""),
        Some((_, number)) if port(number).is_none() => "the port is a number from 0 to 65535".to_owned(),
        _ => "write an IP address and a port, such as \"127.0.0.1:8080\"".to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemd(name) => write!(f, "systemd:{name}"),
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A media type without parameters, `text/html`, or all of a kind, `text/*`. Kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// `text`.
    kind: String,
    /// `html`; none for all.
    subtype: Option<String>,
}

impl MediaType {
    /// Whether this stands for a `content-type` such as `text/html; charset=utf-8`.
    pub fn matches(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let Some((kind, subtype)) = essence.split_once('/') else { return false };
        kind.eq_ignore_ascii_case(&self.kind)
            && self.subtype.as_ref().is_none_or(|wanted| subtype.eq_ignore_ascii_case(wanted))
    }
}

impl Text for MediaType {
    const KIND: &'static str = "a media type, such as \"text/html\" or \"text/*\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        // RFC 9110, 8.3.1 and 5.6.2.
        let is_token = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        match text.split_once('/') {
            Some((kind, subtype)) if is_token(kind) && (subtype == "*" || is_token(subtype)) => Ok(Self {
                kind: kind.to_ascii_lowercase(),
                subtype: (subtype != "*").then(|| subtype.to_ascii_lowercase()),
            }),
            _ => Err(Fault::new(
                format!("is \"{text}\", not a media type"),
                "write \"text/html\" or \"text/*\", without parameters",
            )),
        }
    }
}

/// The hosts that a route answers for. Kept in lower case and without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host: `example.com`.
    Exact(String),
    /// Every host with at least one label more: `*.example.org` is held as `example.org` and means
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

/// RFC 1035, 2.3.4: the longest name, in octets.
pub(crate) const MAX_HOST: usize = 253;

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A request method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MethodName(pub(crate) Method);

impl Text for MethodName {
    const KIND: &'static str = "a method, such as \"GET\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let upper = text.to_ascii_uppercase();
        // RFC 9110, 9.1: methods are case-sensitive, and the registered ones are in capitals.
        if upper != text && STANDARD.contains(&upper.as_str()) {
            return Err(Fault::new(
                format!("is \"{text}\", and methods are case-sensitive"),
                format!("write \"{upper}\""),
            ));
        }
        if text == "CONNECT" {
            return Err(Fault::new(
                "is \"CONNECT\"",
                "remove it: a WebSocket or WebTransport handshake is matched as GET on every protocol",
            ));
        }
        Method::from_bytes(text.as_bytes())
            .map(Self)
            .map_err(|_| Fault::new(format!("is \"{text}\", not a method"), "write a method, such as \"GET\""))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "examples": STANDARD })
    }
}

const STANDARD: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The name of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderField(pub(crate) HeaderName);

impl Text for HeaderField {
    const KIND: &'static str = "the name of a header field";

    fn parse(text: &str) -> Result<Self, Fault> {
        let name = HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| Fault::new(format!("is \"{text}\", not a header name"), "use letters, digits and `-`"))?;
        // RFC 9110, 7.6.1, and the framing of the message: these belong to the connection, which is the host's.
        if [
            "connection",
            "content-length",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ]
        .contains(&name.as_str())
        {
            return Err(Fault::new(
                format!("is \"{text}\", which belongs to the connection"),
                "remove it: the host writes it",
            ));
        }
        Ok(Self(name))
    }
}

/// The value of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderText(pub(crate) HeaderValue);

impl Text for HeaderText {
    const KIND: &'static str = "the value of a header field";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text != text.trim_matches([' ', '\t']) {
            return Err(Fault::new("starts or ends with a space", "remove it"));
        }
        HeaderValue::from_str(text)
            .map(Self)
            .map_err(|_| Fault::new("cannot be a header value", "remove line breaks and control characters"))
    }
}

/// An origin as browsers send it (RFC 6454, 6.2), or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(pub(crate) String);

impl Text for Origin {
    const KIND: &'static str = "an origin, such as \"https://example.com\", or `\"*\"`";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let wrong = |fix: String| Fault::new(format!("is \"{text}\", not an origin"), fix);
        let Some((scheme, authority)) = text.split_once("://") else {
            return Err(wrong(format!("write the scheme too: \"https://{text}\"")));
        };
        if let Some((authority, _)) = authority.split_once('/') {
            return Err(wrong(format!("an origin has no path: \"{scheme}://{authority}\"")));
        }
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, port)| if port.parse::<u16>().is_ok() { host } else { authority });
        let valid =
            ["http", "https"].contains(&scheme) && matches!(HostPattern::parse(host), Ok(HostPattern::Exact(_)));
        if !valid {
            return Err(wrong("write it as \"https://example.com\" or \"https://example.com:8443\"".to_owned()));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
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

    #[test]
    fn addresses() {
        assert!(matches!(Address::parse("[::1]:80"), Ok(Address::Tcp(_))));
        assert!(matches!(Address::parse("unix:/run/x"), Ok(Address::Unix(_))));
        assert_eq!(Address::parse("systemd:web"), Ok(Address::Systemd("web".to_owned())));
        assert!(Address::parse("systemd:").is_err() && Address::parse("systemd:a:b").is_err());
        let fix = |text| Address::parse(text).expect_err(text).fix;
        assert!(fix("localhost:80").contains("127.0.0.1:80"));
        assert!(fix(":80").contains("0.0.0.0:80"));
        assert!(fix("8080").contains("127.0.0.1:8080"));
        assert!(fix("127.0.0.1").contains("127.0.0.1:8080"));
        assert!(fix("::1").contains("[::1]:8080"));
        assert!(fix("1.2.3.4:99999").contains("65535"));
        assert!(fix("unix:").contains("PATH"));
    }

    #[test]
    fn origins() {
        for good in ["*", "https://example.com", "http://localhost:3000", "http://[::1]:80"] {
            assert!(Origin::parse(good).is_ok(), "{good}");
        }
        for wrong in ["example.com", "https://example.com/", "https://*.example.com", "ftp://a", "https://"] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! Listeners as an operator sets them, and the deadlines by their names.

use std::{fmt, net::SocketAddr, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use roadrunner_values::H2c;

use crate::{Forwarding, Peers, TlsConfig};

/// One place to accept connections.
#[derive(Debug)]
pub struct ListenerConfig {
    /// The name for logs, metrics and errors.
    pub name: Arc<str>,
    /// The address to listen on.
    pub address: ListenAddress,
    /// The protocols of this listener.
    ///
    /// # Defaults
    ///
    /// Both. On a plain listener the first 24 bytes decide (RFC 9113, 3.3); with TLS, ALPN does.
    pub protocols: Protocols,
    /// How clients of a plain listener switch to HTTP/2. It matters only without TLS and with both protocols.
    ///
    /// # Defaults
    ///
    /// [`H2c::PriorKnowledge`].
    pub h2c: H2c,
    /// TLS; `None` for plain text.
    pub tls: Option<TlsConfig>,
    /// The most connections open at once on this listener.
    ///
    /// # Defaults
    ///
    /// None: only [`ConnectionCaps`](roadrunner_values::ConnectionCaps) applies.
    pub max_connections: Option<usize>,
    /// The most connections open at once from one peer on this listener; a peer is an IPv4 address or an IPv6 /64.
    ///
    /// # Defaults
    ///
    /// None: only [`ConnectionCaps`](roadrunner_values::ConnectionCaps) applies.
    pub max_connections_per_peer: Option<usize>,
    /// Peers that must begin each connection with a PROXY header, before TLS; connections of other peers are closed.
    ///
    /// # Defaults
    ///
    /// None: a PROXY header is a malformed request.
    pub proxy_protocol: Option<Peers>,
    /// The proxies that are trusted to name the client of a request, and the header field that they use.
    ///
    /// # Defaults
    ///
    /// None: such fields are the client's own claims.
    pub forwarding: Option<Forwarding>,
    /// The mode of the file of a Unix socket, such as `0o600`; if absent, the process's umask decides.
    pub unix_mode: Option<u32>,
    /// The most requests in flight at once on this listener, from the head until the response has been handed to the
    /// kernel; above it, 503 with `Retry-After`.
    ///
    /// # Defaults
    ///
    /// None.
    pub max_requests: Option<usize>,
}

impl ListenerConfig {
    /// Makes a plain listener for HTTP/1 and HTTP/2 with prior knowledge.
    pub fn plain(name: impl Into<Arc<str>>, address: impl Into<ListenAddress>) -> ListenerConfig {
        ListenerConfig {
            name: name.into(),
            address: address.into(),
            protocols: Protocols::BOTH,
            h2c: H2c::default(),
            tls: None,
            max_connections: None,
            max_connections_per_peer: None,
            proxy_protocol: None,
            forwarding: None,
            unix_mode: None,
            max_requests: None,
        }
    }

    /// Makes a TLS listener for HTTP/1 and HTTP/2.
    pub fn tls(name: impl Into<Arc<str>>, address: impl Into<ListenAddress>, tls: TlsConfig) -> ListenerConfig {
        ListenerConfig { tls: Some(tls), ..ListenerConfig::plain(name, address) }
    }
}

/// The address that a listener listens on.
#[derive(Debug)]
pub enum ListenAddress {
    /// A listening socket that another process opened, such as systemd. It may be TCP or Unix.
    Inherited(OwnedFd),
    /// An IPv4 or IPv6 address and port; port 0 lets the kernel choose. An IPv6 address accepts IPv6 only.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket. A socket file without a listening process is replaced.
    Unix(PathBuf),
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> ListenAddress {
        ListenAddress::Tcp(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Inherited(_) => f.write_str("an inherited socket"),
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The set of protocols of a listener; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    http1: bool,
    http2: bool,
    http3: bool,
}

impl Protocols {
    /// HTTP/1 and HTTP/2.
    pub const BOTH: Protocols = Protocols { http1: true, http2: true, http3: false };
    /// HTTP/1.0 and 1.1 only.
    pub const HTTP1: Protocols = Protocols { http1: true, http2: false, http3: false };
    /// HTTP/2 only; a client that starts with HTTP/1 is refused with GOAWAY.
    pub const HTTP2: Protocols = Protocols { http1: false, http2: true, http3: false };
    /// HTTP/3 only: a UDP port and no TCP port.
    pub const HTTP3: Protocols = Protocols { http1: false, http2: false, http3: true };

    /// These and HTTP/3, on the UDP port of the same number. It needs TLS and an IP address.
    pub fn and_http3(self) -> Protocols {
        Protocols { http3: true, ..self }
    }

    /// Whether HTTP/1 is in the set.
    pub fn http1(self) -> bool {
        self.http1
    }

    /// Whether HTTP/2 is in the set.
    pub fn http2(self) -> bool {
        self.http2
    }

    /// Whether HTTP/3 is in the set.
    pub fn http3(self) -> bool {
        self.http3
    }

    /// Whether any protocol in the set needs a stream socket.
    pub(crate) fn on_streams(self) -> bool {
        self.http1 || self.http2
    }
}

/// The name of a deadline that passed: the field of [`Timeouts`](roadrunner_values::Timeouts) that set it, or the
/// deadline that the service set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TimeoutName {
    /// [`Timeouts::body_idle`](roadrunner_values::Timeouts::body_idle)
    BodyIdle,
    /// [`Timeouts::body_min_rate`](roadrunner_values::Timeouts::body_min_rate)
    BodyMinRate,
    /// [`Timeouts::h2_idle`](roadrunner_values::Timeouts::h2_idle)
    H2Idle,
    /// [`Timeouts::h2_ping_timeout`](roadrunner_values::Timeouts::h2_ping_timeout)
    H2PingTimeout,
    /// [`Timeouts::h3_idle`](roadrunner_values::Timeouts::h3_idle)
    H3Idle,
    /// [`Timeouts::h3_lost`](roadrunner_values::Timeouts::h3_lost)
    H3Lost,
    /// [`Timeouts::handshake`](roadrunner_values::Timeouts::handshake)
    Handshake,
    /// [`Timeouts::keep_alive_idle`](roadrunner_values::Timeouts::keep_alive_idle)
    KeepAliveIdle,
    /// [`Timeouts::preface`](roadrunner_values::Timeouts::preface)
    Preface,
    /// [`Timeouts::proxy_header`](roadrunner_values::Timeouts::proxy_header)
    ProxyHeader,
    /// [`Timeouts::request_head`](roadrunner_values::Timeouts::request_head)
    RequestHead,
    /// [`end_by`](crate::end_by)
    Total,
    /// [`Timeouts::write_stall`](roadrunner_values::Timeouts::write_stall)
    WriteStall,
}

impl TimeoutName {
    /// Every name, in the order of the enum.
    pub const ALL: [TimeoutName; 13] = [
        TimeoutName::BodyIdle,
        TimeoutName::BodyMinRate,
        TimeoutName::H2Idle,
        TimeoutName::H2PingTimeout,
        TimeoutName::H3Idle,
        TimeoutName::H3Lost,
        TimeoutName::Handshake,
        TimeoutName::KeepAliveIdle,
        TimeoutName::Preface,
        TimeoutName::ProxyHeader,
        TimeoutName::RequestHead,
        TimeoutName::Total,
        TimeoutName::WriteStall,
    ];

    /// The name in manifests, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeoutName::BodyIdle => "body-idle",
            TimeoutName::BodyMinRate => "body-min-rate",
            TimeoutName::H2Idle => "h2-idle",
            TimeoutName::H2PingTimeout => "h2-ping-timeout",
            TimeoutName::H3Idle => "h3-idle",
            TimeoutName::H3Lost => "h3-lost",
            TimeoutName::Handshake => "handshake",
            TimeoutName::KeepAliveIdle => "keep-alive-idle",
            TimeoutName::Preface => "preface",
            TimeoutName::ProxyHeader => "proxy-header",
            TimeoutName::RequestHead => "request-head",
            TimeoutName::Total => "total",
            TimeoutName::WriteStall => "write-stall",
        }
    }
}

impl fmt::Display for TimeoutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

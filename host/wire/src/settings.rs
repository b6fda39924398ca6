//! The settings of an operator: listeners, timeouts by name, caps and sizes.

use std::{fmt, net::SocketAddr, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use roadrunner_h3::{Config as Http3, PoolConfig};

use crate::{Forwarding, PathRule, Peers, TlsConfig};

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
    /// None: only [`Caps`] applies.
    pub max_connections: Option<usize>,
    /// The most connections open at once from one peer on this listener; a peer is an IPv4 address or an IPv6 /64.
    ///
    /// # Defaults
    ///
    /// None: only [`Caps`] applies.
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

/// How a client of a plain listener switches to HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum H2c {
    /// Not at all.
    Off,
    /// The client starts with the preface (RFC 9113, 3.3).
    #[default]
    PriorKnowledge,
    /// Like `PriorKnowledge`, or the client asks for it in an HTTP/1.1 request without a body (RFC 7540, 3.2; RFC 9113
    /// has dropped it). Dangerous behind a proxy that forwards `Upgrade` without understanding it: later requests
    /// bypass the proxy's rules.
    Upgrade,
}

/// Settings for all listeners of one [`Server`](crate::Server).
#[derive(Clone, Debug)]
pub struct Settings {
    /// The deadlines.
    pub timeouts: Timeouts,
    /// The caps on connections.
    pub caps: Caps,
    /// The most header fields of an HTTP/1 request; above it, 431 and close.
    ///
    /// # Defaults
    ///
    /// 100.
    pub max_headers: usize,
    /// The most bytes of an HTTP/1 request head, request line included, and of a decoded HTTP/2 field section, as
    /// advertised in `SETTINGS_MAX_HEADER_LIST_SIZE`; above it, 431. Between 8 KiB and [`Settings::http1_max_buffer`].
    ///
    /// # Defaults
    ///
    /// 16 KiB.
    pub max_header_bytes: u32,
    /// The most bytes of the read buffer and of the write buffer of an HTTP/1 connection; at least 8 KiB.
    ///
    /// # Defaults
    ///
    /// 64 KiB.
    pub http1_max_buffer: usize,
    /// The receive window of an HTTP/2 stream, in bytes: how much a client may send before the service has read any of
    /// it.
    ///
    /// # Defaults
    ///
    /// 1 MiB.
    pub h2_stream_window: u32,
    /// The receive window of an HTTP/2 connection, in bytes. It bounds the memory for unread request bodies.
    ///
    /// # Defaults
    ///
    /// 1 MiB.
    pub h2_connection_window: u32,
    /// The most streams open at once on an HTTP/2 connection; above it, REFUSED_STREAM.
    ///
    /// # Defaults
    ///
    /// 200.
    pub h2_max_concurrent_streams: u32,
    /// The most bytes that are taken from a response body and wait for the client's window, per stream.
    ///
    /// # Defaults
    ///
    /// 64 KiB.
    pub h2_max_send_buffer: usize,
    /// Frames that cost the peer next to nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown types),
    /// per second and connection. Two more are allowed for each DATA or HEADERS frame that this side sent. Above it,
    /// GOAWAY(ENHANCE_YOUR_CALM).
    ///
    /// # Defaults
    ///
    /// 1000.
    pub h2_control_frames_per_second: u32,
    /// RST_STREAM frames per second and connection. Above it, GOAWAY(ENHANCE_YOUR_CALM).
    ///
    /// # Defaults
    ///
    /// 200.
    pub h2_resets_per_second: u32,
    /// Whether HTTP/2 clients may open tunnels with extended CONNECT (RFC 8441).
    ///
    /// # Defaults
    ///
    /// On. A service that takes no tunnel answers such a request like any other.
    pub h2_extended_connect: bool,
    /// The limits and offers of HTTP/3. [`Settings::timeouts`] overrides its deadlines.
    ///
    /// # Defaults
    ///
    /// Those of [`Http3`], with a `max_field_section_size` of 16 KiB.
    pub http3: Http3,
    /// The endpoints that share the UDP port of a listener.
    pub http3_pool: PoolConfig,
    /// How HTTP/3 is announced on the other protocols of its listener.
    pub alt_svc: AltSvc,
    /// The rule for request paths.
    ///
    /// # Defaults
    ///
    /// [`PathRule::Strict`].
    pub path: PathRule,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            timeouts: Timeouts::default(),
            caps: Caps::default(),
            max_headers: 100,
            max_header_bytes: 16 * 1024,
            http1_max_buffer: 64 * 1024,
            h2_stream_window: 1024 * 1024,
            h2_connection_window: 1024 * 1024,
            h2_max_concurrent_streams: 200,
            h2_max_send_buffer: 64 * 1024,
            h2_control_frames_per_second: 1000,
            h2_resets_per_second: 200,
            h2_extended_connect: true,
            http3: Http3 { max_field_section_size: 16 * 1024, ..Http3::default() },
            http3_pool: PoolConfig::default(),
            alt_svc: AltSvc::default(),
            path: PathRule::default(),
        }
    }
}

/// The `Alt-Svc` field (RFC 7838) of responses on a listener that also serves HTTP/3.
#[derive(Clone, Debug)]
pub struct AltSvc {
    /// How long a client may remember the alternative service. Zero leaves the field out.
    ///
    /// # Defaults
    ///
    /// 24 h.
    pub max_age: Duration,
    /// The UDP port as clients see it.
    ///
    /// # Defaults
    ///
    /// None: the listener's own.
    pub port: Option<u16>,
}

impl Default for AltSvc {
    fn default() -> AltSvc {
        AltSvc { max_age: Duration::from_secs(24 * 60 * 60), port: None }
    }
}

/// Caps on connections open at once. A socket over a cap is closed at once, and counted.
#[derive(Clone, Debug)]
pub struct Caps {
    /// The most connections on all listeners together.
    ///
    /// # Defaults
    ///
    /// 16384.
    pub connections: usize,
    /// The most connections from one peer: an IPv4 address or an IPv6 /64. Unix sockets have no peer.
    ///
    /// # Defaults
    ///
    /// None: behind a proxy all connections come from one peer.
    pub connections_per_peer: Option<usize>,
}

impl Default for Caps {
    fn default() -> Caps {
        Caps { connections: 16_384, connections_per_peer: None }
    }
}

/// The deadlines of the transport. Each is counted under its own name in [`Stats::timeouts`](crate::Stats::timeouts).
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From accept, or from the first datagram, to the end of the TLS handshake.
    ///
    /// # Defaults
    ///
    /// 10 s.
    pub handshake: Duration,
    /// From accept to the end of the PROXY header, if a header is required.
    ///
    /// # Defaults
    ///
    /// 5 s.
    pub proxy_header: Duration,
    /// From accept (plain) or the handshake (TLS) until the client's protocol is known, and on HTTP/2 until its first
    /// SETTINGS frame.
    ///
    /// # Defaults
    ///
    /// 10 s.
    pub preface: Duration,
    /// From the first byte of a request head to its last; on a new HTTP/1 connection, from its start. On HTTP/2, for
    /// one HEADERS frame with its CONTINUATIONs; on HTTP/3, from the opening of the stream. Slowly trickling bytes do
    /// not extend it.
    ///
    /// # Defaults
    ///
    /// 30 s.
    pub request_head: Duration,
    /// The longest pause between two pieces of a request body while the service waits for one.
    ///
    /// # Defaults
    ///
    /// 30 s.
    pub body_idle: Duration,
    /// The minimum rate of a request body in bytes per second, averaged over the time for which the service has waited
    /// for it, after a grace of one [`Timeouts::body_idle`]. 0 turns it off.
    ///
    /// # Defaults
    ///
    /// 240.
    pub body_min_rate: u32,
    /// The longest time for which a client takes no byte of a response while there are bytes to send: on HTTP/1 and
    /// for an HTTP/2 connection when the socket is full, for an HTTP/2 or HTTP/3 stream when its window is closed.
    ///
    /// # Defaults
    ///
    /// 30 s.
    pub write_stall: Duration,
    /// How long an HTTP/1 connection may stay open between two requests.
    ///
    /// # Defaults
    ///
    /// 75 s.
    pub keep_alive_idle: Duration,
    /// How long an HTTP/2 connection may stay open without a stream. It then gets GOAWAY, and the same time again to
    /// end.
    ///
    /// # Defaults
    ///
    /// 180 s.
    pub h2_idle: Duration,
    /// How long an HTTP/2 client may stay silent before it is sent a PING.
    ///
    /// # Defaults
    ///
    /// 20 s.
    pub h2_ping_interval: Duration,
    /// How long an HTTP/2 client has to answer that PING.
    ///
    /// # Defaults
    ///
    /// 20 s.
    pub h2_ping_timeout: Duration,
    /// How long an HTTP/3 connection may stay open without a request. It then gets GOAWAY and is closed.
    ///
    /// # Defaults
    ///
    /// 180 s.
    pub h3_idle: Duration,
    /// How long an HTTP/3 client may stay silent before its connection is lost (RFC 9000, 10.1). It is sent a PING
    /// after a third of this time.
    ///
    /// # Defaults
    ///
    /// 30 s.
    pub h3_lost: Duration,
    /// How long a TCP peer may leave the kernel's probes unanswered, the first after a third of this time, before its
    /// connection is lost (RFC 9293, 3.8.4). In whole seconds, at least 6.
    ///
    /// # Defaults
    ///
    /// 120 s.
    pub tcp_lost: Duration,
    /// How long a drain keeps a connection without a request open: its client may just be sending a request. HTTP/2 and
    /// HTTP/3 have GOAWAY for that, so they need this time only before the protocol is established.
    ///
    /// # Defaults
    ///
    /// 1 s.
    pub drain_idle: Duration,
    /// How long an HTTP/1 connection waits for the rest of a request body that the service does not read, up to 256 KiB
    /// of it. If the rest has not come by then, the connection is closed, and a response whose head was not sent says
    /// so.
    ///
    /// # Defaults
    ///
    /// 1 s.
    pub unread_body: Duration,
    /// How long to keep reading, and dropping the bytes, after the server has closed an HTTP/1 connection with part of
    /// a request unread. Closing at once would let the kernel's reset overtake the response (RFC 9112, 9.6).
    ///
    /// # Defaults
    ///
    /// 2 s.
    pub linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            handshake: Duration::from_secs(10),
            proxy_header: Duration::from_secs(5),
            preface: Duration::from_secs(10),
            request_head: Duration::from_secs(30),
            body_idle: Duration::from_secs(30),
            body_min_rate: 240,
            write_stall: Duration::from_secs(30),
            keep_alive_idle: Duration::from_secs(75),
            h2_idle: Duration::from_secs(180),
            h2_ping_interval: Duration::from_secs(20),
            h2_ping_timeout: Duration::from_secs(20),
            h3_idle: Duration::from_secs(180),
            h3_lost: Duration::from_secs(30),
            tcp_lost: Duration::from_secs(120),
            drain_idle: Duration::from_secs(1),
            unread_body: Duration::from_secs(1),
            linger: Duration::from_secs(2),
        }
    }
}

/// The name of a deadline that passed: the field of [`Timeouts`] that set it, or the deadline that the service set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TimeoutName {
    /// [`Timeouts::body_idle`]
    BodyIdle,
    /// [`Timeouts::body_min_rate`]
    BodyMinRate,
    /// [`Timeouts::h2_idle`]
    H2Idle,
    /// [`Timeouts::h2_ping_timeout`]
    H2PingTimeout,
    /// [`Timeouts::h3_idle`]
    H3Idle,
    /// [`Timeouts::h3_lost`]
    H3Lost,
    /// [`Timeouts::handshake`]
    Handshake,
    /// [`Timeouts::keep_alive_idle`]
    KeepAliveIdle,
    /// [`Timeouts::preface`]
    Preface,
    /// [`Timeouts::proxy_header`]
    ProxyHeader,
    /// [`Timeouts::request_head`]
    RequestHead,
    /// [`end_by`](crate::end_by)
    Total,
    /// [`Timeouts::write_stall`]
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

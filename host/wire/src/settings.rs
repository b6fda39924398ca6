//! Listeners as an operator sets them.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use roadrunner_values::{ForwardedField, H2c};

use crate::{Peers, Protocols, TlsConfig};

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

/// The proxies that are trusted to name the client, and the header field that they use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The proxies.
    pub trusted: Peers,
    /// The field that they write.
    pub field: ForwardedField,
}

//! Facts about a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use roadrunner_h3::{Closed, ConnectionInfo};
use roadrunner_values::PathRule;

use crate::control::Control;
use crate::{Address, Ending, Forwarding, Protocol, Stats, TimeoutName, TlsInfo, marks};

/// One connection, shared by all its exchanges.
#[derive(Debug)]
pub struct Connection {
    /// Unique in this server; counts from 1.
    pub id: u64,
    /// The name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The other end; behind the PROXY protocol, the client that the proxy names. One connection of a proxy may carry
    /// the requests of many clients: see [`Exchange::peer`](crate::Exchange::peer).
    pub peer: Address,
    /// This end.
    pub local: Address,
    /// The protocol of the connection.
    pub protocol: Protocol,
    /// The result of the TLS handshake; `None` for plain text.
    pub tls: Option<TlsInfo>,
    /// When the connection was accepted.
    pub opened: Instant,
    /// Bytes that the service holds for requests of this connection. Only the service updates it.
    pub held: Arc<AtomicU64>,
    pub(crate) forwarding: Option<Arc<Forwarding>>,
    /// Whether the connection began with a PROXY header. Its peer then came through a load balancer that may have ended
    /// TLS.
    pub(crate) proxied: bool,
    pub(crate) path_rule: PathRule,
    pub(crate) control: Arc<Control>,
    pub(crate) stats: Arc<Stats>,
    /// On HTTP/3, the handle that tells how the connection ended.
    pub(crate) quic: Option<ConnectionInfo>,
}

impl Connection {
    /// Makes a connection without a socket, for tests of a [`Service`](crate::Service).
    pub fn detached(protocol: Protocol) -> Connection {
        let nowhere = Address::Ip(SocketAddr::from(([127, 0, 0, 1], 0)));
        Connection {
            id: 0,
            listener: Arc::from("detached"),
            peer: nowhere.clone(),
            local: nowhere,
            protocol,
            tls: None,
            opened: Instant::now(),
            held: Arc::default(),
            forwarding: None,
            proxied: false,
            path_rule: PathRule::default(),
            control: Arc::default(),
            stats: Arc::default(),
            quic: None,
        }
    }

    /// Returns the same connection after its switch from HTTP/1 to HTTP/2.
    pub(crate) fn upgraded(&self) -> Connection {
        self.control.speaks(Protocol::Http2);
        Connection {
            id: self.id,
            listener: Arc::clone(&self.listener),
            peer: self.peer.clone(),
            local: self.local.clone(),
            protocol: Protocol::Http2,
            tls: None,
            opened: self.opened,
            held: Arc::clone(&self.held),
            forwarding: self.forwarding.clone(),
            proxied: self.proxied,
            path_rule: self.path_rule,
            control: Arc::clone(&self.control),
            stats: Arc::clone(&self.stats),
            quic: None,
        }
    }

    /// Whether the peer is a trusted proxy, whose statement about the client is believed.
    pub fn is_from_trusted_proxy(&self) -> bool {
        self.forwarding.as_ref().is_some_and(|forwarding| forwarding.trusted.contains(&self.peer))
    }

    /// Whether a trusted proxy or load balancer may have ended the client's TLS.
    pub(crate) fn tls_may_end_in_front(&self) -> bool {
        self.proxied || self.is_from_trusted_proxy()
    }

    /// How the connection ended, as far as the transport has seen.
    ///
    /// When a service future or a response body is dropped unfinished, this tells why: on HTTP/1 the connection's own
    /// end; on HTTP/2 and HTTP/3 likewise, and [`Ending::Open`] if only the stream was reset. A deadline of a single
    /// stream shows as [`Ending::TimedOut`] during that drop only.
    pub fn ending(&self) -> Ending {
        if let Some(name) = marks::stream_timed_out() {
            return Ending::TimedOut(name);
        }
        match (self.control.ending(), &self.quic) {
            (Ending::Open, Some(quic)) => match quic.closed() {
                None => Ending::Open,
                Some(Closed::ByClient) => Ending::PeerClosed,
                Some(Closed::Here) => Ending::Closed,
                Some(Closed::Lost) => Ending::Lost,
                Some(Closed::Silent) => Ending::TimedOut(TimeoutName::H3Lost),
            },
            (ending, _) => ending,
        }
    }
}

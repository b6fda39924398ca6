//! Counts open connections against the caps: on the whole server, on a listener, and for one peer on either.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use roadrunner_values::ConnectionCaps;

use crate::control::Control;
use crate::{Address, Stats};

/// The caps of a server.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: usize,
    open: AtomicUsize,
    by_peer: Option<Arc<PeerCap>>,
}

/// The caps of a listener.
#[derive(Debug)]
pub(crate) struct ListenerCaps {
    connections: Option<usize>,
    open: AtomicUsize,
    by_peer: Option<Arc<PeerCap>>,
}

impl ListenerCaps {
    pub(crate) fn new(connections: Option<usize>, per_peer: Option<usize>) -> ListenerCaps {
        ListenerCaps { connections, open: AtomicUsize::new(0), by_peer: per_peer.map(PeerCap::new) }
    }

    /// The number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

impl Admission {
    pub(crate) fn new(caps: &ConnectionCaps) -> Admission {
        Admission {
            connections: caps.connections,
            open: AtomicUsize::new(0),
            by_peer: caps.connections_per_peer.map(PeerCap::new),
        }
    }

    /// Reserves a place for a connection, if there is one. It does not count for its peer yet: see [`Permit::claim`].
    pub(crate) fn admit(
        self: &Arc<Admission>,
        listener: &Arc<ListenerCaps>,
        stats: &Arc<Stats>,
    ) -> Option<(Permit, Arc<Control>)> {
        // Only the accept loops add connections; two of them together may exceed the cap by one.
        if self.open.load(Relaxed) >= self.connections
            || listener.connections.is_some_and(|most| listener.open.load(Relaxed) >= most)
        {
            return None;
        }
        self.open.fetch_add(1, Relaxed);
        listener.open.fetch_add(1, Relaxed);
        stats.open.fetch_add(1, Relaxed);
        let (id, control) = stats.live.enter();
        let permit = Permit {
            id,
            claims: OnceLock::new(),
            admission: Arc::clone(self),
            listener: Arc::clone(listener),
            stats: Arc::clone(stats),
        };
        Some((permit, control))
    }
}

/// A place under the caps, held until the socket is closed.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) id: u64,
    /// The peer's places under the server's and the listener's cap.
    claims: OnceLock<[Option<Claim>; 2]>,
    admission: Arc<Admission>,
    listener: Arc<ListenerCaps>,
    stats: Arc<Stats>,
}

impl Permit {
    /// Counts the connection for its peer, once. Behind the PROXY protocol the peer is known only after its header.
    /// Returns false if the peer has reached its cap. Unix sockets have no peer.
    pub(crate) fn claim(&self, peer: &Address) -> bool {
        let Some(network) = peer.ip().map(network_of) else {
            return true;
        };
        let claim = |cap: &Option<Arc<PeerCap>>| match cap {
            Some(cap) => cap.claim(network).map(Some),
            None => Some(None),
        };
        let Some(claims) = claim(&self.admission.by_peer)
            .and_then(|server| claim(&self.listener.by_peer).map(|listener| [server, listener]))
        else {
            return false;
        };
        let _ = self.claims.set(claims);
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Relaxed);
        self.listener.open.fetch_sub(1, Relaxed);
        self.stats.open.fetch_sub(1, Relaxed);
        self.stats.live.leave(self.id);
    }
}

/// A cap on the connections of each peer. Peers without a connection are not in the table, so the cap on connections
/// bounds it.
#[derive(Debug)]
struct PeerCap {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl PeerCap {
    fn new(most: usize) -> Arc<PeerCap> {
        Arc::new(PeerCap { most, open: Mutex::default() })
    }

    fn claim(self: &Arc<PeerCap>, network: IpAddr) -> Option<Claim> {
        let mut all = self.open.lock();
        let open = all.entry(network).or_insert(0);
        if *open >= self.most {
            // A cap of 0 must not leave an entry behind.
            if *open == 0 {
                all.remove(&network);
            }
            return None;
        }
        *open += 1;
        Some(Claim { cap: Arc::clone(self), network })
    }
}

/// One connection of one peer.
#[derive(Debug)]
struct Claim {
    cap: Arc<PeerCap>,
    network: IpAddr,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut all = self.cap.open.lock();
        if let Some(open) = all.get_mut(&self.network) {
            *open -= 1;
            if *open == 0 {
                all.remove(&self.network);
            }
        }
    }
}

/// The network that belongs to one client: an IPv4 address, or the first 64 bits of an IPv6 address.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_ipv6_client_is_its_64_bits() {
        assert_eq!(network_of(ip("2001:db8::1:2:3:4")), network_of(ip("2001:db8::ffff:2:3:4")));
        assert_ne!(network_of(ip("2001:db8:0:1::1")), network_of(ip("2001:db8:0:2::1")));
        assert_ne!(network_of(ip("192.0.2.1")), network_of(ip("192.0.2.2")));
        assert_eq!(network_of(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn a_peer_has_its_places_back_when_its_connections_are_gone() {
        let stats = Arc::new(Stats::default());
        let admission = Arc::new(Admission::new(&ConnectionCaps { connections: 3, connections_per_peer: Some(2) }));
        let listener = Arc::new(ListenerCaps::new(None, Some(1)));
        let other = Arc::new(ListenerCaps::new(None, None));
        let peer = Address::Ip((ip("192.0.2.1"), 1).into());
        let admit = |listener| admission.admit(listener, &stats).map(|(permit, _)| permit);

        let first = admit(&listener).expect("there is room");
        assert!(first.claim(&peer));
        let second = admit(&listener).expect("there is room");
        assert!(!second.claim(&peer), "one on this listener");
        drop(second);
        let second = admit(&other).expect("there is room");
        assert!(second.claim(&peer), "what failed on one listener is not held on the server");
        let third = admit(&other).expect("there is room");
        assert!(!third.claim(&peer), "two on the server");
        assert!(third.claim(&Address::Unix(None)));
        assert!(admit(&other).is_none(), "three connections in all");
        drop(first);
        let fourth = admit(&listener).expect("there is room");
        assert!(fourth.claim(&peer));
    }
}

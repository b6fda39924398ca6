//! The QUIC endpoints of one address: several, each with its own socket on the same UDP port.
//!
//! # Contract
//! One endpoint reads from its socket in one task, so it can use one core at most. A pool has several: the kernel
//! spreads clients over their sockets by a hash of the addresses. A client whose address changes would then reach a
//! member that does not know it. So the connection IDs that a member issues name the member, encrypted (`pool/cid.rs`),
//! and the receiver of a datagram passes it to the named member. The kernel does this with a filter made for the key
//! (`pool/steering.rs`); in any case the members themselves do (`pool/socket.rs`, `pool/queue.rs`).
//! `docs/design/quic-pool.md` says what an observer can learn and what is not promised.
//!
//! All members share one key for stateless resets, one for Retry tokens and one TLS configuration with its session
//! store, so a client sees no difference between them.
//!
//! # Not covered
//! Several processes on one port: a pool takes its port for itself.

mod bind;
mod cid;
mod queue;
mod runtime;
mod socket;
mod speck;
#[cfg(target_os = "linux")]
mod steering;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use quinn::{Endpoint, EndpointConfig, Incoming, Runtime as _, ServerConfig, VarInt};
use roadrunner_values::Http3;

use self::cid::{CidKey, MemberCids};
use self::queue::Queue;
use self::runtime::Patient;
use self::socket::MemberSocket;

/// The most endpoints of a pool.
pub const MAX_ENDPOINTS: usize = 1024;

/// Bytes of a forwarded datagram, for the number of those that wait: datagrams that fill a queue are as large as a path
/// allows. The number also bounds the overhead of each datagram.
const FULL_DATAGRAM: usize = 1024;

/// The keys of connection IDs and stateless resets.
///
/// A pool that is given the keys of another resets its connections (RFC 9000 section 10.3). This lets a process reset
/// the connections of a crashed predecessor, and a host those of another host behind the same address.
#[derive(Clone, Debug)]
pub struct PoolKeys {
    cid: CidKey,
    /// Holds the key for stateless resets, which quinn does not reveal again.
    endpoint: EndpointConfig,
}

impl PoolKeys {
    /// Makes new keys.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> io::Result<PoolKeys> {
        let mut endpoint = EndpointConfig::default();
        // quinn would also accept the drafts.
        endpoint.supported_versions(vec![VERSION_1]);
        Ok(PoolKeys { cid: CidKey::random()?, endpoint })
    }
}

/// The version number of QUIC 1 (RFC 9000 section 15).
const VERSION_1: u32 = 1;

/// The endpoints of one address. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoints: Vec<Endpoint>,
    /// One queue per endpoint; empty if there is no other member to forward to.
    queues: Arc<[Queue]>,
    steering: Steering,
    retries: AtomicU64,
}

/// How a datagram reaches the member that its connection ID names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steering {
    /// The kernel steers all datagrams except the first flights of a handshake: there it cannot tell whether the client
    /// or a member has chosen the connection ID. The members forward those.
    Kernel,
    /// The members forward them, for this reason.
    Members(String),
    /// No steering: there is one endpoint.
    None,
}

impl Pool {
    /// Opens the sockets and starts the endpoints. It must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The address is in use, also by another pool of this user, or cannot be bound.
    pub fn bind(address: SocketAddr, server: ServerConfig, http3: &Http3, keys: &PoolKeys) -> io::Result<Pool> {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let endpoints = http3.endpoints.unwrap_or_else(cores).clamp(1, MAX_ENDPOINTS);
        // A single endpoint needs no routing and has none.
        let count = if cfg!(target_os = "linux") { endpoints } else { 1 };
        let sockets = bind::udp(address, count)?;
        let steering = match count {
            1 => Steering::None,
            _ if !http3.kernel_steering => Steering::Members("the configuration says so".to_owned()),
            _ => steer(&sockets[0], &keys.cid),
        };
        tracing::debug!(%address, endpoints = count, ?steering, "opened a pool of QUIC endpoints");
        let queues: Arc<[Queue]> = match count {
            1 => Arc::default(),
            _ => (0..count).map(|_| Queue::new(http3.forward_queue / FULL_DATAGRAM, http3.forward_queue)).collect(),
        };
        let runtime = Arc::new(Patient);
        let mut endpoints = Vec::with_capacity(count);
        for (member, socket) in sockets.into_iter().enumerate() {
            let mut socket = runtime.wrap_udp_socket(socket)?;
            if count > 1 {
                socket = Arc::new(MemberSocket::new(socket, member, keys.cid.clone(), Arc::clone(&queues)));
            }
            let (key, lifetime) = (keys.cid.clone(), http3.cid_lifetime);
            let mut endpoint = keys.endpoint.clone();
            endpoint.cid_generator(move || Box::new(MemberCids::new(key.clone(), member, lifetime)));
            let server = Some(server.clone());
            endpoints.push(Endpoint::new_with_abstract_socket(endpoint, server, socket, runtime.clone())?);
        }
        Ok(Pool { inner: Arc::new(Inner { endpoints, queues, steering, retries: AtomicU64::new(0) }) })
    }

    /// The endpoints. Accept from each of them.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.inner.endpoints
    }

    /// The address of all endpoints.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.endpoints[0].local_addr()
    }

    /// How a datagram reaches the member that its connection ID names.
    pub fn steering(&self) -> &Steering {
        &self.inner.steering
    }

    /// Returns the client again, unless it was sent a Retry (RFC 9000 section 8.1.2): it is sent one while there are
    /// `retry_above` connections or more. Any member accepts the token that the client returns with.
    pub fn validated(&self, incoming: Incoming, retry_above: Option<usize>, connections: usize) -> Option<Incoming> {
        let is_wanted = retry_above.is_some_and(|threshold| connections >= threshold);
        if !is_wanted || incoming.remote_address_validated() || !incoming.may_retry() {
            return Some(incoming);
        }
        match incoming.retry() {
            Ok(()) => {
                self.inner.retries.fetch_add(1, Ordering::Relaxed);
                None
            }
            // The client has come back from a Retry, which may_retry has ruled out.
            Err(error) => Some(error.into_incoming()),
        }
    }

    /// An observer of the pool that does not keep it open.
    pub fn observer(&self) -> PoolObserver {
        PoolObserver(Arc::downgrade(&self.inner))
    }

    /// The statistics of the members, in their order.
    pub fn members(&self) -> Vec<MemberStats> {
        let forwarded = |index: usize| self.inner.queues.get(index).map(Queue::stats).unwrap_or_default();
        let member = |(index, endpoint): (usize, &Endpoint)| {
            let (quic, forwarded) = (endpoint.stats(), forwarded(index));
            MemberStats {
                connections: endpoint.open_connections(),
                accepted: quic.accepted_handshakes,
                refused: quic.refused_handshakes,
                forwarded: forwarded.taken_in,
                dropped: forwarded.dropped,
            }
        };
        self.inner.endpoints.iter().enumerate().map(member).collect()
    }

    /// Clients that were sent a Retry.
    pub fn retries(&self) -> u64 {
        self.inner.retries.load(Ordering::Relaxed)
    }

    /// Closes every connection at once, and refuses new ones.
    pub fn close(&self, code: VarInt, reason: &[u8]) {
        for endpoint in &self.inner.endpoints {
            endpoint.close(code, reason);
        }
    }

    /// Resolves when no member has a connection, including those that are closing.
    pub async fn wait_idle(&self) {
        for endpoint in &self.inner.endpoints {
            endpoint.wait_idle().await;
        }
    }
}

/// Makes a pool of one endpoint that was made elsewhere.
impl From<Endpoint> for Pool {
    fn from(endpoint: Endpoint) -> Pool {
        let (queues, retries) = (Arc::default(), AtomicU64::new(0));
        Pool { inner: Arc::new(Inner { endpoints: vec![endpoint], queues, steering: Steering::None, retries }) }
    }
}

/// Observes a pool for as long as it exists.
#[derive(Clone, Debug)]
pub struct PoolObserver(Weak<Inner>);

impl PoolObserver {
    /// The statistics; `None` once the pool is gone.
    pub fn stats(&self) -> Option<PoolStats> {
        let pool = Pool { inner: self.0.upgrade()? };
        Some(PoolStats { members: pool.members(), retries: pool.retries() })
    }
}

/// The statistics of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// The statistics of the members, in their order.
    pub members: Vec<MemberStats>,
    /// Clients that were sent a Retry.
    pub retries: u64,
}

/// The statistics of one member of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberStats {
    /// Connections open now, including those in a handshake and those that are closing.
    pub connections: usize,
    /// Handshakes that it has begun.
    pub accepted: u64,
    /// Clients that it has turned away.
    pub refused: u64,
    /// Datagrams that other members have passed to it.
    pub forwarded: u64,
    /// Datagrams that other members dropped because its queue was full.
    pub dropped: u64,
}

#[cfg(target_os = "linux")]
fn steer(socket: &std::net::UdpSocket, key: &CidKey) -> Steering {
    match steering::attach(socket, &steering::program(key)) {
        Ok(()) => Steering::Kernel,
        Err(error) => Steering::Members(format!("SO_ATTACH_REUSEPORT_CBPF: {error}")),
    }
}

#[cfg(not(target_os = "linux"))]
fn steer(_: &std::net::UdpSocket, _: &CidKey) -> Steering {
    Steering::None
}

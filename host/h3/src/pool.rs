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
mod socket;
mod speck;
#[cfg(target_os = "linux")]
mod steering;

use std::{
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quinn::{Endpoint, EndpointConfig, Incoming, Runtime as _, ServerConfig, TokioRuntime, VarInt};

use self::{
    cid::{CidKey, MemberCids},
    queue::Queue,
    socket::MemberSocket,
};
use crate::config::RetryPolicy;

/// The number of endpoints of a pool, and the limits of their exchange.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// The number of endpoints on the port, at least 1 and at most [`MAX_ENDPOINTS`]. A single endpoint needs no
    /// routing and has none. On systems other than Linux there is always one.
    ///
    /// # Defaults
    /// As many as there are cores for this process.
    pub endpoints: usize,
    /// How long a connection ID is valid. Then the client is given new ones and asked to retire the old (RFC 9000
    /// section 5.1.2). This limits how long an observer can link two paths by a connection ID.
    ///
    /// # Defaults
    /// 1 h.
    pub cid_lifetime: Option<Duration>,
    /// Whether the kernel delivers datagrams to the member that their connection ID names, if it can. Otherwise the
    /// members forward them to one another.
    ///
    /// # Defaults
    /// `true`.
    pub kernel_steering: bool,
    /// The most datagrams that wait for one member to take them from another. Further datagrams are dropped, and the
    /// client sends them again.
    ///
    /// # Defaults
    /// 1024.
    pub queue_datagrams: usize,
    /// The most bytes of datagrams that wait for one member.
    ///
    /// # Defaults
    /// 1 MiB.
    pub queue_bytes: usize,
}

/// The most endpoints of a pool.
pub const MAX_ENDPOINTS: usize = 1024;

impl Default for PoolConfig {
    fn default() -> PoolConfig {
        PoolConfig {
            endpoints: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            cid_lifetime: Some(Duration::from_secs(3600)),
            kernel_steering: true,
            queue_datagrams: 1024,
            queue_bytes: 1024 * 1024,
        }
    }
}

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
    pub fn bind(address: SocketAddr, server: ServerConfig, config: &PoolConfig, keys: &PoolKeys) -> io::Result<Pool> {
        let count = if cfg!(target_os = "linux") { config.endpoints.clamp(1, MAX_ENDPOINTS) } else { 1 };
        let sockets = bind::udp(address, count)?;
        let steering = match count {
            1 => Steering::None,
            _ if !config.kernel_steering => Steering::Members("the configuration says so".to_owned()),
            _ => steer(&sockets[0], &keys.cid),
        };
        tracing::debug!(%address, endpoints = count, ?steering, "opened a pool of QUIC endpoints");
        let queues: Arc<[Queue]> = match count {
            1 => Arc::default(),
            _ => (0..count).map(|_| Queue::new(config.queue_datagrams, config.queue_bytes)).collect(),
        };
        let runtime = Arc::new(TokioRuntime);
        let mut endpoints = Vec::with_capacity(count);
        for (member, socket) in sockets.into_iter().enumerate() {
            let mut socket = runtime.wrap_udp_socket(socket)?;
            if count > 1 {
                socket = Arc::new(MemberSocket::new(socket, member, keys.cid.clone(), Arc::clone(&queues)));
            }
            let (key, lifetime) = (keys.cid.clone(), config.cid_lifetime);
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

    /// Returns the client again, unless it was sent a Retry (RFC 9000 section 8.1.2), which the policy decides by the
    /// number of connections. Any member accepts the token that the client returns with.
    pub fn validated(&self, incoming: Incoming, policy: RetryPolicy, connections: usize) -> Option<Incoming> {
        if !policy.wanted(connections) || incoming.remote_address_validated() || !incoming.may_retry() {
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

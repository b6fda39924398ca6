//! The QUIC endpoints of one address: several, each with a socket of its own on the same UDP port.
//!
//! # Contract
//! One endpoint reads from its socket in one task, which is as much as one core can do. A pool has several: the kernel
//! spreads clients over their sockets by a hash of the addresses. A client whose address changes would then reach a
//! member that has never heard of it, so the connection IDs that a member issues name the member, encrypted
//! (`pool/cid.rs`), and whoever receives a datagram hands it to the member that it names: the kernel, with a filter
//! made for the key (`pool/steering.rs`), and in any case the members themselves (`pool/socket.rs`, `pool/queue.rs`).
//! `docs/design/quic-pool.md` says what an observer can learn and what is not promised.
//!
//! All members share one key for stateless resets, one for Retry tokens and one TLS configuration with its session
//! store, so that it makes no difference to a client which of them answers.
//!
//! # What it does not cover
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

/// How many endpoints a pool has, and what passes between them.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Endpoints on the port, at least 1 and at most [`MAX_ENDPOINTS`]. One endpoint needs no routing and has none.
    /// Elsewhere than on Linux there is always one.
    ///
    /// # Defaults
    /// As many as there are cores for this process.
    pub endpoints: usize,
    /// How long a connection ID is good for. Then the client is given new ones and asked to retire the old (RFC 9000
    /// section 5.1.2), so that an observer who could link two paths by a connection ID cannot do so for long.
    ///
    /// # Defaults
    /// 1 h.
    pub cid_lifetime: Option<Duration>,
    /// Have the kernel deliver datagrams to the member that their connection ID names, where it can. Without it, or
    /// where it cannot, the members forward them to one another.
    ///
    /// # Defaults
    /// `true`.
    pub kernel_steering: bool,
    /// The most datagrams that wait for one member to take them from another. More are dropped, and the client sends
    /// them again.
    ///
    /// # Defaults
    /// 1024.
    pub queue_datagrams: usize,
    /// As `queue_datagrams`, in bytes.
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

/// What connection IDs and stateless resets are made with.
///
/// A pool that is given the keys of another resets its connections (RFC 9000 section 10.3): so does a process that takes
/// the place of one that has crashed, or a host behind the same address.
#[derive(Clone, Debug)]
pub struct PoolKeys {
    cid: CidKey,
    /// Holds the key for stateless resets, which quinn does not let out again.
    endpoint: EndpointConfig,
}

impl PoolKeys {
    /// New keys.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> io::Result<PoolKeys> {
        let mut endpoint = EndpointConfig::default();
        // quinn would also speak the drafts.
        endpoint.supported_versions(vec![VERSION_1]);
        Ok(PoolKeys { cid: CidKey::random()?, endpoint })
    }
}

/// RFC 9000 section 15.
const VERSION_1: u32 = 1;

/// The endpoints of one address. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoints: Vec<Endpoint>,
    /// One per endpoint; none where there is nobody to forward to.
    queues: Arc<[Queue]>,
    steering: Steering,
    retries: AtomicU64,
}

/// Who takes a datagram to the member that its connection ID names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steering {
    /// The kernel takes all but the first flights of a handshake, of which it cannot tell whether the client or a
    /// member has chosen the connection ID; the members do the rest.
    Kernel,
    /// The members forward them, for this reason.
    Members(String),
    /// Nobody: there is one endpoint.
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

    /// Each has to be accepted from.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.inner.endpoints
    }

    /// The address that all endpoints have.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.endpoints[0].local_addr()
    }

    /// Who takes a datagram to the member that its connection ID names.
    pub fn steering(&self) -> &Steering {
        &self.inner.steering
    }

    /// The client again, unless it was sent a Retry (RFC 9000 section 8.1.2) as the policy wants it with so many
    /// connections. Any member takes the token that it comes back with.
    pub fn validated(&self, incoming: Incoming, policy: RetryPolicy, connections: usize) -> Option<Incoming> {
        if !policy.wanted(connections) || incoming.remote_address_validated() || !incoming.may_retry() {
            return Some(incoming);
        }
        match incoming.retry() {
            Ok(()) => {
                self.inner.retries.fetch_add(1, Ordering::Relaxed);
                None
            }
            // One that has come back from a Retry, which may_retry has ruled out.
            Err(error) => Some(error.into_incoming()),
        }
    }

    /// What can be seen of the pool without keeping it open.
    pub fn observer(&self) -> PoolObserver {
        PoolObserver(Arc::downgrade(&self.inner))
    }

    /// What the members have done so far, in their order.
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

    /// Resolves when no member has a connection, also none whose close is on its way.
    pub async fn wait_idle(&self) {
        for endpoint in &self.inner.endpoints {
            endpoint.wait_idle().await;
        }
    }
}

/// A pool of one, made elsewhere.
impl From<Endpoint> for Pool {
    fn from(endpoint: Endpoint) -> Pool {
        let (queues, retries) = (Arc::default(), AtomicU64::new(0));
        Pool { inner: Arc::new(Inner { endpoints: vec![endpoint], queues, steering: Steering::None, retries }) }
    }
}

/// Sees what a pool does for as long as it is there.
#[derive(Clone, Debug)]
pub struct PoolObserver(Weak<Inner>);

impl PoolObserver {
    /// None once the pool is gone.
    pub fn stats(&self) -> Option<PoolStats> {
        let pool = Pool { inner: self.0.upgrade()? };
        Some(PoolStats { members: pool.members(), retries: pool.retries() })
    }
}

/// What a pool has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// In their order.
    pub members: Vec<MemberStats>,
    /// Clients that were sent a Retry.
    pub retries: u64,
}

/// What one member of a pool has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberStats {
    /// Connections that it has now, those in a handshake and those that are being closed included.
    pub connections: usize,
    /// Handshakes that it has begun.
    pub accepted: u64,
    /// Clients that it has turned away.
    pub refused: u64,
    /// Datagrams that others have handed to it.
    pub forwarded: u64,
    /// Datagrams that others would have handed to it, had its queue not been full.
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

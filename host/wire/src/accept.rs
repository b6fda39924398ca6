//! From a listening socket to connections: one accept loop per listener, caps, and the first steps of a connection in
//! its own task.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use http::HeaderValue;
use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;

use crate::{
    Address, Caps, Connection, Protocol, Protocols, Service, Settings, Stats, TimeoutName, Timeouts, TlsInfo,
    control::{Command, Control},
    dispatch::Link,
    drive,
    io::{Io, Transport},
    sniff::{Start, sniff},
    socket::{ListenSocket, Socket},
    tls,
};

/// What all listeners of a server share.
pub(crate) struct Shared<S> {
    pub(crate) service: Arc<S>,
    pub(crate) settings: Settings,
    pub(crate) timeouts: Arc<Timeouts>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) stats: Arc<Stats>,
}

/// What the connections of a listener share. The listening socket is not part of it: it closes with the accept loop,
/// while connections live on.
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) protocols: Protocols,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) open: Arc<AtomicUsize>,
    /// How HTTP/3 is announced here; none if it is not.
    pub(crate) alt_svc: Option<HeaderValue>,
}

/// Accepts until it is dropped. Nothing of a connection is awaited here.
pub(crate) async fn accept<S: Service>(shared: Arc<Shared<S>>, listener: Arc<Listener>, socket: ListenSocket) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        match socket.accept().await {
            Ok((fd, peer)) => {
                backoff = FIRST_BACKOFF;
                shared.stats.accepted.fetch_add(1, Relaxed);
                match shared.admission.admit(&listener, &peer, &shared.stats) {
                    Some((permit, control)) => {
                        let task = connect(Arc::clone(&shared), Arc::clone(&listener), fd, peer, permit, control);
                        tokio::spawn(task);
                    }
                    // Dropping the descriptor closes it.
                    None => {
                        shared.stats.rejected_by_cap.fetch_add(1, Relaxed);
                    }
                }
            }
            Err(error) if is_exhaustion(&error) => {
                shared.stats.accept_backoffs.fetch_add(1, Relaxed);
                tracing::error!(listener = %listener.name, %error, wait_ms = backoff.as_millis(), "cannot accept");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(LAST_BACKOFF);
            }
            // Everything else is about the one connection that was to be accepted (accept(2), "Error handling").
            Err(error) => {
                tracing::debug!(listener = %listener.name, %error, "a connection failed to be accepted")
            }
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::BADF | Errno::INVAL)
    )
}

/// Counts what is open, against the caps.
#[derive(Debug)]
pub(crate) struct Admission {
    caps: Caps,
    open: AtomicUsize,
    by_peer: Mutex<HashMap<IpAddr, usize>>,
}

impl Admission {
    pub(crate) fn new(caps: Caps) -> Admission {
        Admission { caps, open: AtomicUsize::new(0), by_peer: Mutex::default() }
    }

    pub(crate) fn admit(
        self: &Arc<Admission>,
        listener: &Listener,
        peer: &Address,
        stats: &Arc<Stats>,
    ) -> Option<(Permit, Arc<Control>)> {
        // The accept loops are the only ones to add; between two of them the cap may be passed by one.
        if self.open.load(Relaxed) >= self.caps.connections
            || listener.max_connections.is_some_and(|most| listener.open.load(Relaxed) >= most)
        {
            return None;
        }
        let peer = match self.caps.connections_per_peer {
            Some(most) => match peer.ip().map(network_of) {
                Some(network) => {
                    let mut by_peer = self.by_peer.lock();
                    let open = by_peer.entry(network).or_insert(0);
                    if *open >= most {
                        return None;
                    }
                    *open += 1;
                    Some(network)
                }
                None => None,
            },
            None => None,
        };
        self.open.fetch_add(1, Relaxed);
        listener.open.fetch_add(1, Relaxed);
        stats.open.fetch_add(1, Relaxed);
        let (id, control) = stats.live.enter();
        let permit = Permit {
            id,
            peer,
            admission: Arc::clone(self),
            listener_open: Arc::clone(&listener.open),
            stats: Arc::clone(stats),
        };
        Some((permit, control))
    }
}

/// The network that one client can be expected to have for itself: an IPv4 address, or the first 64 bits of IPv6.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

/// A place under the caps, held until the socket is closed.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) id: u64,
    peer: Option<IpAddr>,
    admission: Arc<Admission>,
    listener_open: Arc<AtomicUsize>,
    stats: Arc<Stats>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(peer) = self.peer {
            let mut by_peer = self.admission.by_peer.lock();
            if let Some(open) = by_peer.get_mut(&peer) {
                *open -= 1;
                if *open == 0 {
                    by_peer.remove(&peer);
                }
            }
        }
        self.admission.open.fetch_sub(1, Relaxed);
        self.listener_open.fetch_sub(1, Relaxed);
        self.stats.open.fetch_sub(1, Relaxed);
        self.stats.live.leave(self.id);
    }
}

/// The task of a connection, from its accepted socket to its end.
async fn connect<S: Service>(
    shared: Arc<Shared<S>>,
    listener: Arc<Listener>,
    fd: OwnedFd,
    peer: Address,
    permit: Permit,
    control: Arc<Control>,
) {
    let opened = Instant::now();
    let id = permit.id;
    let socket = match Socket::new(fd, permit) {
        Ok(socket) => socket,
        Err(error) => {
            return tracing::warn!(listener = %listener.name, %error, "cannot watch a socket");
        }
    };
    // Small writes must not wait for each other: a stream of events would arrive in lumps.
    if peer.ip().is_some() && socket.set_nodelay().is_err() {
        return;
    }
    let begun = tokio::select! {
        begun = begin(&shared, &listener, &socket) => begun,
        // There is no request yet, so a drain ends it at once.
        () = ordered(&control) => None,
    };
    let Some(Begun { transport, start, protocol, tls }) = begun else {
        return;
    };
    control.speaks(protocol);
    let connection = Arc::new(Connection {
        id,
        listener: Arc::clone(&listener.name),
        local: socket.local(),
        peer,
        protocol,
        tls,
        opened,
        control,
        stats: Arc::clone(&shared.stats),
        quic: None,
    });
    let io = Io::new(transport, start, Arc::clone(&connection), &shared.settings);
    let link = Link { service: Arc::clone(&shared.service), connection, alt_svc: listener.alt_svc.clone() };
    match protocol {
        Protocol::Http1 => drive::http1(io, socket, link, &shared.settings).await,
        // Twice as large as the other, and the task would have room for either.
        Protocol::Http2 | Protocol::Http3 => {
            Box::pin(drive::http2(io, socket, link, &shared.settings, Arc::clone(&shared.timeouts))).await;
        }
    }
}

/// Resolves in the connection's task when the server wants the connection to end.
pub(crate) async fn ordered(control: &Control) {
    std::future::poll_fn(|cx| {
        control.register(cx.waker());
        match control.command() {
            Command::Run => Poll::Pending,
            Command::Drain | Command::Cut => Poll::Ready(()),
        }
    })
    .await
}

/// A connection whose protocol is known.
struct Begun {
    transport: Transport,
    start: Start,
    protocol: Protocol,
    tls: Option<TlsInfo>,
}

async fn begin<S>(shared: &Shared<S>, listener: &Listener, socket: &Socket) -> Option<Begun> {
    let timeouts = &shared.settings.timeouts;
    let Some(acceptor) = &listener.tls else {
        let (protocol, start) = match (listener.protocols.http1(), listener.protocols.http2()) {
            (true, false) => (Protocol::Http1, Start::default()),
            (false, _) => (Protocol::Http2, Start::default()),
            (true, true) => match tokio::time::timeout(timeouts.preface, sniff(socket)).await {
                Ok(sniffed) => sniffed.ok()?,
                Err(_) => {
                    shared.stats.count_timeout(TimeoutName::Preface);
                    return None;
                }
            },
        };
        return Some(Begun { transport: Transport::Plain(socket.clone()), start, protocol, tls: None });
    };
    // The state of a handshake is large, and most connections live much longer than theirs.
    let handshake = Box::pin(acceptor.accept(socket.clone()));
    let stream = match tokio::time::timeout(timeouts.handshake, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            shared.stats.handshake_failures.fetch_add(1, Relaxed);
            tracing::debug!(listener = %listener.name, %error, "the TLS handshake failed");
            return None;
        }
        Err(_) => {
            shared.stats.count_timeout(TimeoutName::Handshake);
            return None;
        }
    };
    let session = stream.get_ref().1;
    let protocol = tls::negotiated(session, listener.protocols);
    let tls = Some(TlsInfo::of(session));
    let Some(protocol) = protocol else {
        shared.stats.handshake_failures.fetch_add(1, Relaxed);
        return None;
    };
    Some(Begun { transport: Transport::Tls(Box::new(stream)), start: Start::default(), protocol, tls })
}

const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_64_bits() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(network_of(ip("2001:db8::1:2:3:4")), network_of(ip("2001:db8::ffff:2:3:4")));
        assert_ne!(network_of(ip("2001:db8:0:1::1")), network_of(ip("2001:db8:0:2::1")));
        assert_ne!(network_of(ip("192.0.2.1")), network_of(ip("192.0.2.2")));
        assert_eq!(network_of(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}

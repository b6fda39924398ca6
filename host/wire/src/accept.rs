//! Turns a listening socket into connections: one accept loop per listener, the connection caps, and the first steps of
//! each connection in its own task.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::HeaderValue;
use roadrunner_values::{H2c, Timeouts, TransportSettings};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::admission::{Admission, ListenerCaps, Permit};
use crate::control::{Command, Control};
use crate::dispatch::{Link, RequestCap};
use crate::h2c::Doorway;
use crate::io::{Io, Transport};
use crate::proxy::{self, Origin, ProxyError};
use crate::sniff::{Start, sniff};
use crate::socket::{ListenSocket, Socket};
use crate::tls::{self, Tls};
use crate::{Address, Connection, Forwarding, Peers, Protocol, Protocols, Service, Stats, TimeoutName, TlsInfo, drive};

/// State shared by all listeners of a server.
pub(crate) struct Shared<S> {
    pub(crate) service: Arc<S>,
    pub(crate) settings: Arc<TransportSettings>,
    pub(crate) timeouts: Arc<Timeouts>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) stats: Arc<Stats>,
}

/// State shared by the connections of a listener. It does not contain the listening socket, which closes with the
/// accept loop while connections live on.
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) protocols: Protocols,
    pub(crate) h2c: H2c,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Peers that must send a PROXY header; `None` if no peer may send one.
    pub(crate) proxy_protocol: Option<Peers>,
    pub(crate) forwarding: Option<Arc<Forwarding>>,
    pub(crate) caps: Arc<ListenerCaps>,
    /// The `Alt-Svc` field that announces HTTP/3 here; `None` if it is not announced.
    pub(crate) alt_svc: Option<HeaderValue>,
    pub(crate) cap: Option<Arc<RequestCap>>,
}

impl Listener {
    /// Whether a client may switch from HTTP/1 to HTTP/2 with `Upgrade`; never over TLS (RFC 7540, 3.2).
    fn upgrades_to_http2(&self) -> bool {
        self.h2c == H2c::Upgrade && self.tls.is_none() && self.protocols == Protocols::BOTH
    }
}

/// Accepts connections until it is told to close, or dropped. It awaits nothing of a connection.
pub(crate) async fn accept<S: Service>(
    shared: Arc<Shared<S>>,
    listener: Arc<Listener>,
    socket: ListenSocket,
    mut closing: watch::Receiver<bool>,
) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        match accepted {
            Ok((fd, peer)) => {
                backoff = FIRST_BACKOFF;
                take_in(&shared, &listener, fd, peer);
            }
            Err(error) if is_exhaustion(&error) => {
                shared.stats.accept_backoffs.fetch_add(1, Relaxed);
                tracing::error!(listener = %listener.name, %error, wait_ms = backoff.as_millis(), "cannot accept");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(LAST_BACKOFF);
            }
            // Every other error concerns only the connection that was to be accepted (accept(2), "Error handling").
            Err(error) => {
                tracing::debug!(listener = %listener.name, %error, "a connection failed to be accepted")
            }
        }
    }
    // The kernel has already accepted these clients, and would reset their connections when the socket closes.
    for (fd, peer) in std::iter::from_fn(|| socket.accepted()).take(LAST_ACCEPTED) {
        take_in(&shared, &listener, fd, peer);
    }
}

/// Gives a connection a place under the caps and a task.
fn take_in<S: Service>(shared: &Arc<Shared<S>>, listener: &Arc<Listener>, fd: OwnedFd, peer: Address) {
    shared.stats.accepted.fetch_add(1, Relaxed);
    // Behind the PROXY protocol all connections come from one peer, and their clients are not known yet.
    let admitted = shared
        .admission
        .admit(&listener.caps, &shared.stats)
        .filter(|(permit, _)| listener.proxy_protocol.is_some() || permit.claim(&peer));
    match admitted {
        Some((permit, control)) => {
            tokio::spawn(connect(Arc::clone(shared), Arc::clone(listener), fd, peer, permit, control));
        }
        // Dropping the descriptor closes it.
        None => {
            shared.stats.rejected_by_cap.fetch_add(1, Relaxed);
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

/// Runs the task of a connection, from its accepted socket to its end.
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
    if peer.ip().is_some() && socket.set_tcp(shared.settings.timeouts.tcp_lost).is_err() {
        return;
    }
    let begun = tokio::select! {
        begun = begin(&shared, &listener, &socket, peer) => begun,
        () = ordered(&control, shared.settings.timeouts.drain_idle) => None,
    };
    let Some(Begun { peer, transport, start, protocol, tls }) = begun else {
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
        held: Arc::default(),
        forwarding: listener.forwarding.clone(),
        proxied: listener.proxy_protocol.is_some(),
        path_rule: shared.settings.path,
        control: Arc::clone(&control),
        stats: Arc::clone(&shared.stats),
        quic: None,
    });
    let io = Io::new(transport, start, Arc::clone(&connection), &shared.settings);
    let mut link = Link::new(Arc::clone(&shared.service), connection);
    link.alt_svc = listener.alt_svc.clone();
    link.cap = listener.cap.clone();
    match protocol {
        Protocol::Http1 => {
            if listener.upgrades_to_http2() {
                link.doorway = Some(Doorway::new(shared.settings.http2.max_header_list));
            }
            drive::http1(io, socket, link, &shared.settings, &shared.timeouts).await;
        }
        // The future is twice as large as the HTTP/1 one, and unboxed it would enlarge every task.
        Protocol::Http2 | Protocol::Http3 => {
            Box::pin(drive::http2(io, socket, link, &shared.settings, Arc::clone(&shared.timeouts))).await;
        }
    }
    control.forget_task();
}

/// Resolves in the connection's task when the server wants a connection without a request to end: at once on a cut, and
/// on a drain once the client has had time to send a request.
pub(crate) async fn ordered(control: &Control, time: Duration) {
    let reaches = |command| {
        std::future::poll_fn(move |cx| {
            control.register(cx.waker());
            if control.command() >= command { Poll::Ready(()) } else { Poll::Pending }
        })
    };
    reaches(Command::Drain).await;
    let _ = tokio::time::timeout(time, reaches(Command::Cut)).await;
}

/// A connection whose protocol is known.
struct Begun {
    peer: Address,
    transport: Transport,
    start: Start,
    protocol: Protocol,
    tls: Option<TlsInfo>,
}

async fn begin<S>(shared: &Shared<S>, listener: &Listener, socket: &Socket, peer: Address) -> Option<Begun> {
    let peer = match &listener.proxy_protocol {
        None => peer,
        // Boxed, so that other connections do not carry its state.
        Some(senders) => Box::pin(proxied(shared, listener, senders, socket, peer)).await?,
    };
    let timeouts = &shared.settings.timeouts;
    let Some(tls) = &listener.tls else {
        let http2 = listener.protocols.http2() && (listener.h2c != H2c::Off || !listener.protocols.http1());
        let (protocol, start) = match (listener.protocols.http1(), http2) {
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
        return Some(Begun { peer, transport: Transport::Plain(socket.clone()), start, protocol, tls: None });
    };
    // The state of a handshake is large, and most connections outlive their handshake by far.
    let handshake = Box::pin(TlsAcceptor::from(tls.current()).accept(socket.clone()));
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
    let info = TlsInfo::of(session);
    let (Some(protocol), Ok(info)) = (protocol, info) else {
        shared.stats.handshake_failures.fetch_add(1, Relaxed);
        return None;
    };
    let tls = Some(info);
    Some(Begun { peer, transport: Transport::Tls(Box::new(stream)), start: Start::default(), protocol, tls })
}

/// Reads the client's address from the PROXY header that the connection must begin with. `None` if the header is
/// missing, or if the client has too many connections.
async fn proxied<S>(
    shared: &Shared<S>,
    listener: &Listener,
    senders: &Peers,
    socket: &Socket,
    proxy: Address,
) -> Option<Address> {
    if !senders.contains(&proxy) {
        shared.stats.proxy_untrusted.fetch_add(1, Relaxed);
        tracing::debug!(listener = %listener.name, peer = %proxy, "not a peer that may send a PROXY header");
        return None;
    }
    let read = tokio::time::timeout(shared.settings.timeouts.proxy_header, proxy::read(socket)).await;
    let client = match read {
        Ok(Ok(Origin::Client(client))) => client,
        Ok(Ok(Origin::Own)) => proxy,
        Ok(Err(error)) => {
            if let ProxyError::Malformed = error {
                shared.stats.proxy_malformed.fetch_add(1, Relaxed);
            }
            tracing::debug!(listener = %listener.name, peer = %proxy, %error, "closing a connection");
            return None;
        }
        Err(_) => {
            shared.stats.count_timeout(TimeoutName::ProxyHeader);
            return None;
        }
    };
    if !socket.permit().claim(&client) {
        shared.stats.rejected_by_cap.fetch_add(1, Relaxed);
        return None;
    }
    Some(client)
}

const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// More connections than the kernel queues for a socket by default.
const LAST_ACCEPTED: usize = 4096;

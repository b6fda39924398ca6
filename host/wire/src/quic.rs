//! HTTP/3: from a UDP socket to exchanges.
//!
//! The layer below (`roadrunner-h3`) keeps the rules of RFC 9114 and bounds the memory that a client can occupy. This
//! module adds the features of the other protocols: the listener's caps, the permit that a connection holds, the
//! server's commands, deadlines by their names, the same checks of requests and the same hygiene of responses.
//!
//! One task accepts on each endpoint; each connection has one task, and each stream one of its own inside it. A
//! connection obeys the commands of the server like any other: they are passed on to the layer below as they come.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Request, Response, header};
use http_body::Body as _;
use quinn::{Endpoint, Incoming, ServerConfig, VarInt};
use roadrunner_h3::{
    Closed, ConnectionInfo, DrainTrigger, HandshakeError, Notice, Pool, PoolKeys, PoolObserver, establish,
    serve_connection,
};
use roadrunner_values::{Http3, Timeouts, TransportSettings};

use crate::accept::{Listener, Shared, ordered};
use crate::admission::Permit;
use crate::control::{Command, Control};
use crate::dispatch::{Link, WireBody, exchange};
use crate::socket::ListenSocket;
use crate::stream::{self, Writes};
use crate::{
    Address, Connection, Ending, ListenAddress, Protocol, Protocols, RequestBody, Service, Stats, TimeoutName, TlsInfo,
    marks,
};

/// A UDP port with its endpoints. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct QuicSocket {
    pool: Pool,
    config: ServerConfig,
    pub(crate) local: SocketAddr,
}

impl QuicSocket {
    fn bind(address: SocketAddr, config: ServerConfig, settings: &TransportSettings) -> io::Result<QuicSocket> {
        let pool = Pool::bind(address, config.clone(), &settings.http3, &PoolKeys::random()?)?;
        let local = pool.local_addr()?;
        Ok(QuicSocket { pool, config, local })
    }

    /// Uses these certificates from the next handshake on. Tokens that clients were given stay valid.
    pub(crate) fn set_tls(&self, tls: &rustls::ServerConfig, settings: &TransportSettings) {
        // A configuration that was used before has the cipher suite that QUIC needs.
        if let Ok(made) = roadrunner_h3::quinn(settings, tls.clone()) {
            let mut config = self.config.clone();
            config.crypto = made.crypto;
            for endpoint in self.pool.endpoints() {
                endpoint.set_server_config(Some(config.clone()));
            }
        }
    }

    /// An observer of the endpoints, for as long as they are open.
    pub(crate) fn observer(&self) -> PoolObserver {
        self.pool.observer()
    }

    /// Resolves when no connection is left, including those that only repeat their close.
    pub(crate) async fn idle(&self) {
        self.pool.wait_idle().await;
    }

    /// Closes the remaining connections, and ends the accept loops.
    pub(crate) fn close(&self) {
        self.pool.close(NO_ERROR, b"");
    }
}

/// Binds the sockets of a listener: both for a listener with HTTP/3, or its only one.
pub(crate) fn bind(
    address: ListenAddress,
    protocols: Protocols,
    config: ServerConfig,
    settings: &TransportSettings,
) -> io::Result<(Option<ListenSocket>, Option<QuicSocket>)> {
    let ListenAddress::Tcp(address) = address else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "HTTP/3 needs an IP address"));
    };
    if !protocols.on_streams() {
        return Ok((None, Some(QuicSocket::bind(address, config, settings)?)));
    }
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let stream = ListenSocket::bind(address.into(), None)?;
        let local = match &stream.local {
            Address::Ip(local) => *local,
            Address::Unix(_) => address,
        };
        match QuicSocket::bind(local, config.clone(), settings) {
            Ok(quic) => return Ok((Some(stream), Some(quic))),
            // The system chose a port that is free for TCP only.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// The field that tells clients of the other protocols where HTTP/3 is (RFC 9114, 3.1.1); `None` if it is not
/// announced.
pub(crate) fn alt_svc(socket: &QuicSocket, http3: &Http3) -> Option<HeaderValue> {
    if http3.alt_svc_max_age.is_zero() {
        return None;
    }
    let port = http3.alt_svc_port.unwrap_or(socket.local.port());
    HeaderValue::try_from(format!("h3=\":{port}\"; ma={}", http3.alt_svc_max_age.as_secs())).ok()
}

/// Accepts on every endpoint until they are closed. It awaits nothing of a connection.
pub(crate) fn accept<S: Service>(shared: &Arc<Shared<S>>, listener: &Arc<Listener>, socket: &QuicSocket) {
    for endpoint in socket.pool.endpoints() {
        let (shared, listener) = (Arc::clone(shared), Arc::clone(listener));
        tokio::spawn(accept_on(endpoint.clone(), shared, listener, socket.clone()));
    }
}

async fn accept_on<S: Service>(
    endpoint: Endpoint,
    shared: Arc<Shared<S>>,
    listener: Arc<Listener>,
    socket: QuicSocket,
) {
    while let Some(incoming) = endpoint.accept().await {
        // Clients are turned away during the whole drain; without an answer they would wait for the port.
        if !shared.stats.live.is_serving() {
            incoming.refuse();
            continue;
        }
        let open = listener.caps.open();
        let Some(incoming) = socket.pool.validated(incoming, shared.settings.http3.retry_above, open) else { continue };
        shared.stats.accepted.fetch_add(1, Relaxed);
        let peer = Address::Ip(incoming.remote_address());
        let admitted = shared.admission.admit(&listener.caps, &shared.stats).filter(|(permit, _)| permit.claim(&peer));
        match admitted {
            Some((permit, control)) => {
                let (shared, listener) = (Arc::clone(&shared), Arc::clone(&listener));
                tokio::spawn(connect(shared, listener, incoming, socket.local, permit, control));
            }
            None => {
                shared.stats.rejected_by_cap.fetch_add(1, Relaxed);
                incoming.refuse();
            }
        }
    }
}

/// Runs the task of a connection, from its first datagram to its end.
async fn connect<S: Service>(
    shared: Arc<Shared<S>>,
    listener: Arc<Listener>,
    incoming: Incoming,
    local: SocketAddr,
    permit: Permit,
    control: Arc<Control>,
) {
    let opened = Instant::now();
    let begun = tokio::select! {
        begun = handshake(&shared, &listener, incoming) => begun,
        () = ordered(&control, shared.settings.timeouts.drain_idle) => None,
    };
    let Some(quic) = begun else { return };
    control.speaks(Protocol::Http3);
    let info = ConnectionInfo::of(&quic);
    let Ok(tls) = TlsInfo::of_quic(&info) else {
        shared.stats.handshake_failures.fetch_add(1, Relaxed);
        return;
    };
    let connection = Arc::new(Connection {
        id: permit.id,
        listener: Arc::clone(&listener.name),
        local: Address::Ip(SocketAddr::new(info.local_ip().unwrap_or(local.ip()), local.port())),
        peer: Address::Ip(info.remote_address()),
        protocol: Protocol::Http3,
        tls: Some(tls),
        opened,
        held: Arc::default(),
        forwarding: listener.forwarding.clone(),
        proxied: false,
        path_rule: shared.settings.path,
        control: Arc::clone(&control),
        stats: Arc::clone(&shared.stats),
        quic: Some(info.clone()),
    });
    let _open = OpenHttp3::new(Arc::clone(&shared.stats));
    let mut link = Link::new(Arc::clone(&shared.service), connection);
    link.cap = listener.cap.clone();
    let link = Arc::new(link);
    let bridge = Arc::new(Bridge { link, timeouts: Arc::clone(&shared.timeouts) });
    let (trigger, signal) = DrainTrigger::new();
    let served =
        obeying(&control, &trigger, serve_connection(quic, bridge, Arc::clone(&shared.settings), signal)).await;
    if let Err(fault) = served {
        tracing::debug!(connection = permit.id, %fault, "closed a connection");
    }
    if info.closed() == Some(Closed::Silent) {
        shared.stats.count_timeout(TimeoutName::H3Lost);
    }
    control.forget_task();
    drop(permit);
}

async fn handshake<S>(shared: &Shared<S>, listener: &Listener, incoming: Incoming) -> Option<quinn::Connection> {
    match establish(incoming, &shared.settings).await {
        Ok(quic) => Some(quic),
        Err(HandshakeError::TimedOut(_)) => {
            shared.stats.count_timeout(TimeoutName::Handshake);
            None
        }
        Err(HandshakeError::Failed(error)) => {
            shared.stats.handshake_failures.fetch_add(1, Relaxed);
            tracing::debug!(listener = %listener.name, %error, "the QUIC handshake failed");
            None
        }
    }
}

/// Runs a connection, and passes the server's commands on to it.
async fn obeying<F: Future>(control: &Control, trigger: &DrainTrigger, connection: F) -> F::Output {
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        control.register(cx.waker());
        match control.command() {
            Command::Run | Command::Retire => {}
            Command::Drain => trigger.drain(),
            Command::Cut => {
                control.end(Ending::Closed);
                trigger.cut();
            }
        }
        connection.as_mut().poll(cx)
    })
    .await
}

/// Counts a connection as open.
struct OpenHttp3(Arc<Stats>);

impl OpenHttp3 {
    fn new(stats: Arc<Stats>) -> OpenHttp3 {
        stats.open_http3.fetch_add(1, Relaxed);
        OpenHttp3(stats)
    }
}

impl Drop for OpenHttp3 {
    fn drop(&mut self) {
        self.0.open_http3.fetch_sub(1, Relaxed);
    }
}

/// One connection's service, in the form that the layer below expects.
struct Bridge<S> {
    link: Arc<Link<S>>,
    timeouts: Arc<Timeouts>,
}

impl<S: Service> roadrunner_h3::Service for Bridge<S> {
    type Body = WireBody;

    async fn call(&self, request: Request<roadrunner_h3::RequestBody>, _: Arc<ConnectionInfo>) -> Response<WireBody> {
        let answered = exchange(&self.link, |connection| request.map(|body| RequestBody::from_http3(body, connection)));
        let mut response = answered.await;
        // hyper adds these fields on the other protocols.
        let length = response.body().size_hint().exact().filter(|_| !response.body().is_end_stream());
        let headers = response.headers_mut();
        if let Some(length) = length
            && !headers.contains_key(header::CONTENT_LENGTH)
        {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if !headers.contains_key(header::DATE) {
            headers.insert(header::DATE, date());
        }
        response
    }

    fn watch(&self, stream: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
        stream::run(stream, Writes::AreTold, &self.timeouts, &self.link.connection.stats)
    }

    fn write_blocked(&self) {
        marks::write_blocked();
    }

    fn write_moved(&self) {
        marks::write_moved();
    }

    fn notice(&self, notice: Notice) {
        let stats = &self.link.connection.stats;
        match notice {
            Notice::HeadTimedOut => stats.count_timeout(TimeoutName::RequestHead),
            Notice::IdleTimedOut => stats.count_timeout(TimeoutName::H3Idle),
            Notice::Flooded => {
                stats.floods.fetch_add(1, Relaxed);
            }
            Notice::Refused => {
                stats.bad_requests.fetch_add(1, Relaxed);
            }
        }
    }
}

/// The time for the `date` field (RFC 9110, 6.6.1), made once a second on each thread.
fn date() -> HeaderValue {
    thread_local! {
        static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|last| match last {
        Some((made, value)) if *made == second => value.clone(),
        _ => {
            let value =
                HeaderValue::try_from(httpdate::fmt_http_date(now)).expect("a date has only letters and digits");
            *last = Some((second, value.clone()));
            value
        }
    })
}

/// H3_NO_ERROR (RFC 9114, 8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// How many ports the system may choose until one is also free for UDP.
const PORT_TRIES: u32 = 16;

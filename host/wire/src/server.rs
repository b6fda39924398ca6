//! Binds listeners, and ends them with all their connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use roadrunner_values::TransportSettings;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::accept::{Listener, Shared, accept};
use crate::admission::{Admission, ListenerCaps};
use crate::control::Command;
use crate::dispatch::RequestCap;
use crate::quic::{self, QuicSocket};
use crate::socket::ListenSocket;
use crate::tls::Tls;
use crate::{Address, ListenerConfig, Service, Stats, TlsConfig, TlsError};

/// Listeners and their connections. Dropping it stops accepting and cuts every connection.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<BoundListener>,
    tls: Vec<(Arc<str>, Arc<Tls>)>,
    accepting: Vec<AbortHandle>,
    /// Whether accept loops are to end; the channel is closed when they have.
    closing: watch::Sender<bool>,
    quic: Vec<QuicSocket>,
    stats: Arc<Stats>,
}

impl Server {
    /// Binds every listener and starts to serve. If any of them cannot be bound, none serves.
    ///
    /// # Errors
    ///
    /// [`BindError`] names the listener, its address, and a remedy.
    pub async fn bind<S: Service>(
        listeners: Vec<ListenerConfig>,
        settings: TransportSettings,
        service: Arc<S>,
    ) -> Result<Server, BindError> {
        let settings = Arc::new(settings);
        let listeners =
            listeners.into_iter().map(|listener| open(listener, &settings)).collect::<Result<Vec<_>, _>>()?;
        let stats = Arc::new(Stats::default());
        let shared = Arc::new(Shared {
            service,
            timeouts: Arc::new(settings.timeouts.clone()),
            admission: Arc::new(Admission::new(&settings.caps)),
            settings,
            stats: Arc::clone(&stats),
        });
        let mut pools = Vec::new();
        let (closing, is_closing) = watch::channel(false);
        let mut server =
            Server { listeners: Vec::new(), tls: Vec::new(), accepting: Vec::new(), closing, quic: Vec::new(), stats };
        for Open { listener, stream, quic } in listeners {
            let listener = Arc::new(listener);
            let mut bound = |address, is_quic| {
                server.listeners.push(BoundListener { name: Arc::clone(&listener.name), address, is_quic });
            };
            if let Some(socket) = stream {
                bound(socket.local.clone(), false);
                let accepting =
                    tokio::spawn(accept(Arc::clone(&shared), Arc::clone(&listener), socket, is_closing.clone()));
                server.accepting.push(accepting.abort_handle());
            }
            if let Some(socket) = quic {
                bound(Address::Ip(socket.local), true);
                // The accept loop continues during a drain, to refuse; dropping the server ends it.
                quic::accept(&shared, &listener, &socket);
                pools.push((Arc::clone(&listener.name), socket.observer()));
                server.quic.push(socket);
            }
            if let Some(tls) = &listener.tls {
                server.tls.push((Arc::clone(&listener.name), Arc::clone(tls)));
            }
        }
        let watched: Vec<_> = server.tls.iter().filter(|(_, tls)| tls.is_watched()).cloned().collect();
        if !watched.is_empty() {
            let watching = tokio::spawn(watch(watched, Arc::clone(&server.stats)));
            server.accepting.push(watching.abort_handle());
        }
        server.stats.observe(pools);
        Ok(server)
    }

    /// Replaces the certificates of a TLS listener, from its next handshake on. Existing connections are not touched.
    /// Returns false if no TLS listener has this name.
    ///
    /// # Errors
    ///
    /// The certificates cannot be used; the previous ones stay in force.
    pub fn replace_tls(&self, listener: &str, config: TlsConfig) -> Result<bool, TlsError> {
        match self.tls.iter().find(|(name, _)| **name == *listener) {
            Some((name, tls)) => count(&self.stats, name, tls.replace(config).map(|()| true)),
            None => Ok(false),
        }
    }

    /// Reads the certificates of every listener again from their files, as [`Server::replace_tls`] would install them.
    ///
    /// # Errors
    ///
    /// Those of the listeners that keep their previous certificates, by name.
    pub fn reload_tls(&self) -> Result<(), Vec<(Arc<str>, TlsError)>> {
        let reload = |(name, tls): &(Arc<str>, Arc<Tls>)| {
            count(&self.stats, name, tls.reload().map(|()| true)).err().map(|error| (Arc::clone(name), error))
        };
        let failed: Vec<_> = self.tls.iter().filter_map(reload).collect();
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// The addresses of the listeners, in the order in which they were given; a port 0 is resolved. A listener that
    /// also serves HTTP/3 appears twice.
    pub fn addresses(&self) -> &[BoundListener] {
        &self.listeners
    }

    /// Counters and gauges.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Keeps serving as before, but HTTP/1 answers carry `connection: close` from now on, so that clients make their
    /// next connection while others can still be reached.
    pub fn retire(&self) {
        self.stats.live.order(Command::Retire);
    }

    /// Stops accepting, lets each connection finish its exchanges, and cuts the remaining connections at the deadline.
    ///
    /// HTTP/1 answers carry `connection: close` from now on. Connections that stay without a request for
    /// [`Timeouts::drain_idle`](roadrunner_values::Timeouts::drain_idle) are closed. HTTP/2 connections get GOAWAY (RFC
    /// 9113, 6.8), and so do HTTP/3 connections (RFC 9114, 5.2). The service has to end long-lived exchanges. Dropping
    /// the future leaves the drain in force.
    pub async fn drain(&self, deadline: Duration) -> DrainOutcome {
        self.closing.send_replace(true);
        self.stats.live.order(Command::Drain);
        let ended = async {
            self.closing.closed().await;
            self.stats.live.empty().await;
        };
        if tokio::time::timeout(deadline, ended).await.is_ok() {
            // Close frames are still in transit, and are repeated until they have had their time.
            let closed = futures_util::future::join_all(self.quic.iter().map(QuicSocket::idle));
            let _ = tokio::time::timeout(LAST_CLOSES, closed).await;
            return DrainOutcome { cut: 0 };
        }
        let cut = self.stats.live.open();
        self.cut();
        DrainOutcome { cut }
    }

    /// Stops accepting and ends every connection now. Exchanges see [`Ending::Closed`](crate::Ending::Closed).
    pub fn cut(&self) {
        self.stop_accepting();
        self.stats.live.order(Command::Cut);
    }

    fn stop_accepting(&self) {
        for accepting in &self.accepting {
            accepting.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cut();
        for socket in &self.quic {
            socket.close();
        }
    }
}

/// A bound listener.
#[derive(Clone, Debug)]
pub struct BoundListener {
    /// The listener's name.
    pub name: Arc<str>,
    /// The address that it listens on.
    pub address: Address,
    /// Whether this is its UDP port, for HTTP/3.
    pub is_quic: bool,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainOutcome {
    /// The number of connections that were still open at the deadline and were cut.
    pub cut: usize,
}

impl DrainOutcome {
    /// Whether all connections finished by themselves.
    pub fn is_clean(self) -> bool {
        self.cut == 0
    }
}

/// Checks the files of certificates until it is dropped.
async fn watch(watched: Vec<(Arc<str>, Arc<Tls>)>, stats: Arc<Stats>) {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let (watched, stats) = (watched.clone(), Arc::clone(&stats));
        // The files may be on a disk that has spun down.
        let look = tokio::task::spawn_blocking(move || {
            for (name, tls) in &watched {
                if let Err(error) = count(&stats, name, tls.reload_if_changed()) {
                    tracing::error!(listener = %name, "{error}; what was there before stays in use");
                }
            }
        });
        let _ = look.await;
    }
}

/// Counts a reload, if there was one.
fn count(stats: &Stats, listener: &str, reloaded: Result<bool, TlsError>) -> Result<bool, TlsError> {
    match &reloaded {
        Ok(true) => {
            stats.certificate_reloads.fetch_add(1, Relaxed);
            tracing::info!(listener, "new certificates are in use");
        }
        Ok(false) => {}
        Err(_) => {
            stats.certificate_reload_failures.fetch_add(1, Relaxed);
        }
    }
    reloaded
}

/// A listener with its sockets: at least one of them.
struct Open {
    listener: Listener,
    stream: Option<ListenSocket>,
    quic: Option<QuicSocket>,
}

fn open(config: ListenerConfig, settings: &Arc<TransportSettings>) -> Result<Open, BindError> {
    let ListenerConfig {
        name,
        address,
        protocols,
        h2c,
        tls,
        max_connections,
        max_connections_per_peer,
        unix_mode,
        max_requests,
        proxy_protocol,
        forwarding,
    } = config;
    let text = address.to_string();
    let asks_clients = tls.as_ref().is_some_and(TlsConfig::asks_clients);
    if protocols.http3() && asks_clients && settings.http3.early_data {
        return Err(BindError::Http3 { listener: name, reason: EARLY_CLIENTS });
    }
    let tls = tls.map(|tls| Tls::new(tls, protocols).map(Arc::new)).transpose();
    let tls = tls.map_err(|source| BindError::Tls { listener: Arc::clone(&name), source })?;
    let bound = match (&tls, protocols.http3()) {
        (_, false) => ListenSocket::bind(address, unix_mode).map(|stream| (Some(stream), None)),
        (None, true) => return Err(BindError::Http3 { listener: name, reason: "it needs a certificate" }),
        (Some(tls), true) => match roadrunner_h3::quinn(settings, rustls::ServerConfig::clone(&tls.current())) {
            Ok(quinn) => quic::bind(address, protocols, quinn, settings),
            Err(_) => return Err(BindError::Http3 { listener: name, reason: NO_CIPHER_SUITE }),
        },
    };
    let (stream, quic) = bound.map_err(|source| {
        let fix = fix_for(&source);
        BindError::Socket { listener: Arc::clone(&name), address: text, fix, source }
    })?;
    if let (Some(tls), Some(quic)) = (&tls, &quic) {
        let (quic, settings) = (quic.clone(), Arc::clone(settings));
        tls.follow(move |config| quic.set_tls(config, &settings));
    }
    let alt_svc = quic.as_ref().and_then(|quic| quic::alt_svc(quic, &settings.http3));
    let caps = Arc::new(ListenerCaps::new(max_connections, max_connections_per_peer));
    let forwarding = forwarding.map(Arc::new);
    let cap = max_requests.map(|most| Arc::new(RequestCap::new(most)));
    let listener = Listener { name, protocols, h2c, tls, proxy_protocol, forwarding, caps, alt_svc, cap };
    Ok(Open { listener, stream, quic })
}

/// The reason why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The listener cannot serve HTTP/3.
    #[error("listener `{listener}` cannot serve HTTP/3: {reason}")]
    Http3 {
        /// The listener's name.
        listener: Arc<str>,
        /// The reason.
        reason: &'static str,
    },
    /// The socket cannot be bound.
    #[error("listener `{listener}` cannot listen on {address}: {source}; {fix}")]
    Socket {
        /// The listener's name.
        listener: Arc<str>,
        /// Its address.
        address: String,
        /// The remedy.
        fix: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("listener `{listener}` cannot use its certificate: {source}")]
    Tls {
        /// The listener's name.
        listener: Arc<str>,
        /// The reason.
        source: TlsError,
    },
}

const EARLY_CLIENTS: &str =
    "early data is served before it is known whose certificate the client shows; turn one of them off";
const NO_CIPHER_SUITE: &str = "QUIC needs TLS 1.3 with TLS13_AES_128_GCM_SHA256";

/// How long the end of a drain waits until QUIC connections have learned of their close.
const LAST_CLOSES: Duration = Duration::from_secs(1);

fn fix_for(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop the program that listens there, or choose another port",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; 0.0.0.0 or [::] listens on all",
        io::ErrorKind::PermissionDenied => {
            "choose a port above 1023 or a directory that this user can write to, or grant CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::NotFound => "create the directory of the socket first",
        _ => "check the address",
    }
}

/// How often the files of certificates are checked.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

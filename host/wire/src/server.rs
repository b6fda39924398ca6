//! Binds listeners, and ends everything that came of them.

use std::{io, sync::Arc, sync::atomic::AtomicUsize, time::Duration};

use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::{
    Address, ListenerConfig, Service, Settings, Stats, TlsError,
    accept::{Admission, Listener, Shared, accept},
    control::Command,
    socket::ListenSocket,
};

/// Listeners and their connections. Dropping it stops accepting and cuts every connection.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<BoundListener>,
    accepting: Vec<AbortHandle>,
    stats: Arc<Stats>,
}

impl Server {
    /// Binds every listener and starts to serve. If one cannot be bound, none serves.
    ///
    /// # Errors
    ///
    /// [`BindError`] names the listener, its address, and what to do.
    pub async fn bind<S: Service>(
        listeners: Vec<ListenerConfig>,
        settings: Settings,
        service: Arc<S>,
    ) -> Result<Server, BindError> {
        let listeners = listeners.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let stats = Arc::new(Stats::default());
        let shared = Arc::new(Shared {
            service,
            timeouts: Arc::new(settings.timeouts.clone()),
            admission: Arc::new(Admission::new(settings.caps.clone())),
            settings,
            stats: Arc::clone(&stats),
        });
        let bound = listeners
            .iter()
            .map(|(listener, socket)| BoundListener { name: Arc::clone(&listener.name), address: socket.local.clone() })
            .collect();
        let accepting = listeners
            .into_iter()
            .map(|(listener, socket)| {
                tokio::spawn(accept(Arc::clone(&shared), Arc::new(listener), socket)).abort_handle()
            })
            .collect();
        Ok(Server { listeners: bound, accepting, stats })
    }

    /// Where the listeners are, in the order in which they were given; a port 0 is resolved.
    pub fn addresses(&self) -> &[BoundListener] {
        &self.listeners
    }

    /// Counters and gauges.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Stops accepting, lets each connection finish what it has begun, and cuts what is left at the deadline.
    ///
    /// HTTP/1 answers carry `connection: close` from now on and idle connections are closed; HTTP/2 connections get
    /// GOAWAY (RFC 9113, 6.8). Long-lived exchanges have to be ended by the service. Dropping the future leaves the
    /// drain in force.
    pub async fn drain(&self, deadline: Duration) -> DrainOutcome {
        self.stop_accepting();
        self.stats.live.order(Command::Drain);
        if tokio::time::timeout(deadline, self.stats.live.empty()).await.is_ok() {
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
    }
}

/// A listener that is bound.
#[derive(Clone, Debug)]
pub struct BoundListener {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: Address,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainOutcome {
    /// How many connections were still open at the deadline and were cut.
    pub cut: usize,
}

impl DrainOutcome {
    /// Whether everything finished by itself.
    pub fn is_clean(self) -> bool {
        self.cut == 0
    }
}

fn open(config: ListenerConfig) -> Result<(Listener, ListenSocket), BindError> {
    let ListenerConfig { name, address, protocols, tls, max_connections } = config;
    let tls = match tls.map(|tls| tls.server_config(protocols)).transpose() {
        Ok(tls) => tls.map(TlsAcceptor::from),
        Err(source) => {
            return Err(BindError::Tls { listener: name, source });
        }
    };
    let text = address.to_string();
    match ListenSocket::bind(address) {
        Ok(socket) => {
            let open = Arc::new(AtomicUsize::new(0));
            Ok((Listener { name, protocols, tls, max_connections, open }, socket))
        }
        Err(source) => {
            let fix = fix_for(&source);
            Err(BindError::Socket { listener: name, address: text, fix, source })
        }
    }
}

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket cannot be bound.
    #[error("listener `{listener}` cannot listen on {address}: {source}; {fix}")]
    Socket {
        /// The listener's name.
        listener: Arc<str>,
        /// Its address.
        address: String,
        /// What to do about it.
        fix: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Its certificate cannot be used.
    #[error("listener `{listener}` cannot use its certificate: {source}")]
    Tls {
        /// The listener's name.
        listener: Arc<str>,
        /// Why.
        source: TlsError,
    },
}

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

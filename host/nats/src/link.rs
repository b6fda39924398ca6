//! One connection: opened, and spoken on until it ends.
//!
//! async-nats connects again by itself, and sends what it still held then. Here nothing is sent late, and a name is
//! resolved without a thread that waits (`roadrunner-names`). So a client of it is given the address of one server, and
//! for its second connection an address where nobody is: it ends then, with all that it held.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, Event, HeaderMap, Message, ReconnectToServer, ServerAddr, Subject};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use crate::arrivals::Incoming;
use crate::credentials::InvalidCredentials;
use crate::outgoing::Outgoing;
use crate::servers::Member;
use crate::settings::Handler;
use crate::shared::Shared;
use crate::tls::Tls;

/// Where nobody is: a connection to port 0 fails at once.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// Commands that async-nats may hold. What they send is bounded by the batches that are taken from the queue.
const COMMANDS: usize = 256;

/// What headers may add to a payload before a message counts as too large.
const MAX_HEADERS: usize = 64 << 10;

/// How long a connection that is lost may take to hand over what it has received.
const LAST_ARRIVALS: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name is none that a certificate could be for.
    #[error("the name is none that a certificate could be for")]
    Certified,
    /// The credentials are none.
    #[error(transparent)]
    Credentials(#[from] InvalidCredentials),
    /// The socket failed, or what came over it is not a NATS server's.
    #[error("{0}")]
    Failed(String),
    /// The name has no address.
    #[error(transparent)]
    Name(#[from] roadrunner_names::Error),
    /// The server does not want us: wrong credentials, most likely.
    #[error("the server refuses the credentials")]
    Refused,
    /// No address of the server takes connections.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// It took longer than the settings allow.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// There was no TLS, or none with a certificate that is good.
    #[error("TLS: {0}")]
    Tls(String),
}

/// A connection that the server has taken.
pub(crate) struct Link {
    client: async_nats::Client,
    lost: Arc<Notify>,
}

/// Subscriptions of a connection, each with the task that moves its messages on.
struct Readers {
    tasks: JoinSet<()>,
    by_subject: HashMap<Arc<str>, AbortHandle>,
}

/// Connects, and shows the credentials.
pub(crate) async fn open(shared: &Arc<Shared>, member: &Member) -> Result<Link, ConnectError> {
    let limit = shared.settings.connect_timeout;
    let opened = async { connect(shared, member, address(shared, member).await?).await };
    tokio::time::timeout(limit, opened).await.unwrap_or(Err(ConnectError::Timeout(limit)))
}

/// Where the server is. Of several addresses, the one that takes a connection first.
async fn address(shared: &Shared, member: &Member) -> Result<SocketAddr, ConnectError> {
    let found = shared.settings.names.resolve(&member.server.host).await?;
    let addresses: Vec<_> = found.iter().map(|address| SocketAddr::new(*address, member.server.port)).collect();
    match addresses[..] {
        [address] => Ok(address),
        // async-nats makes its own sockets, and tries one address after the other.
        _ => Ok(roadrunner_names::connect(&addresses).await?.peer_addr()?),
    }
}

async fn connect(shared: &Arc<Shared>, member: &Member, address: SocketAddr) -> Result<Link, ConnectError> {
    let settings = &shared.settings;
    let tls = match &settings.tls {
        Some(tls) => tls.config(member.certified().ok_or(ConnectError::Certified)?),
        None => Tls::refused(),
    };
    let parsed = |url: &str| url.parse::<ServerAddr>().map_err(ConnectError::from);
    let (server, nowhere) = (parsed(&format!("nats://{address}"))?, parsed(NOWHERE)?);
    let lost = Arc::new(Notify::new());
    let next = {
        let (lost, servers, is_first) = (lost.clone(), [server.clone(), nowhere.clone()], AtomicBool::new(true));
        move |_, _| {
            let [server, nowhere] = servers.clone();
            let is_first = is_first.swap(false, Relaxed);
            if !is_first {
                lost.notify_one();
            }
            let addr = if is_first { server } else { nowhere };
            async move { Some(ReconnectToServer { addr, delay: Some(Duration::ZERO) }) }
        }
    };
    let listener = shared.clone();
    let options = settings.credentials.apply(ConnectOptions::new())?;
    let options = options
        .name(&settings.name)
        .require_tls(settings.tls.is_some())
        .tls_client_config(tls)
        // Over all: the time of `open` ends it before.
        .connection_timeout(settings.connect_timeout * 2)
        .ping_interval(settings.ping_interval)
        .client_capacity(COMMANDS)
        .no_echo()
        .ignore_discovered_servers()
        .max_reconnects(1)
        .reconnect_to_server_callback(next)
        .event_callback(move |event| {
            listener.happened(&event);
            async {}
        });
    let client = options.connect(&[server, nowhere][..]).await.map_err(|error| match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => ConnectError::Refused,
        ConnectErrorKind::TimedOut => ConnectError::Timeout(settings.connect_timeout),
        _ => failed(&error),
    })?;
    Ok(Link { client, lost })
}

/// What the operator can do something about: the innermost reason.
fn failed(error: &async_nats::ConnectError) -> ConnectError {
    let mut reason: &dyn std::error::Error = error;
    loop {
        if let Some(error) = reason.downcast_ref::<io::Error>()
            && let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return ConnectError::Tls(match tls {
                rustls::Error::InvalidMessage(_) => "the server offers none: write its URL with nats://".to_owned(),
                rustls::Error::General(text) => text.clone(),
                other => other.to_string(),
            });
        }
        match reason.source() {
            Some(source) => reason = source,
            None => return ConnectError::Failed(reason.to_string()),
        }
    }
}

impl Link {
    /// The other servers of the cluster, as the server tells of them.
    pub(crate) fn servers(&self) -> Vec<String> {
        self.client.server_info().connect_urls
    }

    pub(crate) fn client(&self) -> async_nats::Client {
        self.client.clone()
    }

    /// Speaks until it ends.
    pub(crate) async fn run(self, shared: &Arc<Shared>, handler: &dyn Handler) {
        let Self { client, lost } = self;
        let mut readers = Readers { tasks: JoinSet::new(), by_subject: HashMap::new() };
        tokio::select! {
            () = lost.notified() => {}
            () = write(&client, shared, &mut readers) => {}
            () = watch(&client, shared) => {}
            () = deliver(shared, handler) => {}
        }
        drop(client);
        // What was received before the end is not lost with it.
        let moved = async { while readers.tasks.join_next().await.is_some() {} };
        tokio::select! {
            _ = tokio::time::timeout(LAST_ARRIVALS, moved) => {}
            () = deliver(shared, handler) => {}
        }
    }
}

/// Hands what arrives to the handler.
async fn deliver(shared: &Shared, handler: &dyn Handler) {
    loop {
        shared.deliver(shared.arrivals.next().await, handler);
        // Many small messages must not keep the thread from other tasks.
        tokio::task::consume_budget().await;
    }
}

/// Ends when the task of async-nats has ended without a word: some of what is no message makes it panic.
async fn watch(client: &async_nats::Client, shared: &Shared) {
    loop {
        tokio::time::sleep(shared.settings.ping_interval).await;
        if client.flush().await.is_err() {
            return;
        }
    }
}

/// Takes to async-nats what is to be sent and which subjects are wanted. Ends with the connection.
async fn write(client: &async_nats::Client, shared: &Arc<Shared>, readers: &mut Readers) {
    loop {
        for (subject, number) in shared.changes() {
            if !readers.change(client, shared, subject, number).await {
                return;
            }
        }
        let batch = shared.next_batch();
        if batch.is_empty() {
            shared.wake.notified().await;
            continue;
        }
        let count = batch.len();
        for message in batch {
            if !send(client, shared, message).await {
                return;
            }
        }
        // The next batch waits until the system has taken this one, so that async-nats holds little more than one.
        if client.flush().await.is_err() {
            return;
        }
        shared.counters.published.fetch_add(count as u64, Relaxed);
    }
}

/// Whether the connection is still there.
async fn send(client: &async_nats::Client, shared: &Shared, message: Outgoing) -> bool {
    let Outgoing { subject, label, payload, .. } = message;
    let mut headers = HeaderMap::new();
    headers.insert(shared.settings.label, label);
    match client.publish_with_headers(Subject::from(&*subject), headers, payload).await {
        Ok(()) => true,
        Err(error) if error.kind() == async_nats::PublishErrorKind::Send => false,
        Err(error) => {
            shared.complained(&error.to_string());
            true
        }
    }
}

impl Readers {
    /// Subscribes to a subject, or ends that. Whether the connection is still there.
    async fn change(
        &mut self,
        client: &async_nats::Client,
        shared: &Arc<Shared>,
        subject: Arc<str>,
        number: Option<u64>,
    ) -> bool {
        // With its subscriber, which tells the server.
        if let Some(reader) = self.by_subject.remove(&subject) {
            reader.abort();
        }
        // Those that have ended are forgotten.
        while self.tasks.try_join_next().is_some() {}
        let Some(number) = number else { return true };
        let mut subscriber = match client.subscribe(Subject::from(&*subject)).await {
            Ok(subscriber) => subscriber,
            Err(error) if error.kind() == async_nats::SubscribeErrorKind::Other => return false,
            Err(error) => {
                shared.complained(&error.to_string());
                return true;
            }
        };
        let (shared, of) = (shared.clone(), subject.clone());
        let reader = self.tasks.spawn(async move {
            while let Some(message) = subscriber.next().await {
                shared.arrived(&of, number, message);
            }
        });
        self.by_subject.insert(subject, reader);
        true
    }
}

impl Shared {
    fn arrived(&self, subject: &Arc<str>, subscription: u64, message: Message) {
        let Self { settings, counters, .. } = self;
        let length = message.payload.len();
        let is_large =
            length > settings.max_payload || message.length > length.saturating_add(MAX_HEADERS + subject.len());
        counters.received.fetch_add(1, Relaxed);
        if is_large {
            counters.dropped_large.fetch_add(1, Relaxed);
        }
        let label = message.headers.as_ref().and_then(|headers| headers.get(settings.label));
        let label = label.map(|label| label.as_str().to_owned()).filter(|_| !is_large);
        // A copy, so that a small message does not keep all that was read with it.
        let payload = (!is_large).then(|| Bytes::copy_from_slice(&message.payload));
        if !self.arrivals.push(Incoming { subject: subject.clone(), subscription, label, payload }) {
            counters.dropped_overrun.fetch_add(1, Relaxed);
        }
    }

    fn happened(&self, event: &Event) {
        match event {
            // Whose it is stands in a number that async-nats keeps for itself.
            Event::SlowConsumer(_) => {
                self.counters.dropped_overrun.fetch_add(1, Relaxed);
                self.arrivals.gap();
            }
            Event::ServerError(error) => {
                let text = error.to_string();
                // An account that is restricted to the bus may not ask what `Client::flush` asks.
                if text.contains("_INBOX.") {
                    self.refused.notify_waiters();
                } else {
                    self.complained(&text);
                }
            }
            _ => {}
        }
    }
}

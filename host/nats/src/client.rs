//! What the rest of a program holds of the connection: a queue to the server, and the subscriptions that are wanted.
//!
//! Data flows one way: calls change [`State`] and never wait; the connection takes from it what to write. What is wanted
//! stands here, what the server knows in the connection, so that any order of calls costs at most one entry for each
//! subject.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_nats::{Request, RequestErrorKind};
use bytes::Bytes;
use parking_lot::Mutex;
use roadrunner_names::Share;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::arrivals::{Arrival, Arrivals, Incoming};
use crate::credentials::{Credentials, InvalidCredentials};
use crate::link;
use crate::outgoing::{Outgoing, Queue};
use crate::servers::{Server, Servers};
use crate::tls::Tls;

/// Bytes that are taken from the queue at once. What is taken is lost with the connection.
const BATCH: usize = 64 << 10;

/// Where the servers are, who we are to them, and how much may wait for them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At least one. Others of its cluster are found by it.
    pub servers: Vec<Server>,
    /// Resolves their names.
    pub names: Share,
    /// How TLS is spoken; none for plaintext.
    pub tls: Option<Tls>,
    /// Who we are.
    pub credentials: Credentials,
    /// What we are called in the server's lists.
    pub name: String,
    /// The header that carries a message's label.
    pub label: &'static str,
    /// Bytes that may wait to be sent, and as many that have arrived. One account may use half of the former.
    pub queue_bytes: usize,
    /// Messages that may wait to be sent. One account may use half of them.
    pub queue_messages: usize,
    /// The largest payload, in either direction, in bytes. The server's own limit holds beside it.
    pub max_payload: usize,
    /// From the first packet until a server has taken the credentials.
    pub connect_timeout: Duration,
    /// How often the server is asked whether it is there. Silent for three times as long, it is taken for dead.
    pub ping_interval: Duration,
    /// The pause after a connection was lost, or every server has failed once; it doubles with every further time that all
    /// of them fail, up to `max_backoff`.
    pub min_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
}

/// What arrives. Called from the driver's task, one call at a time; none may block.
pub trait Handler: Send + Sync + 'static {
    /// What any subscription was for may have passed until now: a server is there, for the first time or again, or
    /// messages were lost that nobody can name.
    fn gap(&self);

    /// Messages of this subscription came faster than they were taken. It is not known how many are lost.
    fn overrun(&self, subject: &Arc<str>);

    /// A message of a subscription, with its label if it has one.
    fn message(&self, subject: &Arc<str>, label: Option<&str>, payload: Bytes);

    /// A message of a subscription was larger than [`Settings::max_payload`] and was dropped.
    fn skipped(&self, subject: &Arc<str>);
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Too much waits for the server already.
    #[error("too many messages wait for the server")]
    QueueFull,
    /// The payload is larger than this.
    #[error("the payload is larger than {0} bytes")]
    TooLarge(usize),
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that were made.
    pub connects: AtomicU64,
    /// Messages that were dropped because there was no connection.
    pub dropped_disconnected: AtomicU64,
    /// Messages from the server that were too large.
    pub dropped_large: AtomicU64,
    /// Messages from the server that came faster than they were taken.
    pub dropped_overrun: AtomicU64,
    /// Messages that were refused because too much waited.
    pub dropped_queue: AtomicU64,
    /// What the server complained of.
    pub errors: AtomicU64,
    /// Messages that were written to the server.
    pub published: AtomicU64,
    /// Messages that came from the server.
    pub received: AtomicU64,
}

/// The program's end of the connection. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    pub(crate) arrivals: Arrivals,
    /// There is something to write.
    pub(crate) wake: Notify,
    /// The server has refused a question of [`Client::flush`], which is an answer.
    pub(crate) refused: Notify,
    state: Mutex<State>,
}

struct State {
    /// The server's end; none while there is no connection.
    link: Option<Link>,
    queue: Queue,
    /// The subscribed subjects. A subject gets a new number each time that it is subscribed again.
    subscriptions: HashMap<Arc<str>, u64>,
    /// Subjects that the connection has not looked at since they were wanted, or not wanted any more.
    changed: HashSet<Arc<str>>,
    next_subscription: u64,
}

/// The connection that there is.
struct Link {
    client: async_nats::Client,
    /// What was taken last is not written yet.
    is_writing: bool,
    has_complained: bool,
}

/// The sockets' end: connects, speaks, and connects again.
pub struct Driver {
    shared: Arc<Shared>,
    handler: Arc<dyn Handler>,
}

impl Client {
    /// The two ends. Nothing happens before the driver runs.
    ///
    /// # Errors
    /// The credentials are none.
    pub fn new(settings: Settings, handler: Arc<dyn Handler>) -> Result<(Self, Driver), InvalidCredentials> {
        settings.credentials.apply(async_nats::ConnectOptions::new())?;
        let state = State {
            link: None,
            queue: Queue::new(settings.queue_bytes, settings.queue_messages),
            subscriptions: HashMap::new(),
            changed: HashSet::new(),
            next_subscription: 1,
        };
        let shared = Arc::new(Shared {
            arrivals: Arrivals::new(settings.queue_bytes),
            settings,
            counters: Counters::default(),
            wake: Notify::new(),
            refused: Notify::new(),
            state: Mutex::new(state),
        });
        Ok((Self(shared.clone()), Driver { shared, handler }))
    }

    /// Sends a message, at most once. The account is who fills the queue with it. Whether there is a connection: without
    /// one, the message is dropped and counted.
    ///
    /// The subject and the label have to be valid, the label a line of ASCII; both come from this program and not from a
    /// guest.
    pub fn publish(
        &self,
        account: &Arc<str>,
        subject: &Arc<str>,
        label: String,
        payload: Bytes,
    ) -> Result<bool, PublishError> {
        let shared = &self.0;
        let mut state = shared.state.lock();
        let of_server = state.link.as_ref().map_or(usize::MAX, |link| link.client.max_payload());
        let max = shared.settings.max_payload.min(of_server.saturating_sub(shared.header_length(&label)));
        if payload.len() > max {
            return Err(PublishError::TooLarge(max));
        }
        if state.link.is_none() {
            shared.counters.dropped_disconnected.fetch_add(1, Relaxed);
            return Ok(false);
        }
        let message = Outgoing { account: account.clone(), subject: subject.clone(), label, payload };
        if !state.queue.push(message) {
            shared.counters.dropped_queue.fetch_add(1, Relaxed);
            return Err(PublishError::QueueFull);
        }
        drop(state);
        shared.wake.notify_one();
        Ok(true)
    }

    /// Wants the messages of a subject, also from the next connections. Wanting it twice is the same as once.
    pub fn subscribe(&self, subject: &Arc<str>) {
        let mut state = self.0.state.lock();
        if !state.subscriptions.contains_key(subject) {
            let number = state.next_subscription;
            state.next_subscription += 1;
            state.subscriptions.insert(subject.clone(), number);
            state.change(subject);
            drop(state);
            self.0.wake.notify_one();
        }
    }

    /// Wants no more messages of a subject.
    pub fn unsubscribe(&self, subject: &Arc<str>) {
        let mut state = self.0.state.lock();
        if state.subscriptions.remove(subject).is_some() {
            state.change(subject);
            drop(state);
            self.0.wake.notify_one();
        }
    }

    /// Waits until the server has all that was published, but not for longer than this. Whether it has.
    pub async fn flush(&self, limit: Duration) -> bool {
        /// How often is looked.
        const LOOK: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + limit;
        let client = loop {
            {
                let state = self.0.state.lock();
                let Some(link) = &state.link else { return false };
                if state.queue.is_empty() && !link.is_writing {
                    break link.client.clone();
                }
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        };
        // A question that nobody can answer. The server says so, or that it may not be asked, when it has come to it.
        let question = Request::new().timeout(Some(limit));
        let refused = self.0.refused.notified();
        let answered = async {
            tokio::select! {
                answer = client.send_request(client.new_inbox(), question) => match answer {
                    Ok(_) => true,
                    Err(error) => error.kind() == RequestErrorKind::NoResponders,
                },
                () = refused => true,
            }
        };
        tokio::time::timeout_at(deadline, answered).await.unwrap_or(false)
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.0.state.lock().link.is_some()
    }

    /// Bytes that wait to be sent.
    pub fn queued_bytes(&self) -> usize {
        self.0.state.lock().queue.bytes()
    }

    /// Counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

impl Driver {
    /// Connects, speaks, and connects again, for ever.
    pub async fn run(self) {
        let Settings { min_backoff, max_backoff, .. } = self.shared.settings;
        let mut servers = Servers::new(&self.shared.settings.servers);
        let mut pause = min_backoff;
        let mut is_told = false;
        loop {
            if self.round(&mut servers, is_told).await {
                (pause, is_told) = (min_backoff, false);
            } else {
                is_told = true;
            }
            tokio::time::sleep(with_jitter(pause)).await;
            pause = (pause * 2).min(max_backoff);
        }
    }

    /// Tries one server after the other, and speaks to the first that takes the connection until it is lost. Whether there
    /// was one. Why there was none is told once for each outage; the gauge tells how long it lasts.
    async fn round(&self, servers: &mut Servers, is_told: bool) -> bool {
        for member in servers.round() {
            let server = &member.server;
            match link::open(&self.shared, &member).await {
                Ok(link) => {
                    tracing::info!("connected to the NATS server {server}");
                    servers.connected(&member, &link.servers());
                    self.shared.speak(link, &*self.handler).await;
                    tracing::warn!("the connection to the NATS server {server} is lost");
                    return true;
                }
                Err(error) if is_told => tracing::debug!("no connection to the NATS server {server}: {error}"),
                Err(error) => tracing::warn!("no connection to the NATS server {server}, and trying on: {error}"),
            }
        }
        false
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl Shared {
    /// Uses a connection until it ends.
    async fn speak(self: &Arc<Self>, link: link::Link, handler: &dyn Handler) {
        self.counters.connects.fetch_add(1, Relaxed);
        // Before the subscriptions are made: what comes from now on is behind the gap.
        handler.gap();
        self.state.lock().begin(link.client());
        link.run(self, handler).await;
        let dropped = self.state.lock().end();
        self.counters.dropped_disconnected.fetch_add(dropped as u64, Relaxed);
        while let Some(arrival) = self.arrivals.take() {
            self.deliver(arrival, handler);
        }
    }

    /// Tells the handler of it, unless it came by a subscription that was given up.
    pub(crate) fn deliver(&self, arrival: Arrival, handler: &dyn Handler) {
        match arrival {
            Arrival::Gap => handler.gap(),
            Arrival::Overrun(subjects) => subjects.iter().for_each(|subject| handler.overrun(subject)),
            Arrival::Message(Incoming { subject, subscription, label, payload }) => {
                if self.state.lock().subscriptions.get(&subject) != Some(&subscription) {
                    return;
                }
                match payload {
                    Some(payload) => handler.message(&subject, label.as_deref(), payload),
                    None => handler.skipped(&subject),
                }
            }
        }
    }

    /// The subjects that have changed since the last call, with the number of those that are wanted.
    pub(crate) fn changes(&self) -> Vec<(Arc<str>, Option<u64>)> {
        let mut state = self.state.lock();
        let changed = std::mem::take(&mut state.changed);
        changed.into_iter().map(|subject| (subject.clone(), state.subscriptions.get(&subject).copied())).collect()
    }

    /// What is to be sent next; nothing for nothing.
    pub(crate) fn next_batch(&self) -> Vec<Outgoing> {
        let mut state = self.state.lock();
        let mut batch = Vec::new();
        let mut size = 0;
        while size < BATCH
            && let Some(message) = state.queue.pop()
        {
            size += message.size();
            batch.push(message);
        }
        if let Some(link) = &mut state.link {
            link.is_writing = !batch.is_empty();
        }
        batch
    }

    /// The server complains.
    pub(crate) fn complained(&self, text: &str) {
        self.counters.errors.fetch_add(1, Relaxed);
        let mut state = self.state.lock();
        let has_complained = state.link.as_mut().is_none_or(|link| std::mem::replace(&mut link.has_complained, true));
        drop(state);
        // A server can repeat itself for every message.
        if has_complained {
            tracing::debug!("the NATS server complains: {text}");
        } else {
            tracing::warn!("the NATS server complains: {text}");
        }
    }

    /// What the headers of a message with this label add to its payload.
    fn header_length(&self, label: &str) -> usize {
        "NATS/1.0\r\n: \r\n\r\n".len() + self.settings.label.len() + label.len()
    }
}

impl State {
    /// There is a connection, which knows nothing yet.
    fn begin(&mut self, client: async_nats::Client) {
        self.link = Some(Link { client, is_writing: false, has_complained: false });
        self.changed = self.subscriptions.keys().cloned().collect();
    }

    /// There is no connection any more. What waited for it is dropped; how many messages that were.
    fn end(&mut self) -> usize {
        self.link = None;
        self.changed = HashSet::new();
        self.queue.clear()
    }

    /// The next connection looks at all subjects anyway.
    fn change(&mut self, subject: &Arc<str>) {
        if self.link.is_some() {
            self.changed.insert(subject.clone());
        }
    }
}

/// Between half of a pause and all of it, so that many hosts do not come back at once.
fn with_jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the hosts come back together, which is a burst and no fault.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause * u32::from(byte[0]) / 512
}

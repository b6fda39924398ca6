//! What the rest of a program holds of the connection: a queue to the server, and the subscriptions that are wanted.
//!
//! Data flows one way: calls change [`State`] and never wait; the connection takes from it what to write. What is wanted
//! and what the server knows are kept apart, so that any order of calls costs at most one entry for each subject.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use roadrunner_names::Share;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::codec;
use crate::connection::{self, Connection, Tls};

/// What a message costs in the queue beside its payload: its entry, its subject and its headers.
const MESSAGE_OVERHEAD: usize = 256;

/// Bytes that are taken from the queue at once.
const BATCH: usize = 64 << 10;

/// Where the server is, who we are to it, and how much may wait for it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Resolves its name.
    pub names: Share,
    /// How TLS is spoken; none for plaintext.
    pub tls: Option<Tls>,
    /// Who we are.
    pub credentials: Credentials,
    /// What we are called in the server's lists.
    pub name: String,
    /// Bytes that may wait to be sent. One account may use half of them.
    pub queue_bytes: usize,
    /// Messages that may wait to be sent. One account may use half of them.
    pub queue_messages: usize,
    /// The largest payload, in either direction, in bytes. The server's own limit holds beside it.
    pub max_payload: usize,
    /// From the first packet until the server has taken the credentials.
    pub connect_timeout: Duration,
    /// How often the server is asked whether it is there. Silent for three times as long, it is taken for dead.
    pub ping_interval: Duration,
    /// The pause after a first failure to connect; it doubles with every further one, up to `max_backoff`.
    pub min_backoff: Duration,
    /// The longest pause between two attempts.
    pub max_backoff: Duration,
}

/// Who we are to the server.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    None,
    /// Whoever has this token.
    Token(String),
    /// A user.
    User {
        /// Its name.
        name: String,
        /// Its password.
        password: String,
    },
}

/// What arrives. Called from the connection's task, one call at a time; none may block.
pub trait Handler: Send + Sync + 'static {
    /// The server is there, for the first time or again. What the subscriptions were for may have passed until now.
    fn connected(&self);

    /// A message of a subscription. Headers come as they are, with their first line; empty for none.
    fn message(&self, subject: &Arc<str>, headers: &[u8], payload: Bytes);

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
    /// Messages that were refused because too much waited.
    pub dropped_queue: AtomicU64,
    /// Messages from the server that were too large.
    pub dropped_large: AtomicU64,
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
    /// There is something to write.
    pub(crate) wake: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The server's end; none while there is no connection.
    link: Option<Link>,
    queue: VecDeque<Outgoing>,
    /// What is in the queue, in bytes.
    bytes: usize,
    /// The same by account: messages and bytes.
    accounts: HashMap<Arc<str>, (usize, usize)>,
    subscriptions: HashMap<Arc<str>, Subscription>,
    subjects: HashMap<u64, Arc<str>>,
    /// Subjects whose subscription the server does not know as it is wanted.
    changed: HashSet<Arc<str>>,
    next_sid: u64,
}

/// What the connection that there is knows and owes.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    max_payload: usize,
    has_headers: bool,
    pongs_owed: u32,
    ping_wanted: bool,
    pings_sent: u64,
    pongs_received: u64,
    /// What was taken last is not written yet.
    is_writing: bool,
    has_complained: bool,
}

struct Outgoing {
    account: Arc<str>,
    subject: Arc<str>,
    headers: Bytes,
    payload: Bytes,
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    sid: u64,
    is_wanted: bool,
    is_known: bool,
}

/// The socket's end: connects, speaks, and connects again.
pub struct Driver {
    shared: Arc<Shared>,
    handler: Arc<dyn Handler>,
}

impl Client {
    /// The two ends. Nothing happens before the driver runs.
    pub fn new(settings: Settings, handler: Arc<dyn Handler>) -> (Self, Driver) {
        let shared = Shared {
            settings,
            counters: Counters::default(),
            wake: Notify::new(),
            state: Mutex::new(State { next_sid: 1, ..State::default() }),
        };
        let shared = Arc::new(shared);
        (Self(shared.clone()), Driver { shared, handler })
    }

    /// Sends a message, at most once. The account is who fills the queue with it. Whether there is a connection: without
    /// one, the message is dropped and counted.
    ///
    /// The subject and the headers have to be valid; both come from this program and not from a guest.
    pub fn publish(
        &self,
        account: &Arc<str>,
        subject: &Arc<str>,
        headers: Bytes,
        payload: Bytes,
    ) -> Result<bool, PublishError> {
        let Settings { queue_bytes, queue_messages, max_payload, .. } = self.0.settings;
        let mut state = self.0.state.lock();
        let of_server = state.link.map_or(usize::MAX, |link| link.max_payload.saturating_sub(headers.len()));
        let max = max_payload.min(of_server);
        if payload.len() > max {
            return Err(PublishError::TooLarge(max));
        }
        if state.link.is_none() {
            self.0.counters.dropped_disconnected.fetch_add(1, Relaxed);
            return Ok(false);
        }
        let message = Outgoing { account: account.clone(), subject: subject.clone(), headers, payload };
        let size = message.size();
        let (messages, bytes) = state.accounts.get(account).copied().unwrap_or_default();
        let fits = |size: usize, limit: usize| size <= limit;
        let has_room = fits(state.bytes + size, queue_bytes)
            && fits(state.queue.len() + 1, queue_messages)
            // A message on its own always fits, so that half a queue is not a limit of the payload.
            && (messages == 0 || fits(bytes + size, queue_bytes / 2) && fits(messages + 1, queue_messages / 2));
        if !has_room {
            self.0.counters.dropped_queue.fetch_add(1, Relaxed);
            return Err(PublishError::QueueFull);
        }
        state.accounts.insert(account.clone(), (messages + 1, bytes + size));
        state.bytes += size;
        state.queue.push_back(message);
        drop(state);
        self.0.wake.notify_one();
        Ok(true)
    }

    /// Wants the messages of a subject, also from the next connections. Wanting it twice is the same as once.
    pub fn subscribe(&self, subject: &Arc<str>) {
        let mut state = self.0.state.lock();
        match state.subscriptions.get_mut(subject) {
            Some(subscription) => {
                subscription.is_wanted = true;
                // The server's next UNSUB for it was not written yet.
                if subscription.is_known {
                    state.changed.remove(subject);
                }
            }
            None => {
                let sid = state.next_sid;
                state.next_sid += 1;
                let subscription = Subscription { sid, is_wanted: true, is_known: false };
                state.subscriptions.insert(subject.clone(), subscription);
                state.subjects.insert(sid, subject.clone());
                state.changed.insert(subject.clone());
            }
        }
        drop(state);
        self.0.wake.notify_one();
    }

    /// Wants no more messages of a subject.
    pub fn unsubscribe(&self, subject: &Arc<str>) {
        let mut state = self.0.state.lock();
        let Some(subscription) = state.subscriptions.get_mut(subject) else { return };
        if subscription.is_known {
            subscription.is_wanted = false;
            state.changed.insert(subject.clone());
        } else {
            let sid = subscription.sid;
            state.forget(subject, sid);
        }
        drop(state);
        self.0.wake.notify_one();
    }

    /// Waits until the server has all that was published, but not for longer than this. Whether it has.
    pub async fn flush(&self, limit: Duration) -> bool {
        /// How often is looked.
        const LOOK: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + limit;
        let mut awaited = None;
        loop {
            {
                let mut state = self.0.state.lock();
                let is_empty = state.queue.is_empty();
                let Some(link) = &mut state.link else { return false };
                match awaited {
                    None if is_empty && !link.is_writing => {
                        link.ping_wanted = true;
                        awaited = Some(link.pings_sent + 1);
                        self.0.wake.notify_one();
                    }
                    Some(count) if link.pongs_received >= count => return true,
                    _ => {}
                }
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.0.state.lock().link.is_some()
    }

    /// Bytes that wait to be sent.
    pub fn queued_bytes(&self) -> usize {
        self.0.state.lock().bytes
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
        let Self { shared, handler } = self;
        let Settings { host, port, min_backoff, max_backoff, .. } = &shared.settings;
        let mut pause = *min_backoff;
        let mut is_told = false;
        loop {
            match connection::open(&shared.settings).await {
                Ok(connection) => {
                    tracing::info!("connected to the NATS server {host}:{port}");
                    (pause, is_told) = (*min_backoff, false);
                    let error = shared.speak(connection, &*handler).await;
                    tracing::warn!("the connection to the NATS server {host}:{port} is lost: {error}");
                }
                // Once for each outage; the gauge tells how long it lasts.
                Err(error) if !is_told => {
                    tracing::warn!("no connection to the NATS server {host}:{port}, and trying on: {error}");
                    is_told = true;
                }
                Err(error) => tracing::debug!("no connection to the NATS server {host}:{port}: {error}"),
            }
            tokio::time::sleep(with_jitter(pause)).await;
            pause = (pause * 2).min(*max_backoff);
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl Shared {
    /// Uses a connection until it ends, and says why it did.
    async fn speak(&self, connection: Connection, handler: &dyn Handler) -> connection::Lost {
        self.counters.connects.fetch_add(1, Relaxed);
        // Before the subscriptions are made: what comes from now on is behind the gap.
        handler.connected();
        self.state.lock().begin(connection.max_payload(), connection.has_headers());
        let lost = connection.run(self, handler).await;
        let dropped = self.state.lock().end();
        self.counters.dropped_disconnected.fetch_add(dropped as u64, Relaxed);
        lost
    }

    /// Appends what is to be written next. Whether there is anything.
    pub(crate) fn next_batch(&self, out: &mut Vec<u8>) -> bool {
        let mut messages = Vec::new();
        let has_headers = {
            let mut state = self.state.lock();
            let Some(mut link) = state.link else { return false };
            state.change_subscriptions(out);
            let mut size = 0;
            while size < BATCH
                && let Some(message) = state.pop()
            {
                size += message.size();
                messages.push(message);
            }
            for _ in 0..std::mem::take(&mut link.pongs_owed) {
                out.extend_from_slice(codec::PONG);
            }
            link.is_writing = !out.is_empty() || !messages.is_empty() || link.ping_wanted;
            state.link = Some(link);
            link.has_headers
        };
        for Outgoing { subject, headers, payload, .. } in &messages {
            codec::publish(out, subject, if has_headers { headers } else { &[] }, payload);
        }
        self.counters.published.fetch_add(messages.len() as u64, Relaxed);
        // Behind the messages: its PONG says that they were taken.
        let mut state = self.state.lock();
        if let Some(link) = &mut state.link
            && std::mem::take(&mut link.ping_wanted)
        {
            link.pings_sent += 1;
            out.extend_from_slice(codec::PING);
        }
        !out.is_empty()
    }

    /// What [`Shared::next_batch`] gave is written.
    pub(crate) fn written(&self) {
        if let Some(link) = &mut self.state.lock().link {
            link.is_writing = false;
        }
    }

    /// The server asks whether we are there.
    pub(crate) fn owe_pong(&self) {
        if let Some(link) = &mut self.state.lock().link {
            // A server that asks without end is answered no more often than it is written to.
            link.pongs_owed = (link.pongs_owed + 1).min(16);
        }
        self.wake.notify_one();
    }

    /// Asks whether the server is there.
    pub(crate) fn want_ping(&self) {
        if let Some(link) = &mut self.state.lock().link {
            link.ping_wanted = true;
        }
        self.wake.notify_one();
    }

    /// The server was there.
    pub(crate) fn pong(&self) {
        if let Some(link) = &mut self.state.lock().link {
            link.pongs_received += 1;
        }
    }

    /// The server complains: whether it is the first time on this connection.
    pub(crate) fn complained(&self) -> bool {
        self.counters.errors.fetch_add(1, Relaxed);
        self.state.lock().link.as_mut().is_some_and(|link| !std::mem::replace(&mut link.has_complained, true))
    }

    /// The server has other limits from now on.
    pub(crate) fn set_max_payload(&self, max_payload: usize) {
        if let Some(link) = &mut self.state.lock().link {
            link.max_payload = max_payload;
        }
    }

    /// The subject of a subscription; none for one that has been given up.
    pub(crate) fn subject(&self, sid: u64) -> Option<Arc<str>> {
        let state = self.state.lock();
        let subject = state.subjects.get(&sid)?;
        state.subscriptions.get(subject).is_some_and(|subscription| subscription.is_wanted).then(|| subject.clone())
    }
}

impl State {
    /// There is a connection, which knows nothing yet.
    fn begin(&mut self, max_payload: usize, has_headers: bool) {
        self.link = Some(Link { max_payload, has_headers, ..Link::default() });
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            self.subscriptions.iter().map(|(subject, known)| (subject.clone(), *known)).partition(|(_, s)| s.is_wanted);
        for (subject, Subscription { sid, .. }) in unwanted {
            self.forget(&subject, sid);
        }
        for (subject, _) in wanted {
            if let Some(subscription) = self.subscriptions.get_mut(&subject) {
                subscription.is_known = false;
            }
            self.changed.insert(subject);
        }
    }

    /// There is no connection any more. What waited for it is dropped; how many messages that were.
    fn end(&mut self) -> usize {
        self.link = None;
        let dropped = self.queue.len();
        self.queue = VecDeque::new();
        self.accounts.clear();
        self.bytes = 0;
        dropped
    }

    fn change_subscriptions(&mut self, out: &mut Vec<u8>) {
        for subject in std::mem::take(&mut self.changed) {
            let Some(subscription) = self.subscriptions.get_mut(&subject) else { continue };
            let sid = subscription.sid;
            match (subscription.is_wanted, subscription.is_known) {
                (true, false) => {
                    subscription.is_known = true;
                    codec::subscribe(out, &subject, sid);
                }
                (false, true) => {
                    codec::unsubscribe(out, sid);
                    self.forget(&subject, sid);
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    fn forget(&mut self, subject: &Arc<str>, sid: u64) {
        self.subscriptions.remove(subject);
        self.subjects.remove(&sid);
        self.changed.remove(subject);
    }

    fn pop(&mut self) -> Option<Outgoing> {
        let message = self.queue.pop_front()?;
        let size = message.size();
        self.bytes -= size;
        if let Some((messages, bytes)) = self.accounts.get_mut(&message.account) {
            *messages -= 1;
            *bytes -= size;
            if *messages == 0 {
                self.accounts.remove(&message.account);
            }
        }
        Some(message)
    }
}

impl Outgoing {
    fn size(&self) -> usize {
        self.payload.len() + MESSAGE_OVERHEAD
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token",
            Self::User { .. } => "User",
        })
    }
}

/// Between half of a pause and all of it, so that many hosts do not come back at once.
fn with_jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the hosts come back together, which is a burst and no fault.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause * u32::from(byte[0]) / 512
}

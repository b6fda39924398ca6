//! The state between calls and the connection: a queue to the server, and the subscriptions that are wanted.
//!
//! Data flows one way: calls change [`State`] and never wait; the connection takes from it what to write. What is wanted
//! stands here, what the server knows in the connection, so that any order of calls costs at most one entry for each
//! subject.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::arrivals::{Arrival, Arrivals, Incoming};
use crate::outgoing::{Outgoing, Queue};
use crate::settings::{Handler, Settings};

/// Bytes that are taken from the queue at once. What is taken is lost with the connection.
const BATCH: usize = 64 << 10;

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

/// What calls and the connection share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    pub(crate) arrivals: Arrivals,
    /// There is something to write.
    pub(crate) wake: Notify,
    /// The server has refused a question of [`Client::flush`](crate::Client::flush), which is an answer.
    pub(crate) refused: Notify,
    pub(crate) state: Mutex<State>,
}

pub(crate) struct State {
    /// The server's end; none while there is no connection.
    pub(crate) link: Option<Link>,
    pub(crate) queue: Queue,
    /// The subscribed subjects. A subject gets a new number each time that it is subscribed again.
    pub(crate) subscriptions: HashMap<Arc<str>, u64>,
    /// Subjects that the connection has not looked at since they were wanted, or not wanted any more.
    changed: HashSet<Arc<str>>,
    pub(crate) next_subscription: u64,
}

/// The connection that there is.
pub(crate) struct Link {
    pub(crate) client: async_nats::Client,
    /// What was taken last is not written yet.
    pub(crate) is_writing: bool,
    has_complained: bool,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        let state = State {
            link: None,
            queue: Queue::new(settings.queue_bytes, settings.queue_messages),
            subscriptions: HashMap::new(),
            changed: HashSet::new(),
            next_subscription: 1,
        };
        Self {
            arrivals: Arrivals::new(settings.queue_bytes),
            settings,
            counters: Counters::default(),
            wake: Notify::new(),
            refused: Notify::new(),
            state: Mutex::new(state),
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
    pub(crate) fn header_length(&self, label: &str) -> usize {
        "NATS/1.0\r\n: \r\n\r\n".len() + self.settings.label.len() + label.len()
    }
}

impl State {
    /// There is a connection, which knows nothing yet.
    pub(crate) fn begin(&mut self, client: async_nats::Client) {
        self.link = Some(Link { client, is_writing: false, has_complained: false });
        self.changed = self.subscriptions.keys().cloned().collect();
    }

    /// There is no connection any more. What waited for it is dropped; how many messages that were.
    pub(crate) fn end(&mut self) -> usize {
        self.link = None;
        self.changed = HashSet::new();
        self.queue.clear()
    }

    /// The next connection looks at all subjects anyway.
    pub(crate) fn change(&mut self, subject: &Arc<str>) {
        if self.link.is_some() {
            self.changed.insert(subject.clone());
        }
    }
}

//! What has arrived and waits for the handler: bounded by its bytes.
//!
//! async-nats hands messages to a queue of each subscription, which it bounds by number alone. They are moved here as they
//! come, so that a handler that is slower than the server costs messages, and not memory; and it is told of them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::outgoing::MESSAGE_OVERHEAD;

/// A message that has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) subject: Arc<str>,
    /// Which subscription to the subject it came by.
    pub(crate) subscription: u64,
    pub(crate) label: Option<String>,
    /// None for one that was too large.
    pub(crate) payload: Option<Bytes>,
}

/// What the handler is to be told next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Messages of any subject may be lost.
    Gap,
    /// A message.
    Message(Incoming),
    /// Messages of these subjects are lost.
    Overrun(HashSet<Arc<str>>),
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Arrivals {
    max_bytes: usize,
    wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Incoming>,
    bytes: usize,
    overrun: HashSet<Arc<str>>,
    has_gap: bool,
}

impl Arrivals {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, wake: Notify::new(), state: Mutex::default() }
    }

    /// Whether there was room for it. If not, the handler is told that something of its subject is lost.
    pub(crate) fn push(&self, message: Incoming) -> bool {
        let mut state = self.state.lock();
        let size = message.size();
        let has_room = state.bytes + size <= self.max_bytes;
        if has_room {
            state.bytes += size;
            state.messages.push_back(message);
        } else {
            state.overrun.insert(message.subject);
        }
        drop(state);
        self.wake.notify_one();
        has_room
    }

    /// Messages were lost, and nobody knows of which subject.
    pub(crate) fn gap(&self) {
        self.state.lock().has_gap = true;
        self.wake.notify_one();
    }

    /// What the handler is to be told next.
    pub(crate) fn take(&self) -> Option<Arrival> {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.has_gap) {
            return Some(Arrival::Gap);
        }
        if !state.overrun.is_empty() {
            return Some(Arrival::Overrun(std::mem::take(&mut state.overrun)));
        }
        let message = state.messages.pop_front()?;
        state.bytes -= message.size();
        if state.messages.is_empty() {
            // A burst's room is not kept.
            state.messages = VecDeque::new();
        }
        Some(Arrival::Message(message))
    }

    /// The same, waiting for something.
    pub(crate) async fn next(&self) -> Arrival {
        loop {
            if let Some(arrival) = self.take() {
                return arrival;
            }
            self.wake.notified().await;
        }
    }
}

impl Incoming {
    fn size(&self) -> usize {
        let label = self.label.as_ref().map_or(0, String::len);
        self.payload.as_ref().map_or(0, Bytes::len) + label + MESSAGE_OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &str, length: usize) -> Incoming {
        Incoming { subject: subject.into(), subscription: 1, label: None, payload: Some(vec![0; length].into()) }
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_subject() {
        let arrivals = Arrivals::new(10_000);
        assert!(arrivals.push(message("a", 5_000)));
        assert!(!arrivals.push(message("b", 9_000)));
        assert!(!arrivals.push(message("b", 9_000)));
        assert!(arrivals.push(message("b", 10)));
        assert_eq!(arrivals.take(), Some(Arrival::Overrun(["b".into()].into())));
        assert_eq!(arrivals.take(), Some(Arrival::Message(message("a", 5_000))));
        assert!(arrivals.push(message("a", 9_000)), "there is room again");
        arrivals.gap();
        arrivals.gap();
        assert_eq!(arrivals.take(), Some(Arrival::Gap));
        assert_eq!(arrivals.take(), Some(Arrival::Message(message("b", 10))));
        assert_eq!(arrivals.take(), Some(Arrival::Message(message("a", 9_000))));
        assert_eq!(arrivals.take(), None);
        assert_eq!(arrivals.state.lock().bytes, 0);
    }

    #[test]
    fn messages_without_payload_are_bounded_too() {
        let arrivals = Arrivals::new(1 << 20);
        let skipped = || Incoming { payload: None, ..message("a", 0) };
        let taken = (0..1_000_000).take_while(|_| arrivals.push(skipped())).count();
        assert_eq!(taken, (1 << 20) / MESSAGE_OVERHEAD);
    }
}

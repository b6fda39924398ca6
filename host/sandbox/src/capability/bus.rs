//! Topics that join the held sessions of one owner.
//!
//! Host: [`Bus`], a map from owner and topic to subscribers. Instance: [`Inbox`], a bounded queue. Publishing never
//! waits: a full queue misses the message, and says how many with the next one of that topic.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

/// The longest topic, in bytes.
pub(crate) const MAX_TOPIC: usize = 256;

/// What a message costs beside its payload: the queue's entry.
const MESSAGE_OVERHEAD: usize = 64;

/// A message on its way to a session.
#[derive(Clone, Debug)]
pub struct Message {
    /// The topic it was published to.
    pub topic: Arc<str>,
    /// What was published.
    pub payload: Bytes,
    /// Messages of this topic that this session missed just before.
    pub missed: u32,
}

/// All topics of the host.
#[derive(Clone, Debug, Default)]
pub struct Bus(Arc<RwLock<Topics>>);

type Topics = HashMap<Arc<str>, HashMap<Arc<str>, Vec<Arc<Inbox>>>>;

impl Bus {
    /// Sends to every session of `owner` that is subscribed now; how many there are.
    pub fn publish(&self, owner: &str, topic: &str, payload: Bytes) -> u32 {
        let topics = self.0.read();
        let Some((topic, inboxes)) = topics.get(owner).and_then(|topics| topics.get_key_value(topic)) else {
            return 0;
        };
        for inbox in inboxes {
            inbox.push(topic, &payload);
        }
        u32::try_from(inboxes.len()).unwrap_or(u32::MAX)
    }

    /// Subscriptions of the whole host, for a gauge.
    pub fn subscriptions(&self) -> usize {
        self.0.read().values().flat_map(HashMap::values).map(Vec::len).sum()
    }

    fn subscribe(&self, owner: &Arc<str>, topic: &Arc<str>, inbox: &Arc<Inbox>) {
        let mut topics = self.0.write();
        topics.entry(owner.clone()).or_default().entry(topic.clone()).or_default().push(inbox.clone());
    }

    fn unsubscribe(&self, owner: &Arc<str>, topic: &Arc<str>, inbox: &Arc<Inbox>) {
        let mut topics = self.0.write();
        let Some(of_owner) = topics.get_mut(owner) else { return };
        if let Some(inboxes) = of_owner.get_mut(topic) {
            if let Some(index) = inboxes.iter().position(|other| Arc::ptr_eq(other, inbox)) {
                inboxes.swap_remove(index);
            }
            if inboxes.is_empty() {
                of_owner.remove(topic);
            }
        }
        if of_owner.is_empty() {
            topics.remove(owner);
        }
    }
}

/// The subscriptions of one instance. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Subscriber {
    bus: Bus,
    owner: Arc<str>,
    inbox: Arc<Inbox>,
    topics: Vec<Arc<str>>,
}

impl Subscriber {
    pub(crate) fn new(bus: Bus, owner: Arc<str>, queue_bytes: usize) -> Self {
        Self { bus, owner, inbox: Arc::new(Inbox::new(queue_bytes)), topics: Vec::new() }
    }

    /// How many topics there are.
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.topics.iter().any(|known| &**known == topic)
    }

    pub(crate) fn subscribe(&mut self, topic: &str) {
        if !self.contains(topic) {
            let topic: Arc<str> = topic.into();
            self.bus.subscribe(&self.owner, &topic, &self.inbox);
            self.topics.push(topic);
        }
    }

    pub(crate) fn unsubscribe(&mut self, topic: &str) {
        if let Some(index) = self.topics.iter().position(|known| &**known == topic) {
            let topic = self.topics.swap_remove(index);
            self.bus.unsubscribe(&self.owner, &topic, &self.inbox);
        }
    }

    pub(crate) fn poll_next(&self, context: &Context<'_>) -> Poll<Message> {
        self.inbox.poll_pop(context)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        for topic in &self.topics {
            self.bus.unsubscribe(&self.owner, topic, &self.inbox);
        }
    }
}

/// A bounded queue of messages for one instance.
#[derive(Debug)]
struct Inbox {
    limit: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    /// What could not be queued, by topic.
    missed: Vec<(Arc<str>, u32)>,
    waker: Option<Waker>,
}

impl Inbox {
    fn new(limit: usize) -> Self {
        Self { limit, queue: Mutex::default() }
    }

    fn push(&self, topic: &Arc<str>, payload: &Bytes) {
        let mut queue = self.queue.lock();
        let size = payload.len() + MESSAGE_OVERHEAD;
        if queue.bytes + size > self.limit {
            match queue.missed.iter_mut().find(|(missed, _)| missed == topic) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => queue.missed.push((topic.clone(), 1)),
            }
            return;
        }
        let missed = match queue.missed.iter().position(|(missed, _)| missed == topic) {
            Some(index) => queue.missed.swap_remove(index).1,
            None => 0,
        };
        queue.bytes += size;
        queue.messages.push_back(Message { topic: topic.clone(), payload: payload.clone(), missed });
        if let Some(waker) = queue.waker.take() {
            drop(queue);
            waker.wake();
        }
    }

    fn poll_pop(&self, context: &Context<'_>) -> Poll<Message> {
        let mut queue = self.queue.lock();
        if let Some(message) = queue.messages.pop_front() {
            queue.bytes -= message.payload.len() + MESSAGE_OVERHEAD;
            if queue.messages.is_empty() {
                // An idle session keeps no buffer.
                queue.messages = VecDeque::new();
            }
            return Poll::Ready(message);
        }
        match &mut queue.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => queue.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(bus: &Bus, owner: &str, limit: usize) -> Subscriber {
        Subscriber::new(bus.clone(), owner.into(), limit)
    }

    fn next(subscriber: &Subscriber) -> Option<Message> {
        match subscriber.poll_next(&Context::from_waker(Waker::noop())) {
            Poll::Ready(message) => Some(message),
            Poll::Pending => None,
        }
    }

    #[test]
    fn owners_do_not_hear_each_other() {
        let bus = Bus::default();
        let mut ours = subscriber(&bus, "a", 1000);
        let mut theirs = subscriber(&bus, "b", 1000);
        ours.subscribe("news");
        theirs.subscribe("news");
        assert_eq!(bus.publish("a", "news", "x".into()), 1);
        assert_eq!(next(&ours).unwrap().payload, "x");
        assert!(next(&theirs).is_none());
    }

    #[test]
    fn a_full_queue_counts_what_it_misses_by_topic() {
        let bus = Bus::default();
        let mut session = subscriber(&bus, "a", 2 * (MESSAGE_OVERHEAD + 1));
        session.subscribe("one");
        session.subscribe("two");
        for _ in 0..2 {
            bus.publish("a", "one", "x".into());
        }
        bus.publish("a", "one", "x".into());
        bus.publish("a", "two", "x".into());
        bus.publish("a", "two", "x".into());
        assert_eq!(next(&session).unwrap().missed, 0);
        bus.publish("a", "two", "y".into());
        assert_eq!(next(&session).unwrap().missed, 0);
        let message = next(&session).unwrap();
        assert_eq!((&*message.topic, message.missed), ("two", 2));
        bus.publish("a", "one", "z".into());
        assert_eq!(next(&session).unwrap().missed, 1);
        assert!(next(&session).is_none());
    }

    #[test]
    fn a_session_that_ends_leaves_nothing_behind() {
        let bus = Bus::default();
        let mut session = subscriber(&bus, "a", 1000);
        session.subscribe("one");
        session.subscribe("one");
        session.subscribe("two");
        assert_eq!(bus.subscriptions(), 2);
        session.unsubscribe("two");
        assert_eq!(bus.subscriptions(), 1);
        drop(session);
        assert_eq!(bus.subscriptions(), 0);
        assert!(bus.0.read().is_empty());
        assert_eq!(bus.publish("a", "one", "x".into()), 0);
    }
}

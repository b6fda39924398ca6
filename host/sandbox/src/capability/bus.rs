//! Topics that join the held sessions of one owner.
//!
//! [`Bus`] belongs to the host: a map from owner and topic to subscribers, with a [`Broker`] where other hosts share
//! the topics. [`Inbox`] belongs to an instance: a bounded queue. Publishing never waits: a full queue misses the
//! message, and reports the number of missed messages with the next message of that topic.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use roadrunner_account::{Span, Tenant};

/// The longest topic, in bytes.
pub(crate) const MAX_TOPIC: usize = 256;

/// The largest payload of a message, in bytes, unless the host sets another.
const DEFAULT_MAX_PAYLOAD: usize = 512 << 10;

/// The cost of a message's queue entry, in addition to its payload, in bytes.
const MESSAGE_OVERHEAD: usize = 64;

/// A message on its way to a session.
#[derive(Clone, Debug)]
pub struct Message {
    /// The topic that the message was published to.
    pub topic: Arc<str>,
    /// The published bytes.
    pub payload: Bytes,
    /// The number of messages of this topic that this session missed just before.
    pub missed: u32,
}

/// A link between the topics of several hosts. None of its functions may block.
pub trait Broker: Send + Sync + std::fmt::Debug {
    /// Called when the first session of this host has subscribed.
    fn subscribe(&self, owner: &Arc<str>, topic: &Arc<str>);

    /// Called when the last session of this host has left.
    fn unsubscribe(&self, owner: &Arc<str>, topic: &Arc<str>);

    /// Takes a message to the other hosts, at most once. An error means that it reached none of them.
    fn publish(&self, owner: &Arc<str>, topic: &str, payload: &Bytes) -> Result<(), PublishError>;
}

/// The reason why a message was sent to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Too many of the owner's messages or bytes wait for the broker already; the text names both rules.
    #[error("bus.queue-bytes and bus.queue-messages: too much waits for the broker")]
    QueueFull,
    /// The payload is larger than this many bytes.
    #[error("the payload is larger than {0} bytes")]
    TooLarge(u64),
}

/// All topics of the host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    topics: RwLock<Topics>,
    broker: OnceLock<Arc<dyn Broker>>,
    max_payload: AtomicUsize,
    missed: AtomicU64,
}

type Topics = HashMap<Arc<str>, HashMap<Arc<str>, Vec<Arc<Inbox>>>>;

impl Bus {
    /// Shares the topics with other hosts from now on. Call it before anybody has subscribed. A second broker is
    /// ignored.
    pub fn join(&self, broker: Arc<dyn Broker>) {
        let _ = self.0.broker.set(broker);
    }

    /// Allows payloads of this many bytes. Default 512 KiB.
    pub fn set_max_payload(&self, bytes: usize) {
        self.0.max_payload.store(bytes, Relaxed);
    }

    /// Sends to every session of `owner` that is subscribed now, here and on the other hosts. Returns the number of
    /// sessions here.
    pub fn publish(&self, owner: &Arc<str>, topic: &str, payload: Bytes) -> Result<u32, PublishError> {
        let limit = self.0.max_payload.load(Relaxed);
        if payload.len() > limit {
            return Err(PublishError::TooLarge(limit as u64));
        }
        // The broker comes first, so that an error means that nobody has received the message.
        if let Some(broker) = self.0.broker.get() {
            broker.publish(owner, topic, &payload)?;
        }
        Ok(self.deliver(owner, topic, &payload, 0))
    }

    /// Delivers a message of another host to every session of `owner` that is subscribed here, after `lost` others that
    /// were lost in transit. Returns the number of sessions. Their tenant pays: the publisher's host has no account
    /// here.
    pub fn arrive(&self, owner: &str, topic: &str, payload: &Bytes, lost: u32) -> u32 {
        let span = Span::begin(false);
        let count = self.deliver(owner, topic, payload, lost);
        let used = span.end();
        let topics = self.0.topics.read();
        let inboxes = topics.get(owner).and_then(|topics| topics.get(topic));
        if let Some(tenant) = inboxes.and_then(|inboxes| inboxes.first()?.tenant.as_ref()) {
            tenant.cpu.spend(used);
        }
        count
    }

    fn deliver(&self, owner: &str, topic: &str, payload: &Bytes, lost: u32) -> u32 {
        let topics = self.0.topics.read();
        let Some((topic, inboxes)) = topics.get(owner).and_then(|topics| topics.get_key_value(topic)) else {
            return 0;
        };
        for inbox in inboxes {
            let mut missed = u64::from(lost);
            if lost > 0 {
                inbox.miss(topic, lost);
            }
            if !inbox.push(topic, payload) {
                missed += 1;
            }
            if missed > 0 {
                self.0.missed.fetch_add(missed, Relaxed);
            }
        }
        u32::try_from(inboxes.len()).unwrap_or(u32::MAX)
    }

    /// Tells the sessions of a topic that `lost` messages of it were lost in transit to this host.
    pub fn lose(&self, owner: &str, topic: &str, lost: u32) {
        let topics = self.0.topics.read();
        let Some((topic, inboxes)) = topics.get(owner).and_then(|topics| topics.get_key_value(topic)) else { return };
        for inbox in inboxes {
            inbox.miss(topic, lost);
        }
        self.0.missed.fetch_add(u64::from(lost) * inboxes.len() as u64, Relaxed);
    }

    /// Tells every session of this host that it may have missed an unknown number of messages, on each of its topics.
    /// The next message of a topic then says one, or the number that is otherwise known.
    pub fn lose_some(&self) {
        for topics in self.0.topics.read().values() {
            for (topic, inboxes) in topics {
                for inbox in inboxes {
                    inbox.miss(topic, 0);
                }
            }
        }
    }

    /// The number of subscriptions of the whole host, for a gauge.
    pub fn subscriptions(&self) -> usize {
        self.0.topics.read().values().flat_map(HashMap::values).map(Vec::len).sum()
    }

    /// The messages that sessions missed since the start, counted once per session, as far as their number is known.
    pub fn missed(&self) -> u64 {
        self.0.missed.load(Relaxed)
    }

    fn subscribe(&self, owner: &Arc<str>, topic: &Arc<str>, inbox: &Arc<Inbox>) {
        let mut topics = self.0.topics.write();
        let inboxes = topics.entry(owner.clone()).or_default().entry(topic.clone()).or_default();
        inboxes.push(inbox.clone());
        // The call is made under the lock, so that the broker sees subscriptions and their ends in order.
        if inboxes.len() == 1
            && let Some(broker) = self.0.broker.get()
        {
            broker.subscribe(owner, topic);
        }
    }

    fn unsubscribe(&self, owner: &Arc<str>, topic: &Arc<str>, inbox: &Arc<Inbox>) {
        let mut topics = self.0.topics.write();
        let Some(of_owner) = topics.get_mut(owner) else { return };
        if let Some(inboxes) = of_owner.get_mut(topic) {
            if let Some(index) = inboxes.iter().position(|other| Arc::ptr_eq(other, inbox)) {
                inboxes.swap_remove(index);
            }
            if inboxes.is_empty() {
                of_owner.remove(topic);
                if let Some(broker) = self.0.broker.get() {
                    broker.unsubscribe(owner, topic);
                }
            }
        }
        if of_owner.is_empty() {
            topics.remove(owner);
        }
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self(Arc::new(Shared {
            topics: RwLock::default(),
            broker: OnceLock::new(),
            max_payload: AtomicUsize::new(DEFAULT_MAX_PAYLOAD),
            missed: AtomicU64::new(0),
        }))
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
        Self { bus, owner, inbox: Arc::new(Inbox::new(queue_bytes, None)), topics: Vec::new() }
    }

    /// Applies the quotas of this tenant.
    pub(crate) fn of(mut self, tenant: Option<Arc<Tenant>>) -> Self {
        self.inbox = Arc::new(Inbox::new(self.inbox.limit, tenant));
        self
    }

    /// The number of topics.
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.topics.iter().any(|known| &**known == topic)
    }

    /// Subscribes to a topic; false when the tenant has as many topics as it may have.
    pub(crate) fn subscribe(&mut self, topic: &str) -> bool {
        if !self.contains(topic) {
            if self.inbox.tenant.as_ref().is_some_and(|tenant| !tenant.topics.take(1)) {
                return false;
            }
            let topic: Arc<str> = topic.into();
            self.bus.subscribe(&self.owner, &topic, &self.inbox);
            self.topics.push(topic);
        }
        true
    }

    pub(crate) fn unsubscribe(&mut self, topic: &str) {
        if let Some(index) = self.topics.iter().position(|known| &**known == topic) {
            let topic = self.topics.swap_remove(index);
            self.bus.unsubscribe(&self.owner, &topic, &self.inbox);
            self.inbox.forget(&topic);
            self.inbox.give_back_topics(1);
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
        self.inbox.give_back_topics(self.topics.len() as u64);
    }
}

/// A bounded queue of messages for one instance.
#[derive(Debug)]
struct Inbox {
    limit: usize,
    tenant: Option<Arc<Tenant>>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    /// The number of messages that missed the queue, by topic; 0 where the number is unknown.
    missed: Vec<(Arc<str>, u32)>,
    waker: Option<Waker>,
}

impl Inbox {
    fn new(limit: usize, tenant: Option<Arc<Tenant>>) -> Self {
        Self { limit, tenant, queue: Mutex::default() }
    }

    fn give_back_topics(&self, count: u64) {
        if let Some(tenant) = &self.tenant {
            tenant.topics.give_back(count);
        }
    }

    fn give_back_bytes(&self, bytes: usize) {
        if let Some(tenant) = &self.tenant {
            tenant.topic_bytes.give_back(bytes as u64);
        }
    }

    /// Queues a message, and returns whether there was room for it.
    fn push(&self, topic: &Arc<str>, payload: &Bytes) -> bool {
        let mut queue = self.queue.lock();
        let size = payload.len() + MESSAGE_OVERHEAD;
        let fits = queue.bytes + size <= self.limit
            && self.tenant.as_ref().is_none_or(|tenant| tenant.topic_bytes.take(size as u64));
        if !fits {
            queue.miss(topic, 1);
            return false;
        }
        let missed = match queue.missed.iter().position(|(missed, _)| missed == topic) {
            Some(index) => queue.missed.swap_remove(index).1.max(1),
            None => 0,
        };
        queue.bytes += size;
        queue.messages.push_back(Message { topic: topic.clone(), payload: payload.clone(), missed });
        if let Some(waker) = queue.waker.take() {
            drop(queue);
            waker.wake();
        }
        true
    }

    fn miss(&self, topic: &Arc<str>, count: u32) {
        self.queue.lock().miss(topic, count);
    }

    /// Forgets the missed messages of a topic that is no longer subscribed to.
    fn forget(&self, topic: &Arc<str>) {
        self.queue.lock().missed.retain(|(missed, _)| missed != topic);
    }

    fn poll_pop(&self, context: &Context<'_>) -> Poll<Message> {
        let mut queue = self.queue.lock();
        if let Some(message) = queue.messages.pop_front() {
            let size = message.payload.len() + MESSAGE_OVERHEAD;
            queue.bytes -= size;
            self.give_back_bytes(size);
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

impl Queue {
    fn miss(&mut self, topic: &Arc<str>, count: u32) {
        match self.missed.iter_mut().find(|(missed, _)| missed == topic) {
            Some((_, known)) => *known = known.saturating_add(count),
            None => self.missed.push((topic.clone(), count)),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let bytes = self.queue.get_mut().bytes;
        self.give_back_bytes(bytes);
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

    fn publish(bus: &Bus, topic: &str, payload: &'static str) -> u32 {
        bus.publish(&"a".into(), topic, payload.into()).unwrap()
    }

    /// A broker that records its calls, and refuses the message `no`.
    #[derive(Debug, Default)]
    struct Told(Mutex<Vec<String>>);

    impl Broker for Told {
        fn subscribe(&self, owner: &Arc<str>, topic: &Arc<str>) {
            self.0.lock().push(format!("+{owner}/{topic}"));
        }

        fn unsubscribe(&self, owner: &Arc<str>, topic: &Arc<str>) {
            self.0.lock().push(format!("-{owner}/{topic}"));
        }

        fn publish(&self, owner: &Arc<str>, topic: &str, payload: &Bytes) -> Result<(), PublishError> {
            if payload == "no" {
                return Err(PublishError::QueueFull);
            }
            self.0.lock().push(format!("{owner}/{topic} {}", payload.len()));
            Ok(())
        }
    }

    #[test]
    fn a_broker_is_told_of_the_first_and_the_last_and_of_every_message() {
        let (bus, broker) = (Bus::default(), Arc::new(Told::default()));
        bus.join(broker.clone());
        let mut first = subscriber(&bus, "a", 1000);
        let mut second = subscriber(&bus, "a", 1000);
        first.subscribe("news");
        second.subscribe("news");
        assert_eq!(publish(&bus, "news", "hello"), 2);
        assert_eq!(bus.publish(&"a".into(), "news", "no".into()), Err(PublishError::QueueFull));
        let large = Bytes::from(vec![0; DEFAULT_MAX_PAYLOAD + 1]);
        assert_eq!(bus.publish(&"a".into(), "news", large), Err(PublishError::TooLarge(512 << 10)));
        drop(first);
        assert_eq!(next(&second).unwrap().payload, "hello");
        assert!(next(&second).is_none(), "what failed was sent to nobody");
        drop(second);
        assert_eq!(*broker.0.lock(), ["+a/news", "a/news 5", "-a/news"]);
    }

    #[test]
    fn what_is_lost_on_the_way_is_told_with_the_next_message() {
        let bus = Bus::default();
        let mut session = subscriber(&bus, "a", 1000);
        session.subscribe("one");
        session.subscribe("two");
        let missed = |session: &Subscriber| next(session).map(|message| message.missed);
        bus.lose_some();
        publish(&bus, "one", "x");
        assert_eq!(missed(&session), Some(1), "nobody knows how many");
        bus.deliver("a", "two", &"x".into(), 7);
        assert_eq!(missed(&session), Some(7), "somebody does");
        publish(&bus, "one", "x");
        assert_eq!(missed(&session), Some(0), "it is told once");
        bus.lose("a", "one", 2);
        bus.lose("b", "one", 2);
        bus.lose("a", "two", 5);
        session.unsubscribe("two");
        session.subscribe("two");
        bus.deliver("a", "one", &"x".into(), 1);
        assert_eq!(missed(&session), Some(3));
        publish(&bus, "two", "x");
        assert_eq!(missed(&session), Some(0), "it was another subscription");
    }

    #[test]
    fn owners_do_not_hear_each_other() {
        let bus = Bus::default();
        let mut ours = subscriber(&bus, "a", 1000);
        let mut theirs = subscriber(&bus, "b", 1000);
        ours.subscribe("news");
        theirs.subscribe("news");
        assert_eq!(publish(&bus, "news", "x"), 1);
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
            publish(&bus, "one", "x");
        }
        publish(&bus, "one", "x");
        publish(&bus, "two", "x");
        publish(&bus, "two", "x");
        assert_eq!(next(&session).unwrap().missed, 0);
        publish(&bus, "two", "y");
        assert_eq!(next(&session).unwrap().missed, 0);
        let message = next(&session).unwrap();
        assert_eq!((&*message.topic, message.missed), ("two", 2));
        publish(&bus, "one", "z");
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
        assert!(bus.0.topics.read().is_empty());
        assert_eq!(publish(&bus, "one", "x"), 0);
    }

    #[test]
    fn the_tenant_of_the_sessions_pays_for_messages_of_other_hosts() {
        let bus = Bus::default();
        let tenant = Tenant::new("t", roadrunner_values::Quota::default());
        let mut sessions = Vec::new();
        for _ in 0..5000 {
            let mut session = subscriber(&bus, "a", 1 << 20).of(Some(tenant.clone()));
            session.subscribe("news");
            sessions.push(session);
        }
        let span = Span::begin(true);
        assert_eq!(bus.arrive("a", "news", &"x".into(), 0), 5000);
        let beside = span.end();
        let charged = tenant.cpu.total();
        assert!(charged > 0 && charged > beside, "{charged} ns, and {beside} ns on nobody's account");
    }
}

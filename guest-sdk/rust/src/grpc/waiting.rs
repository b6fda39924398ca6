//! The events that a method can wait for, besides its requests.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::bus;
use crate::error::Result;
use crate::response::Message;

thread_local! {
    /// An instance answers one call at a time, so that there is one place for what it waits for.
    static WAITING: RefCell<Waiting> = const { RefCell::new(Waiting { next: 0, timers: BTreeMap::new(), topics: BTreeMap::new() }) };
}

struct Waiting {
    /// The next id.
    next: u64,
    timers: BTreeMap<(Instant, u64), Waker>,
    topics: BTreeMap<u64, Topic>,
}

struct Topic {
    name: String,
    messages: VecDeque<Message>,
    reader: Option<Waker>,
}

/// Waits for this long.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { until: Instant::now() + duration, id: WAITING.with_borrow_mut(Waiting::id) }
}

/// A future that is ready after a time: see [`sleep`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    until: Instant,
    id: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let timer = (self.until, self.id);
        WAITING.with_borrow_mut(|waiting| {
            if self.until <= Instant::now() {
                waiting.timers.remove(&timer);
                return Poll::Ready(());
            }
            waiting.timers.insert(timer, context.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        WAITING.with_borrow_mut(|waiting| waiting.timers.remove(&(self.until, self.id)));
    }
}

/// Subscribes to a topic of the bus. The stream has each message that is published from now on, until it is dropped.
///
/// # Errors
/// When the topic is not granted to the component.
pub fn subscribe(topic: &str) -> Result<Subscription> {
    bus::subscribe(topic)?;
    let topic = Topic { name: topic.to_owned(), messages: VecDeque::new(), reader: None };
    Ok(WAITING.with_borrow_mut(|waiting| {
        let id = waiting.id();
        waiting.topics.insert(id, topic);
        Subscription { id }
    }))
}

/// The messages of a topic: see [`subscribe`].
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct Subscription {
    id: u64,
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        WAITING.with_borrow_mut(|waiting| {
            let Some(topic) = waiting.topics.get_mut(&self.id) else { return Poll::Ready(None) };
            if let Some(message) = topic.messages.pop_front() {
                return Poll::Ready(Some(message));
            }
            topic.reader = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        WAITING.with_borrow_mut(|waiting| {
            let Some(Topic { name, .. }) = waiting.topics.remove(&self.id) else { return };
            if waiting.topics.values().all(|topic| topic.name != name) {
                bus::unsubscribe(&name);
            }
        });
    }
}

/// The time of the first timer.
pub(super) fn first_timer() -> Option<Instant> {
    WAITING.with_borrow(|waiting| waiting.timers.keys().next().map(|(until, _)| *until))
}

/// Whether a method waits for a topic.
pub(super) fn has_topics() -> bool {
    WAITING.with_borrow(|waiting| !waiting.topics.is_empty())
}

/// Wakes the futures whose time has come.
pub(super) fn fire() {
    let now = Instant::now();
    let due = WAITING.with_borrow_mut(|waiting| {
        let later = waiting.timers.split_off(&(now, u64::MAX));
        std::mem::replace(&mut waiting.timers, later)
    });
    due.into_values().for_each(Waker::wake);
}

/// Gives a message to all subscriptions of its topic.
pub(super) fn deliver(message: &Message) {
    WAITING.with_borrow_mut(|waiting| {
        for topic in waiting.topics.values_mut().filter(|topic| topic.name == message.topic) {
            topic.messages.push_back(message.clone());
            if let Some(reader) = topic.reader.take() {
                reader.wake();
            }
        }
    });
}

impl Waiting {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_once_its_time_has_come() {
        let mut context = Context::from_waker(Waker::noop());
        let mut long = std::pin::pin!(sleep(Duration::from_secs(3600)));
        assert!(long.as_mut().poll(&mut context).is_pending());
        let until = first_timer().expect("a timer");
        {
            let mut short = std::pin::pin!(sleep(Duration::from_millis(2)));
            assert!(short.as_mut().poll(&mut context).is_pending());
            assert!(first_timer().expect("a timer") < until);
            std::thread::sleep(Duration::from_millis(4));
            fire();
            assert!(short.as_mut().poll(&mut context).is_ready());
        }
        assert_eq!(first_timer(), Some(until));
    }
}

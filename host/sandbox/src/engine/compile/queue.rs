//! The queue of components to compile.
//!
//! | rule | reason |
//! |---|---|
//! | a maximum number at once on the host | compiling leaves processors for serving |
//! | one at a time of a tenant | no tenant has all compilers |
//! | one at a time of a component for an engine | the second request finds the result of the first |
//! | the waiting tenant that was served longest ago goes first | nobody waits for two components of another tenant |
//!
//! The host's own components have no tenant; only the first and third rule apply to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use roadrunner_account::Digest;
use roadrunner_child::Stop;

/// The interval at which a waiting compilation checks whether it has to stop.
const LOOK: Duration = Duration::from_millis(50);

/// The result of one compilation: the code of this component for an engine with this fingerprint.
pub(super) type Made = (Digest, u64);

type Tenant = Option<Arc<str>>;

#[derive(Debug)]
pub(super) struct Queue {
    at_once: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<u64, Job>,
    /// Waiting jobs, in order of arrival.
    waiting: BTreeMap<u64, Job>,
    /// The count at which each tenant was last served.
    served: BTreeMap<Tenant, u64>,
    count: u64,
}

#[derive(Debug)]
struct Job {
    made: Made,
    tenant: Tenant,
}

impl State {
    fn next(&self, at_once: usize) -> Option<u64> {
        if self.running.len() >= at_once {
            return None;
        }
        let may_run = |job: &Job| {
            let collides = |other: &Job| other.made == job.made || (job.tenant.is_some() && other.tenant == job.tenant);
            !self.running.values().any(collides)
        };
        let waiting = self.waiting.iter().filter(|(_, job)| may_run(job));
        let served = |job: &Job| self.served.get(&job.tenant).copied().unwrap_or_default();
        waiting.min_by_key(|(ticket, job)| (served(job), **ticket)).map(|(ticket, _)| *ticket)
    }
}

impl Queue {
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once: at_once.max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    /// The number of compilations that run, and the number that wait.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.running.len(), state.waiting.len())
    }

    /// Waits for a turn; none when the host stops meanwhile.
    pub(super) fn enter(&self, made: Made, tenant: Option<&str>, stop: &Stop) -> Option<Place<'_>> {
        let mut state = self.state.lock();
        state.count += 1;
        let ticket = state.count;
        state.waiting.insert(ticket, Job { made, tenant: tenant.map(Arc::from) });
        let mut waited = false;
        loop {
            if stop.is_stopped() {
                state.waiting.remove(&ticket);
                return None;
            }
            if state.next(self.at_once) == Some(ticket)
                && let Some(job) = state.waiting.remove(&ticket)
            {
                state.count += 1;
                let now = state.count;
                state.served.insert(job.tenant.clone(), now);
                state.running.insert(ticket, job);
                let running = state.running.len();
                drop(state);
                // There may be room for more.
                self.changed.notify_all();
                return Some(Place { queue: self, ticket, running, waited });
            }
            waited = true;
            self.changed.wait_for(&mut state, LOOK);
        }
    }
}

/// The right to compile.
#[derive(Debug)]
pub(crate) struct Place<'q> {
    queue: &'q Queue,
    ticket: u64,
    /// The number of compilations that run now, including this one.
    pub(super) running: usize,
    /// Whether the place was not available at once: another compilation may have made the same meanwhile.
    pub(crate) waited: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.state.lock().running.remove(&self.ticket);
        self.queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    fn made(text: &str) -> Made {
        (Digest::of(text.as_bytes()), 0)
    }

    /// Waits until this many wait.
    fn until_waiting(queue: &Queue, count: usize) {
        let start = Instant::now();
        while queue.state.lock().waiting.len() < count {
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", queue.state.lock());
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_of_a_tenant_and_so_many_of_the_host() {
        let (queue, stop) = (Queue::new(2), Stop::default());
        let first = queue.enter(made("a"), Some("one"), &stop).expect("a place");
        thread::scope(|scope| {
            let second = scope.spawn(|| queue.enter(made("b"), Some("one"), &stop).expect("a place").waited);
            until_waiting(&queue, 1);
            let other = queue.enter(made("c"), Some("two"), &stop).expect("a place");
            assert_eq!((other.running, other.waited), (2, false), "another tenant does not wait");
            drop(other);
            assert!(!second.is_finished(), "a tenant waits for itself");
            drop(first);
            assert!(second.join().expect("no panic"));
        });
    }

    #[test]
    fn nobody_waits_for_more_than_one_of_a_tenant_that_asks_often() {
        let (queue, stop) = (Queue::new(1), Stop::default());
        let order = Mutex::new(Vec::new());
        let first = queue.enter(made("0"), Some("busy"), &stop).expect("a place");
        thread::scope(|scope| {
            for (count, (digest, tenant)) in
                [("1", "busy"), ("2", "busy"), ("3", "busy"), ("4", "quiet")].into_iter().enumerate()
            {
                let (queue, stop, order) = (&queue, &stop, &order);
                scope.spawn(move || {
                    let place = queue.enter(made(digest), Some(tenant), stop).expect("a place");
                    order.lock().push(tenant);
                    drop(place);
                });
                until_waiting(queue, count + 1);
            }
            drop(first);
        });
        assert_eq!(order.into_inner(), ["quiet", "busy", "busy", "busy"]);
    }

    #[test]
    fn the_same_code_is_made_once_and_the_host_has_no_quota() {
        let (queue, stop) = (Queue::new(4), Stop::default());
        let first = queue.enter(made("a"), None, &stop).expect("a place");
        let other = queue.enter(made("b"), None, &stop).expect("a place");
        assert_eq!(other.running, 2);
        thread::scope(|scope| {
            let same = scope.spawn(|| queue.enter(made("a"), None, &stop).expect("a place").waited);
            until_waiting(&queue, 1);
            drop(other);
            assert!(!same.is_finished());
            drop(first);
            assert!(same.join().expect("no panic"), "it looks again for what the first has made");
        });
    }

    #[test]
    fn one_that_waits_can_be_stopped() {
        let (queue, stop) = (Queue::new(1), Stop::default());
        let _first = queue.enter(made("a"), None, &stop).expect("a place");
        assert_eq!(queue.counts(), (1, 0));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.enter(made("b"), None, &stop).is_none());
            until_waiting(&queue, 1);
            stop.stop();
            assert!(waiting.join().expect("no panic"));
        });
        assert!(queue.state.lock().waiting.is_empty());
    }
}

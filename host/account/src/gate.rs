//! Admission: caps on the number of instances, and a bounded queue in front of them.
//!
//! Gates count places. An instance takes one, or more where it needs more of the engine's pools than a place is worth
//! ([`Component::places`](crate::Component::places)).
//!
//! A permit is given back when the instance is really gone, not when its response is sent. A hibernating session has a
//! place of its own kind; to wake, it waits for a place among the held sessions. The hibernation places bound the
//! number that can wait.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::outcome::Outcome;
use crate::tenant::Tenant;

/// Settings of a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateSettings {
    /// Instances that may run at once. Default 1000.
    pub instances: usize,
    /// Sessions that may be held at once, in addition to the running instances. Default 10 000.
    pub held: usize,
    /// Sessions that may hibernate at once, in addition to the held ones. Default 100 000.
    pub hibernated: usize,
    /// Requests that may wait for an instance. Default 1000.
    pub queue: usize,
    /// The longest time that a request may wait. Default 1 s.
    pub queue_wait: Duration,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self { instances: 1000, held: 10_000, hibernated: 100_000, queue: 1000, queue_wait: Duration::from_secs(1) }
    }
}

/// Places for instances, for held sessions and for hibernating sessions.
#[derive(Debug)]
pub struct Gate {
    instances: Arc<Semaphore>,
    held: Arc<Semaphore>,
    hibernated: Arc<Semaphore>,
    settings: RwLock<GateSettings>,
    waiting: AtomicUsize,
    waking: AtomicUsize,
    refused: AtomicU64,
}

impl Gate {
    /// Creates a gate with all its places free.
    pub fn new(settings: GateSettings) -> Arc<Self> {
        Arc::new(Self {
            instances: Arc::new(Semaphore::new(settings.instances.min(Semaphore::MAX_PERMITS))),
            held: Arc::new(Semaphore::new(settings.held.min(Semaphore::MAX_PERMITS))),
            hibernated: Arc::new(Semaphore::new(settings.hibernated.min(Semaphore::MAX_PERMITS))),
            settings: RwLock::new(settings),
            waiting: AtomicUsize::new(0),
            waking: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// The settings of the gate.
    pub fn settings(&self) -> GateSettings {
        self.settings.read().clone()
    }

    /// Changes the queue. Requests that wait already keep their old limit.
    pub fn set_queue(&self, queue: usize, queue_wait: Duration) {
        let mut settings = self.settings.write();
        settings.queue = queue;
        settings.queue_wait = queue_wait;
    }

    /// Places of instances that run now.
    pub fn running(&self) -> usize {
        self.settings.read().instances.min(Semaphore::MAX_PERMITS) - self.instances.available_permits()
    }

    /// Places of sessions that are held now.
    pub fn held(&self) -> usize {
        self.settings.read().held.min(Semaphore::MAX_PERMITS) - self.held.available_permits()
    }

    /// Requests that found the queue full, or waited for too long.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Sessions that hibernate now.
    pub fn hibernated(&self) -> usize {
        self.settings.read().hibernated.min(Semaphore::MAX_PERMITS) - self.hibernated.available_permits()
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    async fn enter(&self, places: u32) -> Result<OwnedSemaphorePermit, Outcome> {
        if let Ok(permit) = self.instances.clone().try_acquire_many_owned(places) {
            return Ok(permit);
        }
        let waiter = Waiter::new(&self.waiting);
        let (queue, wait) = {
            let settings = self.settings.read();
            (settings.queue, settings.queue_wait)
        };
        if waiter.ahead < queue
            && let Ok(Ok(permit)) = tokio::time::timeout(wait, self.instances.clone().acquire_many_owned(places)).await
        {
            return Ok(permit);
        }
        self.refused.fetch_add(1, Relaxed);
        Err(Outcome::Overloaded)
    }
}

/// A waiting request in the count; removed also when the request is cancelled.
pub(crate) struct Waiter<'a> {
    waiting: &'a AtomicUsize,
    /// The number of requests that were waiting already.
    pub(crate) ahead: usize,
}

impl<'a> Waiter<'a> {
    pub(crate) fn new(waiting: &'a AtomicUsize) -> Self {
        Self { waiting, ahead: waiting.fetch_add(1, Relaxed) }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Relaxed);
    }
}

/// The gates that an instance passes, narrowest first: route, component, tenant, host.
#[derive(Clone, Debug)]
pub struct Gates {
    gates: Vec<Arc<Gate>>,
    tenant: Option<Arc<Tenant>>,
    places: u32,
}

impl Gates {
    /// Creates a sequence of gates, with one place in each.
    pub fn new(gates: Vec<Arc<Gate>>) -> Self {
        Self { gates, tenant: None, places: 1 }
    }

    /// Sets the number of places in each gate: the share of the engine's pools that an instance takes.
    #[must_use]
    pub fn taking(self, places: u32) -> Self {
        Self { places, ..self }
    }

    /// Admits only while this tenant has CPU time.
    #[must_use]
    pub fn of(self, tenant: Option<Arc<Tenant>>) -> Self {
        Self { tenant, ..self }
    }

    /// The tenant whose CPU time admits; none for the host itself.
    pub fn tenant(&self) -> Option<&Arc<Tenant>> {
        self.tenant.as_ref()
    }

    /// Waits for CPU time of the tenant, and then for a place in every gate.
    pub async fn admit(&self) -> Result<Permit, Outcome> {
        if let Some(tenant) = &self.tenant
            && tenant.cpu.debt().is_some()
        {
            let (queue, wait) = self.gates.last().map_or((0, Duration::ZERO), |gate| {
                let settings = gate.settings.read();
                (settings.queue, settings.queue_wait)
            });
            tenant.admit(queue, wait).await?;
        }
        let mut places = Vec::with_capacity(self.gates.len());
        for gate in &self.gates {
            places.push(gate.enter(self.places).await?);
        }
        Ok(Permit(places))
    }

    /// Turns the permit of a running instance into that of a held session, and frees its place among the running.
    pub fn hold(&self, permit: &mut Permit) -> Result<(), Outcome> {
        let mut places = Vec::with_capacity(self.gates.len());
        for gate in &self.gates {
            let place = gate.held.clone().try_acquire_many_owned(self.places);
            places.push(place.map_err(|_| Outcome::HeldExceeded)?);
        }
        permit.0 = places;
        Ok(())
    }

    /// A permit for a hibernating session, if there is room in every gate. It does not wait: a session without room
    /// stays held.
    pub fn hibernate(&self) -> Option<Permit> {
        let places = self.gates.iter().map(|gate| gate.hibernated.clone().try_acquire_owned().ok());
        places.collect::<Option<Vec<_>>>().map(Permit)
    }

    /// Waits for a place among the held sessions, up to `most`. While it waits, [`Self::is_pressed`] holds.
    pub async fn wake(&self, most: Duration) -> Result<Permit, Outcome> {
        let waiting = async {
            let mut places = Vec::with_capacity(self.gates.len());
            for gate in &self.gates {
                let _waking = Waiter::new(&gate.waking);
                // The semaphores of a gate are never closed.
                let place = gate.held.clone().acquire_many_owned(self.places).await;
                places.push(place.map_err(|_| Outcome::HeldExceeded)?);
            }
            Ok(Permit(places))
        };
        tokio::time::timeout(most, waiting).await.unwrap_or(Err(Outcome::HeldExceeded))
    }

    /// Whether a hibernating session waits for a place, so that idle ones should make room.
    pub fn is_pressed(&self) -> bool {
        self.gates.iter().any(|gate| gate.waking.load(Relaxed) > 0 && gate.held.available_permits() == 0)
    }
}

/// A place in each gate; given back when dropped.
#[derive(Debug)]
pub struct Permit(Vec<OwnedSemaphorePermit>);

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(instances: usize, held: usize, queue: usize) -> Arc<Gate> {
        Gate::new(GateSettings { instances, held, hibernated: 1, queue, queue_wait: Duration::from_millis(50) })
    }

    #[tokio::test]
    async fn a_full_gate_queues_and_then_refuses() {
        let gate = gate(1, 0, 1);
        let gates = Gates::new(vec![gate.clone()]);
        let first = gates.admit().await.unwrap();
        let (second, third) = tokio::join!(gates.admit(), gates.admit());
        assert_eq!(second.unwrap_err(), Outcome::Overloaded);
        assert_eq!(third.unwrap_err(), Outcome::Overloaded);
        assert_eq!((gate.waiting(), gate.refused()), (0, 2));
        let (second, ()) = tokio::join!(gates.admit(), async { drop(first) });
        second.unwrap();
        assert_eq!(gate.running(), 0);
    }

    #[tokio::test]
    async fn a_held_session_frees_its_running_place() {
        let gate = gate(1, 1, 0);
        let gates = Gates::new(vec![gate.clone()]);
        let mut permit = gates.admit().await.unwrap();
        gates.hold(&mut permit).unwrap();
        assert_eq!((gate.running(), gate.held()), (0, 1));
        let mut second = gates.admit().await.unwrap();
        assert_eq!(gates.hold(&mut second).unwrap_err(), Outcome::HeldExceeded);
        assert_eq!(gate.running(), 1, "a refused session keeps its running place until it is gone");
        drop((permit, second));
        assert_eq!((gate.running(), gate.held()), (0, 0));
    }

    #[tokio::test]
    async fn an_instance_that_needs_more_takes_several_places() {
        let gate = gate(4, 3, 2);
        let (light, heavy) = (Gates::new(vec![gate.clone()]), Gates::new(vec![gate.clone()]).taking(3));
        let (first, mut second) = (light.admit().await.unwrap(), heavy.admit().await.unwrap());
        assert_eq!(gate.running(), 4);
        assert_eq!(light.admit().await.unwrap_err(), Outcome::Overloaded);
        heavy.hold(&mut second).unwrap();
        assert_eq!((gate.running(), gate.held()), (1, 3));
        let mut third = heavy.admit().await.unwrap();
        assert_eq!(heavy.hold(&mut third).unwrap_err(), Outcome::HeldExceeded);
        // A single free place is no room for an instance that needs three.
        assert_eq!((gate.running(), heavy.admit().await.unwrap_err()), (4, Outcome::Overloaded));
        drop((first, second, third));
        assert_eq!((gate.running(), gate.held()), (0, 0));
        let asleep = heavy.hibernate().unwrap();
        assert_eq!(gate.hibernated(), 1, "without an instance it needs no more than any other");
        let woken = heavy.wake(Duration::from_secs(1)).await.unwrap();
        assert_eq!(gate.held(), 3);
        drop((asleep, woken));
    }

    #[tokio::test]
    async fn a_place_in_the_first_gate_is_given_back_when_the_second_is_full() {
        let (narrow, wide) = (gate(2, 0, 0), gate(1, 0, 0));
        let gates = Gates::new(vec![narrow.clone(), wide]);
        let first = gates.admit().await.unwrap();
        assert_eq!(gates.admit().await.unwrap_err(), Outcome::Overloaded);
        assert_eq!(narrow.running(), 1);
        drop(first);
    }

    #[tokio::test]
    async fn a_session_that_wakes_waits_for_a_held_place() {
        let gate = gate(1, 1, 0);
        let gates = Gates::new(vec![gate.clone()]);
        let asleep = gates.hibernate().unwrap();
        assert_eq!(gate.hibernated(), 1);
        assert!(gates.hibernate().is_none(), "there is room for one");
        let mut held = gates.admit().await.unwrap();
        gates.hold(&mut held).unwrap();
        let wake = gates.wake(Duration::from_secs(1));
        let (woken, ()) = tokio::join!(wake, async {
            tokio::task::yield_now().await;
            assert!(gates.is_pressed());
            drop(held);
        });
        drop(asleep);
        assert_eq!((gate.held(), gate.hibernated()), (1, 0));
        assert!(!gates.is_pressed());
        assert_eq!(gates.wake(Duration::from_secs(1)).await.unwrap_err(), Outcome::HeldExceeded);
        drop(woken);
        assert_eq!(gate.held(), 0);
    }
}

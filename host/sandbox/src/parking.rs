//! Instances that wait for their next request, for components whose manifest entry asks for reuse.
//!
//! A parked instance serves only the route that it was started for. It is retired after a number of requests, when it
//! has waited for too long, and on any fault: only an instance that answered in full is ever parked.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::component::Component;
use crate::native::Guest;
use crate::standard::returned::Returned;
use crate::state::State;

/// The parked instances of one route.
pub struct Parking {
    requests: u32,
    idle: Duration,
    /// Places for parked instances of the whole host, and those that one of these instances takes.
    places: Arc<Semaphore>,
    needed: u32,
    lot: Mutex<Lot>,
}

#[derive(Default)]
struct Lot {
    /// Parked instances, oldest first.
    parked: Vec<Parked>,
    swept: bool,
}

/// An instance between two requests.
#[expect(clippy::large_enum_variant, reason = "a parking lot has one kind, and boxes would cost each request")]
pub(crate) enum Idle {
    Native(Guest),
    Standard(Returned),
}

impl Idle {
    fn answered(&self) -> u32 {
        match self {
            Self::Native(guest) => guest.answered,
            Self::Standard(returned) => returned.answered,
        }
    }

    fn state(&self) -> &State {
        match self {
            Self::Native(guest) => guest.store.data(),
            Self::Standard(returned) => returned.store.data(),
        }
    }
}

struct Parked {
    idle: Idle,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

impl Parking {
    /// Creates a lot for instances of a component that answer at most `requests` requests, and wait at most `idle` for
    /// the next.
    pub fn new(component: &Component, requests: u32, idle: Duration) -> Arc<Self> {
        let (places, needed) = (component.sandbox.parked().clone(), component.places);
        Arc::new(Self { requests, idle, places, needed, lot: Mutex::default() })
    }

    /// The number of parked instances.
    pub fn len(&self) -> usize {
        self.lot.lock().parked.len()
    }

    /// Whether nothing is parked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the instance that was parked last: its memory is the warmest.
    pub(crate) fn take(&self) -> Option<Idle> {
        self.lot.lock().parked.pop().map(|parked| parked.idle)
    }

    /// Parks an instance, unless it is due to retire or there is no room.
    pub(crate) fn put(self: &Arc<Self>, idle: Idle) {
        idle.state().end_lines();
        if idle.answered() >= self.requests {
            return;
        }
        let Ok(place) = self.places.clone().try_acquire_many_owned(self.needed) else { return };
        let mut lot = self.lot.lock();
        lot.parked.push(Parked { idle, since: Instant::now(), _place: place });
        if !std::mem::replace(&mut lot.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.idle));
        }
    }

    /// Retires instances that have waited for too long, and returns whether any is left.
    fn retire(&self) -> bool {
        let mut lot = self.lot.lock();
        let stale = lot.parked.iter().take_while(|parked| parked.since.elapsed() >= self.idle).count();
        let retired: Vec<_> = lot.parked.drain(..stale).collect();
        lot.swept = !lot.parked.is_empty();
        let left = lot.swept;
        drop(lot);
        drop(retired);
        left
    }
}

impl std::fmt::Debug for Parking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parking")
            .field("requests", &self.requests)
            .field("idle", &self.idle)
            .field("parked", &self.len())
            .finish()
    }
}

/// Retires instances for as long as something is parked.
async fn sweep(parking: Weak<Parking>, idle: Duration) {
    loop {
        tokio::time::sleep((idle / 2).max(Duration::from_millis(1))).await;
        let Some(parking) = parking.upgrade() else { return };
        if !parking.retire() {
            return;
        }
    }
}

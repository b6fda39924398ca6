//! Instances that wait for their next request, for components whose manifest entry asks for reuse.
//!
//! A parked instance serves only the route that it was started for. It is retired after a number of requests, when it
//! has waited for too long, and on any fault: only an instance that answered in full is ever parked.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use crate::instance::Guest;
use crate::standard::Returned;
use crate::state::{Binding, State};

/// Places of instances that may be parked at once on the whole host, in addition to those of the caps.
pub const PARKED: usize = 256;

/// The parked instances of one route.
pub struct Parking {
    requests: u32,
    idle: Duration,
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
    /// Creates a lot for instances that answer at most `requests` requests, and wait at most `idle` for the next.
    pub fn new(requests: u32, idle: Duration) -> Self {
        Self { requests, idle, lot: Mutex::default() }
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
    pub(crate) fn put(&self, binding: &Arc<Binding>, idle: Idle) {
        idle.state().end_lines();
        if idle.answered() >= self.requests {
            return;
        }
        let (places, needed) = (binding.component.sandbox.parked().clone(), binding.component.places);
        let Ok(place) = places.try_acquire_many_owned(needed) else { return };
        let mut lot = self.lot.lock();
        lot.parked.push(Parked { idle, since: Instant::now(), _place: place });
        if !std::mem::replace(&mut lot.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(binding), self.idle));
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
async fn sweep(binding: Weak<Binding>, idle: Duration) {
    loop {
        tokio::time::sleep((idle / 2).max(Duration::from_millis(1))).await;
        let Some(binding) = binding.upgrade() else { return };
        if !binding.parking.as_ref().is_some_and(Parking::retire) {
            return;
        }
    }
}

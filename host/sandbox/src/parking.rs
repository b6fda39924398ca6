//! Instances that wait for their next request: restored to their first state, or as they are, where the manifest asks
//! for reuse.
//!
//! A parked instance serves only the route that it was started for. It is retired after a number of requests, when it
//! has waited for too long, and on any fault: only an instance that answered in full is ever parked.
//!
//! Restored instances belong to the host: no tenant pays for them, and none can have more than half of their places. So
//! they are bounded in number and in bytes. Where there is no room, one that has waited longest makes room.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use roadrunner_account::Tenant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;

use crate::component::Component;
use crate::native::Guest;
use crate::restore::First;
use crate::standard::returned::Returned;
use crate::state::State;

/// The most restored instances of one route.
const MOST_OF_ROUTE: usize = 64;

/// The longest time that a restored instance waits for a request.
const RESTORED_IDLE: Duration = Duration::from_secs(30);

/// The most requests that a restored instance answers. It bounds what the engine may gather in it.
const RESTORED_REQUESTS: u32 = 10_000;

/// The number of restored instances that are dropped where the machine has no more room.
const GIVEN_BACK: usize = 64;

/// The number of lots that are compared when one has to make room.
const COMPARED: usize = 8;

/// The parked instances of one route.
pub struct Parking {
    requests: u32,
    idle: Duration,
    /// Places for parked instances of the whole host, and those that one of these instances takes.
    places: Arc<Semaphore>,
    needed: u32,
    /// The lots of restored instances of the whole host; none where instances are reused as they are.
    lots: Option<Arc<Lots>>,
    tenant: Option<Arc<Tenant>>,
    lot: Mutex<Lot>,
}

/// The lots of all restored instances of a host.
#[derive(Debug)]
pub(crate) struct Lots {
    places: Arc<Semaphore>,
    count: usize,
    /// Bytes that restored instances have written, and the most of them.
    bytes: AtomicUsize,
    most_bytes: usize,
    lots: Mutex<Vec<Weak<Parking>>>,
    next: AtomicUsize,
}

impl Lots {
    /// Creates room for this many restored instances, and for this many bytes that they have written.
    pub(crate) fn new(count: usize, most_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(count)),
            count,
            bytes: AtomicUsize::new(0),
            most_bytes,
            lots: Mutex::default(),
            next: AtomicUsize::new(0),
        })
    }

    /// The number of restored instances that wait, and the bytes that they have written.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.count - self.places.available_permits(), self.bytes.load(Relaxed))
    }

    /// Drops some of the instances that wait, where the machine has no more room.
    pub(crate) fn give_back(&self) {
        for _ in 0..GIVEN_BACK {
            self.make_room();
        }
    }

    /// Drops the instance that has waited longest in a few lots.
    fn make_room(&self) {
        let mut lots = self.lots.lock();
        lots.retain(|lot| lot.strong_count() > 0);
        let from = self.next.fetch_add(COMPARED, Relaxed);
        let count = lots.len();
        // A few empty lots do not matter.
        let some = (0..count.min(4 * COMPARED)).filter_map(|step| lots[(from + step) % count].upgrade());
        let filled = some.filter_map(|lot| Some((lot.oldest()?, lot))).take(COMPARED);
        let found = filled.min_by_key(|(since, _)| *since).map(|(_, lot)| lot);
        drop(lots);
        if let Some(lot) = found {
            let dropped = lot.lot.lock().take_oldest();
            drop(dropped);
        }
    }
}

/// The place of a parked instance.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    restored: Option<(Arc<Lots>, usize, Option<Arc<Tenant>>)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((lots, bytes, tenant)) = &self.restored {
            lots.bytes.fetch_sub(*bytes, Relaxed);
            if let Some(tenant) = tenant {
                tenant.restored.give_back(1);
            }
        }
    }
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

    /// The store, and the first state; none where it cannot be put back.
    pub(crate) fn parts(&mut self) -> (&mut Store<State>, Option<&First>) {
        match self {
            // A session has handles that are made once.
            Self::Native(guest) => {
                let is_session = guest.is_session();
                (&mut guest.store, guest.first.as_ref().filter(|_| !is_session))
            }
            Self::Standard(returned) => (&mut returned.store, returned.first.as_ref()),
        }
    }
}

struct Parked {
    idle: Idle,
    since: Instant,
    _place: Place,
}

impl Lot {
    fn take_oldest(&mut self) -> Option<Parked> {
        (!self.parked.is_empty()).then(|| self.parked.remove(0))
    }
}

impl Parking {
    /// Creates a lot for instances of a component that answer at most `requests` requests, and wait at most `idle` for
    /// the next.
    pub fn new(component: &Component, requests: u32, idle: Duration) -> Arc<Self> {
        let (places, needed) = (component.sandbox.parked().clone(), component.places);
        Arc::new(Self { requests, idle, places, needed, lots: None, tenant: None, lot: Mutex::default() })
    }

    /// Creates a lot for instances of a component of this tenant that are put back to their first state.
    pub fn restored(component: &Component, tenant: Option<&Arc<Tenant>>) -> Arc<Self> {
        let lots = component.sandbox.restored();
        let parking = Arc::new(Self {
            requests: RESTORED_REQUESTS,
            idle: RESTORED_IDLE,
            places: lots.places.clone(),
            needed: component.places,
            lots: Some(lots.clone()),
            tenant: tenant.cloned(),
            lot: Mutex::default(),
        });
        lots.lots.lock().push(Arc::downgrade(&parking));
        parking
    }

    /// Whether instances are put back to their first state before they are parked.
    pub(crate) fn restores(&self) -> bool {
        self.lots.is_some()
    }

    /// The time since when the oldest has waited.
    fn oldest(&self) -> Option<Instant> {
        self.lot.lock().parked.first().map(|parked| parked.since)
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

    /// Parks an instance that has written this many bytes, unless it is due to retire or there is no room.
    pub(crate) fn put(self: &Arc<Self>, idle: Idle, written: usize) {
        if idle.answered() >= self.requests {
            return;
        }
        let Some(place) = self.place(written) else { return };
        let mut lot = self.lot.lock();
        if self.restores() && lot.parked.len() >= MOST_OF_ROUTE {
            return;
        }
        lot.parked.push(Parked { idle, since: Instant::now(), _place: place });
        if !std::mem::replace(&mut lot.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.idle));
        }
    }

    /// Takes a place for an instance; none where there is no room.
    fn place(&self, written: usize) -> Option<Place> {
        let take = || self.places.clone().try_acquire_many_owned(self.needed).ok();
        let Some(lots) = &self.lots else { return Some(Place { _permit: take()?, restored: None }) };
        if lots.bytes.load(Relaxed) + written > lots.most_bytes {
            lots.make_room();
        }
        let permit = take().or_else(|| {
            lots.make_room();
            take()
        })?;
        if let Some(tenant) = &self.tenant {
            tenant.restored.add(1);
        }
        let bytes = lots.bytes.fetch_add(written, Relaxed) + written;
        let place = Place { _permit: permit, restored: Some((lots.clone(), written, self.tenant.clone())) };
        let is_fair = self.tenant.as_ref().is_none_or(|tenant| tenant.restored.used() as usize <= lots.count / 2);
        (bytes <= lots.most_bytes && is_fair).then_some(place)
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

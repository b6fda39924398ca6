//! The size of a namespace's entries, and the limit on several namespaces together.
//!
//! Each namespace of an embedded store has a gauge, which only its store's writer changes: at once, so that operations
//! of one transaction see each other, and back if the transaction fails. A [`Budget`] adds up gauges, of several stores
//! if need be, and lets one writer at a time take from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::{Mutex, MutexGuard};

use crate::error::Error;

/// The current size of one namespace's entries, in bytes.
pub(crate) type Gauge = Arc<AtomicU64>;

/// The gauges of a store, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Gauges(Mutex<HashMap<Vec<u8>, Gauge>>);

impl Gauges {
    pub(crate) fn of(&self, namespace: &[u8]) -> Gauge {
        let mut gauges = self.0.lock();
        match gauges.get(namespace) {
            Some(gauge) => gauge.clone(),
            None => gauges.entry(namespace.to_owned()).or_default().clone(),
        }
    }
}

/// The gauges that one transaction changes. Dropping it restores them, unless the transaction was committed.
#[derive(Debug)]
pub(crate) struct Moved {
    gauges: Arc<Gauges>,
    /// The gauges with their previous values.
    before: BTreeMap<Vec<u8>, (Gauge, u64)>,
}

impl Moved {
    pub(crate) fn new(gauges: &Arc<Gauges>) -> Self {
        Self { gauges: gauges.clone(), before: BTreeMap::new() }
    }

    /// Records that an entry of this namespace changes in size from `before` to `after` bytes. It changes nothing if
    /// `budget` does not allow it.
    pub(crate) fn change(
        &mut self,
        namespace: &[u8],
        before: u64,
        after: u64,
        budget: Option<&Budget>,
    ) -> Result<(), Error> {
        let gauge = match self.before.get(namespace) {
            Some((gauge, _)) => gauge.clone(),
            None => {
                let gauge = self.gauges.of(namespace);
                self.before.insert(namespace.to_owned(), (gauge.clone(), gauge.load(Relaxed)));
                gauge
            }
        };
        let _turn = budget.map(|budget| budget.turn(before, after)).transpose()?;
        // There is no other writer of the gauge.
        gauge.store(gauge.load(Relaxed).saturating_sub(before) + after, Relaxed);
        Ok(())
    }

    /// The changed gauges, with their current values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.before.iter().map(|(namespace, (gauge, _))| (namespace.as_slice(), gauge.load(Relaxed)))
    }

    /// Keeps the changes: the transaction was committed.
    pub(crate) fn keep(mut self) {
        self.before.clear();
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        for (gauge, before) in self.before.values() {
            gauge.store(*before, Relaxed);
        }
    }
}

/// The limit on several namespaces of embedded stores together. Cheap to clone; all buckets under the limit have to
/// share one.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: Option<u64>,
    /// The gauges, without duplicates.
    gauges: Vec<Gauge>,
    taking: Mutex<()>,
}

impl Budget {
    /// Makes a budget of at most this many bytes in the namespaces of these gauges.
    pub(crate) fn over(most: Option<u64>, all: impl IntoIterator<Item = Gauge>) -> Self {
        let mut gauges: Vec<Gauge> = Vec::new();
        for gauge in all {
            if !gauges.iter().any(|known| Arc::ptr_eq(known, &gauge)) {
                gauges.push(gauge);
            }
        }
        Self(Arc::new(Inner { most, gauges, taking: Mutex::new(()) }))
    }

    /// The bytes that all namespaces hold now.
    pub fn bytes(&self) -> u64 {
        self.0.gauges.iter().map(|gauge| gauge.load(Relaxed)).sum()
    }

    /// Whether the other budget has the same limit over the same namespaces.
    pub fn is_like(&self, other: &Self) -> bool {
        let (one, other) = (&self.0, &other.0);
        one.most == other.most
            && one.gauges.len() == other.gauges.len()
            && one.gauges.iter().zip(&other.gauges).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Whether both are the same budget.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes the turn to replace an entry of `before` bytes with an entry of `after` bytes, if that fits. A smaller
    /// entry always fits.
    fn turn(&self, before: u64, after: u64) -> Result<Option<MutexGuard<'_, ()>>, Error> {
        let Some(most) = self.0.most else { return Ok(None) };
        let turn = self.0.taking.lock();
        if after > before && self.bytes().saturating_sub(before) + after > most {
            return Err(Error::BudgetSpent(most));
        }
        Ok(Some(turn))
    }
}

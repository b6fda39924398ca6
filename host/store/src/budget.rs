//! What the entries of a namespace take, and what several namespaces may take together.
//!
//! Each namespace of an embedded store has a gauge, which its store's writer alone changes: at once, so that operations of
//! one transaction see each other, and back where the transaction fails. A [`Budget`] adds gauges up, of several stores if
//! need be, and lets one writer at a time take of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::{Mutex, MutexGuard};

use crate::{Backend, Error, Store};

/// What the entries of one namespace take now, in bytes.
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

/// The gauges that one transaction moves. They go back when it is dropped, unless the transaction has happened.
#[derive(Debug)]
pub(crate) struct Moved {
    gauges: Arc<Gauges>,
    /// With what each showed before.
    before: BTreeMap<Vec<u8>, (Gauge, u64)>,
}

impl Moved {
    pub(crate) fn new(gauges: &Arc<Gauges>) -> Self {
        Self { gauges: gauges.clone(), before: BTreeMap::new() }
    }

    /// An entry of this namespace took so many bytes, and now takes so many. Nothing is moved if `budget` does not allow it.
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
        // Nobody else changes it.
        gauge.store(gauge.load(Relaxed).saturating_sub(before) + after, Relaxed);
        Ok(())
    }

    /// What was moved, with what each shows now.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.before.iter().map(|(namespace, (gauge, _))| (namespace.as_slice(), gauge.load(Relaxed)))
    }

    /// The transaction has happened.
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

/// What several namespaces of embedded stores may hold together. Cheap to clone; one has to be shared by all buckets that
/// it holds for.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: Option<u64>,
    /// Each once.
    gauges: Vec<Gauge>,
    taking: Mutex<()>,
}

impl Budget {
    /// At most so many bytes of keys and values, as [`Place::File`](crate::Place::File) counts them, in all of these
    /// namespaces; none for no limit. What is in Redis is not counted.
    pub fn new<'s>(most: Option<u64>, namespaces: impl IntoIterator<Item = (&'s Store, &'s str)>) -> Self {
        let mut gauges: Vec<Gauge> = Vec::new();
        for (store, namespace) in namespaces {
            let Backend::Embedded(embedded) = &store.backend else { continue };
            let gauge = embedded.gauges().of(crate::bucket::prefix(namespace).as_bytes());
            if !gauges.iter().any(|known| Arc::ptr_eq(known, &gauge)) {
                gauges.push(gauge);
            }
        }
        Self(Arc::new(Inner { most, gauges, taking: Mutex::new(()) }))
    }

    /// What all namespaces hold now.
    pub fn bytes(&self) -> u64 {
        self.0.gauges.iter().map(|gauge| gauge.load(Relaxed)).sum()
    }

    /// Whether the other one has the same limit over the same namespaces.
    pub fn is_like(&self, other: &Self) -> bool {
        let (one, other) = (&self.0, &other.0);
        one.most == other.most
            && one.gauges.len() == other.gauges.len()
            && one.gauges.iter().zip(&other.gauges).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Whether it is the other one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The turn to put something of `after` bytes in the place of something of `before` bytes, if that fits. What makes it
    /// less fits always.
    fn turn(&self, before: u64, after: u64) -> Result<Option<MutexGuard<'_, ()>>, Error> {
        let Some(most) = self.0.most else { return Ok(None) };
        let turn = self.0.taking.lock();
        if after > before && self.bytes().saturating_sub(before) + after > most {
            return Err(Error::BudgetSpent(most));
        }
        Ok(Some(turn))
    }
}

//! One namespace of a store, with its limits.
//!
//! An operation takes one of the bucket's places and keeps it until the store is done with it, also when nobody waits
//! for the answer any more: what a store has to do is bounded by the places of its buckets.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use roadrunner_threads::{STORES, Share};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::tables::{Reading, Writing};
use crate::{Backend, Bill, Budget, Error, Store};

/// Keys in one page, at most.
pub const MAX_PAGE: usize = 1000;

/// What the user of a bucket may do. All of it is enforced by [`Bucket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a key.
    pub key: usize,
    /// Bytes of a value, when it is written and when it is read.
    pub value: usize,
    /// Operations at once. More wait, up to [`Self::timeout`].
    pub operations: usize,
    /// How long an operation takes at most, with the wait for its place.
    pub timeout: Duration,
}

/// Some keys of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys. In an embedded store they are sorted; Redis gives them in any order, and may give one twice.
    pub keys: Vec<String>,
    /// What brings the next page; none after the last.
    pub next: Option<String>,
}

/// One namespace of a store. Cheap to clone; clones share the places for operations.
#[derive(Clone, Debug)]
pub struct Bucket(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    /// With what separates it from the key.
    namespace: Arc<str>,
    limits: Limits,
    budget: Option<Budget>,
    bill: Option<Bill>,
    places: Arc<Semaphore>,
    /// Threads that read a file for it.
    threads: Share,
}

/// A place among the operations of a bucket, and who pays for the one that has it.
pub(crate) struct Place {
    bill: Option<Bill>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// The operation has used so much CPU time.
    pub(crate) fn charge(&self, used: Duration) {
        if let Some(bill) = &self.bill {
            bill.charge(used);
        }
    }
}

/// Whom namespaces belong to.
#[derive(Default)]
pub struct Owner {
    /// It shares the threads that read stores with all of that name.
    pub name: String,
    /// What holds for its namespaces together.
    pub budget: Option<Budget>,
    /// Is told what their operations cost.
    pub bill: Option<Bill>,
}

impl Bucket {
    /// A namespace of a store. Namespaces are told apart by their names, which hold no control characters.
    pub fn new(store: Store, namespace: &str, limits: Limits) -> Self {
        Self::of(Owner { name: namespace.to_owned(), ..Owner::default() }, store, namespace, limits)
    }

    /// A namespace of an owner that has others, too.
    pub fn of(owner: Owner, store: Store, namespace: &str, limits: Limits) -> Self {
        let Owner { name, budget, bill } = owner;
        let namespace = match &store.backend {
            Backend::Embedded(_) => prefix(namespace).into(),
            Backend::Redis(_) => format!("roadrunner:{}:{namespace}:", store.name()).into(),
        };
        let places = Arc::new(Semaphore::new(limits.operations.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner { store, namespace, limits, budget, bill, places, threads: STORES.share(&name) }))
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What holds for its namespace and others together.
    pub fn budget(&self) -> Option<&Budget> {
        self.0.budget.as_ref()
    }

    /// What stands under a key.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let (key, most) = (self.key(key)?, self.0.limits.value);
        let run = |place, ends| async move {
            match self.backend() {
                Backend::Embedded(embedded) => {
                    embedded.read(&self.0.threads, place, move |tables| tables.get(&key, most)).await
                }
                Backend::Redis(redis) => held(place, redis.get(&key, most, ends)).await,
            }
        };
        self.timed(run).await
    }

    /// Puts a value under a key, whether there is one or not. It is gone after `ttl`; without, a time to live that the
    /// key had is gone.
    pub async fn set(&self, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<(), Error> {
        let key = self.key(key)?;
        self.check_value(&value)?;
        let budget = self.0.budget.clone();
        let run = |place, ends| async move {
            match self.backend() {
                Backend::Embedded(embedded) => {
                    let write = move |tables: &mut Writing<'_>| tables.set(&key, &value, ttl, budget.as_ref());
                    embedded.write(place, write).await
                }
                Backend::Redis(redis) => held(place, redis.set(&key, &value, ttl, ends)).await,
            }
        };
        self.timed(run).await
    }

    /// The same, if what stands under the key now is this; none for nothing. Whether it was.
    pub async fn set_if(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<bool, Error> {
        let key = self.key(key)?;
        self.check_value(&value)?;
        let budget = self.0.budget.clone();
        let run = |place, ends| async move {
            match self.backend() {
                Backend::Embedded(embedded) => {
                    let write = move |tables: &mut Writing<'_>| {
                        tables.set_if(&key, expected.as_deref(), &value, ttl, budget.as_ref())
                    };
                    embedded.write(place, write).await
                }
                Backend::Redis(redis) => held(place, redis.set_if(&key, expected.as_deref(), &value, ttl, ends)).await,
            }
        };
        self.timed(run).await
    }

    /// Removes a key. Whether it was there.
    pub async fn delete(&self, key: &str) -> Result<bool, Error> {
        let key = self.key(key)?;
        let run = |place, ends| async move {
            match self.backend() {
                Backend::Embedded(embedded) => embedded.write(place, move |tables| tables.delete(&key)).await,
                Backend::Redis(redis) => held(place, redis.delete(&key, ends)).await,
            }
        };
        self.timed(run).await
    }

    /// Whether a key is there.
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        let key = self.key(key)?;
        let run = |place, ends| async move {
            match self.backend() {
                Backend::Embedded(embedded) => {
                    embedded.read(&self.0.threads, place, move |tables| tables.exists(&key)).await
                }
                Backend::Redis(redis) => held(place, redis.exists(&key, ends)).await,
            }
        };
        self.timed(run).await
    }

    /// Adds to the number under a key, which is written in decimal; nothing counts as 0. A time to live that the key has
    /// stays. The sum.
    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        let (key, budget) = (self.key(key)?, self.0.budget.clone());
        let run = |place, ends| async move {
            match self.backend() {
                Backend::Embedded(embedded) => {
                    let write = move |tables: &mut Writing<'_>| tables.increment(&key, delta, budget.as_ref());
                    embedded.write(place, write).await
                }
                Backend::Redis(redis) => held(place, redis.increment(&key, delta, ends)).await,
            }
        };
        self.timed(run).await
    }

    /// Keys that begin with a prefix: up to `most` of them, where Redis may give a few more; 0 and more than
    /// [`MAX_PAGE`] mean that. Keys that are there all the while from the first page to the last are in one of them. In
    /// Redis a page may be empty and not be the last.
    pub async fn keys(&self, prefix: &str, cursor: Option<&str>, most: usize) -> Result<Page, Error> {
        let skip = self.0.namespace.len();
        let prefix = self.key(prefix)?;
        let most = if most == 0 { MAX_PAGE } else { most.min(MAX_PAGE) };
        // A key in an embedded store, a number in Redis.
        let after = cursor.map(|cursor| self.key(cursor)).transpose()?;
        let number = cursor.map_or(Some(0), |cursor| cursor.parse().ok());
        let run = |place, ends| async move {
            match self.backend() {
                Backend::Embedded(embedded) => {
                    let read = move |tables: &Reading| tables.keys(&prefix, after.as_deref(), most, skip);
                    embedded.read(&self.0.threads, place, read).await
                }
                Backend::Redis(redis) => {
                    let cursor = number.ok_or(Error::WrongCursor)?;
                    held(place, redis.keys(&prefix, cursor, most, skip, ends)).await
                }
            }
        };
        self.timed(run).await
    }

    /// Gives an operation its place and its time.
    async fn timed<T, F: Future<Output = Result<T, Error>>>(
        &self,
        run: impl FnOnce(Place, Instant) -> F,
    ) -> Result<T, Error> {
        let Limits { operations, timeout, .. } = self.0.limits;
        let ends = Instant::now() + timeout;
        let place = match self.0.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => match timeout_at(ends, self.0.places.clone().acquire_owned()).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) | Err(_) => return Err(Error::Overloaded(operations)),
            },
        };
        let place = Place { bill: self.0.bill.clone(), _permit: place };
        timeout_at(ends, run(place, ends)).await.unwrap_or(Err(Error::Timeout))
    }

    fn backend(&self) -> &Backend {
        &self.0.store.backend
    }

    /// The key as the store has it.
    fn key(&self, key: &str) -> Result<Vec<u8>, Error> {
        if key.len() > self.0.limits.key {
            return Err(Error::KeyTooLong(self.0.limits.key as u64));
        }
        Ok([self.0.namespace.as_bytes(), key.as_bytes()].concat())
    }

    fn check_value(&self, value: &[u8]) -> Result<(), Error> {
        if value.len() > self.0.limits.value {
            return Err(Error::ValueTooLong(self.0.limits.value as u64));
        }
        Ok(())
    }
}

/// What the keys of a namespace begin with in an embedded store.
pub(crate) fn prefix(namespace: &str) -> String {
    format!("{namespace}\0")
}

/// Keeps a place until an operation has ended or is dropped.
async fn held<T>(_place: Place, operation: impl Future<Output = T>) -> T {
    operation.await
}

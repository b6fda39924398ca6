//! One namespace of a store, with its limits.
//!
//! An operation takes one of the bucket's places and keeps it until the store is done with it, even when its caller has
//! stopped waiting. So the places of its buckets bound the work of a store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use roadrunner_threads::{STORES, Share};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::bill::Bill;
use crate::budget::Budget;
use crate::error::Error;
use crate::operation::Place;
use crate::page::{MAX_PAGE, Page};
use crate::store::{Backend, Store};
use crate::tables::{Reading, Writing, prefix};

/// The limits of a bucket, all of which [`Bucket`] enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a key.
    pub key: usize,
    /// The most bytes of a value, on writing and on reading.
    pub value: usize,
    /// The most operations at once. More wait, up to [`Self::timeout`].
    pub operations: usize,
    /// The most time of an operation, including the wait for its place.
    pub timeout: Duration,
}

/// One namespace of a store. Cheap to clone; clones share the places for operations.
#[derive(Clone, Debug)]
pub struct Bucket(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    /// The namespace, with the separator between it and the key.
    namespace: Arc<str>,
    limits: Limits,
    budget: Option<Budget>,
    bill: Option<Bill>,
    places: Arc<Semaphore>,
    /// The owner's share of threads that read a file.
    threads: Share,
}

/// An owner of namespaces.
#[derive(Default)]
pub struct Owner {
    /// The owner's name. Owners of the same name share the threads that read stores.
    pub name: String,
    /// The limit on all of its namespaces together.
    pub budget: Option<Budget>,
    /// The bill for their operations.
    pub bill: Option<Bill>,
}

impl Bucket {
    /// Makes a bucket for a namespace of a store. Namespaces are distinguished by their names, which contain no control
    /// characters.
    pub fn new(store: Store, namespace: &str, limits: Limits) -> Self {
        Self::of(Owner { name: namespace.to_owned(), ..Owner::default() }, store, namespace, limits)
    }

    /// Makes a bucket for a namespace of an owner that may have others, too.
    pub fn of(owner: Owner, store: Store, namespace: &str, limits: Limits) -> Self {
        let Owner { name, budget, bill } = owner;
        let namespace = match &store.backend {
            Backend::Embedded(_) => prefix(namespace).into(),
            Backend::Redis(_) => format!("roadrunner:{}:{namespace}:", store.name()).into(),
        };
        let places = Arc::new(Semaphore::new(limits.operations.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner { store, namespace, limits, budget, bill, places, threads: STORES.share(&name) }))
    }

    /// The limits of the bucket.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The limit on its namespace and others together.
    pub fn budget(&self) -> Option<&Budget> {
        self.0.budget.as_ref()
    }

    /// Reads the value of a key.
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

    /// Sets the value of a key, whether it has one or not. The value expires after `ttl`; without it, an existing time
    /// to live is removed.
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

    /// Sets the value of a key if its current value is `expected`; `None` means no value. Returns whether it was. `ttl`
    /// works as in [`Self::set`].
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

    /// Removes a key. Returns whether it existed.
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

    /// Whether a key exists.
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

    /// Adds to the number at a key, which is written in decimal; a missing value counts as 0. An existing time to live
    /// stays. Returns the sum.
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

    /// Lists keys that begin with a prefix: up to `most` of them, though Redis may give a few more; 0 and values above
    /// [`MAX_PAGE`] mean [`MAX_PAGE`]. Keys that exist all the time from the first page to the last are in one of the
    /// pages. In Redis a page may be empty without being the last.
    pub async fn keys(&self, prefix: &str, cursor: Option<&str>, most: usize) -> Result<Page, Error> {
        let skip = self.0.namespace.len();
        let prefix = self.key(prefix)?;
        let most = if most == 0 { MAX_PAGE } else { most.min(MAX_PAGE) };
        // The cursor is a key in an embedded store, and a number in Redis.
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

    /// Runs an operation with a place and a timeout.
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
        let place = Place::new(self.0.bill.clone(), place);
        timeout_at(ends, run(place, ends)).await.unwrap_or(Err(Error::Timeout))
    }

    fn backend(&self) -> &Backend {
        &self.0.store.backend
    }

    /// The key in the form that the store uses.
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

/// Keeps a place until an operation has ended or is dropped.
async fn held<T>(_place: Place, operation: impl Future<Output = T>) -> T {
    operation.await
}

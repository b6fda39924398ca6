//! Key-value stores that a component is granted.
//!
//! The stores themselves are [`Bucket`]s, which the server provides: this crate knows no sockets. Each of them waits
//! for a place, has a timeout and checks sizes itself. Bytes held for the guest here count as its memory.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use roadrunner_account::Outcome;
use wasmtime::Result;
use wasmtime::component::{Linker, Resource};

use crate::bindings::roadrunner::handler::store;
use crate::bindings::roadrunner::handler::types::Error;
use crate::engine::Wasi;
use crate::guest::core::{Call, Capability, Carries, Of, Stop};

/// The pending answer to an operation on a store.
pub type StoreAnswer<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// A component's view of a store. It enforces the store's limits, and logs and counts failures.
pub trait Bucket: Send + Sync + fmt::Debug {
    /// Gets the value of a key.
    fn get(&self, key: String) -> StoreAnswer<Option<Vec<u8>>>;
    /// Sets the value of a key, for a while or until it is changed.
    fn set(&self, key: String, value: Vec<u8>, ttl: Option<Duration>) -> StoreAnswer<()>;
    /// Sets the value of a key if the current value, or its absence, is as expected. Returns whether it was.
    fn set_if(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> StoreAnswer<bool>;
    /// Removes a key, and returns whether it was there.
    fn delete(&self, key: String) -> StoreAnswer<bool>;
    /// Whether a key is there.
    fn exists(&self, key: String) -> StoreAnswer<bool>;
    /// Adds to the number under a key, and returns the sum.
    fn increment(&self, key: String, delta: i64) -> StoreAnswer<i64>;
    /// Lists some keys that begin with a prefix.
    fn keys(&self, prefix: String, cursor: Option<String>, limit: u32) -> StoreAnswer<StorePage>;
}

/// A page of a bucket's keys.
#[derive(Clone, Debug, Default)]
pub struct StorePage {
    /// The keys.
    pub keys: Vec<String>,
    /// The cursor for the next page; none after the last.
    pub cursor: Option<String>,
}

/// The reason why an operation on a store failed, as the guest sees it.
#[derive(Clone, Debug)]
pub enum StoreError {
    /// The store failed; the text names it, and nothing of the host's network or files.
    Internal(String),
    /// A rule does not allow it; the text names the rule.
    Refused(String),
    /// The store's `timeout` passed.
    Timeout,
    /// A limit, in bytes, would have been exceeded.
    TooLarge(u64),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Internal(reason) => Self::Internal(reason),
            StoreError::Refused(rule) => Self::Refused(rule),
            StoreError::Timeout => Self::Timeout,
            StoreError::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

/// A guest's handle on a bucket.
pub struct OpenBucket(Arc<dyn Bucket>);

/// The capability `store`.
pub struct Stores;

impl Capability for Stores {
    type Grant = BTreeMap<String, Arc<dyn Bucket>>;
    type Held = ();

    fn link<T: Carries<Self>>(linker: &mut Linker<T>, _: Wasi) -> Result<()> {
        store::add_to_linker::<_, Of<Self>>(linker, T::call)
    }
}

impl store::Host for Call<'_, Stores> {
    fn open(&mut self, name: String) -> Result<Result<Resource<OpenBucket>, Error>> {
        let Some(bucket) = self.grant.get(&name).cloned() else {
            return Ok(Err(Error::Refused("stores: this component is granted no store of this name".into())));
        };
        Ok(Ok(self.core.table.push(OpenBucket(bucket))?))
    }
}

impl store::HostBucket for Call<'_, Stores> {
    async fn get(&mut self, this: Resource<OpenBucket>, key: String) -> Result<Result<Option<Vec<u8>>, Error>> {
        let value = match self.bucket(&this)?.get(key).await {
            Ok(value) => value,
            Err(error) => return Ok(Err(error.into())),
        };
        // The host holds the value, in addition to the guest, until this call has returned.
        if value.as_ref().is_some_and(|value| value.len() as u64 > self.core.memory.left()) {
            return Err(Stop(Outcome::MemoryExceeded).into());
        }
        Ok(Ok(value))
    }

    async fn set(
        &mut self,
        this: Resource<OpenBucket>,
        key: String,
        value: Vec<u8>,
        ttl: Option<u64>,
    ) -> Result<Result<(), Error>> {
        let bucket = self.bucket(&this)?;
        let size = value.len();
        self.charged(size, bucket.set(key, value, ttl.map(Duration::from_millis))).await
    }

    async fn set_if(
        &mut self,
        this: Resource<OpenBucket>,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl: Option<u64>,
    ) -> Result<Result<bool, Error>> {
        let bucket = self.bucket(&this)?;
        let size = value.len() + expected.as_ref().map_or(0, Vec::len);
        self.charged(size, bucket.set_if(key, expected, value, ttl.map(Duration::from_millis))).await
    }

    async fn delete(&mut self, this: Resource<OpenBucket>, key: String) -> Result<Result<bool, Error>> {
        Ok(self.bucket(&this)?.delete(key).await.map_err(Error::from))
    }

    async fn exists(&mut self, this: Resource<OpenBucket>, key: String) -> Result<Result<bool, Error>> {
        Ok(self.bucket(&this)?.exists(key).await.map_err(Error::from))
    }

    async fn increment(&mut self, this: Resource<OpenBucket>, key: String, delta: i64) -> Result<Result<i64, Error>> {
        Ok(self.bucket(&this)?.increment(key, delta).await.map_err(Error::from))
    }

    async fn keys(
        &mut self,
        this: Resource<OpenBucket>,
        prefix: String,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<Result<store::Page, Error>> {
        let page = self.bucket(&this)?.keys(prefix, cursor, limit).await;
        Ok(page.map(|StorePage { keys, cursor }| store::Page { keys, cursor }).map_err(Error::from))
    }

    fn drop(&mut self, this: Resource<OpenBucket>) -> Result<()> {
        self.core.table.delete(this)?;
        Ok(())
    }
}

impl Call<'_, Stores> {
    fn bucket(&self, this: &Resource<OpenBucket>) -> Result<Arc<dyn Bucket>> {
        Ok(self.core.table.get(this)?.0.clone())
    }

    /// Runs an operation during which the host holds bytes of the guest.
    async fn charged<T>(&mut self, bytes: usize, operation: StoreAnswer<T>) -> Result<Result<T, Error>> {
        if !self.core.memory.charge(bytes as u64) {
            return Err(Stop(Outcome::MemoryExceeded).into());
        }
        let result = operation.await;
        self.core.memory.release(bytes as u64);
        Ok(result.map_err(Error::from))
    }
}

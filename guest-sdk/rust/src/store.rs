//! Key-value stores that the manifest grants to this component.
//!
//! Each component sees only its own keys, unless the manifest shares the store. Every operation waits for the store,
//! and lets the host serve others meanwhile. All of them fail with [`Error::Timeout`] when the store does not answer in
//! time (the operation may still take effect), and with [`Error::Internal`] when it fails.

use std::time::Duration;

use crate::bindings::roadrunner::handler::store as wit;
use crate::error::{Error, Result};

/// The keys of one store that this component sees.
#[derive(Debug)]
pub struct Bucket(wit::Bucket);

/// Some keys of a bucket.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// The keys, in no certain order.
    pub keys: Vec<String>,
    /// The cursor for the next page; `None` after the last.
    pub cursor: Option<String>,
}

impl Bucket {
    /// Opens a store by its name in the manifest.
    ///
    /// # Errors
    /// [`Error::Refused`] for any name that is not granted, whether such a store exists or not.
    pub fn open(name: &str) -> Result<Self> {
        Ok(Self(wit::open(name)?))
    }

    /// Reads the value of a key.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a key, or a value, beyond the store's limit.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key)?)
    }

    /// Sets the value of a key until it is changed or removed. An existing time to live is removed.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a key or a value beyond the store's limit, or when the store is full.
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.0.set(key, value.as_ref(), None)?)
    }

    /// Sets the value of a key, which expires after `ttl`.
    ///
    /// # Errors
    /// As [`Bucket::set`].
    pub fn set_for(&self, key: &str, value: impl AsRef<[u8]>, ttl: Duration) -> Result<()> {
        Ok(self.0.set(key, value.as_ref(), Some(millis(ttl)))?)
    }

    /// Sets the value of a key if its current value is `expected`; `None` means no value. Returns whether it was.
    ///
    /// # Errors
    /// As [`Bucket::set`].
    pub fn set_if(&self, key: &str, expected: Option<&[u8]>, value: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.0.set_if(key, expected, value.as_ref(), None)?)
    }

    /// Does the same as [`Bucket::set_if`]; the value expires after `ttl`.
    ///
    /// # Errors
    /// As [`Bucket::set`].
    pub fn set_if_for(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<bool> {
        Ok(self.0.set_if(key, expected, value.as_ref(), Some(millis(ttl)))?)
    }

    /// Removes a key. Returns whether it existed.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a key beyond the store's limit.
    pub fn delete(&self, key: &str) -> Result<bool> {
        Ok(self.0.delete(key)?)
    }

    /// Whether a key exists.
    ///
    /// # Errors
    /// As [`Bucket::delete`].
    pub fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.0.exists(key)?)
    }

    /// Adds to the number at a key, which is written in decimal; a missing value counts as 0. An existing time to live
    /// stays. Returns the sum.
    ///
    /// # Errors
    /// [`Error::Refused`] when the value or the sum is not a number of 64 bits.
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        Ok(self.0.increment(key, delta)?)
    }

    /// Lists keys that begin with a prefix: about `limit` of them, 0 for as many as the host gives at once. Keys that
    /// exist from the first page to the last are in one of the pages. A page can be empty without being the last.
    ///
    /// # Errors
    /// [`Error::Refused`] for a cursor that no page returned.
    pub fn keys(&self, prefix: &str, cursor: Option<&str>, limit: u32) -> Result<Page> {
        let page = self.0.keys(prefix, cursor, limit)?;
        Ok(Page { keys: page.keys, cursor: page.cursor })
    }
}

#[cfg(feature = "json")]
impl Bucket {
    /// Reads the value of a key, as JSON.
    ///
    /// # Errors
    /// As [`Bucket::get`], and [`Error::Internal`] when it is not the requested JSON.
    pub fn get_json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.get(key)?;
        value.map(|value| serde_json::from_slice(&value).map_err(Error::internal)).transpose()
    }

    /// Sets the value of a key, as JSON.
    ///
    /// # Errors
    /// As [`Bucket::set`], and [`Error::Internal`] when it cannot be written as JSON.
    pub fn set_json<T: serde::Serialize>(&self, key: &str, value: &T) -> Result<()> {
        self.set(key, serde_json::to_vec(value).map_err(Error::internal)?)
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

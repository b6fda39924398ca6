//! The interface `store`: keys and values in memory, for as long as the test's host lives. Entries do not expire.

use std::collections::BTreeMap;

use super::types::Error;
use super::with_host;

/// The granted stores.
pub(crate) type Stores = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// The meaning of a `limit` of 0.
const PAGE: usize = 100;

#[derive(Debug)]
pub struct Page {
    pub keys: Vec<String>,
    pub cursor: Option<String>,
}

#[derive(Debug)]
pub struct Bucket(String);

pub fn open(name: &str) -> Result<Bucket, Error> {
    if with_host(|host| host.stores.contains_key(name)) {
        return Ok(Bucket(name.to_owned()));
    }
    Err(Error::Refused(format!("no store is granted as `{name}`")))
}

impl Bucket {
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.with(|keys| keys.get(key).cloned()))
    }

    pub fn set(&self, key: &str, value: &[u8], _ttl: Option<u64>) -> Result<(), Error> {
        self.with(|keys| keys.insert(key.to_owned(), value.to_owned()));
        Ok(())
    }

    pub fn set_if(&self, key: &str, expected: Option<&[u8]>, value: &[u8], ttl: Option<u64>) -> Result<bool, Error> {
        let is_expected = self.with(|keys| keys.get(key).map(Vec::as_slice) == expected);
        if is_expected {
            self.set(key, value, ttl)?;
        }
        Ok(is_expected)
    }

    pub fn delete(&self, key: &str) -> Result<bool, Error> {
        Ok(self.with(|keys| keys.remove(key).is_some()))
    }

    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        Ok(self.with(|keys| keys.contains_key(key)))
    }

    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        let value = self.get(key)?.unwrap_or(b"0".to_vec());
        let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i64>().ok());
        let sum = number.and_then(|number| number.checked_add(delta));
        let sum = sum.ok_or_else(|| Error::Refused(format!("there is no number of 64 bits under `{key}`")))?;
        self.set(key, sum.to_string().as_bytes(), None)?;
        Ok(sum)
    }

    /// Lists keys. The cursor is the last key of the previous page.
    pub fn keys(&self, prefix: &str, cursor: Option<&str>, limit: u32) -> Result<Page, Error> {
        let limit = if limit == 0 { PAGE } else { limit as usize };
        let fits = |key: &&String| key.starts_with(prefix) && cursor.is_none_or(|last| key.as_str() > last);
        let mut keys: Vec<String> =
            self.with(|keys| keys.keys().filter(fits).take(limit.saturating_add(1)).cloned().collect());
        let is_last = keys.len() <= limit;
        keys.truncate(limit);
        let cursor = if is_last { None } else { keys.last().cloned() };
        Ok(Page { keys, cursor })
    }

    fn with<T>(&self, run: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> T {
        with_host(|host| run(host.stores.entry(self.0.clone()).or_default()))
    }
}

//! The tables of an embedded store: entries, their expiry, and their total size.
//!
//! An expired entry is invisible, and one of the next writes removes it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{
    Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, StorageError, Table, TableDefinition,
    WriteTransaction,
};

use crate::budget::{Budget, Gauges, Moved};
use crate::error::Error;
use crate::page::Page;

/// Key -> the expiry in milliseconds since 1970 as eight bytes, then the value. 0 means never.
const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");

/// The expiries, by time and key.
const EXPIRIES: TableDefinition<(u64, &[u8]), ()> = TableDefinition::new("expiries");

/// Numbers about the whole store.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

/// Namespace, with its separator from the key -> the size of its entries.
const NAMESPACES: TableDefinition<&[u8], u64> = TableDefinition::new("namespaces");

/// The key in [`NUMBERS`] of the size of all entries.
const BYTES: &str = "bytes";

/// The number of bytes in front of a value.
const STAMP: usize = 8;

/// The size of an entry besides its key and its value, so that even the smallest ones are bounded.
const ENTRY: u64 = 64;

/// The number of expired entries that one batch of writes removes.
const SWEEP: usize = 1000;

/// The longest time to live; longer ones are shortened to it.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A store in the view of a batch of writes.
pub(crate) struct Writing<'t> {
    entries: Table<'t, &'static [u8], &'static [u8]>,
    expiries: Table<'t, (u64, &'static [u8]), ()>,
    numbers: Table<'t, &'static str, u64>,
    namespaces: Table<'t, &'static [u8], u64>,
    moved: Moved,
    store: Arc<str>,
    /// The current size of all entries.
    bytes: u64,
    most: u64,
    now: u64,
    /// The pages are unreliable: nothing of the batch may be committed.
    failed: bool,
}

/// A batch that can be committed.
pub(crate) struct Closed {
    /// The size of all entries after the commit.
    pub(crate) bytes: u64,
    /// When the next entry expires.
    pub(crate) next: Option<u64>,
    /// The gauge changes, to be kept once the batch is committed.
    pub(crate) moved: Moved,
}

impl<'t> Writing<'t> {
    /// Opens the tables, and creates them at first.
    pub(crate) fn open(
        transaction: &'t WriteTransaction,
        store: &Arc<str>,
        most: u64,
        moved: Moved,
    ) -> Result<Self, redb::Error> {
        let numbers = transaction.open_table(NUMBERS)?;
        let bytes = numbers.get(BYTES)?.map_or(0, |bytes| bytes.value());
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            expiries: transaction.open_table(EXPIRIES)?,
            numbers,
            namespaces: transaction.open_table(NAMESPACES)?,
            moved,
            store: store.clone(),
            bytes,
            most,
            now: now(),
            failed: false,
        })
    }

    /// Whether the batch has to be abandoned.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Records the size of all entries.
    pub(crate) fn close(mut self) -> Result<Closed, redb::Error> {
        self.numbers.insert(BYTES, self.bytes)?;
        for (namespace, bytes) in self.moved.iter() {
            match bytes {
                0 => drop(self.namespaces.remove(namespace)?),
                _ => drop(self.namespaces.insert(namespace, bytes)?),
            }
        }
        let next = self.expiries.first()?.map(|(key, _)| key.value().0);
        Ok(Closed { bytes: self.bytes, next, moved: self.moved })
    }

    /// Removes expired entries, up to a number of them.
    pub(crate) fn sweep(&mut self) -> Result<(), Error> {
        for _ in 0..SWEEP {
            let due = first_expiry(&self.expiries);
            match self.storage(due)? {
                Some((at, key)) if at <= self.now => self.remove(&key)?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    pub(crate) fn set(
        &mut self,
        key: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
        budget: Option<&Budget>,
    ) -> Result<(), Error> {
        let expiry = ttl.map_or(0, |ttl| self.now + millis(ttl));
        self.put(key, value, expiry, budget)
    }

    pub(crate) fn set_if(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
        ttl: Option<Duration>,
        budget: Option<&Budget>,
    ) -> Result<bool, Error> {
        let found = self.live(key)?;
        if found.as_ref().map(|(_, value)| value.as_slice()) != expected {
            return Ok(false);
        }
        self.set(key, value, ttl, budget).map(|()| true)
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<bool, Error> {
        let was_live = self.live(key)?.is_some();
        self.remove(key)?;
        Ok(was_live)
    }

    pub(crate) fn increment(&mut self, key: &[u8], delta: i64, budget: Option<&Budget>) -> Result<i64, Error> {
        let (expiry, before) = match self.live(key)? {
            Some((expiry, value)) => (expiry, number(&value)?),
            None => (0, 0),
        };
        let sum = before.checked_add(delta).ok_or(Error::OVERFLOW)?;
        self.put(key, sum.to_string().as_bytes(), expiry, budget)?;
        Ok(sum)
    }

    /// The expiry and the value of a key's entry, if it has not expired.
    fn live(&mut self, key: &[u8]) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let now = self.now;
        let live =
            with_entry(&self.entries, key, |expiry, value| is_live(expiry, now).then(|| (expiry, value.to_owned())));
        Ok(self.storage(live)?.flatten())
    }

    fn put(&mut self, key: &[u8], value: &[u8], expiry: u64, budget: Option<&Budget>) -> Result<(), Error> {
        let before = with_entry(&self.entries, key, |expiry, value| (expiry, cost(key, value)));
        let before = self.storage(before)?;
        let (expiry_before, cost_before) = before.unwrap_or_default();
        let cost = cost(key, value);
        let bytes = self.bytes - cost_before.min(self.bytes) + cost;
        // A store that exceeds its limit still accepts changes that make it smaller.
        if bytes > self.most && bytes > self.bytes {
            return Err(Error::StoreFull(self.most));
        }
        self.moved.change(namespace_of(key), cost_before, cost, budget)?;
        self.forget_expiry(expiry_before, key)?;
        let entry = [&expiry.to_le_bytes(), value].concat();
        let inserted = self.entries.insert(key, &*entry).map(drop);
        self.storage(inserted)?;
        if expiry != 0 {
            let inserted = self.expiries.insert((expiry, key), ()).map(drop);
            self.storage(inserted)?;
        }
        self.bytes = bytes;
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Error> {
        let gone = self.entries.remove(key).map(|entry| {
            entry.map(|entry| {
                let (expiry, value) = parts(entry.value());
                (expiry, cost(key, value))
            })
        });
        let gone = self.storage(gone)?;
        if let Some((expiry, cost)) = gone {
            self.bytes = self.bytes.saturating_sub(cost);
            self.moved.change(namespace_of(key), cost, 0, None)?;
            self.forget_expiry(expiry, key)?;
        }
        Ok(())
    }

    fn forget_expiry(&mut self, expiry: u64, key: &[u8]) -> Result<(), Error> {
        if expiry != 0 {
            let removed = self.expiries.remove((expiry, key)).map(drop);
            self.storage(removed)?;
        }
        Ok(())
    }

    /// Converts the result of an access to the pages.
    fn storage<T>(&mut self, result: Result<T, StorageError>) -> Result<T, Error> {
        result.map_err(|error| self.fail(&error))
    }

    fn fail(&mut self, error: &StorageError) -> Error {
        self.failed = true;
        failed(&self.store, error)
    }
}

/// Sets the gauges to each namespace's size. A store without recorded sizes is counted once.
pub(crate) fn read_namespaces(database: &Database, gauges: &Gauges) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut namespaces = transaction.open_table(NAMESPACES)?;
        let bytes = transaction.open_table(NUMBERS)?.get(BYTES)?.map_or(0, |bytes| bytes.value());
        let mut noted = BTreeMap::new();
        for entry in namespaces.iter()? {
            let (namespace, bytes) = entry?;
            noted.insert(namespace.value().to_owned(), bytes.value());
        }
        if noted.values().sum::<u64>() != bytes {
            namespaces.retain(|_, _| false)?;
            noted.clear();
            for entry in transaction.open_table(ENTRIES)?.iter()? {
                let (key, entry) = entry?;
                let key = key.value();
                *noted.entry(namespace_of(key).to_owned()).or_default() += cost(key, parts(entry.value()).1);
            }
            for (namespace, bytes) in &noted {
                namespaces.insert(namespace.as_slice(), bytes)?;
            }
        }
        for (namespace, bytes) in noted {
            gauges.of(&namespace).store(bytes, Relaxed);
        }
    }
    Ok(transaction.commit()?)
}

/// A store in the view of one read.
pub(crate) struct Reading {
    entries: ReadOnlyTable<&'static [u8], &'static [u8]>,
    store: Arc<str>,
    now: u64,
}

impl Reading {
    pub(crate) fn open(database: &Database, store: &Arc<str>) -> Result<Self, Error> {
        let entries = database.begin_read().map_err(redb::Error::from);
        let entries = entries.and_then(|transaction| Ok(transaction.open_table(ENTRIES)?));
        Ok(Self { entries: entries.map_err(|error| failed(store, &error))?, store: store.clone(), now: now() })
    }

    pub(crate) fn get(&self, key: &[u8], most: usize) -> Result<Option<Vec<u8>>, Error> {
        let Some(entry) = self.entries.get(key).map_err(|error| failed(&self.store, &error))? else {
            return Ok(None);
        };
        let (expiry, value) = parts(entry.value());
        if !is_live(expiry, self.now) {
            return Ok(None);
        }
        // Written under another limit.
        if value.len() > most {
            return Err(Error::ValueTooLong(most as u64));
        }
        Ok(Some(value.to_owned()))
    }

    pub(crate) fn exists(&self, key: &[u8]) -> Result<bool, Error> {
        let entry = self.entries.get(key).map_err(|error| failed(&self.store, &error))?;
        Ok(entry.is_some_and(|entry| is_live(parts(entry.value()).0, self.now)))
    }

    /// The keys that begin with `prefix` and come after `after`, without their first `skip` bytes.
    pub(crate) fn keys(&self, prefix: &[u8], after: Option<&[u8]>, most: usize, skip: usize) -> Result<Page, Error> {
        let failed = |error| failed(&self.store, &error);
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut page = Page::default();
        for entry in self.entries.range::<&[u8]>((start, Bound::Unbounded)).map_err(failed)? {
            let (key, entry) = entry.map_err(failed)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            if !is_live(parts(entry.value()).0, self.now) {
                continue;
            }
            if page.keys.len() == most {
                page.next = page.keys.last().cloned();
                break;
            }
            // Keys come from guests as text.
            page.keys.push(String::from_utf8_lossy(&key.value()[skip..]).into_owned());
        }
        Ok(page)
    }
}

/// The entry that expires first, or has expired.
fn first_expiry(expiries: &Table<'_, (u64, &'static [u8]), ()>) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
    Ok(expiries.first()?.map(|(key, _)| {
        let (at, key) = key.value();
        (at, key.to_owned())
    }))
}

/// Looks at an entry's expiry and value, and returns the result.
fn with_entry<T>(
    entries: &Table<'_, &'static [u8], &'static [u8]>,
    key: &[u8],
    look: impl FnOnce(u64, &[u8]) -> T,
) -> Result<Option<T>, StorageError> {
    Ok(entries.get(key)?.map(|entry| {
        let (expiry, value) = parts(entry.value());
        look(expiry, value)
    }))
}

fn failed(store: &Arc<str>, error: &impl ToString) -> Error {
    Error::Failed { store: store.clone(), reason: error.to_string() }
}

/// The expiry and the value of an entry.
fn parts(entry: &[u8]) -> (u64, &[u8]) {
    match entry.split_first_chunk::<STAMP>() {
        Some((stamp, value)) => (u64::from_le_bytes(*stamp), value),
        // Another program wrote it.
        None => (0, entry),
    }
}

/// The prefix of a namespace's keys in an embedded store.
pub(crate) fn prefix(namespace: &str) -> String {
    format!("{namespace}\0")
}

/// The namespace of a key, with its separator.
fn namespace_of(key: &[u8]) -> &[u8] {
    // A key without a namespace comes from another program.
    let end = key.iter().position(|byte| *byte == 0).map_or(0, |zero| zero + 1);
    &key[..end]
}

fn is_live(expiry: u64, now: u64) -> bool {
    expiry == 0 || expiry > now
}

fn cost(key: &[u8], value: &[u8]) -> u64 {
    key.len() as u64 + value.len() as u64 + ENTRY
}

/// Parses a number in Redis's form: decimal, without a plus sign and without leading zeros.
fn number(value: &[u8]) -> Result<i64, Error> {
    let number = std::str::from_utf8(value).ok().and_then(|text| {
        let number: i64 = text.parse().ok()?;
        (number.to_string() == text).then_some(number)
    });
    number.ok_or(Error::NO_NUMBER)
}

/// A time to live in milliseconds, at least one.
pub(crate) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.min(LONGEST).as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    fn database() -> Database {
        Database::builder().create_with_backend(InMemoryBackend::new()).expect("memory")
    }

    /// Sets these keys to a hundred bytes each, and commits that or not.
    fn write(database: &Database, gauges: &Arc<Gauges>, keys: &[&[u8]], commit: bool) {
        let transaction = database.begin_write().expect("nobody else writes");
        let moved = Moved::new(gauges);
        let mut tables = Writing::open(&transaction, &"test".into(), u64::MAX, moved).expect("tables");
        for key in keys {
            tables.set(key, &[0; 100], None, None).expect("there is room");
        }
        let closed = tables.close().expect("tables");
        if commit {
            transaction.commit().expect("memory");
            closed.moved.keep();
        }
    }

    fn shown(gauges: &Gauges) -> [u64; 2] {
        [&b"one\0"[..], b"two\0"].map(|namespace| gauges.of(namespace).load(Relaxed))
    }

    #[test]
    fn a_batch_that_is_given_up_takes_nothing() {
        let (database, gauges) = (database(), Arc::new(Gauges::default()));
        write(&database, &gauges, &[b"one\0a"], true);
        assert_eq!(shown(&gauges), [169, 0]);
        write(&database, &gauges, &[b"one\0b", b"one\0c", b"two\0a"], false);
        assert_eq!(shown(&gauges), [169, 0]);
    }

    #[test]
    fn a_store_that_has_noted_nothing_is_counted() {
        let (database, gauges) = (database(), Arc::new(Gauges::default()));
        write(&database, &gauges, &[b"one\0a", b"two\0a", b"two\0b"], true);
        assert_eq!(shown(&gauges), [169, 338]);
        for forgotten in [false, true] {
            if forgotten {
                let transaction = database.begin_write().expect("nobody else writes");
                transaction.delete_table(NAMESPACES).expect("it is there");
                transaction.commit().expect("memory");
            }
            let again = Arc::new(Gauges::default());
            read_namespaces(&database, &again).expect("it can be read");
            assert_eq!(shown(&again), [169, 338], "forgotten: {forgotten}");
            // Later changes continue from there.
            write(&database, &again, &[b"one\0a"], true);
            assert_eq!(shown(&again), [169, 338]);
        }
    }
}

//! The encoder's dynamic table: its entries can be found by field and by name, and know their age in bytes.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use bytes::Bytes;

use crate::dynamic_table::{DynamicTable, Entry};

/// A dynamic table with two indexes over it.
///
/// The indexes go by keyed hash and hold the newest entry of each; a hit is compared with the entry itself, so that a
/// collision is a miss and never a wrong field.
#[derive(Debug, Default)]
pub(super) struct IndexedTable {
    table: DynamicTable,
    /// One per entry, in the same order.
    marks: VecDeque<Mark>,
    by_field: HashMap<u64, u64, BuildHasherDefault<Unhashed>>,
    by_name: HashMap<u64, u64, BuildHasherDefault<Unhashed>>,
    keys: RandomState,
    /// Bytes of all entries ever inserted.
    written: u64,
}

/// The hashes of one field under this table's keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    pub(super) name: u64,
    /// Of name and value.
    pub(super) field: u64,
}

/// The content for a duplicate.
#[derive(Debug)]
pub(super) struct Original {
    absolute: u64,
    entry: Entry,
    hashes: Hashes,
}

#[derive(Debug)]
struct Mark {
    hashes: Hashes,
    /// `written` before this entry.
    start: u64,
    /// The absolute index of the entry that this one duplicates.
    older_copy: Option<u64>,
}

impl IndexedTable {
    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.table.set_capacity(capacity);
    }

    /// Adds an entry and returns its absolute index. Call [`evict_for`] first, to make room.
    ///
    /// [`evict_for`]: Self::evict_for
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], hashes: Hashes) -> u64 {
        let entry = Entry { name: Bytes::copy_from_slice(name), value: Bytes::copy_from_slice(value) };
        self.push(entry, hashes, None)
    }

    /// Adds a copy of an entry and returns its absolute index. Call [`evict_for`] first, to make room.
    ///
    /// [`evict_for`]: Self::evict_for
    pub(super) fn duplicate(&mut self, original: Original) -> u64 {
        self.push(original.entry, original.hashes, Some(original.absolute))
    }

    /// Evicts the oldest entries until one of `size` bytes fits.
    pub(super) fn evict_for(&mut self, size: u64) {
        while self.table.size() + size > self.table.capacity() {
            let absolute = self.table.evicted();
            let (Some(_), Some(mark)) = (self.table.evict_oldest(), self.marks.pop_front()) else {
                return;
            };
            forget(&mut self.by_field, mark.hashes.field, absolute);
            forget(&mut self.by_name, mark.hashes.name, absolute);
        }
    }

    pub(super) fn hashes(&self, name: &[u8], value: &[u8]) -> Hashes {
        let mut hasher = self.keys.build_hasher();
        hasher.write(name);
        let by_name = hasher.finish();
        // Without it, moving a byte from value to name would not change the hash.
        hasher.write_u8(0xff);
        hasher.write(value);
        Hashes { name: by_name, field: hasher.finish() }
    }

    /// The newest entry with this name and value.
    pub(super) fn find_field(&self, hashes: Hashes, name: &[u8], value: &[u8]) -> Option<u64> {
        let absolute = *self.by_field.get(&hashes.field)?;
        let entry = self.table.entry(absolute)?;
        (entry.name == name && entry.value == value).then_some(absolute)
    }

    /// The newest entry with this name.
    pub(super) fn find_name(&self, hashes: Hashes, name: &[u8]) -> Option<u64> {
        let absolute = *self.by_name.get(&hashes.name)?;
        (self.table.entry(absolute)?.name == name).then_some(absolute)
    }

    /// The entry that this one was duplicated from, which may have been evicted.
    pub(super) fn older_copy(&self, absolute: u64) -> Option<u64> {
        let position = absolute.checked_sub(self.table.evicted())?;
        self.marks.get(usize::try_from(position).ok()?)?.older_copy
    }

    /// Whether an entry is in the oldest quarter of the capacity, so that a few more insertions will evict it (RFC 9204
    /// section 2.1.1.1).
    pub(super) fn is_draining(&self, absolute: u64) -> bool {
        let start = self.marks[self.position(absolute)].start;
        self.written - start > self.table.capacity() / 4 * 3
    }

    /// Whether an entry of `size` bytes fits once entries below `evictable_below` are evicted.
    pub(super) fn fits(&self, size: u64, evictable_below: u64) -> bool {
        let Some(room) = self.table.capacity().checked_sub(size) else {
            return false;
        };
        let kept = match evictable_below.checked_sub(self.table.evicted()) {
            None => self.table.size(),
            Some(count) => usize::try_from(count)
                .ok()
                .and_then(|position| self.marks.get(position))
                .map_or(0, |mark| self.written - mark.start),
        };
        kept <= room
    }

    pub(super) fn contains(&self, absolute: u64) -> bool {
        self.table.entry(absolute).is_some()
    }

    /// The content of an entry to duplicate, taken before an eviction that may remove it.
    pub(super) fn original(&self, absolute: u64) -> Option<Original> {
        Some(Original {
            absolute,
            entry: self.table.entry(absolute)?.clone(),
            hashes: self.marks[self.position(absolute)].hashes,
        })
    }

    pub(super) fn entry_size(&self, absolute: u64) -> Option<u64> {
        self.table.entry(absolute).map(Entry::size)
    }

    /// The index of an entry in encoder instructions (RFC 9204 section 3.2.5).
    pub(super) fn relative(&self, absolute: u64) -> u64 {
        self.table.inserted() - absolute - 1
    }

    pub(super) fn capacity(&self) -> u64 {
        self.table.capacity()
    }

    pub(super) fn inserted(&self) -> u64 {
        self.table.inserted()
    }

    fn push(&mut self, entry: Entry, hashes: Hashes, older_copy: Option<u64>) -> u64 {
        let absolute = self.table.inserted();
        let size = entry.size();
        self.marks.push_back(Mark { hashes, start: self.written, older_copy });
        self.written += size;
        let fits = self.table.insert(entry);
        debug_assert!(fits, "the caller asked whether it fits");
        self.by_field.insert(hashes.field, absolute);
        self.by_name.insert(hashes.name, absolute);
        absolute
    }

    /// Position of an entry that is in the table.
    fn position(&self, absolute: u64) -> usize {
        (absolute - self.table.evicted()) as usize
    }
}

fn forget(index: &mut HashMap<u64, u64, BuildHasherDefault<Unhashed>>, hash: u64, absolute: u64) {
    if index.get(&hash) == Some(&absolute) {
        index.remove(&hash);
    }
}

/// A hasher that passes keys through: they are already keyed hashes.
#[derive(Debug, Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 | u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

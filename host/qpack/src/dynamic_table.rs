//! The dynamic table (RFC 9204 section 3.2), as kept on both sides.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::field::FIELD_OVERHEAD;

/// An entry of the dynamic table.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Bytes,
    pub(crate) value: Bytes,
}

impl Entry {
    /// RFC 9204 section 3.2.1.
    pub(crate) fn size(&self) -> u64 {
        self.name.len() as u64 + self.value.len() as u64 + FIELD_OVERHEAD
    }
}

/// A first-in, first-out list of entries under absolute indices. Sizes are in bytes.
#[derive(Debug, Default)]
pub(crate) struct DynamicTable {
    entries: VecDeque<Entry>,
    capacity: u64,
    size: u64,
    inserted: u64,
}

impl DynamicTable {
    /// Changes the capacity and evicts entries that no longer fit (RFC 9204 section 3.2.2).
    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.evict_to(capacity);
    }

    /// Adds an entry and evicts others for it. Returns false if it does not fit even into the empty table, and leaves
    /// the table as it was.
    pub(crate) fn insert(&mut self, entry: Entry) -> bool {
        let Some(room) = self.capacity.checked_sub(entry.size()) else {
            return false;
        };
        self.evict_to(room);
        self.size += entry.size();
        self.entries.push_back(entry);
        self.inserted += 1;
        true
    }

    pub(crate) fn evict_oldest(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.size -= entry.size();
        Some(entry)
    }

    /// The entry with this absolute index (RFC 9204 section 3.2.4), unless it was evicted or is not there yet.
    pub(crate) fn entry(&self, absolute: u64) -> Option<&Entry> {
        let position = absolute.checked_sub(self.evicted())?;
        self.entries.get(usize::try_from(position).ok()?)
    }

    /// The absolute index for a relative index on the encoder stream (RFC 9204 section 3.2.5).
    pub(crate) fn absolute(&self, relative: u64) -> Option<u64> {
        self.inserted.checked_sub(relative)?.checked_sub(1)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The Insert Count: the number of entries ever inserted.
    pub(crate) fn inserted(&self) -> u64 {
        self.inserted
    }

    /// The number of evicted entries, which is the absolute index of the oldest remaining entry.
    pub(crate) fn evicted(&self) -> u64 {
        self.inserted - self.entries.len() as u64
    }

    fn evict_to(&mut self, size: u64) {
        while self.size > size {
            self.evict_oldest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &'static str) -> Entry {
        Entry { name: Bytes::from_static(b"n"), value: Bytes::from_static(value.as_bytes()) }
    }

    #[test]
    fn size_counts_32_per_entry_and_the_oldest_goes_first() {
        let mut table = DynamicTable::default();
        assert!(!table.insert(entry("")), "the first capacity is zero");
        table.set_capacity(100);
        assert!(table.insert(entry("a")));
        assert!(table.insert(entry("b")));
        assert_eq!((table.size(), table.inserted(), table.evicted()), (68, 2, 0));
        assert!(table.insert(entry("c")));
        assert_eq!((table.size(), table.inserted(), table.evicted()), (68, 3, 1));
        assert!(table.entry(0).is_none());
        assert_eq!(table.entry(1).unwrap().value, "b");
        assert_eq!(table.entry(2).unwrap().value, "c");
        assert!(table.entry(3).is_none());
        assert_eq!(table.absolute(0), Some(2));
        assert_eq!(table.absolute(3), None);
    }

    #[test]
    fn an_entry_larger_than_the_table_changes_nothing() {
        let mut table = DynamicTable::default();
        table.set_capacity(34);
        assert!(table.insert(entry("a")));
        assert!(!table.insert(entry("ab")));
        assert_eq!((table.size(), table.inserted()), (34, 1));
    }

    #[test]
    fn capacity_can_shrink_to_nothing_and_return() {
        let mut table = DynamicTable::default();
        table.set_capacity(200);
        for value in ["a", "b", "c"] {
            assert!(table.insert(entry(value)));
        }
        table.set_capacity(40);
        assert_eq!((table.size(), table.evicted()), (34, 2));
        table.set_capacity(0);
        assert_eq!((table.size(), table.evicted()), (0, 3));
        table.set_capacity(200);
        assert!(table.insert(entry("d")));
        assert_eq!(table.entry(3).unwrap().value, "d");
    }
}

//! Small files in memory: content keyed by file and checked against its stamp on every use.
//!
//! Each request opens the file and reads its metadata, so an entry is never older than the file, and the cache needs no
//! timeouts or clearing. A hit saves the read.
//!
//! An entry replaces an older version of the same file. The bound counts contents and a flat cost for bookkeeping.
//! Entries seen twice outlive those seen once, so that one sweep over many files does not empty the cache.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use quick_cache::{OptionsBuilder, Weighter, sync};

use crate::stamp::Stamp;

/// The largest file that is cached, in bytes: 64 KiB. Larger files are read while they are sent.
pub const MAX_CACHED_FILE: u64 = 64 * 1024;

/// The cost of an entry besides its content, in bytes.
const OVERHEAD: u64 = 256;

/// The room of each shard, in files of the largest size; a smaller cache has a single shard.
const SHARD_ENTRIES: u64 = 16;

/// The content of small files. One cache serves the whole host; cloning it is cheap.
#[derive(Clone, Debug)]
pub struct FileCache {
    entries: Option<Arc<Entries>>,
}

/// By device and inode.
type Entries = sync::Cache<(u64, u64), Entry, ByteWeight>;

#[derive(Clone, Debug)]
struct Entry {
    stamp: Stamp,
    content: Bytes,
}

#[derive(Clone, Debug)]
struct ByteWeight;

impl Weighter<(u64, u64), Entry> for ByteWeight {
    fn weight(&self, _: &(u64, u64), entry: &Entry) -> u64 {
        entry.content.len() as u64 + OVERHEAD
    }
}

impl FileCache {
    /// Makes a cache of at most `max_bytes` bytes; 0 turns it off.
    ///
    /// # Panics
    /// Never: the options given below are complete.
    pub fn new(max_bytes: u64) -> Self {
        if max_bytes == 0 {
            return Self { entries: None };
        }
        let largest = MAX_CACHED_FILE + OVERHEAD;
        let shards = usize::try_from(max_bytes / (largest * SHARD_ENTRIES)).unwrap_or(usize::MAX).clamp(1, 64);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(max_bytes / 4096).unwrap_or(usize::MAX).clamp(16, 65_536))
            .weight_capacity(max_bytes)
            .shards(shards)
            .build()
            .expect("both capacities are given");
        let cache = sync::Cache::with_options(options, ByteWeight, Default::default(), Default::default());
        Self { entries: Some(Arc::new(cache)) }
    }

    /// The bytes held now, contents and bookkeeping.
    pub fn bytes(&self) -> u64 {
        self.entries.as_ref().map_or(0, |entries| entries.weight())
    }

    /// The number of files held now.
    pub fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, |entries| entries.len())
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The content of exactly this version of this file.
    pub(crate) fn find(&self, stamp: &Stamp) -> Option<Bytes> {
        let entry = self.entries.as_ref()?.get(&(stamp.device, stamp.inode))?;
        (entry.stamp == *stamp).then_some(entry.content)
    }

    /// Keeps `content`, unless the file may still change without a change of its stamp.
    pub(crate) fn keep(&self, stamp: Stamp, content: &Bytes, now: SystemTime) {
        if let Some(entries) = &self.entries
            && stamp.is_settled(now)
        {
            entries.insert((stamp.device, stamp.inode), Entry { stamp, content: content.clone() });
        }
    }
}

impl Default for FileCache {
    /// 16 MiB.
    fn default() -> Self {
        Self::new(16 * 1024 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stamps(count: u32) -> Vec<Stamp> {
        let directory = tempfile::tempdir().unwrap();
        let stamp = |index| {
            let path = directory.path().join(format!("{index}"));
            std::fs::write(&path, "x").unwrap();
            Stamp::of(&path.metadata().unwrap())
        };
        (0..count).map(stamp).collect()
    }

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(10)
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        for max_bytes in [100_000, 1_000_000, 5_000_000] {
            let cache = FileCache::new(max_bytes);
            let content = Bytes::from(vec![0; 30_000]);
            for stamp in stamps(500) {
                cache.keep(stamp, &content, later());
                assert!(cache.bytes() <= max_bytes, "{} of {max_bytes}", cache.bytes());
            }
            assert!(cache.bytes() > max_bytes / 2, "{} of {max_bytes}", cache.bytes());
        }
    }

    #[test]
    fn the_largest_file_fits_the_default() {
        let cache = FileCache::default();
        let content = Bytes::from(vec![0; MAX_CACHED_FILE as usize]);
        for stamp in stamps(100) {
            cache.keep(stamp, &content, later());
            assert!(cache.find(&stamp).is_some());
        }
        // Their inodes spread them over shards of the cache, and one shard may be full before the others.
        assert!(cache.len() >= 80, "{}", cache.len());
    }

    #[test]
    fn only_the_exact_version_is_found_and_a_new_one_takes_its_place() {
        let cache = FileCache::default();
        let old = stamps(1)[0];
        let mut new = old;
        new.size = 2;
        cache.keep(old, &Bytes::from_static(b"a"), later());
        assert_eq!(cache.find(&old).as_deref(), Some(&b"a"[..]));
        assert_eq!(cache.find(&new), None);
        cache.keep(new, &Bytes::from_static(b"bb"), later());
        assert_eq!((cache.find(&old), cache.find(&new).as_deref()), (None, Some(&b"bb"[..])));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn a_file_that_may_still_change_unseen_is_not_kept() {
        let cache = FileCache::default();
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.path().metadata().unwrap();
        let (stamp, written) = (Stamp::of(&metadata), metadata.modified().unwrap());
        cache.keep(stamp, &Bytes::from_static(b"a"), written + Duration::from_millis(10));
        assert!(cache.is_empty());
        cache.keep(stamp, &Bytes::from_static(b"a"), written + Duration::from_secs(2));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn without_room_it_is_off() {
        let cache = FileCache::new(0);
        let stamp = stamps(1)[0];
        cache.keep(stamp, &Bytes::from_static(b"a"), later());
        assert_eq!((cache.find(&stamp), cache.bytes()), (None, 0));
    }
}

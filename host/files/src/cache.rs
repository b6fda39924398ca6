//! Small files in memory: content keyed by file and checked against its stamp on every use.
//!
//! Each request opens the file and asks for its metadata, so an entry is never older than the file and there is
//! nothing to time out or to clear. What a hit saves is the read.
//!
//! An entry takes the place of an older version of the same file. The bound counts contents and a flat price for
//! bookkeeping; entries seen twice outlive those seen once, so that one sweep over many files does not empty it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use quick_cache::{OptionsBuilder, Weighter, sync};

use crate::stamp::Stamp;

/// The largest file that is cached, in bytes: 64 KiB. Larger ones are read while they are sent.
pub const MAX_CACHED_FILE: u64 = 64 * 1024;

/// What an entry costs beside its content, in bytes.
const OVERHEAD: u64 = 256;

/// Each shard has room for this many of the largest files, or there is but one shard.
const SHARD_ENTRIES: u64 = 16;

/// The content of small files. One serves the whole host; cloning it is cheap.
#[derive(Clone, Debug)]
pub struct FileCache {
    entries: Option<Arc<sync::Cache<(u64, u64), Entry, ByteWeight>>>,
}

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
    /// A cache of at most `max_bytes` bytes; 0 turns it off.
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

    /// Bytes held now, contents and bookkeeping.
    pub fn bytes(&self) -> u64 {
        self.entries.as_ref().map_or(0, |entries| entries.weight())
    }

    /// Files held now.
    pub fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, |entries| entries.len())
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The content of exactly this version of this file.
    pub(crate) fn find(&self, stamp: &Stamp) -> Option<Bytes> {
        let entry = self.entries.as_ref()?.get(&(stamp.device, stamp.inode))?;
        (entry.stamp == *stamp).then_some(entry.content)
    }

    /// Keeps `content`, unless the file may still change without its stamp showing it.
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

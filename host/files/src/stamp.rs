//! The version of a file's content, as its metadata shows it: the key of the cache, and the source of both validators.
//!
//! All of it relies on the file system's timestamps. Local file systems take them from a clock that stands still for up
//! to 10 ms, so a file changed twice within a tick may keep its timestamps. Until that tick is over, a file is not
//! cached and its entity tag is weak (RFC 9110, 8.8.1). A change made through `mmap` moves the timestamps once per
//! write-back and not once per store, and a timestamp set by hand can have any value: neither is detected here.

use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::encoding::Encoding;

/// Longer than one tick of the clock behind file timestamps (10 ms at 100 Hz), with room for a late tick.
const TICK: Duration = Duration::from_millis(20);

/// The tick of file systems that store whole seconds only; FAT has the coarsest.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// The modification times, in seconds, that carry information: reproducible builds of images set 0 or 1, and a date has
/// four digits for its year.
const KNOWN: Range<u64> = 2..253_402_300_800;

/// A file's identity and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    modified: Time,
    changed: Time,
}

/// Unix time in the file system's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time {
    seconds: i64,
    nanos: i64,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: Time { seconds: metadata.mtime(), nanos: metadata.mtime_nsec() },
            changed: Time { seconds: metadata.ctime(), nanos: metadata.ctime_nsec() },
        }
    }

    /// Whether a later change is sure to give another stamp.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        self.changed.is_settled(now)
    }

    /// Whether the content is the same; the name, the owner or the link count may have changed.
    pub(crate) fn has_content_of(&self, other: &Self) -> bool {
        self.size == other.size && self.modified == other.modified
    }

    /// The entity tag of this file in this coding, with quotes; or of the given part of it, when a guest made the part
    /// the whole representation. Strong once the modification time is settled. It is a digest, so that it does not
    /// reveal inode numbers, and it differs between hosts that hold copies of the same file.
    pub(crate) fn entity_tag(&self, encoding: Option<Encoding>, part: Option<(u64, u64)>, now: SystemTime) -> String {
        let mut digest = Sha256::new();
        for word in [self.device, self.inode, self.size] {
            digest.update(word.to_le_bytes());
        }
        digest.update(self.modified.seconds.to_le_bytes());
        digest.update(self.modified.nanos.to_le_bytes());
        if let Some((start, end)) = part {
            digest.update(start.to_le_bytes());
            digest.update(end.to_le_bytes());
        }
        let digest = digest.finalize();

        let mut tag = String::with_capacity(40);
        tag.push_str(if self.modified.is_settled(now) { "\"" } else { "W/\"" });
        for byte in &digest[..12] {
            tag.extend([byte >> 4, byte & 15].map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)])));
        }
        if let Some(encoding) = encoding {
            // 8.8.3.3: representations that differ in their coding differ in their tag.
            tag.push('-');
            tag.push_str(encoding.token());
        }
        tag.push('"');
        tag
    }

    /// The seconds of Unix time for `Last-Modified`; `None` before 1970 and after 9999, which an HTTP date cannot
    /// express.
    pub(crate) fn last_modified(&self, now: SystemTime) -> Option<u64> {
        let modified = u64::try_from(self.modified.seconds).ok().filter(|seconds| KNOWN.contains(seconds))?;
        // 8.8.2.1: the answer's own date replaces a later one.
        Some(now.duration_since(UNIX_EPOCH).map_or(modified, |now| modified.min(now.as_secs())))
    }
}

impl Time {
    fn is_settled(&self, now: SystemTime) -> bool {
        let Ok(seconds) = u64::try_from(self.seconds) else {
            return true;
        };
        let since_epoch = Duration::new(seconds, u32::try_from(self.nanos).unwrap_or(0));
        let Some(time) = UNIX_EPOCH.checked_add(since_epoch) else {
            return true;
        };
        let tick = if self.nanos == 0 { COARSE_TICK } else { TICK };
        // A time in the future cannot come from the current tick of the clock.
        now.duration_since(time).map_or(true, |age| age >= tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seconds: i64, nanos: i64) -> Stamp {
        let time = Time { seconds, nanos };
        Stamp { device: 1, inode: 2, size: 3, modified: time, changed: time }
    }

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn tags_differ_by_all_they_are_made_of() {
        let base = stamp(100, 5);
        let late = at(1_000_000);
        let tag = base.entity_tag(None, None, late);
        assert_eq!(tag, base.entity_tag(None, None, late));
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() == 26, "{tag}");
        for other in [
            Stamp { device: 9, ..base },
            Stamp { inode: 9, ..base },
            Stamp { size: 9, ..base },
            Stamp { modified: Time { seconds: 100, nanos: 6 }, ..base },
            Stamp { modified: Time { seconds: 101, nanos: 5 }, ..base },
        ] {
            assert_ne!(tag, other.entity_tag(None, None, late), "{other:?}");
        }
        assert_ne!(tag, base.entity_tag(None, Some((0, 3)), late));
        assert!(base.entity_tag(Some(Encoding::Brotli), None, late).ends_with("-br\""));
        let renamed = Stamp { changed: Time { seconds: 200, nanos: 0 }, ..base };
        assert_eq!(tag, renamed.entity_tag(None, None, late));
    }

    #[test]
    fn a_stamp_settles_when_its_tick_is_over() {
        let fine = stamp(100, 500_000_000);
        assert!(!fine.is_settled(at(100_500)));
        assert!(!fine.is_settled(at(100_519)));
        assert!(fine.is_settled(at(100_520)));
        assert!(fine.is_settled(at(99_000)), "a time in the future");
        assert!(fine.entity_tag(None, None, at(100_510)).starts_with("W/\""));

        let coarse = stamp(100, 0);
        assert!(!coarse.is_settled(at(101_999)));
        assert!(coarse.is_settled(at(102_000)));
    }

    #[test]
    fn last_modified_is_never_in_the_future_nor_out_of_bounds() {
        assert_eq!(stamp(100, 9).last_modified(at(100_000)), Some(100));
        assert_eq!(stamp(100, 9).last_modified(at(90_000)), Some(90));
        for unknown in [0, 1] {
            assert_eq!(stamp(unknown, 0).last_modified(at(90_000)), None);
        }
        assert_eq!(stamp(-1, 0).last_modified(at(90_000)), None);
        assert_eq!(stamp(i64::MAX, 0).last_modified(at(90_000)), None);
    }
}

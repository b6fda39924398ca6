//! Units in which defaults are written.

use std::time::Duration;

/// An integer type of byte counts.
pub trait Size {
    /// Takes a number of bytes; a type that is too small takes its largest value.
    fn bytes(bytes: u64) -> Self;
}

impl Size for u32 {
    fn bytes(bytes: u64) -> Self {
        Self::try_from(bytes).unwrap_or(Self::MAX)
    }
}

impl Size for u64 {
    fn bytes(bytes: u64) -> Self {
        bytes
    }
}

impl Size for usize {
    fn bytes(bytes: u64) -> Self {
        Self::try_from(bytes).unwrap_or(Self::MAX)
    }
}

/// Kibibytes.
pub fn kib<S: Size>(count: u32) -> S {
    S::bytes(u64::from(count) << 10)
}

/// Mebibytes.
pub fn mib<S: Size>(count: u32) -> S {
    S::bytes(u64::from(count) << 20)
}

/// Gibibytes.
pub fn gib<S: Size>(count: u32) -> S {
    S::bytes(u64::from(count) << 30)
}

/// Milliseconds.
pub fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Seconds.
pub fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Minutes.
pub fn minutes(count: u64) -> Duration {
    secs(count * 60)
}

/// Hours.
pub fn hours(count: u64) -> Duration {
    minutes(count * 60)
}

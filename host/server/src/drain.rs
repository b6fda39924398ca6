//! The one signal that the host is shutting down.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use roadrunner_sandbox::Registry;

/// Set once; held sessions look at it whenever they are woken.
#[derive(Debug, Default)]
pub struct Drain {
    deadline: OnceLock<Instant>,
}

impl Drain {
    /// Tells every held session to end within this time.
    pub fn begin(&self, time: Duration, registry: &Registry) {
        let _ = self.deadline.set(Instant::now() + time);
        for meter in registry.list() {
            meter.wake();
        }
    }

    /// When every session has to be over, once the drain has begun.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// The time left, once the drain has begun.
    pub fn left(&self) -> Option<Duration> {
        self.deadline.get().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the drain has begun.
    pub fn has_begun(&self) -> bool {
        self.deadline.get().is_some()
    }
}

//! The one signal that the host is shutting down.

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use roadrunner_account::Instances;
use tokio::sync::watch;

use crate::access::Caller;
use crate::metrics::{Shows, Text};

/// The state of the drain. It is set once; held sessions check it whenever they are woken.
#[derive(Debug, Default)]
pub struct Drain {
    announced: AtomicBool,
    deadline: OnceLock<Instant>,
    /// Tells those that wait for it of each change.
    changed: watch::Sender<()>,
}

impl Drain {
    /// Makes the host report that it is not ready, from now on.
    pub fn announce(&self) {
        self.announced.store(true, Relaxed);
        self.changed.send_replace(());
    }

    /// Whether [`Drain::announce`] was called.
    pub fn is_announced(&self) -> bool {
        self.announced.load(Relaxed)
    }

    /// Tells every held session to end within this time.
    pub fn begin(&self, time: Duration, registry: &Instances) {
        self.announce();
        let _ = self.deadline.set(Instant::now() + time);
        self.changed.send_replace(());
        for meter in registry.list() {
            meter.wake();
        }
    }

    /// Tells of each change from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The deadline of every session, once the drain has begun.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// The time left, once the drain has begun.
    pub fn left(&self) -> Option<Duration> {
        self.deadline.get().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

impl Shows for Drain {
    fn show(&self, _: &Caller, text: &mut Text) {
        text.gauge("roadrunner_draining", "1 while the host shuts down.", u8::from(self.is_announced()));
    }
}

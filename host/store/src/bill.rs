//! Bills for the CPU time that an embedded store uses for a bucket, on threads of the store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Takes the CPU time of operations. Cheap to clone.
#[derive(Clone)]
pub struct Bill(Arc<dyn Fn(Duration) + Send + Sync>);

impl Bill {
    /// Makes a bill that calls `charge` for each operation.
    pub fn new(charge: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Arc::new(charge))
    }

    pub(crate) fn charge(&self, used: Duration) {
        self.0(used);
    }
}

impl fmt::Debug for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bill")
    }
}

/// The CPU time that this thread has used.
pub(crate) fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

//! The bill for the work of connections.

use std::fmt;
use std::sync::Arc;

/// Takes the CPU time that an owner's connections use, in nanoseconds. Cheap to clone.
#[derive(Clone)]
pub struct Bill(Arc<dyn Fn(u64) + Send + Sync>);

impl Bill {
    /// Makes a bill that calls `charge` for each piece of work.
    pub fn new(charge: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(charge))
    }

    pub(crate) fn charge(&self, used: u64) {
        self.0(used);
    }
}

impl Default for Bill {
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl fmt::Debug for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bill")
    }
}

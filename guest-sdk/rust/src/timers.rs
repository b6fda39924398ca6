//! Timers of a held session; each firing is a [`crate::Event::Timer`]. Durations are rounded down to milliseconds.

use std::time::Duration;

use crate::bindings::roadrunner::handler::timers as wit;

/// Fires once, after this long. Returns the timer's id.
pub fn after(delay: Duration) -> u64 {
    wit::after(milliseconds(delay))
}

/// Fires repeatedly, once per period (at least a millisecond). A busy guest gets one late firing, and no backlog.
/// Returns the timer's id.
pub fn every(period: Duration) -> u64 {
    wit::every(milliseconds(period).max(1))
}

/// Stops a timer; an unknown id does nothing.
pub fn cancel(id: u64) {
    wit::cancel(id);
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! The CPU time that the running thread has used, and how much of it was charged.
//!
//! Reading the thread's CPU clock is a system call, which is too expensive for each poll of a short request. So a
//! [`Span`] reads the monotonic clock, and is charged by it while it is [short](SHORT). A longer span is charged by the
//! CPU clock, from this thread's last reading of that clock. The reading was [at most this old](FRESH) when the span
//! began, which bounds the overcharge. A span is never charged for time in which another thread had the processor. Work
//! that is known to be long is charged by the CPU clock from the start.
//!
//! Spans nest: time charged to an inner span is not charged to the outer span again. So code that wraps a body measures
//! its own work and not the work of the guest that the body polls.

use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The interval at which the epoch advances while there are instances: the longest that a guest runs before it yields
/// the thread.
pub const TICK: Duration = Duration::from_millis(2);

/// The longest span that is charged by the monotonic clock, in nanoseconds.
const SHORT: u64 = 1_000_000;

/// The maximum age of the last reading of the CPU clock when a span begins, in nanoseconds. A busy thread thus makes at
/// most 4000 such system calls a second, which take a thousandth of its time.
const FRESH: u64 = 250_000;

/// The clock readings and charges of one thread, all in nanoseconds.
#[derive(Clone, Copy)]
struct Thread {
    /// The time of the last reading of the CPU clock.
    read_at: u64,
    /// The CPU time at that reading.
    cpu: u64,
    /// The total charged to all spans of this thread.
    charged: u64,
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread { read_at: 0, cpu: 0, charged: 0 }) };
}

/// A span of work on one thread, from its beginning. It has to end on the same thread.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The time at which the span began.
    pub(crate) start: u64,
    /// The CPU time at the beginning, or shortly before.
    pub(crate) cpu: u64,
    /// The total charged to all spans of the thread by then.
    pub(crate) charged: u64,
    /// Whether the span is charged by the CPU clock, however short it is.
    pub(crate) exact: bool,
}

impl Span {
    /// Begins a span now.
    pub fn begin(exact: bool) -> Self {
        let start = nanos(ClockId::Monotonic);
        let mut thread = THREAD.get();
        if exact || start.saturating_sub(thread.read_at) > FRESH {
            thread.read_at = start;
            thread.cpu = nanos(ClockId::ThreadCPUTime);
            THREAD.set(thread);
        }
        Self { start, cpu: thread.cpu, charged: thread.charged, exact }
    }

    /// The CPU time used so far, in nanoseconds.
    pub fn used(&self) -> u64 {
        let elapsed = nanos(ClockId::Monotonic).saturating_sub(self.start);
        let used = if self.exact || elapsed > SHORT {
            nanos(ClockId::ThreadCPUTime).saturating_sub(self.cpu).min(elapsed)
        } else {
            elapsed
        };
        used.saturating_sub(THREAD.get().charged.saturating_sub(self.charged))
    }

    /// Ends the span now, and returns the time to charge, in nanoseconds.
    pub fn end(self) -> u64 {
        let used = self.used();
        let mut thread = THREAD.get();
        thread.charged = thread.charged.saturating_add(used);
        THREAD.set(thread);
        used
    }
}

fn nanos(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Uses this much CPU time of this thread, however long that takes.
#[cfg(test)]
pub(crate) fn spin(time: Duration) {
    let start = nanos(ClockId::ThreadCPUTime);
    while u128::from(nanos(ClockId::ThreadCPUTime) - start) < time.as_nanos() {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_span_is_charged_what_the_thread_used_and_not_what_it_waited() {
        for exact in [false, true] {
            let span = Span::begin(exact);
            spin(Duration::from_millis(30));
            std::thread::sleep(Duration::from_millis(60));
            let used = Duration::from_nanos(span.end());
            assert!(used >= Duration::from_millis(30) && used < Duration::from_millis(40), "{used:?}");
        }
    }

    #[test]
    fn what_was_before_a_span_is_not_on_its_bill() {
        let _ = Span::begin(true);
        spin(Duration::from_millis(20));
        let span = Span::begin(false);
        spin(Duration::from_millis(5));
        let used = Duration::from_nanos(span.end());
        assert!(used >= Duration::from_millis(5) && used < Duration::from_millis(10), "{used:?}");
    }

    #[test]
    fn an_outer_span_is_not_charged_what_an_inner_one_was() {
        let outer = Span::begin(true);
        spin(Duration::from_millis(5));
        let inner = Span::begin(false);
        spin(Duration::from_millis(20));
        assert!(inner.end() >= 20_000_000);
        let used = Duration::from_nanos(outer.end());
        assert!(used >= Duration::from_millis(4) && used < Duration::from_millis(10), "{used:?}");
    }

    #[test]
    fn short_spans_cost_no_system_call_each() {
        let start = Instant::now();
        let mut reads = 0;
        let mut last = 0;
        for _ in 0..20_000 {
            let span = Span::begin(false);
            reads += u32::from(THREAD.get().read_at != last);
            last = THREAD.get().read_at;
            let _ = span.end();
        }
        let most = start.elapsed().as_nanos() as u64 / FRESH + 2;
        assert!(u64::from(reads) <= most, "{reads} of {most}");
    }
}

//! How the parts polled inside one task tell that task what they wait for.
//!
//! A connection's task (HTTP/1) or a stream's task (HTTP/2) polls hyper, hyper polls the service and the bodies, and
//! those end in the socket. The task that holds the timer must know whether the pause is the client's fault, and how
//! long it has lasted. It lends its [`Waits`] to a thread-local for the length of one poll; the parts leave marks
//! there. That costs a few stores, no lock, no allocation, and reads the clock only when a wait begins.
//!
//! Marks outside such a poll have no effect, which is right: then no task of this crate is waiting.

use std::cell::Cell;
use std::task::Waker;
use std::time::{Duration, Instant};

use roadrunner_values::Timeouts;

use crate::TimeoutName;

/// The waits of a task, as of its last poll.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits {
    /// Since when the service has been waiting for a piece of the request body.
    body_since: Option<Instant>,
    /// How long the service had waited for this body before that.
    body_waited: Duration,
    /// Bytes of this body that have come.
    body_bytes: u64,
    /// The task that polled the body has left a waker.
    body_polled: bool,
    /// Since when there have been bytes to write that the peer does not take.
    write_since: Option<Instant>,
    /// The response body last gave a piece, and it gave one during the last poll.
    offered: bool,
    offered_now: bool,
    /// Bytes read from the client during the last poll.
    read: usize,
    /// Exchanges begun during the last poll.
    begun: usize,
    /// HTTP/2: the client's SETTINGS have come; a field section has begun and not ended.
    h2_settings_seen: bool,
    h2_in_head: bool,
    /// A read was put off until the exchange is over.
    read_held: bool,
    /// This side of the connection was closed.
    shut_down: bool,
    /// A deadline that has passed, for the pieces to report as an error.
    passed: Option<TimeoutName>,
    /// When the exchange has to be over, its response sent included.
    total: Option<Instant>,
}

impl Waits {
    /// Runs one poll, with these waits open to marks from the polled parts.
    pub(crate) fn during<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        self.read = 0;
        self.begun = 0;
        self.offered_now = false;
        // A panic that passes through here leaves the marks in place; the next poll on this thread overwrites them.
        MARKS.with(|marks| {
            marks.active.set(true);
            marks.waits.set(*self);
        });
        let result = poll();
        MARKS.with(|marks| {
            marks.active.set(false);
            *self = marks.waits.get();
        });
        result
    }

    pub(crate) fn read(&self) -> usize {
        self.read
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun
    }

    /// For a pending stream: if its body has given a piece and was not asked for another, then the piece waits for the
    /// client's window. The wait starts again with each piece.
    pub(crate) fn note_window(&mut self) {
        if !self.offered {
            self.write_since = None;
        } else if self.offered_now || self.write_since.is_none() {
            self.write_since = Some(Instant::now());
        }
    }

    pub(crate) fn h2_settings_seen(&self) -> bool {
        self.h2_settings_seen
    }

    pub(crate) fn h2_in_head(&self) -> bool {
        self.h2_in_head
    }

    /// Whether a read was put off; clears the mark.
    pub(crate) fn take_read_held(&mut self) -> bool {
        std::mem::take(&mut self.read_held)
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down
    }

    /// Takes the waker of the task that polled the request's body during the last poll and waits for it.
    pub(crate) fn take_body_waker(&mut self) -> Option<Waker> {
        std::mem::take(&mut self.body_polled).then(|| BODY.take()).flatten()
    }

    /// Makes the body report this deadline. The task that waits for the body is woken, since its executor may poll only
    /// woken tasks.
    pub(crate) fn pass(&mut self, name: TimeoutName, body: Option<Waker>) {
        self.passed = Some(name);
        if let Some(body) = body {
            body.wake();
        }
    }

    pub(crate) fn passed(&self) -> Option<TimeoutName> {
        self.passed
    }

    /// Whether there are bytes to write that the peer does not take.
    pub(crate) fn is_writing(&self) -> bool {
        self.write_since.is_some()
    }

    /// When the exchange has to be over.
    pub(crate) fn total(&self) -> Option<(Instant, TimeoutName)> {
        self.total.map(|at| (at, TimeoutName::Total))
    }

    /// The first deadline of the current waits.
    pub(crate) fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, TimeoutName)> {
        let write = self.write_since.map(|since| (since + timeouts.write_stall, TimeoutName::WriteStall));
        earliest(write, self.body_deadline(timeouts))
    }

    fn body_deadline(&self, timeouts: &Timeouts) -> Option<(Instant, TimeoutName)> {
        let since = self.body_since?;
        let idle = Some((since + timeouts.body_idle, TimeoutName::BodyIdle));
        if timeouts.body_min_rate == 0 {
            return idle;
        }
        let earned = Duration::from_secs_f64(self.body_bytes as f64 / f64::from(timeouts.body_min_rate));
        let left = (timeouts.body_idle + earned).saturating_sub(self.body_waited);
        earliest(idle, Some((since + left, TimeoutName::BodyMinRate)))
    }
}

/// The earlier of two deadlines; of equal ones the first.
pub(crate) fn earliest(
    a: Option<(Instant, TimeoutName)>,
    b: Option<(Instant, TimeoutName)>,
) -> Option<(Instant, TimeoutName)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Notes that bytes came from the client.
pub(crate) fn read(bytes: usize) {
    mark(|waits| waits.read += bytes);
}

/// Notes the state that the client's frames show.
pub(crate) fn h2_progress(settings_seen: bool, in_head: bool) {
    mark(|waits| {
        waits.h2_settings_seen = settings_seen;
        waits.h2_in_head = in_head;
    });
}

/// Notes that a read was put off, which only the end of the exchange makes possible again.
pub(crate) fn read_held() {
    mark(|waits| waits.read_held = true);
}

/// Notes that this side of the connection is being closed.
pub(crate) fn shut_down() {
    mark(|waits| waits.shut_down = true);
}

/// Notes that an exchange has begun, and resets the waits of the one before it.
pub(crate) fn exchange_begun() {
    mark(|waits| {
        waits.begun += 1;
        waits.body_since = None;
        waits.body_waited = Duration::ZERO;
        waits.body_bytes = 0;
        waits.passed = None;
        waits.total = None;
    });
}

/// Notes when the exchange being polled has to be over.
pub(crate) fn end_by(deadline: Instant) {
    mark(|waits| waits.total = Some(deadline));
}

/// Notes that the service asked for a piece of the request body and there is none.
pub(crate) fn body_pending(waker: &Waker) {
    mark(|waits| {
        if waits.body_since.is_none() {
            waits.body_since = Some(Instant::now());
        }
        waits.body_polled = true;
        BODY.set(Some(waker.clone()));
    });
}

/// Runs a poll whose waits are nobody's fault.
pub(crate) fn untimed<R>(poll: impl FnOnce() -> R) -> R {
    MARKS.with(|marks| {
        // After a panic, the next poll on this thread sets it again.
        let was_active = marks.active.replace(false);
        let result = poll();
        marks.active.set(was_active);
        result
    })
}

/// Notes that the service got a piece of the request body of this many bytes, or its end, or no longer wants any.
pub(crate) fn body_ready(bytes: usize) {
    mark(|waits| {
        waits.body_bytes += bytes as u64;
        if let Some(since) = waits.body_since.take() {
            waits.body_waited += since.elapsed();
        }
    });
}

/// The deadline that a body must report instead of waiting any longer.
pub(crate) fn body_passed() -> Option<TimeoutName> {
    MARKS.with(|marks| if marks.active.get() { marks.waits.get().passed } else { None })
}

/// Notes that the response body gave a piece.
pub(crate) fn body_offered() {
    mark(|waits| {
        waits.offered = true;
        waits.offered_now = true;
    });
}

/// Notes that the response body was asked for a piece and has none.
pub(crate) fn body_awaited() {
    mark(|waits| waits.offered = false);
}

/// Notes that the peer does not take the bytes to write.
pub(crate) fn write_blocked() {
    mark(|waits| {
        if waits.write_since.is_none() {
            waits.write_since = Some(Instant::now());
        }
    });
}

/// Notes that the peer took bytes, or that there are none to write.
pub(crate) fn write_moved() {
    mark(|waits| waits.write_since = None);
}

/// Whether there are bytes to write that the peer does not take.
pub(crate) fn is_write_blocked() -> bool {
    MARKS.with(|marks| marks.active.get() && marks.waits.get().is_writing())
}

/// Drops a stream that was ended for this reason.
pub(crate) fn with_stream_timed_out<R>(name: TimeoutName, drop: impl FnOnce() -> R) -> R {
    MARKS.with(|marks| marks.stream_timed_out.set(Some(name)));
    let result = drop();
    MARKS.with(|marks| marks.stream_timed_out.set(None));
    result
}

pub(crate) fn stream_timed_out() -> Option<TimeoutName> {
    MARKS.with(|marks| marks.stream_timed_out.get())
}

fn mark(change: impl FnOnce(&mut Waits)) {
    MARKS.with(|marks| {
        if marks.active.get() {
            let mut waits = marks.waits.get();
            change(&mut waits);
            marks.waits.set(waits);
        }
    });
}

struct Marks {
    active: Cell<bool>,
    waits: Cell<Waits>,
    stream_timed_out: Cell<Option<TimeoutName>>,
}

thread_local! {
    /// Separate from the other marks, since it needs a destructor: access to those needs no checks.
    static BODY: Cell<Option<Waker>> = const { Cell::new(None) };

    static MARKS: Marks = const {
        Marks {
            active: Cell::new(false),
            waits: Cell::new(Waits {
                body_since: None,
                body_waited: Duration::ZERO,
                body_bytes: 0,
                body_polled: false,
                write_since: None,
                offered: false,
                offered_now: false,
                read: 0,
                begun: 0,
                h2_settings_seen: false,
                h2_in_head: false,
                read_held: false,
                shut_down: false,
                passed: None,
                total: None,
            }),
            stream_timed_out: Cell::new(None),
        }
    };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;
    use std::task::Wake;

    use super::*;

    #[test]
    fn a_wait_keeps_its_start_until_something_comes() {
        let mut waits = Waits::default();
        waits.during(|| body_pending(Waker::noop()));
        let first = waits.body_since.expect("a wait has begun");
        waits.during(|| body_pending(Waker::noop()));
        assert_eq!(waits.body_since, Some(first));
        waits.during(|| body_ready(10));
        assert_eq!(waits.body_since, None);
        assert_eq!(waits.body_bytes, 10);
    }

    #[test]
    fn who_waits_for_a_body_is_woken_when_its_time_has_passed() {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Relaxed);
            }
        }
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let mut waits = Waits::default();
        waits.during(|| body_pending(&Waker::from(woken.clone())));
        let body = waits.take_body_waker();
        assert!(body.is_some() && waits.take_body_waker().is_none());
        waits.pass(TimeoutName::BodyIdle, body);
        assert!(woken.0.load(Relaxed));
        assert_eq!(waits.during(body_passed), Some(TimeoutName::BodyIdle));
    }

    #[test]
    fn marks_outside_a_poll_go_nowhere() {
        write_blocked();
        let mut waits = Waits::default();
        waits.during(|| ());
        assert!(waits.write_since.is_none());
    }

    #[test]
    fn an_untimed_wait_has_no_deadline() {
        let mut waits = Waits::default();
        waits.during(|| {
            untimed(|| body_pending(Waker::noop()));
            read(1);
        });
        assert_eq!((waits.body_since, waits.read()), (None, 1), "marks count again after it");
    }

    #[test]
    fn a_slow_drip_runs_into_the_rate_before_it_runs_idle() {
        let timeouts = Timeouts { body_idle: Duration::from_secs(10), body_min_rate: 100, ..Timeouts::default() };
        let now = Instant::now();
        let waits =
            Waits { body_since: Some(now), body_waited: Duration::from_secs(11), body_bytes: 300, ..Waits::default() };
        // 300 bytes at 100 per second earn 3 s on top of the 10 s of grace; 11 s have passed.
        assert_eq!(waits.deadline(&timeouts), Some((now + Duration::from_secs(2), TimeoutName::BodyMinRate)));
    }
}

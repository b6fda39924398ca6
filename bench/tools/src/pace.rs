//! Points in time that are met to the microsecond. The runtime's own timers are met to the millisecond, which is more
//! than most answers take.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// A clock that wakes tasks of one runtime.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    timer: AsyncFd<OwnedFd>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    tasks: BinaryHeap<Reverse<Entry>>,
    /// When the timer fires.
    armed: Option<Instant>,
}

#[derive(Debug)]
struct Entry(Instant, Waker);

impl Pace {
    /// A clock of the current runtime, which ends with it.
    ///
    /// # Errors
    /// The system has no timer to give.
    pub fn start() -> Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
            .context("there is no timer")?;
        #[expect(deprecated, reason = "its successor is unsafe, for descriptors that others can close")]
        let timer = AsyncFd::new(timer)?;
        let pace = Self(Arc::new(Inner { timer, waiting: Mutex::default() }));
        let clock = pace.clone();
        tokio::spawn(async move { clock.run().await });
        Ok(pace)
    }

    /// Waits until then; returns at once if it has passed.
    pub async fn until(&self, then: Instant) {
        std::future::poll_fn(|context| {
            if Instant::now() >= then {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting();
            waiting.tasks.push(Reverse(Entry(then, context.waker().clone())));
            self.arm(&mut waiting);
            Poll::Pending
        })
        .await;
    }

    async fn run(&self) {
        while let Ok(mut guard) = self.0.timer.readable().await {
            let mut fired = [0; 8];
            // It fires for the earliest task only; the rest is read below.
            let _ = rustix::io::read(self.0.timer.get_ref(), &mut fired);
            guard.clear_ready();
            let mut waiting = self.waiting();
            waiting.armed = None;
            let now = Instant::now();
            while waiting.tasks.peek().is_some_and(|Reverse(Entry(then, _))| *then <= now) {
                if let Some(Reverse(Entry(_, waker))) = waiting.tasks.pop() {
                    waker.wake();
                }
            }
            self.arm(&mut waiting);
        }
    }

    fn arm(&self, waiting: &mut Waiting) {
        let Some(Reverse(Entry(then, _))) = waiting.tasks.peek() else { return };
        if waiting.armed.is_some_and(|armed| armed <= *then) {
            return;
        }
        // Zero would disarm it.
        let left = then.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.0.timer.get_ref(), TimerfdTimerFlags::empty(), &once).expect("a timer takes any time");
        waiting.armed = Some(*then);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

//! Timers of a held session.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The longest time that a timer can be set for; longer times are cut to it.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The timers of one instance.
#[derive(Default)]
pub(crate) struct Timers {
    timers: Vec<Timer>,
    next_id: u64,
    /// The sleep until the earliest timer; armed while the session waits.
    sleep: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Timer {
    id: u64,
    at: Instant,
    every: Option<Duration>,
}

impl Timers {
    /// The number of timers that are set.
    pub(crate) fn len(&self) -> usize {
        self.timers.len()
    }

    pub(crate) fn set(&mut self, ms: u64, repeat: bool) -> u64 {
        self.next_id += 1;
        let period = Duration::from_millis(if repeat { ms.max(1) } else { ms }).min(LONGEST);
        self.timers.push(Timer { id: self.next_id, at: Instant::now() + period, every: repeat.then_some(period) });
        self.next_id
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        self.timers.retain(|timer| timer.id != id);
    }

    /// Polls for the id of the next timer that fires. A missed firing is not made up for.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<u64> {
        loop {
            let Some(first) = self.timers.iter_mut().min_by_key(|timer| timer.at) else {
                self.sleep = None;
                return Poll::Pending;
            };
            let now = Instant::now();
            if first.at <= now {
                let id = first.id;
                match first.every {
                    Some(every) => {
                        first.at += every;
                        if first.at <= now {
                            first.at = now + every;
                        }
                    }
                    None => self.cancel(id),
                }
                return Poll::Ready(id);
            }
            let at = first.at;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.timers).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn next(timers: &mut Timers) -> u64 {
        poll_fn(|cx| timers.poll_next(cx)).await
    }

    #[tokio::test]
    async fn timers_fire_in_order_and_repeat() {
        let mut timers = Timers::default();
        let every = timers.set(100, true);
        let once = timers.set(150, false);
        let start = Instant::now();
        assert_eq!(next(&mut timers).await, every);
        assert_eq!(next(&mut timers).await, once);
        assert_eq!(next(&mut timers).await, every);
        assert!(start.elapsed() >= Duration::from_millis(200));
        assert_eq!(timers.len(), 1);
    }

    #[tokio::test]
    async fn a_busy_guest_gets_one_firing_and_not_a_backlog() {
        let mut timers = Timers::default();
        timers.set(10, true);
        tokio::time::sleep(Duration::from_millis(105)).await;
        let start = Instant::now();
        next(&mut timers).await;
        next(&mut timers).await;
        assert!(start.elapsed() >= Duration::from_millis(10));
    }

    #[tokio::test]
    async fn a_cancelled_timer_does_not_fire() {
        let mut timers = Timers::default();
        let first = timers.set(10, false);
        let second = timers.set(20, false);
        timers.cancel(first);
        assert_eq!(next(&mut timers).await, second);
    }
}

//! A token bucket; the caller supplies the clock.

use std::time::{Duration, Instant};

use crate::config::Rate;

/// Allows a burst, and then a fixed rate per second.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    /// When the bucket is full again: a bucket that is behind the clock is full (generic cell rate algorithm).
    full_at: Instant,
    /// The time in which one token comes back.
    interval: Duration,
    /// How far ahead of the clock the bucket may be.
    burst: Duration,
}

impl Bucket {
    pub fn new(rate: Rate, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / rate.per_second.get();
        Self { full_at: now, interval, burst: interval.saturating_mul(rate.burst.get()) }
    }

    /// Takes a token. False if there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.interval;
        let allowed = full_at <= now + self.burst;
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let rate = Rate::new(10, 3).expect("not zero");
        let mut bucket = Bucket::new(rate, start);
        let taken = |bucket: &mut Bucket, at| (0..9).take_while(|_| bucket.take(at)).count();
        assert_eq!(taken(&mut bucket, start), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(99)), 0);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(100)), 1);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(300)), 2);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(60)), 3);
    }
}

//! The budget for requests that a client begins and abandons.
//!
//! # Contract
//! A fixed number per second, plus one for each request that completed in between.

use std::time::{Duration, Instant};

/// The budget of one connection.
#[derive(Debug)]
pub(crate) struct Resets {
    per_second: u64,
    spent: u64,
    since: Instant,
}

/// The budget is spent.
#[derive(Debug)]
pub(crate) struct Exceeded;

impl Resets {
    pub(crate) fn new(per_second: u32) -> Resets {
        Resets { per_second: u64::from(per_second), spent: 0, since: Instant::now() }
    }

    /// Notes that a request completed.
    pub(crate) fn earn(&mut self) {
        self.spent = self.spent.saturating_sub(1);
    }

    /// Notes that the client abandoned a request.
    pub(crate) fn spend(&mut self, now: Instant) -> Result<(), Exceeded> {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.spent = 0;
        }
        self.spent += 1;
        if self.spent <= self.per_second { Ok(()) } else { Err(Exceeded) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_budget_and_no_more() {
        let mut resets = Resets::new(2);
        let start = resets.since;
        let at = |millis| start + Duration::from_millis(millis);
        for second in [0, 1000, 5000] {
            assert!(resets.spend(at(second)).is_ok());
            assert!(resets.spend(at(second + 1)).is_ok());
            assert!(resets.spend(at(second + 999)).is_err(), "the third within a second");
        }
    }

    #[test]
    fn who_takes_answers_may_leave_as_often() {
        let mut resets = Resets::new(1);
        let now = resets.since;
        for _ in 0..100 {
            assert!(resets.spend(now).is_ok());
            resets.earn();
        }
        assert!(resets.spend(now).is_ok());
        assert!(resets.spend(now).is_err());
    }
}

//! Quotas of a tenant: the use of all its instances together, and the limits on it.
//!
//! There are three kinds of quota. A [`Level`] limits a number that exists at once, a [`Flow`] limits a number in a
//! second, and a [`Stock`] limits data that is kept, also over a restart. The first two also count unlimited use, for
//! metrics; a stock is counted by its keeper. The caps on instances are a [`Gate`](crate::Gate) of the tenant.
//! docs/limits.md says which quotas pause and which refuse.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use roadrunner_disk::Owner;
use roadrunner_values::Quota;

use crate::gate::Waiter;
use crate::outcome::Outcome;

/// A tenant, with the account of its use.
#[derive(Debug)]
pub struct Tenant {
    /// Its name in the manifest.
    pub name: Arc<str>,
    /// The limits of the tenant.
    pub quota: Quota,
    /// Bytes of memory.
    pub memory: Level,
    /// Bytes of memory that the host holds, outside any guest.
    pub(crate) buffered: AtomicU64,
    /// CPU time, in nanoseconds.
    pub cpu: Flow,
    /// Requests.
    pub requests: Flow,
    /// Bytes of log text.
    pub log_bytes: Flow,
    /// Subscriptions.
    pub topics: Level,
    /// Bytes of messages that wait.
    pub topic_bytes: Level,
    /// Bytes of files.
    pub disk: Level,
    /// Outgoing connections.
    pub outbound_connections: Level,
    /// Bytes of outgoing bodies.
    pub outbound_bytes: Flow,
    /// Bytes of deployed versions.
    pub deployed_bytes: Stock,
    /// Bytes of code compiled from deployed versions.
    pub compiled_bytes: Stock,
    /// Bytes of keys and values in stores.
    pub store_bytes: Stock,
    /// Restored instances that wait for a request. The host has them; their number is only bounded.
    pub restored: Level,
    /// Requests that wait for CPU time.
    waiting: AtomicUsize,
}

impl Tenant {
    /// Creates a tenant without any use yet.
    pub fn new(name: &str, quota: Quota) -> Arc<Self> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Arc::new(Self {
            name: name.into(),
            quota,
            memory: Level::new(quota.memory),
            buffered: AtomicU64::new(0),
            cpu: Flow::new(quota.cpu_per_second.map(nanos)),
            requests: Flow::new(quota.requests_per_second),
            log_bytes: Flow::new(quota.log_bytes_per_second),
            topics: Level::new(quota.topics),
            topic_bytes: Level::new(quota.topic_bytes),
            disk: Level::new(quota.disk),
            outbound_connections: Level::new(quota.outbound_connections),
            outbound_bytes: Flow::new(quota.outbound_bytes_per_second),
            deployed_bytes: Stock::new(quota.deployed_bytes),
            compiled_bytes: Stock::new(quota.compiled_bytes),
            store_bytes: Stock::new(quota.store_bytes),
            restored: Level::new(None),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Bytes of its memory that the host holds, outside any guest.
    pub fn buffered(&self) -> u64 {
        self.buffered.load(Relaxed)
    }

    /// The number of times that each quota was exceeded, by its key in the manifest. CPU time and outgoing bytes are
    /// known only afterwards: for them, the number of waits.
    pub fn exceeded(&self) -> [(&'static str, u64); 12] {
        [
            ("memory", self.memory.exceeded()),
            ("cpu-per-second", self.cpu.exceeded()),
            ("requests-per-second", self.requests.exceeded()),
            ("log-bytes-per-second", self.log_bytes.exceeded()),
            ("topics", self.topics.exceeded()),
            ("topic-bytes", self.topic_bytes.exceeded()),
            ("disk", self.disk.exceeded()),
            ("outbound-connections", self.outbound_connections.exceeded()),
            ("outbound-bytes-per-second", self.outbound_bytes.exceeded()),
            ("deployed-bytes", self.deployed_bytes.exceeded()),
            ("compiled-bytes", self.compiled_bytes.exceeded()),
            ("store-bytes", self.store_bytes.exceeded()),
        ]
    }

    /// Waits for CPU time for another instance, up to `most`, behind at most `queue` others.
    pub(crate) async fn admit(&self, queue: usize, most: Duration) -> Result<(), Outcome> {
        let Some(first) = self.cpu.debt() else { return Ok(()) };
        self.cpu.count();
        let waiter = Waiter::new(&self.waiting);
        let (start, mut debt) = (Instant::now(), first);
        while waiter.ahead < queue && start.elapsed() + debt <= most {
            tokio::time::sleep(debt).await;
            match self.cpu.debt() {
                None => return Ok(()),
                Some(left) => debt = left,
            }
        }
        Err(Outcome::TenantCpuExceeded)
    }
}

impl Owner for Tenant {
    fn take(&self, bytes: u64) -> bool {
        self.disk.take(bytes)
    }

    fn add(&self, bytes: u64) {
        self.disk.add(bytes);
    }

    fn give_back(&self, bytes: u64) {
        self.disk.give_back(bytes);
    }
}

/// A limit on a number that exists at once.
#[derive(Debug)]
pub struct Level {
    limit: u64,
    used: AtomicU64,
    exceeded: AtomicU64,
}

impl Level {
    fn new(limit: Option<u64>) -> Self {
        Self { limit: limit.unwrap_or(u64::MAX), used: AtomicU64::new(0), exceeded: AtomicU64::new(0) }
    }

    /// Takes an amount; false, and nothing taken, when it does not fit.
    pub fn take(&self, amount: u64) -> bool {
        let fits = |used: u64| used.checked_add(amount).filter(|used| *used <= self.limit);
        let fits = self.used.fetch_update(Relaxed, Relaxed, fits).is_ok();
        if !fits {
            self.exceeded.fetch_add(1, Relaxed);
        }
        fits
    }

    /// Takes an amount that exists already, whether it fits or not.
    pub fn add(&self, amount: u64) {
        self.used.fetch_add(amount, Relaxed);
    }

    /// Gives back an amount.
    pub fn give_back(&self, amount: u64) {
        self.used.fetch_sub(amount, Relaxed);
    }

    /// The amount that is taken now.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The number of times that an amount did not fit.
    pub fn exceeded(&self) -> u64 {
        self.exceeded.load(Relaxed)
    }
}

/// A limit on an amount in a second. One second's worth can be saved up.
///
/// A single number holds the bucket: the time at which it would be full again (the generic cell rate algorithm).
#[derive(Debug)]
pub struct Flow {
    rate: Option<u64>,
    start: Instant,
    /// The time at which the bucket would be full again, in nanoseconds since the start.
    full_at: AtomicU64,
    total: AtomicU64,
    exceeded: AtomicU64,
    told: AtomicU64,
}

/// The most that can be saved up, in nanoseconds.
const BURST: u64 = 1_000_000_000;

impl Flow {
    fn new(rate: Option<u64>) -> Self {
        Self {
            rate,
            start: Instant::now(),
            full_at: AtomicU64::new(0),
            total: AtomicU64::new(0),
            exceeded: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    /// Takes an amount if it is available.
    ///
    /// # Errors
    ///
    /// The wait until the amount is available. The failure was counted.
    pub fn take(&self, amount: u64) -> Result<(), Duration> {
        if let Some(rate) = self.rate {
            let (now, cost) = (self.now(), cost(amount, rate));
            let mut wait = 0;
            let fits = |full_at: u64| {
                let full_at = full_at.max(now).saturating_add(cost);
                wait = (full_at - now).saturating_sub(BURST);
                (wait == 0).then_some(full_at)
            };
            if self.full_at.fetch_update(Relaxed, Relaxed, fits).is_err() {
                self.count();
                return Err(Duration::from_nanos(wait));
            }
        }
        self.total.fetch_add(amount, Relaxed);
        Ok(())
    }

    /// Takes an amount that was used already, whether it was available or not.
    pub fn spend(&self, amount: u64) {
        self.total.fetch_add(amount, Relaxed);
        if let Some(rate) = self.rate {
            let (now, cost) = (self.now(), cost(amount, rate));
            let spent = |full_at: u64| Some(full_at.max(now).saturating_add(cost));
            let _ = self.full_at.fetch_update(Relaxed, Relaxed, spent);
        }
    }

    /// The wait until past use is paid for; none when it is paid.
    pub fn debt(&self) -> Option<Duration> {
        self.rate?;
        let debt = self.full_at.load(Relaxed).saturating_sub(self.now()).saturating_sub(BURST);
        (debt > 0).then(|| Duration::from_nanos(debt))
    }

    /// Counts a wait or a refusal.
    pub fn count(&self) {
        self.exceeded.fetch_add(1, Relaxed);
    }

    /// The total ever taken.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// The number of times that the amount was not available.
    pub fn exceeded(&self) -> u64 {
        self.exceeded.load(Relaxed)
    }

    /// Whether to log that the quota is exceeded: once in a second.
    pub(crate) fn tells(&self) -> bool {
        let second = self.start.elapsed().as_secs() + 1;
        self.told.swap(second, Relaxed) != second
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A limit on data that is kept.
#[derive(Debug)]
pub struct Stock {
    limit: Option<u64>,
    exceeded: AtomicU64,
}

impl Stock {
    fn new(limit: Option<u64>) -> Self {
        Self { limit, exceeded: AtomicU64::new(0) }
    }

    /// The limit; none for no limit.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Counts an amount that did not fit.
    pub fn count(&self) {
        self.exceeded.fetch_add(1, Relaxed);
    }

    /// The number of times that an amount did not fit.
    pub fn exceeded(&self) -> u64 {
        self.exceeded.load(Relaxed)
    }
}

/// The nanoseconds until this amount is available again.
fn cost(amount: u64, rate: u64) -> u64 {
    let nanos = u128::from(amount) * 1_000_000_000 / u128::from(rate.max(1));
    // A rate of zero never gives anything.
    if rate == 0 && amount > 0 { u64::MAX } else { u64::try_from(nanos).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_what_fits() {
        let level = Level::new(Some(100));
        assert!(level.take(60));
        assert!(!level.take(60));
        assert!(level.take(40));
        assert_eq!((level.used(), level.exceeded()), (100, 1));
        level.give_back(60);
        assert!(level.take(60));
        let unlimited = Level::new(None);
        assert!(unlimited.take(u64::MAX));
        assert!(!unlimited.take(1), "what cannot be counted does not fit");
    }

    #[test]
    fn a_flow_gives_a_second_at_once_and_then_its_rate() {
        let flow = Flow::new(Some(1000));
        for _ in 0..10 {
            flow.take(100).expect("one second's worth");
        }
        let wait = flow.take(500).expect_err("it is used up");
        assert!(wait <= Duration::from_millis(500) && wait > Duration::from_millis(300), "{wait:?}");
        assert_eq!((flow.total(), flow.exceeded()), (1000, 1));
        assert!(flow.debt().is_none_or(|debt| debt < Duration::from_millis(1)), "nothing was used that was not there");
        flow.spend(250);
        let debt = flow.debt().expect("more was used than there was");
        assert!(debt <= Duration::from_millis(250) && debt > Duration::from_millis(50), "{debt:?}");
        assert!(Flow::new(Some(0)).take(1).is_err());
        assert!(Flow::new(None).take(u64::MAX).is_ok());
    }

    #[tokio::test]
    async fn a_request_waits_for_cpu_time_or_is_refused() {
        let quota = Quota { cpu_per_second: Some(Duration::from_millis(100)), ..Quota::default() };
        let tenant = Tenant::new("t", quota);
        tenant.admit(0, Duration::ZERO).await.expect("there is some");
        tenant.cpu.spend(105_000_000);
        assert!(tenant.cpu.debt().is_some(), "5 ms are owed, which take 50");
        tenant.admit(1, Duration::from_secs(10)).await.expect("it waits for them");
        tenant.cpu.spend(400_000_000);
        let second = Duration::from_secs(1);
        assert_eq!(tenant.admit(1, second).await, Err(Outcome::TenantCpuExceeded), "four seconds are too long");
        assert_eq!(tenant.admit(0, 10 * second).await, Err(Outcome::TenantCpuExceeded), "nobody may wait");
        assert_eq!(tenant.cpu.exceeded(), 3);
    }
}

//! What is known of a live instance from outside, and the account of its CPU time.
//!
//! CPU time is charged per poll of the guest's future. Reading the thread's CPU clock is a system call, so the usual
//! short request is charged by the monotonic clock instead: one poll that ends within a tick of the epoch cannot
//! have been charged more than that tick. As soon as a guest has been interrupted by the epoch it is known to be
//! busy, and every later poll is charged by the thread's CPU clock, so that a neighbour's work is never on its bill.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::component::Digest;
use crate::engine::{IDLE_TICK, TICK};
use crate::tenant::Tenant;

/// What a guest that was not known to be busy is charged at most until its first interruption.
const LONGEST_FIRST_SLICE: Duration = IDLE_TICK.saturating_add(TICK);

/// The shape of a response, as shown by introspection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub enum Shape {
    /// The handler has not answered yet.
    #[default]
    Pending,
    /// Complete when returned.
    Buffered,
    /// Written piece by piece.
    Stream,
    /// Driven by events.
    Loop,
    /// A file.
    Sendfile,
    /// A WebSocket.
    WebSocket,
    /// A WebTransport session.
    WebTransport,
    /// Whatever a standard component does.
    Standard,
}

impl Shape {
    /// The name in logs, metrics and `roadrunner ps`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Buffered => "buffered",
            Self::Stream => "stream",
            Self::Loop => "loop",
            Self::Sendfile => "sendfile",
            Self::WebSocket => "websocket",
            Self::WebTransport => "webtransport",
            Self::Standard => "standard",
        }
    }

    const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Buffered,
            2 => Self::Stream,
            3 => Self::Loop,
            4 => Self::Sendfile,
            5 => Self::WebSocket,
            6 => Self::WebTransport,
            7 => Self::Standard,
            _ => Self::Pending,
        }
    }
}

/// Who an instance works for.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The request's id, as in the access log.
    pub request: RequestId,
    /// Whom the component belongs to; none for the host itself.
    pub tenant: Option<Arc<Tenant>>,
    /// The component's name in the manifest.
    pub component: Arc<str>,
    /// What it is.
    pub digest: Digest,
    /// The pattern of the route that matched.
    pub route: Arc<str>,
    /// The client, after trusted forwarding.
    pub peer: Peer,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// An IP address and a port.
    Address(SocketAddr),
    /// A process of the same machine, over a socket without addresses.
    Local,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

/// A request's id: unique in the life of the host, and unlikely to repeat after it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestId {
    /// Made by the host: a value drawn at start, and a count.
    Made(u64, u64),
    /// Accepted from a trusted peer.
    Given(Arc<str>),
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Made(start, count) => write!(f, "{start:016x}{count:016x}"),
            Self::Given(id) => f.write_str(id),
        }
    }
}

/// The account of one live instance, shared between the instance, its driver and introspection.
#[derive(Debug)]
pub struct Meter {
    /// The instance's id, unique in the life of the host.
    pub id: u64,
    /// Who the instance works for.
    pub subject: Subject,
    /// Places that the instance takes in every gate.
    pub places: u32,
    /// When the instance was admitted.
    pub started: Instant,
    shape: AtomicU8,
    cpu_nanos: AtomicU64,
    call_start_nanos: AtomicU64,
    budget_nanos: AtomicU64,
    segment_start: AtomicU64,
    thread_start: AtomicU64,
    busy: AtomicBool,
    interrupted: AtomicBool,
    memory: AtomicU64,
    held: AtomicU64,
    peak_memory: AtomicU64,
    log_bytes: AtomicU64,
    log_dropped: AtomicU64,
    host_calls: AtomicU64,
    killed: AtomicBool,
    hibernating: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Meter {
    /// A fresh account.
    pub fn new(id: u64, subject: Subject, places: u32) -> Self {
        Self {
            id,
            subject,
            places,
            started: Instant::now(),
            shape: AtomicU8::new(0),
            cpu_nanos: AtomicU64::new(0),
            call_start_nanos: AtomicU64::new(0),
            budget_nanos: AtomicU64::new(u64::MAX),
            segment_start: AtomicU64::new(0),
            thread_start: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            memory: AtomicU64::new(0),
            held: AtomicU64::new(0),
            peak_memory: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            log_dropped: AtomicU64::new(0),
            host_calls: AtomicU64::new(0),
            killed: AtomicBool::new(false),
            hibernating: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// CPU time used so far, start-up included.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Relaxed))
    }

    /// Bytes charged to the memory limit now.
    pub fn memory(&self) -> u64 {
        self.memory.load(Relaxed) + self.held()
    }

    /// Says how many bytes the instance's driver holds for it now, outside this crate. They count as the instance's
    /// memory: its next growth is refused where they leave no room. The driver ends an instance that is over its
    /// limit.
    pub fn hold(&self, bytes: u64) {
        self.held.store(bytes, Relaxed);
        self.peak_memory.fetch_max(self.memory(), Relaxed);
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// The most bytes that were ever charged to the memory limit.
    pub fn peak_memory(&self) -> u64 {
        self.peak_memory.load(Relaxed)
    }

    /// Bytes of log lines that were dropped over the limit.
    pub fn log_dropped(&self) -> u64 {
        self.log_dropped.load(Relaxed)
    }

    /// Calls of the guest into the host.
    pub fn host_calls(&self) -> u64 {
        self.host_calls.load(Relaxed)
    }

    /// The shape of the response.
    pub fn shape(&self) -> Shape {
        Shape::from_u8(self.shape.load(Relaxed))
    }

    /// Ends the instance: a guest that runs is interrupted within a tick, one that waits is dropped at once.
    pub fn kill(&self) {
        self.killed.store(true, Relaxed);
        self.wake();
    }

    /// Wakes the driver of the instance, if it waits.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }

    /// Whether an operator has ended the instance.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    /// Whether the session hibernates: it has no instance now, and its next event makes one.
    pub fn is_hibernating(&self) -> bool {
        self.hibernating.load(Relaxed)
    }

    pub(crate) fn set_hibernating(&self, hibernating: bool) {
        self.hibernating.store(hibernating, Relaxed);
    }

    /// Asks for a wake-up when the instance is killed while its driver waits.
    pub fn register(&self, context: &Context<'_>) {
        let mut slot = self.waker.lock();
        match &mut *slot {
            Some(waker) => waker.clone_from(context.waker()),
            None => *slot = Some(context.waker().clone()),
        }
    }

    /// Records the shape of the response.
    pub fn set_shape(&self, shape: Shape) {
        self.shape.store(shape as u8, Relaxed);
    }

    pub(crate) fn set_memory(&self, bytes: u64) {
        self.memory.store(bytes, Relaxed);
        self.peak_memory.fetch_max(bytes + self.held(), Relaxed);
    }

    /// Takes `bytes` from the log budget, and from that of the tenant; false when they do not fit.
    pub(crate) fn take_log(&self, bytes: u64, limit: u64) -> bool {
        let fits = self.log_bytes.load(Relaxed).saturating_add(bytes) <= limit
            && self.subject.tenant.as_ref().is_none_or(|tenant| tenant.log_bytes.take(bytes).is_ok());
        let count = if fits { &self.log_bytes } else { &self.log_dropped };
        count.fetch_add(bytes, Relaxed);
        fits
    }

    /// Whether more was logged than `limit`, counting these bytes.
    pub(crate) fn is_over_log(&self, bytes: u64, limit: u64) -> bool {
        self.log_bytes.load(Relaxed).saturating_add(bytes) > limit
    }

    /// The guest calls the host. One thread at a time does.
    pub(crate) fn count_host_call(&self) {
        self.host_calls.store(self.host_calls.load(Relaxed) + 1, Relaxed);
    }

    /// Whether the last slice of the guest was ended by the epoch.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Relaxed)
    }

    /// Starts a budget of CPU time, from now on.
    pub(crate) fn start_budget(&self, budget: Duration) {
        self.call_start_nanos.store(self.cpu_nanos.load(Relaxed), Relaxed);
        self.budget_nanos.store(u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Adds to the budget of CPU time.
    pub(crate) fn add_budget(&self, budget: Duration) {
        self.budget_nanos.fetch_add(u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Shows what a shared instance, which has an account of its own, has used since this request came to it.
    pub(crate) fn show(&self, cpu: Duration, memory: u64) {
        self.cpu_nanos.store(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.set_memory(memory);
    }

    /// The guest starts to run on this thread.
    pub(crate) fn enter(&self) {
        self.interrupted.store(false, Relaxed);
        self.segment_start.store(monotonic_nanos(self.started), Relaxed);
        if self.busy.load(Relaxed) {
            self.thread_start.store(thread_cpu_nanos(), Relaxed);
        }
    }

    /// The guest stops running on this thread.
    pub(crate) fn leave(&self) {
        let segment = self.segment();
        self.cpu_nanos.fetch_add(segment, Relaxed);
        if let Some(tenant) = &self.subject.tenant {
            tenant.cpu.spend(segment);
        }
        self.busy.store(self.interrupted.load(Relaxed), Relaxed);
    }

    /// The epoch has interrupted the guest. True when its budget is used up.
    pub(crate) fn interrupt(&self) -> bool {
        self.interrupted.store(true, Relaxed);
        let used = self.cpu_nanos.load(Relaxed) + self.segment() - self.call_start_nanos.load(Relaxed);
        used > self.budget_nanos.load(Relaxed)
    }

    fn segment(&self) -> u64 {
        if self.busy.load(Relaxed) {
            return thread_cpu_nanos().saturating_sub(self.thread_start.load(Relaxed));
        }
        let elapsed = monotonic_nanos(self.started).saturating_sub(self.segment_start.load(Relaxed));
        if self.interrupted.load(Relaxed) {
            // The guest ran until the next tick; the rest is time in which the thread itself was not running.
            return elapsed.min(LONGEST_FIRST_SLICE.as_nanos() as u64);
        }
        elapsed
    }
}

fn monotonic_nanos(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn thread_cpu_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::new(
            1,
            Subject {
                request: RequestId::Made(0, 1),
                tenant: None,
                component: "c".into(),
                digest: Digest::of(b""),
                route: "/".into(),
                peer: Peer::Local,
            },
            1,
        )
    }

    #[test]
    fn waiting_is_not_charged_to_a_busy_guest() {
        let meter = meter();
        meter.start_budget(Duration::from_millis(50));
        meter.enter();
        assert!(!meter.interrupt());
        meter.leave();
        let before = meter.cpu();
        meter.enter();
        std::thread::sleep(Duration::from_millis(80));
        assert!(!meter.interrupt(), "80 ms of sleep are no CPU time");
        meter.leave();
        assert!(meter.cpu() - before < Duration::from_millis(20), "{:?}", meter.cpu());
    }

    #[test]
    fn spinning_uses_up_the_budget() {
        let meter = meter();
        meter.start_budget(Duration::from_millis(20));
        let start = Instant::now();
        loop {
            meter.enter();
            let slice = Instant::now();
            while slice.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
            let over = meter.interrupt();
            meter.leave();
            if over {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "never interrupted");
        }
        assert!(meter.cpu() >= Duration::from_millis(15), "{:?}", meter.cpu());
    }

    #[test]
    fn the_log_budget_counts_what_it_drops() {
        let meter = meter();
        assert!(meter.take_log(60, 100));
        assert!(!meter.take_log(60, 100));
        assert!(meter.take_log(40, 100));
        assert_eq!(meter.log_dropped(), 60);
    }
}

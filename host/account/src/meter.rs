//! The account of a live instance's CPU time, and the facts about it that are visible from outside.
//!
//! CPU time is charged for each poll of the guest's future, and for each piece of work that the host does for it
//! outside those polls: [`Span`] measures both. A guest that has used up a slice of the epoch, in its own code or in a
//! host call, is known to be busy. From then on it is charged by the thread's CPU clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::charge::{Account, Buffers, Party};
use crate::clock::Span;
use crate::clock::TICK;
use crate::digest::Digest;
use crate::outcome::Outcome;
use crate::tenant::Tenant;

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
    /// The response of a standard component.
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

/// The request, component and client that an instance works for.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The request's id, as in the access log.
    pub request: RequestId,
    /// The tenant that the component belongs to; none for the host itself.
    pub tenant: Option<Arc<Tenant>>,
    /// The component's name in the manifest.
    pub component: Arc<str>,
    /// The component's digest.
    pub digest: Digest,
    /// The pattern of the route that matched.
    pub route: Arc<str>,
    /// The client, after trusted forwarding.
    pub peer: Peer,
    /// Bytes that the host holds for all requests of the connection, as far as they belong to no tenant.
    pub connection: Arc<AtomicU64>,
}

/// The origin of a request.
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
    /// The request, component and client that the instance works for.
    pub subject: Subject,
    /// Places that the instance takes in every gate.
    pub places: u32,
    /// The time at which the instance was admitted.
    pub started: Instant,
    shape: AtomicU8,
    cpu_nanos: AtomicU64,
    /// CPU time of a shared instance, which has an account of its own.
    shown_nanos: AtomicU64,
    call_start_nanos: AtomicU64,
    budget_nanos: AtomicU64,
    /// The span of the poll in progress.
    span_start: AtomicU64,
    span_cpu: AtomicU64,
    span_charged: AtomicU64,
    busy: AtomicBool,
    interrupted: AtomicBool,
    in_line: AtomicBool,
    memory: AtomicU64,
    held: AtomicU64,
    peak_memory: AtomicU64,
    log_limit: u64,
    log_bytes: AtomicU64,
    log_dropped: AtomicU64,
    host_calls: AtomicU64,
    killed: AtomicBool,
    hibernating: AtomicBool,
    waker: Mutex<Option<Waker>>,
    buffers: Arc<Buffers>,
    /// The memory limit, in bytes.
    limit: u64,
}

impl Meter {
    /// Creates an account for a request that takes `places` places, with limits on its memory and its log in bytes.
    pub fn new(id: u64, subject: Subject, places: u32, buffers: Arc<Buffers>, limit: u64, log_limit: u64) -> Self {
        Self {
            id,
            subject,
            places,
            buffers,
            limit,
            started: Instant::now(),
            shape: AtomicU8::new(0),
            cpu_nanos: AtomicU64::new(0),
            shown_nanos: AtomicU64::new(0),
            call_start_nanos: AtomicU64::new(0),
            budget_nanos: AtomicU64::new(u64::MAX),
            span_start: AtomicU64::new(0),
            span_cpu: AtomicU64::new(0),
            span_charged: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            in_line: AtomicBool::new(false),
            memory: AtomicU64::new(0),
            held: AtomicU64::new(0),
            peak_memory: AtomicU64::new(0),
            log_limit,
            log_bytes: AtomicU64::new(0),
            log_dropped: AtomicU64::new(0),
            host_calls: AtomicU64::new(0),
            killed: AtomicBool::new(false),
            hibernating: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// CPU time used so far: by the guest, from its start, and by the host on its behalf.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Relaxed).saturating_add(self.shown_nanos.load(Relaxed)))
    }

    /// Does some work of the host for this request, which may take long, and charges it. Inside a call of the guest it
    /// is charged already.
    pub fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        let span = Span::begin(true);
        let done = work();
        self.charge(span.end());
        done
    }

    /// Does the same for work that is short, and too frequent for a system call.
    pub fn short_work<T>(&self, work: impl FnOnce() -> T) -> T {
        let span = Span::begin(false);
        let done = work();
        self.charge(span.end());
        done
    }

    /// Whether the budget of CPU time is used up.
    pub fn is_over_budget(&self) -> bool {
        let used = self.cpu_nanos.load(Relaxed).saturating_sub(self.call_start_nanos.load(Relaxed));
        used > self.budget_nanos.load(Relaxed)
    }

    /// Bytes charged to the memory limit now.
    pub fn memory(&self) -> u64 {
        self.memory.load(Relaxed) + self.held()
    }

    /// Bytes that the host holds for the request, outside any guest.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// The peak of bytes charged to the memory limit.
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

    /// Ends the instance: a running guest is interrupted within a tick, a waiting guest is dropped at once.
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

    /// Whether the session hibernates: it has no instance now, and its next event makes a new instance.
    pub fn is_hibernating(&self) -> bool {
        self.hibernating.load(Relaxed)
    }

    /// Records whether the session hibernates.
    pub fn set_hibernating(&self, hibernating: bool) {
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

    /// Records the bytes of linear memories and tables.
    pub fn set_memory(&self, bytes: u64) {
        self.memory.store(bytes, Relaxed);
        self.peak_memory.fetch_max(bytes + self.held(), Relaxed);
    }

    /// Takes `bytes` from the instance's log budget and from the tenant's; false when they do not fit.
    pub fn take_log(&self, bytes: u64) -> bool {
        let fits = !self.is_over_log(bytes)
            && self.subject.tenant.as_ref().is_none_or(|tenant| tenant.log_bytes.take(bytes).is_ok());
        let count = if fits { &self.log_bytes } else { &self.log_dropped };
        count.fetch_add(bytes, Relaxed);
        fits
    }

    /// Whether the instance has logged more than it may, counting these bytes.
    pub fn is_over_log(&self, bytes: u64) -> bool {
        self.log_bytes.load(Relaxed).saturating_add(bytes) > self.log_limit
    }

    /// The most bytes of log lines.
    pub fn log_limit(&self) -> u64 {
        self.log_limit
    }

    fn party(&self) -> Party<'_> {
        let tenant = self.subject.tenant.as_deref();
        Party { buffers: &self.buffers, tenant, connection: &self.subject.connection }
    }

    /// Counts a call of the guest into the host. Only one thread at a time does this.
    pub fn count_host_call(&self) {
        self.host_calls.store(self.host_calls.load(Relaxed) + 1, Relaxed);
    }

    /// Whether the guest has used up its last slice of the epoch.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Relaxed)
    }

    /// Whether the guest waits for its turn.
    pub fn is_in_line(&self) -> bool {
        self.in_line.load(Relaxed)
    }

    /// Records whether the guest waits for its turn.
    pub fn set_in_line(&self, in_line: bool) {
        self.in_line.store(in_line, Relaxed);
    }

    /// Starts a budget of CPU time now.
    pub fn start_budget(&self, budget: Duration) {
        self.call_start_nanos.store(self.cpu_nanos.load(Relaxed), Relaxed);
        self.budget_nanos.store(u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Adds to the budget of CPU time.
    pub fn add_budget(&self, budget: Duration) {
        self.budget_nanos.fetch_add(u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Shows the use of a shared instance, which has an account of its own, since this request came to it.
    pub fn show(&self, cpu: Duration, memory: u64) {
        self.shown_nanos.store(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.set_memory(memory);
    }

    /// Marks that the guest starts to run on this thread.
    pub fn enter(&self) {
        self.interrupted.store(false, Relaxed);
        let span = Span::begin(self.busy.load(Relaxed));
        self.span_start.store(span.start, Relaxed);
        self.span_cpu.store(span.cpu, Relaxed);
        self.span_charged.store(span.charged, Relaxed);
    }

    /// Marks that the guest stops running on this thread.
    pub fn leave(&self) {
        let used = self.span().end();
        self.charge(used);
        self.busy.store(self.interrupted.load(Relaxed) || used > TICK.as_nanos() as u64, Relaxed);
    }

    /// Handles an interruption of the guest by the epoch. Returns true when its budget is used up.
    pub fn interrupt(&self) -> bool {
        self.interrupted.store(true, Relaxed);
        let used = self.cpu_nanos.load(Relaxed) + self.span().used() - self.call_start_nanos.load(Relaxed);
        used > self.budget_nanos.load(Relaxed)
    }

    /// Charges the request and its tenant for CPU time, in nanoseconds.
    pub fn charge(&self, nanos: u64) {
        self.cpu_nanos.fetch_add(nanos, Relaxed);
        if let Some(tenant) = &self.subject.tenant {
            tenant.cpu.spend(nanos);
        }
    }

    fn span(&self) -> Span {
        Span {
            start: self.span_start.load(Relaxed),
            cpu: self.span_cpu.load(Relaxed),
            charged: self.span_charged.load(Relaxed),
            exact: self.busy.load(Relaxed),
        }
    }
}

impl Account for Meter {
    fn take(&self, bytes: u64) -> Result<(), Outcome> {
        let held = self.held.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let taken = match self.memory.load(Relaxed).saturating_add(held) <= self.limit {
            true => self.party().take(bytes),
            false => Err(Outcome::MemoryExceeded),
        };
        match taken {
            Ok(()) => drop(self.peak_memory.fetch_max(self.memory(), Relaxed)),
            Err(_) => drop(self.held.fetch_sub(bytes, Relaxed)),
        }
        taken
    }

    fn add(&self, bytes: u64) {
        self.held.fetch_add(bytes, Relaxed);
        self.party().add(bytes);
    }

    fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Relaxed);
        self.party().give_back(bytes);
    }

    fn buffers(&self) -> &Arc<Buffers> {
        &self.buffers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::spin;

    impl Meter {
        /// An account without limits, for no particular request.
        pub(crate) fn for_tests() -> Self {
            let subject = Subject {
                request: RequestId::Made(0, 1),
                tenant: None,
                component: "c".into(),
                digest: Digest::of(b""),
                route: "/".into(),
                peer: Peer::Local,
                connection: Arc::default(),
            };
            Self::new(1, subject, 1, Buffers::new(1 << 40), u64::MAX, 100)
        }
    }

    #[test]
    fn waiting_is_not_charged_to_a_busy_guest() {
        let meter = Meter::for_tests();
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
    fn a_long_host_call_of_a_guest_that_was_not_busy_is_charged_whole() {
        let meter = Meter::for_tests();
        meter.start_budget(Duration::from_millis(50));
        meter.enter();
        spin(Duration::from_millis(100));
        assert!(meter.interrupt(), "the budget is used up");
        meter.leave();
        assert!(meter.cpu() > Duration::from_millis(60), "{:?}", meter.cpu());
        assert!(meter.is_busy() && meter.is_over_budget());
    }

    #[test]
    fn work_of_the_host_is_charged_to_request_and_tenant() {
        let tenant = Tenant::new("t", roadrunner_values::Quota::default());
        let mut meter = Meter::for_tests();
        meter.subject.tenant = Some(tenant.clone());
        meter.start_budget(Duration::from_millis(5));
        let done = meter.work(|| {
            spin(Duration::from_millis(30));
            7
        });
        assert_eq!(done, 7);
        assert!(meter.cpu() > Duration::from_millis(20), "{:?}", meter.cpu());
        assert_eq!(u128::from(tenant.cpu.total()), meter.cpu().as_nanos());
        assert!(meter.is_over_budget());
    }

    #[test]
    fn spinning_uses_up_the_budget() {
        let meter = Meter::for_tests();
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
        let meter = Meter::for_tests();
        assert!(meter.take_log(60));
        assert!(!meter.take_log(60));
        assert!(meter.take_log(40));
        assert_eq!(meter.log_dropped(), 60);
    }
}

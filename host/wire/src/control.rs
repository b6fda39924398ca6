//! The small shared state of a connection, and the registry through which the server reaches all connections. Only the
//! connection's own task writes on the hot path.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Ending, Protocol, TimeoutName};

/// State that a connection shares with the server and with its exchanges.
#[derive(Debug, Default)]
pub(crate) struct Control {
    command: AtomicU8,
    ending: AtomicU8,
    /// Exchanges whose service future or response body exists.
    in_flight: AtomicU32,
    requests: AtomicU64,
    /// Part of a request body was dropped unread; see `Timeouts::linger`.
    unread: AtomicBool,
    /// The rest of a request body that the service left unread is being read, or will be.
    is_draining: AtomicBool,
    to_drain: Mutex<Option<Box<Incoming>>>,
    /// The exchange under way lasts until its client leaves.
    is_held: AtomicBool,
    /// The first request, counted from 1, whose version is not served; 0 if there is none.
    unsupported: AtomicU64,
    protocol: AtomicU8,
    /// The stream now belongs to a tunnel.
    is_tunnel: AtomicBool,
    /// The client was told that the connection switches from HTTP/1 to HTTP/2.
    is_upgrading: AtomicBool,
    /// The connection's task, once it is registered. Its waker never changes, is used more than once, and keeps the
    /// task's memory allocated.
    task: Mutex<Option<Waker>>,
    is_registered: AtomicBool,
    /// The task that reads the tunnel.
    tunnel: AtomicWaker,
}

/// A command of the server to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Command {
    Run,
    /// Continue serving, and tell HTTP/1 clients to make their next connection elsewhere.
    Retire,
    /// Finish the exchanges in flight, accept no new ones.
    Drain,
    /// End now.
    Cut,
}

impl Control {
    pub(crate) fn command(&self) -> Command {
        match self.command.load(Acquire) {
            0 => Command::Run,
            1 => Command::Retire,
            2 => Command::Drain,
            _ => Command::Cut,
        }
    }

    /// Registers the connection's task for later commands. Call it in that task only.
    pub(crate) fn register(&self, waker: &Waker) {
        if !self.is_registered.load(Relaxed) {
            self.is_registered.store(true, Relaxed);
            *self.task.lock() = Some(waker.clone());
        }
    }

    /// Registers the task that reads the tunnel.
    pub(crate) fn register_reader(&self, waker: &Waker) {
        self.tunnel.register(waker);
    }

    fn order(&self, command: Command) {
        self.command.fetch_max(command as u8, Release);
        self.wake();
        self.tunnel.wake();
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }

    pub(crate) fn ending(&self) -> Ending {
        match self.ending.load(Acquire) {
            0 => Ending::Open,
            1 => Ending::PeerClosed,
            2 => Ending::Lost,
            3 => Ending::Closed,
            code => Ending::TimedOut(TimeoutName::ALL[usize::from(code) - TIMED_OUT]),
        }
    }

    /// Notes how the connection ended; the first note stays.
    pub(crate) fn end(&self, ending: Ending) {
        let code = match ending {
            Ending::Open => return,
            Ending::PeerClosed => 1,
            Ending::Lost => 2,
            Ending::Closed => 3,
            Ending::TimedOut(name) => (name as usize + TIMED_OUT) as u8,
        };
        let _ = self.ending.compare_exchange(0, code, Release, Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(crate) fn begin_exchange(&self, protocol: Protocol) {
        self.in_flight.fetch_add(1, Relaxed);
        if protocol == Protocol::Http3 {
            // On these protocols every stream's task begins its own exchange.
            self.requests.fetch_add(1, Relaxed);
            return;
        }
        // Only the connection's task begins exchanges, so this needs no read-modify-write.
        self.requests.store(self.requests.load(Relaxed) + 1, Relaxed);
    }

    pub(crate) fn end_exchange(&self, protocol: Protocol) {
        let before = self.in_flight.fetch_sub(1, Release);
        if protocol == Protocol::Http1 {
            self.is_held.store(false, Relaxed);
        }
        // An HTTP/1 exchange ends inside the connection's task. An HTTP/2 exchange does not, and the idle clock of the
        // connection starts with the end of its last stream.
        if before == 1 && protocol == Protocol::Http2 {
            self.wake();
        }
    }

    pub(crate) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    pub(crate) fn left_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// Leaves the rest of a body to the connection's task, which may be another task.
    pub(crate) fn drain_body(&self, body: Incoming) {
        *self.to_drain.lock() = Some(Box::new(body));
        self.is_draining.store(true, Release);
        self.wake();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Acquire)
    }

    pub(crate) fn body_to_drain(&self) -> Option<Box<Incoming>> {
        self.to_drain.lock().take()
    }

    /// Notes that reading the rest of the body has ended, at its end or before.
    pub(crate) fn has_drained(&self, to_its_end: bool) {
        if !to_its_end {
            self.leave_unread();
        }
        self.is_draining.store(false, Release);
    }

    /// Notes that the exchange under way lasts until its client leaves.
    pub(crate) fn hold(&self) {
        self.is_held.store(true, Relaxed);
    }

    /// Notes that this request, counted from 1, has a version that is not served.
    pub(crate) fn note_unsupported(&self, request: u64) {
        self.unsupported.store(request, Relaxed);
    }

    /// Whether the exchange that began last has a version that is not served.
    pub(crate) fn is_unsupported(&self) -> bool {
        let unsupported = self.unsupported.load(Relaxed);
        unsupported != 0 && unsupported == self.requests()
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Relaxed)
    }

    pub(crate) fn become_tunnel(&self) {
        self.is_tunnel.store(true, Relaxed);
    }

    /// Forgets the connection's task, which ends. A tunnel can outlive it by far, and must not keep its memory.
    pub(crate) fn forget_task(&self) {
        *self.task.lock() = None;
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        self.is_tunnel.load(Relaxed)
    }

    /// Notes that the exchange that has just begun asks for HTTP/2, and will begin again there.
    pub(crate) fn begin_upgrade(&self) {
        self.is_upgrading.store(true, Relaxed);
        self.requests.store(self.requests.load(Relaxed) - 1, Relaxed);
    }

    pub(crate) fn end_upgrade(&self) {
        self.is_upgrading.store(false, Relaxed);
    }

    pub(crate) fn is_upgrading(&self) -> bool {
        self.is_upgrading.load(Relaxed)
    }

    pub(crate) fn speaks(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Relaxed);
    }

    fn protocol(&self) -> Protocol {
        Protocol::ALL[usize::from(self.protocol.load(Relaxed))]
    }
}

const TIMED_OUT: usize = 4;

/// The open connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    open: Mutex<HashMap<u64, Arc<Control>>>,
    next_id: AtomicU64,
    /// The last command given to all connections; it also applies to later connections.
    command: AtomicU8,
    /// Requests of closed connections, by protocol.
    past: [AtomicU64; Protocol::ALL.len()],
    emptied: Notify,
}

impl Registry {
    pub(crate) fn enter(&self) -> (u64, Arc<Control>) {
        let id = self.next_id.fetch_add(1, Relaxed) + 1;
        let control = Arc::new(Control::default());
        let mut open = self.open.lock();
        control.command.store(self.command.load(Relaxed), Release);
        open.insert(id, Arc::clone(&control));
        (id, control)
    }

    pub(crate) fn leave(&self, id: u64) {
        let mut open = self.open.lock();
        if let Some(control) = open.remove(&id) {
            self.past[control.protocol() as usize].fetch_add(control.requests.load(Relaxed), Relaxed);
        }
        if open.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    pub(crate) fn order(&self, command: Command) {
        let open = self.open.lock();
        self.command.fetch_max(command as u8, Relaxed);
        for control in open.values() {
            control.order(command);
        }
    }

    /// Whether new connections are still served.
    pub(crate) fn is_serving(&self) -> bool {
        self.command.load(Relaxed) <= Command::Retire as u8
    }

    pub(crate) fn open(&self) -> usize {
        self.open.lock().len()
    }

    /// Resolves when no connection is open.
    pub(crate) async fn empty(&self) {
        loop {
            let notified = self.emptied.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            notified.await;
        }
    }

    pub(crate) fn requests(&self, protocol: Protocol) -> u64 {
        let open = self.open.lock();
        let live: u64 = open.values().filter(|c| c.protocol() == protocol).map(|c| c.requests.load(Relaxed)).sum();
        live + self.past[protocol as usize].load(Relaxed)
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.open.lock().values().map(|c| u64::from(c.in_flight())).sum()
    }
}

//! The limits of a request, and the caps and quotas over many requests.

use std::time::Duration;

use crate::units::{kib, mib, millis, secs};
use crate::values;

values! {
    /// The limits of one request and of the instance that answers it. docs/limits.md names the test of each.
    pub struct Limits {
        /// Memory of one request: linear memories and tables of its instance, and the host's memory for it, from the
        /// first byte of the body until the last byte of the response is sent. Over it, growth fails inside the guest.
        pub memory: u64 = mib(128);
        /// CPU time from the instance's start to the end of `handle` and of `streaming.run`. Work of the host for the
        /// request counts, such as compressing its response. Over it, the guest is stopped: 503 before the head of the
        /// response, an aborted body after it.
        pub cpu: Duration = secs(1);
        /// CPU time of each callback of a held session. Over it, the session ends.
        pub callback_cpu: Duration = millis(100);
        /// Wall-clock time from the instance's start to the head of the response. Over it, the request is answered with
        /// 504.
        pub deadline: Duration = secs(30);
        /// Wall-clock time from the head of a request to the end of its response. Its body and a slow reader count.
        /// Over it, the request is answered with 504, or its response is aborted. Event loops and WebSockets are exempt
        /// once their head is sent: they have `idle`.
        pub total: Option<Duration> = None;
        /// The longest time that a held session may go without an event and without a write. Over it, the session ends.
        pub idle: Option<Duration> = None;
        /// The time without an event after which the guest of a held session is asked to hibernate. If it exports
        /// `hibernation` and returns its state, the instance is dropped, and the next event starts a fresh one.
        pub hibernate: Option<Duration> = None;
        /// The state of one session that hibernates. A session with a larger state stays held.
        pub hibernate_bytes: usize = kib(64);
        /// Request body that is read before the instance starts, in body mode `auto`. Over it, the request is answered
        /// with 413. It counts as `memory`: an inherited value is lowered to `memory` where that is less.
        pub body: u64 = mib(2);
        /// Bytes that one call between guest and host may carry, such as a buffered response. Over it, the guest traps.
        pub host_call_bytes: usize = mib(16);
        /// Bytes of the head of a guest's response, plus 32 for each field. The trailer fields have the same limit.
        /// Over it, the request is answered with 500.
        pub response_head: usize = kib(64);
        /// Host resources that an instance may hold at once, such as bodies and writers. Over it, the guest traps.
        pub handles: usize = 1000;
        /// Log text of one request or session. Further lines are dropped and counted.
        pub log_bytes: u64 = kib(64);
        /// Bytes of bus messages that wait for a held session. A message that does not fit is missed.
        pub queue_bytes: usize = mib(1);
    }
}

values! {
    /// Caps on instances, of a component, a route or a tenant. `None` means no cap at this level.
    pub struct Caps {
        /// Instances that answer requests at once. Over it, a request waits for `queue-wait` at most, and is then
        /// answered with 503.
        pub instances: Option<u32> = None;
        /// Sessions held at once. Over it, the request is answered with 503.
        pub held: Option<u32> = None;
        /// Sessions that hibernate at once. Over it, a session stays held.
        pub hibernated: Option<u32> = None;
    }
}

impl Copy for Caps {}

values! {
    /// Caps of the whole host.
    pub struct HostCaps {
        /// Instances that answer requests at once. Over it, a request is answered with 503. A session counts here until
        /// it is held, and in `held` from then on.
        pub instances: u32 = 1000;
        /// Sessions held at once: event loops, WebSockets, WebTransport sessions. Over it, the request is answered with
        /// 503. Each instance needs four memory maps of the kernel, and two for its stack: for more sessions than the
        /// default, raise `vm.max_map_count`.
        pub held: u32 = 8000;
        /// Bytes that the host holds for all requests together, outside their guests: bodies that were read or are to
        /// be sent, heads, chunks and messages in flight, and the states of sessions that hibernate. Over it, a request
        /// is answered with 503 and `Retry-After`, and requests in flight wait or end. A tenant, or a connection
        /// without a tenant, may hold as much as it leaves free: half of it while it is alone. Without it, a quarter of
        /// the memory of the machine or of the process's cgroup.
        pub buffered: Option<u64> = None;
        /// Sessions that hibernate at once, in addition to `held`. Over it, a session stays held.
        pub hibernated: u32 = 100_000;
        /// Requests that may wait for an instance, at each cap: the host's, a component's, a route's. Over it, a
        /// request is answered with 503 and `Retry-After` at once.
        pub queue: u32 = 1000;
        /// The longest time that a request may wait for an instance. Over it, the request is answered with 503 and
        /// `Retry-After`.
        pub queue_wait: Duration = secs(1);
    }
}

impl Copy for HostCaps {}

impl HostCaps {
    /// The number of instances that can exist at once, which is the number of pool slots.
    pub fn pool_size(&self) -> u32 {
        self.instances.saturating_add(self.held)
    }
}

values! {
    /// Caps on connections, on all listeners together. A connection over a cap is closed at once, and counted.
    pub struct ConnectionCaps {
        /// Connections open at once, on all listeners together. Over it, a new connection is closed at once.
        pub connections: usize = 16_384;
        /// Connections open at once from one peer: an IPv4 address or an IPv6 /64. Unix sockets have no peer. Without
        /// it, no cap: behind a proxy all connections come from one peer.
        pub connections_per_peer: Option<usize> = None;
    }
}

impl Copy for ConnectionCaps {}

values! {
    /// Quotas of all components of one tenant together. `None` means no limit.
    pub struct Quota {
        /// Memory of all instances: linear memories, tables, the host's buffers for them, and the states of sessions
        /// that hibernate. Over it, growth fails inside the guest.
        pub memory: Option<u64> = None;
        /// CPU time in one second of wall-clock time, of all guests and of the host's work for them: `"500ms"` is half
        /// a processor, `"2s"` are two. Over it, running guests pause, and so does the host's work. New requests wait
        /// for `queue-wait` at most, and are then answered with 503 and `Retry-After`. One second's worth can be saved
        /// up.
        pub cpu_per_second: Option<Duration> = None;
        /// Requests a second, including requests for files. Over it, a request is answered with 429 and `Retry-After`.
        /// One second's worth can be saved up.
        pub requests_per_second: Option<u64> = None;
        /// Log text a second. Further lines are dropped and counted. One second's worth can be saved up.
        pub log_bytes_per_second: Option<u64> = None;
        /// Subscriptions to topics of the bus at once. Over it, the guest's `subscribe` fails.
        pub topics: Option<u64> = None;
        /// Messages that wait for its sessions, on all topics together. A message that does not fit is missed.
        pub topic_bytes: Option<u64> = None;
        /// Size of the files below its directories, which are those of `[directory]` with this tenant. Over it, guests
        /// can add no more.
        pub disk: Option<u64> = None;
        /// Outgoing connections open at once. Over it, an outgoing request is refused.
        pub outbound_connections: Option<u64> = None;
        /// Bytes a second of the bodies of outgoing requests and their answers. Over it, they pause. One second's worth
        /// can be saved up.
        pub outbound_bytes_per_second: Option<u64> = None;
        /// Bytes of all versions of its components in the directory of `[deploy]`, including uploads in progress. Over
        /// it, an upload is refused with 507.
        pub deployed_bytes: Option<u64> = None;
        /// Bytes of the code compiled from these versions, in the cache of compiled code. Over it, a deployment is
        /// refused with 507.
        pub compiled_bytes: Option<u64> = None;
        /// Bytes of its components in stores in files and in memory: keys and values, and 64 bytes for each key. Over
        /// it, nothing is added.
        pub store_bytes: Option<u64> = None;
    }
}

impl Copy for Quota {}

//! Limits of one instance, and of all instances of one component.

use std::time::Duration;

/// The limits of an instance. All of them are enforced by the host; docs/limits.md names the test that trips each.
///
/// # Defaults
/// See each field.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of linear memories, tables and the host's buffers for the request, together. Default 128 MiB.
    pub memory: u64,
    /// CPU time of start-up, `handle` and `streaming.run` together. Default 1 s.
    pub cpu: Duration,
    /// CPU time of one callback on a held instance. Default 100 ms.
    pub callback_cpu: Duration,
    /// Wall-clock time until the head of the response. Default 30 s.
    pub deadline: Duration,
    /// Bytes that one call from the guest to the host may carry; a buffered response is one such call.
    /// Default 16 MiB.
    pub host_call_bytes: usize,
    /// Bytes of the head of a response, and of its trailer fields, plus 32 for each field. Default 64 KiB.
    pub response_head: usize,
    /// Component-model handles open at once; timers and subscriptions count against the same number. Default 1000.
    pub handles: usize,
    /// Bytes of log lines, standard output and standard error. More is dropped and counted. Default 64 KiB.
    pub log_bytes: u64,
    /// Bytes of bus messages waiting for a held instance. A message that does not fit is missed. Default 1 MiB.
    pub queue_bytes: usize,
    /// The longest time that a held instance may go without an event. Default: no limit.
    pub idle: Option<Duration>,
    /// The time without an event after which a held instance is asked to hibernate. Default: it never is.
    pub hibernate: Option<Duration>,
    /// Bytes of the state that a hibernating session may leave. A session with more stays held. Default 64 KiB.
    pub hibernate_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 128 << 20,
            cpu: Duration::from_secs(1),
            callback_cpu: Duration::from_millis(100),
            deadline: Duration::from_secs(30),
            host_call_bytes: 16 << 20,
            response_head: 64 << 10,
            handles: 1000,
            log_bytes: 64 << 10,
            queue_bytes: 1 << 20,
            idle: None,
            hibernate: None,
            hibernate_bytes: 64 << 10,
        }
    }
}

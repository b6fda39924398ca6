//! How a connection ended, and the deadlines by their names.

use std::fmt;

/// How a connection ended, as far as the transport has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This side closed it: a cut, the end of a drain, or a flood.
    Closed,
    /// An error of the transport, such as a reset.
    Lost,
    /// It has not ended.
    Open,
    /// The peer closed its side cleanly.
    PeerClosed,
    /// A deadline of the transport passed.
    TimedOut(TimeoutName),
}

/// The name of a deadline that passed: the field of [`Timeouts`](roadrunner_values::Timeouts) that set it, or the
/// deadline that the service set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TimeoutName {
    /// [`Timeouts::body_idle`](roadrunner_values::Timeouts::body_idle)
    BodyIdle,
    /// [`Timeouts::body_min_rate`](roadrunner_values::Timeouts::body_min_rate)
    BodyMinRate,
    /// [`Timeouts::h2_idle`](roadrunner_values::Timeouts::h2_idle)
    H2Idle,
    /// [`Timeouts::h2_ping_timeout`](roadrunner_values::Timeouts::h2_ping_timeout)
    H2PingTimeout,
    /// [`Timeouts::h3_idle`](roadrunner_values::Timeouts::h3_idle)
    H3Idle,
    /// [`Timeouts::h3_lost`](roadrunner_values::Timeouts::h3_lost)
    H3Lost,
    /// [`Timeouts::handshake`](roadrunner_values::Timeouts::handshake)
    Handshake,
    /// [`Timeouts::keep_alive_idle`](roadrunner_values::Timeouts::keep_alive_idle)
    KeepAliveIdle,
    /// [`Timeouts::preface`](roadrunner_values::Timeouts::preface)
    Preface,
    /// [`Timeouts::proxy_header`](roadrunner_values::Timeouts::proxy_header)
    ProxyHeader,
    /// [`Timeouts::request_head`](roadrunner_values::Timeouts::request_head)
    RequestHead,
    /// [`end_by`](crate::end_by)
    Total,
    /// [`Timeouts::write_stall`](roadrunner_values::Timeouts::write_stall)
    WriteStall,
}

impl TimeoutName {
    /// Every name, in the order of the enum.
    pub const ALL: [TimeoutName; 13] = [
        TimeoutName::BodyIdle,
        TimeoutName::BodyMinRate,
        TimeoutName::H2Idle,
        TimeoutName::H2PingTimeout,
        TimeoutName::H3Idle,
        TimeoutName::H3Lost,
        TimeoutName::Handshake,
        TimeoutName::KeepAliveIdle,
        TimeoutName::Preface,
        TimeoutName::ProxyHeader,
        TimeoutName::RequestHead,
        TimeoutName::Total,
        TimeoutName::WriteStall,
    ];

    /// The name in manifests, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeoutName::BodyIdle => "body-idle",
            TimeoutName::BodyMinRate => "body-min-rate",
            TimeoutName::H2Idle => "h2-idle",
            TimeoutName::H2PingTimeout => "h2-ping-timeout",
            TimeoutName::H3Idle => "h3-idle",
            TimeoutName::H3Lost => "h3-lost",
            TimeoutName::Handshake => "handshake",
            TimeoutName::KeepAliveIdle => "keep-alive-idle",
            TimeoutName::Preface => "preface",
            TimeoutName::ProxyHeader => "proxy-header",
            TimeoutName::RequestHead => "request-head",
            TimeoutName::Total => "total",
            TimeoutName::WriteStall => "write-stall",
        }
    }
}

impl fmt::Display for TimeoutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

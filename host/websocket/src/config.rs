//! The limits and automatic behaviour of one kind of session. Built once, shared by all its sessions.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::deflate::DeflateConfig;

/// The end of the connection that this is: it decides which side masks (RFC 6455, 5.1) and which side closes TCP
/// (7.1.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The end that connected.
    Client,
    /// The end that accepted.
    Server,
}

/// The settings of a session.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The limits on the peer.
    pub limits: Limits,
    /// The deadlines of a silent session.
    pub timers: Timers,
    /// How permessage-deflate is negotiated and used.
    ///
    /// # Defaults
    /// None: it is never negotiated.
    pub deflate: Option<DeflateConfig>,
}

impl Config {
    /// The defaults with permessage-deflate enabled.
    pub fn with_deflate() -> Self {
        Self { deflate: Some(DeflateConfig::default()), ..Self::default() }
    }
}

/// Limits, each with its own [`crate::Violation`] or [`crate::SendError`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most payload bytes of one frame, checked on its header, before any of it is held.
    ///
    /// # Defaults
    /// 10 MiB.
    pub frame_size: u64,
    /// The most bytes of one message, after inflation and over all fragments. Each continuation is charged as at least
    /// 64 bytes, and the compressed bytes of a message may be no more than twice this limit, so that endless empty
    /// fragments end too.
    ///
    /// # Defaults
    /// 10 MiB.
    pub message_size: usize,
    /// The most frames of one message.
    ///
    /// # Defaults
    /// 131 072.
    pub fragments: u32,
    /// The largest ratio of a message's inflated size to its compressed size. It is checked every 16 KiB of output,
    /// once the message is larger than [`Self::compression_floor`]. DEFLATE itself ends at 1032. `None` does not check;
    /// then only [`Self::message_size`] bounds a bomb.
    ///
    /// # Defaults
    /// None.
    pub compression_ratio: Option<NonZeroU32>,
    /// The most bytes of an inflated message to which the ratio does not apply.
    ///
    /// # Defaults
    /// 1 MiB.
    pub compression_floor: usize,
    /// How many control frames may arrive. None does not check; each ping costs an answer.
    ///
    /// # Defaults
    /// 100 per second, 200 at once.
    pub control_rate: Option<Rate>,
    /// How many messages may arrive.
    ///
    /// # Defaults
    /// None: back-pressure alone slows a peer down.
    pub message_rate: Option<Rate>,
    /// The most bytes that may wait to be written. Above it, nothing more is accepted from the application, nor read
    /// from the peer. One message may exceed it, so that any message can be sent.
    ///
    /// # Defaults
    /// 1 MiB.
    pub outgoing_queue: usize,
    /// The most bytes of one outgoing message, before compression.
    ///
    /// # Defaults
    /// 16 MiB.
    pub outgoing_message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_size: 10 << 20,
            message_size: 10 << 20,
            fragments: 1 << 17,
            compression_ratio: None,
            compression_floor: 1 << 20,
            control_rate: Rate::new(100, 200),
            message_rate: None,
            outgoing_queue: 1 << 20,
            outgoing_message: 16 << 20,
        }
    }
}

/// A rate per second, with a burst after a pause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    pub(crate) per_second: NonZeroU32,
    pub(crate) burst: NonZeroU32,
}

impl Rate {
    /// Makes a rate; `None` if either number is 0.
    pub const fn new(per_second: u32, burst: u32) -> Option<Self> {
        match (NonZeroU32::new(per_second), NonZeroU32::new(burst)) {
            (Some(per_second), Some(burst)) => Some(Self { per_second, burst }),
            _ => None,
        }
    }
}

/// Deadlines. `None` never fires.
#[derive(Clone, Debug)]
pub struct Timers {
    /// How long the peer may be silent before a ping is sent.
    ///
    /// # Defaults
    /// 30 s.
    pub ping_interval: Option<Duration>,
    /// How long the peer may be silent after a ping of [`Self::ping_interval`] before the session ends as dead.
    ///
    /// # Defaults
    /// 20 s.
    pub pong_timeout: Duration,
    /// How long a session may have no message in either direction before it is closed with 1001, even if the peer is
    /// alive.
    ///
    /// # Defaults
    /// None.
    pub idle: Option<Duration>,
    /// How long the peer may take to answer a close frame before the connection is dropped (RFC 6455, 7.1.1).
    ///
    /// # Defaults
    /// 5 s.
    pub close: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            ping_interval: Some(Duration::from_secs(30)),
            pong_timeout: Duration::from_secs(20),
            idle: None,
            close: Duration::from_secs(5),
        }
    }
}

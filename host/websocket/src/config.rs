//! What one kind of session is allowed and does by itself. Built once, shared by all its sessions.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::deflate::DeflateConfig;

/// Which end of the connection this is: it decides who masks (RFC 6455, 5.1) and who closes TCP (7.1.1).
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
    /// What the peer may make this side hold or do.
    pub limits: Limits,
    /// When a session that says nothing ends.
    pub timers: Timers,
    /// How permessage-deflate is negotiated and used.
    ///
    /// # Defaults
    /// None: it is never negotiated.
    pub deflate: Option<DeflateConfig>,
}

impl Config {
    /// The defaults with permessage-deflate switched on.
    pub fn with_deflate() -> Self {
        Self { deflate: Some(DeflateConfig::default()), ..Self::default() }
    }
}

/// Limits, each with a [`crate::Violation`] or a [`crate::SendError`] of its own.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most payload bytes of one frame, checked on its header, before anything of it is held.
    ///
    /// # Defaults
    /// 10 MiB.
    pub frame_size: u64,
    /// The most bytes of one message, after inflation and over all fragments. Each continuation is charged as at
    /// least 64 bytes, and what a compressed message sends may be no more than twice this, so that endless empty
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
    /// How many times larger than what was sent a message may inflate. Checked every 16 KiB of output, once the
    /// message is past [`Self::compression_floor`]. DEFLATE itself ends at 1032. None does not check, which leaves
    /// [`Self::message_size`] alone to bound a bomb.
    ///
    /// # Defaults
    /// None.
    pub compression_ratio: Option<NonZeroU32>,
    /// Messages that inflate to no more bytes than this are not held to the ratio.
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
    /// How many bytes may wait to be written before nothing more is accepted from the application, nor read from
    /// the peer. One message past it may be queued, so that any message can be sent.
    ///
    /// # Defaults
    /// 1 MiB.
    pub outgoing_queue: usize,
    /// The most bytes of one message that is sent, before compression.
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

/// So many things per second, with some at once after a pause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    pub(crate) per_second: NonZeroU32,
    pub(crate) burst: NonZeroU32,
}

impl Rate {
    /// A rate; none if either number is 0.
    pub const fn new(per_second: u32, burst: u32) -> Option<Self> {
        match (NonZeroU32::new(per_second), NonZeroU32::new(burst)) {
            (Some(per_second), Some(burst)) => Some(Self { per_second, burst }),
            _ => None,
        }
    }
}

/// Deadlines. None never fires.
#[derive(Clone, Debug)]
pub struct Timers {
    /// After this long without a byte from the peer, a ping is sent.
    ///
    /// # Defaults
    /// 30 s.
    pub ping_interval: Option<Duration>,
    /// After a ping of [`Self::ping_interval`], this long without a byte from the peer ends the session as dead.
    ///
    /// # Defaults
    /// 20 s.
    pub pong_timeout: Duration,
    /// After this long without a message in either direction the session is closed with 1001, however alive the
    /// peer is.
    ///
    /// # Defaults
    /// None.
    pub idle: Option<Duration>,
    /// How long the peer has to answer a close frame, before the connection is given up (RFC 6455, 7.1.1).
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

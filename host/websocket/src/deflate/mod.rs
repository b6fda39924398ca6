//! permessage-deflate (RFC 7692): its negotiation, and the two streams that implement it.
//!
//! zlib cannot compress with a window of 256 bytes. So a server declines an offer of `server_max_window_bits=8`, and a
//! client whose server asks for 8 sends uncompressed. Inflating such data with a larger window is always possible.
//! Streams are allocated for the first compressed message in their direction.

mod deflater;
mod inflater;
mod negotiation;

pub(crate) use self::deflater::Deflater;
pub(crate) use self::inflater::{Inflater, STEP, Step};
pub use self::negotiation::{DeflateParams, InvalidAnswer};

/// How permessage-deflate is negotiated and used. Both roles name both directions.
#[derive(Clone, Debug)]
pub struct DeflateConfig {
    /// How hard to compress.
    ///
    /// # Defaults
    /// 3: most of the gain for a third of the time of zlib's own default, 6.
    pub level: Level,
    /// The least bytes of a compressed message; smaller messages are sent uncompressed.
    ///
    /// # Defaults
    /// 128.
    pub threshold: usize,
    /// Whether the server may refer back to its earlier messages. That is most of the gain for many small similar
    /// messages, and costs about 400 KiB for each session, even while it is idle.
    ///
    /// # Defaults
    /// False: an idle session holds no stream.
    pub server_context_takeover: bool,
    /// Whether the client may refer back to its earlier messages, which costs the server about 50 KiB for each session,
    /// even while it is idle.
    ///
    /// # Defaults
    /// False.
    pub client_context_takeover: bool,
    /// The largest window of the server.
    ///
    /// # Defaults
    /// 15 bits, 32 KiB.
    pub server_window: WindowBits,
    /// The largest window of the client. A server can only ask clients that offer `client_max_window_bits` for a
    /// smaller one.
    ///
    /// # Defaults
    /// 15 bits, 32 KiB.
    pub client_window: WindowBits,
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self {
            level: Level(3),
            threshold: 128,
            server_context_takeover: false,
            client_context_takeover: false,
            server_window: WindowBits::MAX,
            client_window: WindowBits::MAX,
        }
    }
}

/// A compression level, 1 (fast) to 9 (small).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Level(u8);

impl Level {
    /// The level; `None` outside 1 to 9.
    pub const fn new(level: u8) -> Option<Self> {
        if matches!(level, 1..=9) { Some(Self(level)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// The base-2 logarithm of a window's size in bytes, 8 to 15 (RFC 7692, 7.1.2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WindowBits(u8);

impl WindowBits {
    /// 8: too small for zlib to compress with.
    pub const MIN: Self = Self(8);
    /// 15: the window if nothing is negotiated.
    pub const MAX: Self = Self(15);

    /// The window; `None` outside 8 to 15.
    pub const fn new(bits: u8) -> Option<Self> {
        if matches!(bits, 8..=15) { Some(Self(bits)) } else { None }
    }

    /// The number of bits.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The window that zlib uses instead of this one: at least 9 bits.
    const fn zlib(self) -> u8 {
        if self.0 < 9 { 9 } else { self.0 }
    }
}

/// The end of each compressed message in zlib, which is left out on the wire (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

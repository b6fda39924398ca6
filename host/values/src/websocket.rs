//! The settings of WebSockets.

use std::time::Duration;

use crate::units::{mib, secs};
use crate::values;

values! {
    /// The settings of the WebSockets on a route.
    pub struct WebSocket {
        /// The origins whose pages may open a WebSocket, or `["*"]` for any. A handshake from another origin is
        /// answered with 403 before an instance exists. A handshake without `Origin` passes: browsers always send the
        /// field, and other programs can claim any origin.
        pub origins: AnyOr<String> = AnyOr::Any;
        /// Bytes of one frame's payload. Over it, the session is closed with 1009.
        pub frame_size: u64 = mib(10);
        /// Bytes of one message, after inflation and over all its fragments. Over it, the session is closed with 1009.
        pub message_size: u64 = mib(10);
        /// Frames of one message. Over it, the session is closed with 1008.
        pub fragments: u32 = 131_072;
        /// The ratio of an inflated message to its compressed size. Over it, the session is closed with 1008. DEFLATE
        /// itself ends at 1032, which a message of one repeated byte reaches; `message-size` bounds it all the same.
        pub compression_ratio: Option<u32> = None;
        /// The inflated size up to which a message is exempt from `compression-ratio`.
        pub compression_floor: u64 = mib(1);
        /// Control frames (pings, pongs) that a client may send a second; twice that number at once after a pause. Over
        /// it, the session is closed with 1008.
        pub control_rate: Option<u32> = Some(100);
        /// Messages that a client may send a second; twice that number at once after a pause. Over it, the session is
        /// closed with 1008. With `"none"`, a client is only as fast as the guest.
        pub message_rate: Option<u32> = None;
        /// Bytes that may wait for the client to read them. Over it, the guest's `send` waits, and nothing more is read
        /// from the client. One more message may be queued. The bytes count as `memory`.
        pub outgoing_queue: u64 = mib(1);
        /// Bytes of one message that the guest sends. Over it, the session is closed with 1009.
        pub outgoing_message: u64 = mib(16);
        /// The silence of the client after which the host sends a ping.
        pub ping_interval: Option<Duration> = Some(secs(30));
        /// The silence after that ping, after which the client is considered dead. This also finds a client that does
        /// not read while `outgoing-queue` is full; without `ping-interval`, nothing finds it.
        pub pong_timeout: Duration = secs(20);
        /// How long the client may take to answer a close frame, to read the rest, and to close the connection.
        pub close_wait: Duration = secs(5);
        /// Whether permessage-deflate (RFC 7692) is agreed on with clients that offer it.
        pub deflate: bool = true;
        /// The host's compression level, 1 (fast) to 9 (small).
        pub deflate_level: u32 = 3;
        /// The size from which on messages are compressed.
        pub deflate_threshold: u64 = 128;
        /// Whether the host may refer back to its earlier messages. Many small, similar messages get much smaller, and
        /// each session holds up to 372 KiB, also while nothing happens.
        pub deflate_server_context: bool = false;
        /// Whether the client may refer back to its earlier messages. Each session then holds 47 KiB while nothing
        /// happens.
        pub deflate_client_context: bool = false;
        /// The host's window as a power of two: 15 is 32 KiB.
        pub deflate_server_window: u32 = 15;
        /// The window that clients are asked to use, if they accept such a request.
        pub deflate_client_window: u32 = 15;
    }
}

/// Any value, or one of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyOr<T> {
    /// `["*"]`.
    Any,
    /// These.
    List(Vec<T>),
}

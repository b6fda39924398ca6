//! The settings of WebTransport sessions.

use std::time::Duration;

use crate::units::secs;
use crate::{AnyOr, values};

values! {
    /// The settings of the WebTransport sessions on a route.
    pub struct WebTransport {
        /// The origins whose pages may open a session, or `["*"]` for any. A handshake from another origin is answered
        /// with 403 before an instance exists. A handshake without `Origin` passes, as with WebSockets.
        pub origins: AnyOr<String> = AnyOr::Any;
        /// Streams of each direction that the client may have open in one session, and the guest too. Over it, a stream
        /// of the client is refused with WEBTRANSPORT_BUFFERED_STREAM_REJECTED, and the guest's `open-*` fails.
        pub streams: u32 = 100;
        /// Datagrams that wait for the guest. When one more arrives, the oldest is dropped. They count as `memory`.
        pub datagram_queue: usize = 64;
        /// How long the client may take to learn that the session is closed.
        pub close_wait: Duration = secs(5);
    }
}

values! {
    /// The settings of WebTransport that apply before the route of a session is known.
    pub struct WebTransportCaps {
        /// Sessions that a client may have on one connection. Over it, the handshake is refused with
        /// H3_REQUEST_REJECTED. With 0, WebTransport is not offered.
        pub sessions: u32 = 16;
        /// Streams on each connection that wait for the handshake of their session, and streams in each session that
        /// wait to be accepted. Over it, a stream is refused with WEBTRANSPORT_BUFFERED_STREAM_REJECTED.
        pub buffered_streams: usize = 16;
        /// The largest [`WebTransport::streams`] of any route. While a session lives, the client may open this many
        /// more streams on the connection.
        pub streams: u32 = WebTransport::default().streams;
        /// The largest [`WebTransport::datagram_queue`] of any route.
        pub datagram_queue: usize = WebTransport::default().datagram_queue;
    }
}

impl Copy for WebTransportCaps {}

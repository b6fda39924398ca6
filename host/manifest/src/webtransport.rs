//! What a WebTransport session may do, and how sections inherit it.
//!
//! The settings of a session stand in `[webtransport]` and in the `webtransport` of a group or a route, and are inherited
//! as those of WebSockets are. What is decided before a session's route is known is the host's alone.

use std::time::Duration;

use crate::decode::section;
use crate::scalar::units::HOUR;
use crate::scalar::{AnyOr, Count, Time};
use crate::websocket::Origins;

/// Declares the settings once: as keys of every section that can set them, and as [`WebTransport`].
macro_rules! settings {
    ($($(#[doc = $doc:literal])* $key:ident : $type:ty = $default:literal => $plain:ty;)*) => {
        /// The settings of a route's WebTransport sessions, resolved for it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct WebTransport {
            $($(#[doc = $doc])* pub $key: $plain,)*
        }

        section! {
            /// WebTransport, on every route that does not set a key for itself. It needs a listener that serves HTTP/3.
            /// `idle` is among the limits.
            pub(crate) struct HostWebTransportSection {
                $($(#[doc = $doc])* $key: $type = $default;)*
                /// Sessions that a client may have on one connection. Over it, the handshake is refused with
                /// H3_REQUEST_REJECTED. With 0, WebTransport is not offered at all.
                sessions: Count<0, 1000> = "16";
                /// Streams for each connection that are kept until their session's handshake is here, and for each
                /// session until it is accepted. Over it, they are refused with WEBTRANSPORT_BUFFERED_STREAM_REJECTED.
                buffered_streams: Count<0, 1000> = "16";
            }
        }

        section! {
            /// The WebTransport sessions of a group's routes or of one route. What is not set here is inherited.
            pub(crate) struct WebTransportSection {
                $($(#[doc = $doc])* $key: $type;)*
            }
        }

        impl HostWebTransportSection {
            pub(crate) fn settings(&self) -> WebTransport {
                WebTransport { $($key: self.$key().get(),)* }
            }
        }

        impl WebTransportSection {
            pub(crate) fn apply(&self, settings: &mut WebTransport) {
                $(if let Some(value) = &self.$key { settings.$key = value.get_ref().clone().get(); })*
            }
        }
    };
}

settings! {
    /// The origins whose pages may open a session, or `["*"]` for any. A handshake from another origin is answered
    /// with 403 before an instance exists. One without `Origin` passes, as with WebSockets.
    origins: Origins = "[\"*\"]" => AnyOr<String>;
    /// Streams of each direction that the client may have open in one session, and the guest too. Over it, a stream of
    /// the client is refused with WEBTRANSPORT_BUFFERED_STREAM_REJECTED, and the guest's `open-*` fails.
    streams: Count<1, 10_000> = "100" => u32;
    /// Datagrams that wait for the guest. When one more comes, the oldest is dropped. They count as `memory`.
    datagram_queue: Count<1, 10_000> = "64" => u32;
    /// How long the client may take to be told that the session is closed.
    close_wait: Time<100, HOUR> = "\"5s\"" => Duration;
}

impl Default for WebTransport {
    fn default() -> Self {
        HostWebTransportSection::default().settings()
    }
}

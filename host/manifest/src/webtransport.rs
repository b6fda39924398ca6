//! The settings of WebTransport sessions, and how sections inherit them.
//!
//! The settings of a session stand in `[webtransport]` and in the `webtransport` of a group or a route, and are
//! inherited like those of WebSockets. Settings that apply before a session's route is known are the host's alone.

use roadrunner_values::{WebTransport, WebTransportCaps};

use crate::scalar::units::HOUR;
use crate::scalar::{Count, Time};
use crate::section::section;
use crate::websocket::Origins;

/// Declares the keys of a session once, for every section that can set them.
macro_rules! settings {
    ($($key:ident : $type:ty;)*) => {
        section! {
            /// WebTransport, on every route that does not set a key for itself. It needs a listener that serves HTTP/3.
            /// `idle` is among the limits.
            #[title = "`[webtransport]`"]
            pub(crate) struct HostWebTransportSection {
                ..WebTransport { $($key: $type;)* }
                ..WebTransportCaps {
                    sessions: Count<0, 1000>;
                    buffered_streams: Count<0, 1000>;
                }
            }
        }

        section! {
            /// The WebTransport sessions of a group's routes or of one route. A key that is absent is inherited.
            #[title = "`webtransport` of a group or a route"]
            pub(crate) struct WebTransportSection {
                ..WebTransport or "inherited" { $($key: $type;)* }
            }
        }
    };
}

settings! {
    origins: Origins;
    streams: Count<1, 10_000>;
    datagram_queue: Count<1, 10_000>;
    close_wait: Time<100, HOUR>;
}

//! All settings of the transport.

use crate::values;
use crate::{ConnectionCaps, Http1, Http2, Http3, PathRule, Timeouts, WebTransportCaps};

values! {
    /// The settings of a server: of its listeners, its connections and its protocols.
    pub struct TransportSettings {
        /// The deadlines.
        pub timeouts: Timeouts = Timeouts::default();
        /// The caps on connections.
        pub caps: ConnectionCaps = ConnectionCaps::default();
        /// HTTP/1.1.
        pub http1: Http1 = Http1::default();
        /// HTTP/2.
        pub http2: Http2 = Http2::default();
        /// HTTP/3.
        pub http3: Http3 = Http3::default();
        /// WebTransport, before the route of a session is known.
        pub webtransport: WebTransportCaps = WebTransportCaps::default();
        /// The rule for request paths.
        pub path: PathRule = PathRule::default();
    }
}

//! HTTP/1.1, HTTP/2 and HTTP/3, and what the host believes about a request's path and client.

use std::time::Duration;

use crate::units::{hours, kib, mib};
use crate::{choice, values};

values! {
    /// The bounds of HTTP/1.1 (RFC 9112). The size of a request's head is [`Http2::max_header_list`].
    pub struct Http1 {
        /// Header fields of a request. Over it, the request is answered with 431, and the connection is closed.
        pub max_headers: usize = 100;
        /// Bytes of the read buffer, and of the write buffer, of one connection; at least 8 KiB.
        pub max_buffer: usize = kib(64);
    }
}

values! {
    /// The bounds and offers of HTTP/2 (RFC 9113).
    pub struct Http2 {
        /// Request body that a client may send on one stream before the guest reads (SETTINGS_INITIAL_WINDOW_SIZE).
        /// Each open stream may hold that much memory.
        pub stream_window: u32 = mib(1);
        /// Request body that a client may send on all streams of one connection before the guests read.
        pub connection_window: u32 = mib(1);
        /// Streams that a client may have open on one connection (SETTINGS_MAX_CONCURRENT_STREAMS).
        pub max_streams: u32 = 200;
        /// Decoded size of a request's head (SETTINGS_MAX_HEADER_LIST_SIZE). An HTTP/1.1 head, with its request line,
        /// has the same limit. Over it, the request is answered with 431.
        pub max_header_list: u32 = kib(16);
        /// Bytes of a response that wait for the client's window, for each stream.
        pub send_buffer: usize = kib(64);
        /// Frames a second and connection that cost the client next to nothing: PING, SETTINGS, PRIORITY,
        /// WINDOW_UPDATE, empty DATA, unknown types. Two more are allowed for each DATA or HEADERS frame of the server.
        /// Over it, GOAWAY(ENHANCE_YOUR_CALM).
        pub control_frames_per_second: u32 = 1000;
        /// RST_STREAM frames a second and connection. Over it, GOAWAY(ENHANCE_YOUR_CALM).
        pub resets_per_second: u32 = 200;
        /// Whether clients may open tunnels with extended CONNECT (RFC 8441).
        pub extended_connect: bool = true;
    }
}

impl Copy for Http2 {}

values! {
    /// The bounds and offers of HTTP/3 (RFC 9114) and of QUIC (RFC 9000).
    pub struct Http3 {
        /// Request body that a client may send on one stream before the guest reads
        /// (initial_max_stream_data_bidi_remote). Each open stream may hold that much memory.
        pub stream_window: u32 = kib(256);
        /// Request body that a client may send on all streams of one connection before the guests read
        /// (initial_max_data). Several times `stream-window`, so that a few unread bodies do not stop other requests.
        pub connection_window: u32 = mib(2);
        /// Bytes sent on one connection that the client has not acknowledged. Each connection may hold that much
        /// memory.
        pub send_window: u32 = mib(1);
        /// Requests that a client may have open on one connection (initial_max_streams_bidi).
        pub max_streams: u32 = 100;
        /// Decoded size of a request's head, and of its trailers, with 32 bytes more for each field
        /// (SETTINGS_MAX_FIELD_SECTION_SIZE). Over it, the request is answered with 431.
        pub max_header_list: u32 = kib(16);
        /// Size of the table of earlier header fields, for each direction (SETTINGS_QPACK_MAX_TABLE_CAPACITY). 0 turns
        /// it off.
        pub qpack_table: u32 = kib(4);
        /// Requests that may wait for entries of that table at once (SETTINGS_QPACK_BLOCKED_STREAMS).
        pub qpack_blocked_streams: u32 = 16;
        /// QUIC endpoints on the UDP port of a listener, each with its own socket and its own task. Without it, one for
        /// each core of this process. On systems other than Linux there is always one.
        pub endpoints: Option<usize> = None;
        /// Lifetime of a QUIC connection ID. Then the client gets new ones and retires the old, so that an observer
        /// cannot link its paths for longer (RFC 9000, 5.1.2).
        pub cid_lifetime: Option<Duration> = Some(hours(1));
        /// Whether the kernel delivers each datagram to the endpoint of its connection, by a filter on the UDP port.
        /// Without it, or where the system does not permit it, the endpoints forward datagrams to one another.
        pub kernel_steering: bool = true;
        /// Datagrams that one endpoint has received for another and that wait there. Over it, they are dropped.
        pub forward_queue: usize = mib(1);
        /// Number of connections of a listener from which on new QUIC clients first prove their address, which costs
        /// them a round trip (a Retry packet, RFC 9000, 8.1.2). With 0 all clients prove it, with `"none"` no client
        /// does.
        pub retry_above: Option<usize> = Some(1000);
        /// Whether requests are taken from the first flight of a returning client (0-RTT), which saves it a round trip.
        /// Safe methods only; others are answered with 425, and the guest sees `early-data: 1` (RFC 8470). A process
        /// serves a first flight once, but an observer can hold it back for up to a minute and then deliver it.
        pub early_data: bool = false;
        /// How long clients of the listener's other protocols may remember that it speaks HTTP/3 (the `ma` of
        /// `Alt-Svc`, RFC 7838). 0s leaves the field out.
        pub alt_svc_max_age: Duration = hours(24);
        /// The port in `Alt-Svc`, if clients see another port than the listener's. Without it, the listener's own.
        pub alt_svc_port: Option<u16> = None;
        /// Bytes of a request body. A request that announces more is answered with 413; a longer body ends with an
        /// error. The host has `body` instead.
        pub max_body: Option<u64> = None;
        /// Unidirectional streams at once on one connection: three that every client has, and a few that this server
        /// does not know.
        pub max_unidirectional_streams: u32 = 8;
        /// Whether clients may open tunnels with extended CONNECT (RFC 9220).
        pub extended_connect: bool = true;
        /// Bytes of HTTP datagrams (RFC 9297) to hold on one connection, for each direction. 0 turns datagrams off.
        pub datagram_buffer: u32 = kib(64);
        /// Requests a second that a client may reset or stop on one connection, plus one for each request that it lets
        /// complete. Over it, H3_EXCESSIVE_LOAD: a request costs more to begin than to abandon (RFC 9114, 10.5).
        pub resets_per_second: u32 = 200;
    }
}

impl Copy for Http3 {}

choice! {
    /// The treatment of a path that URL parsers would change: a path with `.` or `..` as a segment, also
    /// percent-encoded, with `\`, or with `//` at its beginning.
    #[derive(Default)]
    pub enum PathRule {
        /// Such a path is passed on. Dangerous if rules of routes protect resources that a guest finds by the path:
        /// guests that parse URLs see another path than the router.
        AsSent = "as-sent",
        /// Such a path is refused with 400.
        #[default]
        Strict = "strict",
    }
}

choice! {
    /// How a client of a plaintext listener switches to HTTP/2.
    #[derive(Default)]
    pub enum H2c {
        /// Not at all.
        Off = "off",
        /// The client starts with the preface (RFC 9113, 3.3).
        #[default]
        PriorKnowledge = "prior-knowledge",
        /// Like `PriorKnowledge`, or the client asks for it in an HTTP/1.1 request without a body (RFC 7540, 3.2; RFC
        /// 9113 has dropped it). Dangerous behind a proxy that forwards `Upgrade` without understanding it: later
        /// requests bypass the proxy's rules.
        Upgrade = "upgrade",
    }
}

choice! {
    /// The header field in which proxies name the client.
    #[derive(Default)]
    pub enum ForwardedField {
        /// `Forwarded` (RFC 7239): `for=192.0.2.1;proto=https`.
        Forwarded = "forwarded",
        /// `X-Forwarded-For: 192.0.2.1`, with `X-Forwarded-Proto: https`.
        #[default]
        XForwardedFor = "x-forwarded-for",
    }
}

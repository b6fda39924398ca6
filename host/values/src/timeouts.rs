//! The deadlines of the transport.

use std::time::Duration;

use crate::units::{minutes, secs};
use crate::values;

values! {
    /// The deadlines of the transport, and the least rate of a body. A deadline that passes is counted under its name.
    pub struct Timeouts {
        /// From the connection, or its first datagram, to the end of the TLS handshake. Over it, the connection is
        /// closed.
        pub handshake: Duration = secs(10);
        /// From the connection to the end of its PROXY header, on listeners with `proxy-protocol-from`. Over it, the
        /// connection is closed.
        pub proxy_header: Duration = secs(5);
        /// From the connection, or the end of the TLS handshake, to the first bytes that tell HTTP/1.1 from HTTP/2, and
        /// on HTTP/2 to the client's first SETTINGS frame. Over it, the connection is closed.
        pub preface: Duration = secs(10);
        /// From the first byte of a request's head to its last; on a new HTTP/1.1 connection, from its start. Over it,
        /// the connection is closed. On HTTP/2, for one HEADERS frame with its CONTINUATIONs. On HTTP/3, from the
        /// opening of the stream; over it, the request is answered with 408. Bytes that trickle in do not extend it.
        pub request_head: Duration = secs(10);
        /// The longest pause between two pieces of a request body while the body is being read. Over it, the read
        /// fails, and a request without a response is answered with 408.
        pub body_idle: Duration = secs(30);
        /// The least bytes a second of a request body, averaged over the time that the host has waited for it, after a
        /// grace of one `body-idle`. Below it, the same happens as over `body-idle`. 0 turns it off.
        pub body_min_rate: u32 = 240;
        /// The longest time that a client may accept nothing of a response that is ready to be sent: while the socket
        /// of an HTTP/1.1 or HTTP/2 connection is full, or the window of an HTTP/2 or HTTP/3 stream is closed. Over it,
        /// the response is aborted.
        pub write_stall: Duration = secs(30);
        /// The longest time between two requests on an HTTP/1.1 connection. Over it, the connection is closed.
        pub keep_alive_idle: Duration = secs(60);
        /// How long an HTTP/2 connection without a stream is kept. Over it, it gets GOAWAY, and the same time again to
        /// end.
        pub h2_idle: Duration = minutes(3);
        /// How long an HTTP/3 connection without a request is kept. Over it, it gets GOAWAY and is closed.
        pub h3_idle: Duration = minutes(3);
        /// The longest silence of an HTTP/3 client (RFC 9000, 10.1). It is sent a PING after a third of this time. Over
        /// it, the connection is lost.
        pub h3_lost: Duration = secs(30);
        /// The longest time that a TCP client may leave the kernel's probes unanswered (RFC 9293, 3.8.4). The first
        /// probe is sent after a third of this time. Over it, the connection is lost. A client that is only quiet is
        /// kept: its kernel answers. Counted in whole seconds.
        pub tcp_lost: Duration = minutes(2);
        /// The silence after which an HTTP/2 client is sent a PING. A client that answers is kept, however quiet its
        /// streams are.
        pub h2_ping_interval: Duration = secs(20);
        /// How long an HTTP/2 client may take to answer that PING. Over it, the connection is closed.
        pub h2_ping_timeout: Duration = secs(20);
        /// How long a drain keeps a connection without a request open, since its client may just be sending one. HTTP/2
        /// and HTTP/3 have GOAWAY for that, and need this time only before the protocol is established.
        pub drain_idle: Duration = secs(1);
        /// How long an HTTP/1.1 connection waits for the rest of a request body that nobody reads, up to 256 KiB of it.
        /// Then the connection is closed, and a response whose head was not sent says so.
        pub unread_body: Duration = secs(1);
        /// How long to keep reading, and dropping the bytes, after the server has closed an HTTP/1.1 connection with
        /// part of a request unread. Closing at once would let the kernel's reset overtake the response (RFC 9112,
        /// 9.6).
        pub linger: Duration = secs(2);
    }
}

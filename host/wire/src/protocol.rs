//! The protocols of connections and of listeners.

use std::fmt;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

impl Protocol {
    /// Every protocol, in the order of the enum.
    pub const ALL: [Protocol; 3] = [Protocol::Http1, Protocol::Http2, Protocol::Http3];

    /// `http1`, `http2` or `http3`, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
            Protocol::Http3 => "http3",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The set of protocols of a listener; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    http1: bool,
    http2: bool,
    http3: bool,
}

impl Protocols {
    /// HTTP/1 and HTTP/2.
    pub const BOTH: Protocols = Protocols { http1: true, http2: true, http3: false };
    /// HTTP/1.0 and 1.1 only.
    pub const HTTP1: Protocols = Protocols { http1: true, http2: false, http3: false };
    /// HTTP/2 only; a client that starts with HTTP/1 is refused with GOAWAY.
    pub const HTTP2: Protocols = Protocols { http1: false, http2: true, http3: false };
    /// HTTP/3 only: a UDP port and no TCP port.
    pub const HTTP3: Protocols = Protocols { http1: false, http2: false, http3: true };

    /// These and HTTP/3, on the UDP port of the same number. It needs TLS and an IP address.
    pub fn and_http3(self) -> Protocols {
        Protocols { http3: true, ..self }
    }

    /// Whether HTTP/1 is in the set.
    pub fn http1(self) -> bool {
        self.http1
    }

    /// Whether HTTP/2 is in the set.
    pub fn http2(self) -> bool {
        self.http2
    }

    /// Whether HTTP/3 is in the set.
    pub fn http3(self) -> bool {
        self.http3
    }

    /// Whether any protocol in the set needs a stream socket.
    pub(crate) fn on_streams(self) -> bool {
        self.http1 || self.http2
    }
}

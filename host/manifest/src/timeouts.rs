//! How long the host waits for its clients.

use std::time::Duration;

use crate::decode::section;
use crate::manifest::ManifestSection;
use crate::resolve::value;
use crate::scalar::units::{DAY, GIB, HOUR};
use crate::scalar::{Bytes, Time};

/// `[timeouts]`; the manifest's reference says what happens over each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the connection to the end of its PROXY header.
    pub proxy_header: Duration,
    /// From the connection to the bytes that tell HTTP/1.1 from HTTP/2.
    pub preface: Duration,
    /// From the first byte of an HTTP/1.1 request to the end of its head.
    pub request_head: Duration,
    /// Between two pieces of a request body that is being read.
    pub body_idle: Duration,
    /// The least bytes a second of a request body; 0 for no such limit.
    pub body_min_rate: u32,
    /// How long a client may accept nothing of a response.
    pub write_stall: Duration,
    /// Between two requests on an HTTP/1.1 connection.
    pub keep_alive_idle: Duration,
    /// How long an HTTP/2 connection without streams is kept.
    pub h2_idle: Duration,
    /// How long an HTTP/3 connection without requests is kept.
    pub h3_idle: Duration,
    /// How long nothing at all may come from an HTTP/3 client.
    pub h3_lost: Duration,
    /// How long a TCP client may leave the kernel's probes unanswered.
    pub tcp_lost: Duration,
    /// After how long a silence an HTTP/2 client is sent a PING.
    pub h2_ping_interval: Duration,
    /// How long it may take to answer.
    pub h2_ping_timeout: Duration,
}

section! {
    /// How long the host waits for its clients. What a guest may take is in the limits.
    pub(crate) struct TimeoutsSection {
        /// From the connection, or its first datagram, to the end of the TLS handshake. Over it, the connection is closed.
        handshake: Time<1, { HOUR }> = "\"10s\"";
        /// From the connection to the end of its PROXY header, on listeners with `proxy-protocol-from`. Over it, the
        /// connection is closed.
        proxy_header: Time<1, { HOUR }> = "\"5s\"";
        /// From the connection to the first bytes that tell HTTP/1.1 from HTTP/2. Over it, the connection is
        /// closed.
        preface: Time<1, { HOUR }> = "\"10s\"";
        /// From the first byte of an HTTP/1.1 request to the end of its head. Over it, the connection is closed. On
        /// HTTP/3, from the opening of the stream; over it, the request is answered with 408.
        request_head: Time<1, { HOUR }> = "\"10s\"";
        /// Between two pieces of a request body that is being read. Over it, the read fails, and a request that
        /// has no response yet is answered with 408.
        body_idle: Time<1, { DAY }> = "\"30s\"";
        /// The least bytes a second of a request body, averaged over the time for which the host has waited for it,
        /// after a grace of one `body-idle`. Below it, what `body-idle` says. 0 turns it off.
        body_min_rate: Bytes<0, { GIB }> = "\"240B\"";
        /// How long a client may accept nothing of a response that is ready to be sent. Over it, the response is
        /// aborted.
        write_stall: Time<1, { DAY }> = "\"30s\"";
        /// Between two requests on an HTTP/1.1 connection. Over it, the connection is closed.
        keep_alive_idle: Time<1, { DAY }> = "\"60s\"";
        /// How long an HTTP/2 connection without any stream is kept. Over it, it gets GOAWAY.
        h2_idle: Time<1, { DAY }> = "\"3m\"";
        /// How long an HTTP/3 connection without any request is kept. Over it, it gets GOAWAY and is closed.
        h3_idle: Time<1, { DAY }> = "\"3m\"";
        /// How long nothing at all may come from an HTTP/3 client, which is sent a PING after a third of it. Over it,
        /// the connection is lost.
        h3_lost: Time<1, { HOUR }> = "\"30s\"";
        /// How long a TCP client may be silent although the kernel asks after it, which it first does after a third of it
        /// (RFC 9293, 3.8.4). Over it, the connection is lost. A client that is merely quiet is kept: its kernel answers.
        tcp_lost: Time<6_000, { DAY }> = "\"2m\"";
        /// After so long without a byte from an HTTP/2 client it is sent a PING. A client that answers is kept, however
        /// quiet its streams are.
        h2_ping_interval: Time<100, { DAY }> = "\"20s\"";
        /// How long an HTTP/2 client may take to answer that PING. Over it, the connection is closed.
        h2_ping_timeout: Time<100, { HOUR }> = "\"20s\"";
    }
}

pub(crate) fn timeouts(section: &ManifestSection) -> Timeouts {
    let timeouts = value(&section.timeouts).cloned().unwrap_or_default();
    Timeouts {
        handshake: timeouts.handshake().get(),
        proxy_header: timeouts.proxy_header().get(),
        preface: timeouts.preface().get(),
        request_head: timeouts.request_head().get(),
        body_idle: timeouts.body_idle().get(),
        body_min_rate: u32::try_from(timeouts.body_min_rate().get()).expect("the key's range ends below"),
        write_stall: timeouts.write_stall().get(),
        keep_alive_idle: timeouts.keep_alive_idle().get(),
        h2_idle: timeouts.h2_idle().get(),
        h3_idle: timeouts.h3_idle().get(),
        h3_lost: timeouts.h3_lost().get(),
        tcp_lost: timeouts.tcp_lost().get(),
        h2_ping_interval: timeouts.h2_ping_interval().get(),
        h2_ping_timeout: timeouts.h2_ping_timeout().get(),
    }
}

//! Settings of HTTP/3.

use std::time::Duration;

use crate::decode::section;
use crate::manifest::ManifestSection;
use crate::resolve::value;
use crate::scalar::units::{DAY, KIB, MIB};
use crate::scalar::{Bytes, Count, OrNone, Time};

/// `[http3]`. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http3 {
    /// What a client may send on one stream before it is read.
    pub stream_window: u32,
    /// The same for all streams of a connection.
    pub connection_window: u32,
    /// What is sent on a connection and not acknowledged.
    pub send_window: u32,
    /// Requests at a time on a connection.
    pub max_streams: u32,
    /// SETTINGS_MAX_FIELD_SECTION_SIZE.
    pub max_header_list: u32,
    /// The QPACK table of either direction.
    pub qpack_table: u32,
    /// SETTINGS_QPACK_BLOCKED_STREAMS.
    pub qpack_blocked_streams: u32,
    /// QUIC endpoints of a listener; none for as many as there are cores.
    pub endpoints: Option<u32>,
    /// How long a connection ID is good for; none for as long as the connection.
    pub cid_lifetime: Option<Duration>,
    /// Whether the kernel is asked to take datagrams to their endpoint.
    pub kernel_steering: bool,
    /// What waits at one endpoint for another.
    pub forward_queue: u32,
    /// From how many connections on clients prove their address; none for never.
    pub retry_above: Option<u32>,
    /// Whether safe requests are taken from a first flight.
    pub early_data: bool,
    /// The `ma` of `Alt-Svc`; zero leaves the field out.
    pub alt_svc_max_age: Duration,
    /// The port in `Alt-Svc`; none for the listener's own.
    pub alt_svc_port: Option<u16>,
}

section! {
    /// Settings of HTTP/3 (RFC 9114), for listeners that speak it.
    pub(crate) struct Http3Section {
        /// Request body that a client may send on one stream before the guest reads
        /// (initial_max_stream_data_bidi_remote). Each open stream may hold so much memory.
        stream_window: Bytes<{ 16 * KIB }, { 16 * MIB }> = "\"256KiB\"";
        /// The same for all streams of one connection together (initial_max_data).
        connection_window: Bytes<{ 64 * KIB }, { 1024 * MIB }> = "\"2MiB\"";
        /// What is sent on one connection and not acknowledged yet. Each connection may hold so much memory.
        send_window: Bytes<{ 64 * KIB }, { 1024 * MIB }> = "\"1MiB\"";
        /// Requests that a client may have open on one connection (initial_max_streams_bidi).
        max_streams: Count<1, 65_535> = "100";
        /// Decoded size of a request's head (SETTINGS_MAX_FIELD_SECTION_SIZE). Over it, the request is answered with
        /// 431.
        max_header_list: Bytes<{ KIB }, { MIB }> = "\"16KiB\"";
        /// What the table of header fields that were sent before may hold, for each direction
        /// (SETTINGS_QPACK_MAX_TABLE_CAPACITY). 0B turns it off.
        qpack_table: Bytes<0, { MIB }> = "\"4KiB\"";
        /// Requests that may wait for entries of that table at once (SETTINGS_QPACK_BLOCKED_STREAMS).
        qpack_blocked_streams: Count<0, 65_535> = "16";
        /// QUIC endpoints on the UDP port of a listener, each with a socket and a task of its own. Without it, as many as
        /// there are cores for this process. On other systems than Linux there is always one.
        endpoints: Count<1, 1024>;
        /// How long a QUIC connection ID is good for. Then the client gets new ones and gives the old up, so that
        /// nobody can follow it by them for longer (RFC 9000, 5.1.2).
        cid_lifetime: OrNone<Time<1000, { 7 * DAY }>> = "\"1h\"";
        /// Have the kernel take each datagram to the endpoint that has its connection, by a filter on the UDP port.
        /// Without it, or where the system does not permit it, endpoints forward them to one another.
        kernel_steering: bool = "true";
        /// Datagrams that one endpoint has received for another and that wait there. Over it, they are dropped.
        forward_queue: Bytes<{ 64 * KIB }, { 64 * MIB }> = "\"1MiB\"";
        /// While a listener has so many connections, new QUIC clients first prove their address by a round trip more
        /// (a Retry packet, RFC 9000, 8.1.2). 0 has all of them prove it, `"none"` none.
        retry_above: OrNone<Count<0, 10_000_000>> = "1000";
        /// Take requests from the first flight of a client that was here before (0-RTT), which saves it a round trip.
        /// Safe methods only; others are answered with 425, and the guest sees `early-data: 1`. A process serves a first
        /// flight once, but an observer can hold it back for up to a minute and then deliver it.
        early_data: bool = "false";
        /// How long clients of the listener's other protocols may remember that it speaks HTTP/3 (the `ma` of
        /// `Alt-Svc`). 0s leaves the field out.
        alt_svc_max_age: Time<0, { 365 * DAY }> = "\"24h\"";
        /// The port that `Alt-Svc` names, where clients see another than the listener's own. Without it, the
        /// listener's own.
        alt_svc_port: Count<1, 65_535>;
    }
}

pub(crate) fn http3(section: &ManifestSection) -> Http3 {
    let http3 = value(&section.http3).cloned().unwrap_or_default();
    let fits = "the key's range ends below";
    Http3 {
        stream_window: u32::try_from(http3.stream_window().get()).expect(fits),
        connection_window: u32::try_from(http3.connection_window().get()).expect(fits),
        send_window: u32::try_from(http3.send_window().get()).expect(fits),
        max_streams: http3.max_streams().get(),
        max_header_list: u32::try_from(http3.max_header_list().get()).expect(fits),
        qpack_table: u32::try_from(http3.qpack_table().get()).expect(fits),
        qpack_blocked_streams: http3.qpack_blocked_streams().get(),
        endpoints: value(&http3.endpoints).map(|count| count.get()),
        cid_lifetime: http3.cid_lifetime().get(),
        kernel_steering: http3.kernel_steering(),
        forward_queue: u32::try_from(http3.forward_queue().get()).expect(fits),
        retry_above: http3.retry_above().get(),
        early_data: http3.early_data(),
        alt_svc_max_age: http3.alt_svc_max_age().get(),
        alt_svc_port: value(&http3.alt_svc_port).map(|port| u16::try_from(port.get()).expect(fits)),
    }
}

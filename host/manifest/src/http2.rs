//! Settings of HTTP/2.

use crate::decode::section;
use crate::manifest::ManifestSection;
use crate::resolve::value;
use crate::scalar::units::{KIB, MIB};
use crate::scalar::{Bytes, Count};

/// `[http2]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// SETTINGS_INITIAL_WINDOW_SIZE, in bytes; fits 31 bits (RFC 9113, 6.9.1).
    pub stream_window: u32,
    /// The connection's window, in bytes; fits 31 bits.
    pub connection_window: u32,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE, in bytes.
    pub max_header_list: u32,
}

section! {
    /// Settings of HTTP/2 (RFC 9113).
    pub(crate) struct Http2Section {
        /// Request body that a client may send on one stream before the guest reads (SETTINGS_INITIAL_WINDOW_SIZE).
        /// Each open stream may hold so much memory.
        stream_window: Bytes<{ 64 * KIB - 1 }, { 2048 * MIB - 1 }> = "\"1MiB\"";
        /// The same for all streams of one connection together.
        connection_window: Bytes<{ 64 * KIB - 1 }, { 2048 * MIB - 1 }> = "\"1MiB\"";
        /// Streams that a client may have open on one connection (SETTINGS_MAX_CONCURRENT_STREAMS).
        max_streams: Count<1, 65_535> = "200";
        /// Decoded size of a request's head (SETTINGS_MAX_HEADER_LIST_SIZE). Over it, the request is answered with
        /// 431.
        max_header_list: Bytes<{ KIB }, { MIB }> = "\"16KiB\"";
    }
}

pub(crate) fn http2(section: &ManifestSection) -> Http2 {
    let http2 = value(&section.http2).cloned().unwrap_or_default();
    let fits = "the key's range ends below";
    Http2 {
        stream_window: u32::try_from(http2.stream_window().get()).expect(fits),
        connection_window: u32::try_from(http2.connection_window().get()).expect(fits),
        max_streams: http2.max_streams().get(),
        max_header_list: u32::try_from(http2.max_header_list().get()).expect(fits),
    }
}

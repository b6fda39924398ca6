//! The settings of HTTP/2.

use roadrunner_values::Http2;

use crate::scalar::units::{KIB, MIB};
use crate::scalar::{Bytes, Count};
use crate::section::section;

section! {
    /// Settings of HTTP/2 (RFC 9113).
    #[title = "`[http2]`"]
    pub(crate) struct Http2Section {
        ..Http2 {
            stream_window: Bytes<{ 64 * KIB - 1 }, { 2048 * MIB - 1 }>;
            connection_window: Bytes<{ 64 * KIB - 1 }, { 2048 * MIB - 1 }>;
            max_streams: Count<1, 65_535>;
            max_header_list: Bytes<{ KIB }, { MIB }>;
        }
    }
}

//! The settings of HTTP/3.

use roadrunner_values::Http3;

use crate::scalar::units::{DAY, KIB, MIB};
use crate::scalar::{Bytes, Count, OrNone, Time};
use crate::section::section;

section! {
    /// Settings of HTTP/3 (RFC 9114), for listeners that speak it.
    #[title = "`[http3]`"]
    pub(crate) struct Http3Section {
        ..Http3 {
            stream_window: Bytes<{ 16 * KIB }, { 16 * MIB }>;
            connection_window: Bytes<{ 64 * KIB }, { 1024 * MIB }>;
            send_window: Bytes<{ 64 * KIB }, { 1024 * MIB }>;
            max_streams: Count<1, 65_535>;
            max_header_list: Bytes<{ KIB }, { MIB }>;
            qpack_table: Bytes<0, { MIB }>;
            qpack_blocked_streams: Count<0, 65_535>;
            endpoints: Count<1, 1024>;
            cid_lifetime: OrNone<Time<1000, { 7 * DAY }>>;
            kernel_steering: bool;
            forward_queue: Bytes<{ 64 * KIB }, { 64 * MIB }>;
            retry_above: OrNone<Count<0, 10_000_000>>;
            early_data: bool;
            alt_svc_max_age: Time<0, { 365 * DAY }>;
            alt_svc_port: Count<1, 65_535>;
        }
    }
}

//! The deadlines of the transport.

use roadrunner_values::Timeouts;

use crate::scalar::units::{DAY, GIB, HOUR};
use crate::scalar::{Bytes, Time};
use crate::section::section;

section! {
    /// How long the host waits for its clients. `[limits]` has the deadlines of guests.
    #[title = "`[timeouts]`"]
    pub(crate) struct TimeoutsSection {
        ..Timeouts {
            handshake: Time<1, { HOUR }>;
            proxy_header: Time<1, { HOUR }>;
            preface: Time<1, { HOUR }>;
            request_head: Time<1, { HOUR }>;
            body_idle: Time<1, { DAY }>;
            body_min_rate: Bytes<0, { GIB }>;
            write_stall: Time<1, { DAY }>;
            keep_alive_idle: Time<1, { DAY }>;
            h2_idle: Time<1, { DAY }>;
            h3_idle: Time<1, { DAY }>;
            h3_lost: Time<1, { HOUR }>;
            tcp_lost: Time<6_000, { DAY }>;
            h2_ping_interval: Time<100, { DAY }>;
            h2_ping_timeout: Time<100, { HOUR }>;
        }
    }
}

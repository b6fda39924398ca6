//! The limits of a request and of the instance that answers it, and how sections inherit them.
//!
//! Limits of one request are set in `[limits]`, in a component's `limits`, in a group's and in a route's. The innermost
//! section that sets a key decides: defaults < `[limits]` < component < outer group < inner group < route. The caps on
//! instances (`instances`, `held`, `hibernated`) do not replace each other: each holds where it is written, and a
//! request needs room under all of them.

use std::ops::Range;

use roadrunner_values::{Caps, ConnectionCaps, HostCaps, Limits};

use crate::resolver::Resolver;
use crate::scalar::units::{DAY, GIB, HOUR, KIB, MIB};
use crate::scalar::{Bytes, Count, OrNone, Time, format_size};
use crate::section::section;

/// Declares the keys of a request's limits once, for every section that can set them.
macro_rules! limits {
    ($($key:ident : $type:ty;)*) => {
        section! {
            /// The caps of the whole host, and the limits of every request that no component, group or route sets for
            /// itself.
            #[title = "`[limits]`"]
            pub(crate) struct HostLimitsSection {
                ..HostCaps {
                    instances: Count<1, 100_000>;
                    held: Count<0, 100_000>;
                    hibernated: Count<0, 10_000_000>;
                    queue: Count<0, 1_000_000>;
                    queue_wait: Time<0, { HOUR }>;
                    buffered: Bytes<{ MIB }, { 1024 * GIB }>;
                }
                ..ConnectionCaps {
                    connections: Count<1, 1_000_000>;
                    connections_per_peer: Count<1, 1_000_000>;
                }
                ..Limits { $($key: $type;)* }
            }
        }

        section! {
            /// The limits of one component or one route. A key that is absent is inherited, except `instances`, `held`
            /// and `hibernated`: these caps count the instances of this component, or for this route, and hold in
            /// addition to those of the host.
            #[title = "`limits` of a component or a route"]
            pub(crate) struct LimitsSection {
                ..Caps or "no cap" {
                    instances: Count<1, 100_000>;
                    held: Count<0, 100_000>;
                    hibernated: Count<0, 10_000_000>;
                }
                ..Limits or "inherited" { $($key: $type;)* }
            }
        }

        section! {
            /// The limits of the requests to a group's routes. A key that is absent is inherited.
            #[title = "`limits` of a group"]
            pub(crate) struct GroupLimitsSection {
                ..Limits or "inherited" { $($key: $type;)* }
            }
        }
    };
}

limits! {
    memory: Bytes<{ 64 * KIB }, { 4 * GIB }>;
    cpu: Time<1, { HOUR }>;
    callback_cpu: Time<1, { HOUR }>;
    deadline: Time<1, { DAY }>;
    total: OrNone<Time<1, { DAY }>>;
    idle: OrNone<Time<1000, { 30 * DAY }>>;
    hibernate: OrNone<Time<10, { 30 * DAY }>>;
    hibernate_bytes: Bytes<0, { 16 * MIB }>;
    body: Bytes<0, { GIB }>;
    host_call_bytes: Bytes<{ 4 * KIB }, { GIB }>;
    response_head: Bytes<{ KIB }, { MIB }>;
    handles: Count<8, 1_000_000>;
    log_bytes: Bytes<0, { 64 * MIB }>;
}

impl Resolver<'_> {
    /// Lowers an inherited `body` to `memory`, and reports one that its own section sets higher: a body that is read
    /// for an instance counts as the instance's memory, so a larger one could never be delivered. `place` is that of
    /// the key in the section that is resolved.
    pub(crate) fn check_body(&mut self, limits: &mut Limits, place: Option<Range<usize>>) {
        if limits.body <= limits.memory {
            return;
        }
        if let Some(place) = place {
            let (body, memory) = (format_size(limits.body), format_size(limits.memory));
            self.context.report(
                place,
                format!("`body` is {body}, more than `memory`, which is {memory}"),
                "lower `body` or raise `memory`: a body counts as memory of the instance that gets it",
            );
        }
        limits.body = limits.memory;
    }
}

//! The limits of a request and of the instance that answers it, and how sections inherit them.
//!
//! Limits of one request are set in `[limits]`, in a component's `limits`, in those of a group, and in those of a
//! route. The innermost that sets a key decides: defaults < `[limits]` < component < outer group < inner group <
//! route. Caps on how many instances there are at once (`instances`, `held`, `hibernated`) do not replace each other: each holds
//! where it is written, and a request needs room under all of them.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use crate::decode::{Field, section};
use crate::resolve::Resolver;
use crate::scalar::units::{DAY, GIB, HOUR, KIB, MIB};
use crate::scalar::{Bytes, Count, OrNone, Time, format_size};

/// Declares the limits of a request once: as keys of every section that can set them, and as [`Limits`].
macro_rules! limits {
    ($($(#[doc = $doc:literal])* $key:ident : $type:ty = $default:literal => $plain:ty;)*) => {
        /// What one request may use, resolved for its route.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])* pub $key: $plain,)*
        }

        section! {
            /// The limits of the whole host, and the limits of every request that no component, group or route
            /// sets for itself.
            pub(crate) struct HostLimitsSection {
                /// Instances at once that are answering requests. Over it, a request is answered with 503. A held
                /// session counts here until it is held, and in `held` from then on.
                instances: Count<1, 100_000> = "1000";
                /// Sessions held at once: event loops, WebSockets, WebTransport sessions. Over it, the request is answered with 503.
                held: Count<0, 100_000> = "10_000";
                /// Connections open at once, on all listeners together. Over it, a new one is closed at once.
                connections: Count<1, 1_000_000> = "16_384";
                /// The same for one peer: an IPv4 address or an IPv6 /64. Without it there is no such cap, since behind
                /// a proxy all connections come from one peer.
                connections_per_peer: Count<1, 1_000_000>;
                /// Bytes that the host holds for all requests together, outside of their guests: bodies that were read or are
                /// to be sent, heads, chunks and messages under way, and the states of sessions that hibernate. Over it, a
                /// request is answered with 503 and `Retry-After`, and what is under way waits or is ended. A tenant, or a
                /// connection where there is none, may hold as much as it leaves free: half of it while it is alone.
                /// Without it, a quarter of the memory of the machine or of the process's cgroup.
                buffered: Bytes<{ MIB }, { 1024 * GIB }>;
                /// Sessions that hibernate at once, beside those that are held. Over it, a session stays held.
                hibernated: Count<0, 10_000_000> = "100_000";
                /// Requests that may wait for an instance, at each cap that they wait for: that of the host, of a
                /// component, of a route. Over it, a request is answered with 503 and `Retry-After` at once.
                queue: Count<0, 1_000_000> = "1000";
                /// How long a request may wait for an instance. Over it, it is answered with 503 and `Retry-After`.
                queue_wait: Time<0, { HOUR }> = "\"1s\"";
                $($(#[doc = $doc])* $key: $type = $default;)*
            }
        }

        section! {
            /// The limits of one component or one route. What is not set here is inherited.
            pub(crate) struct LimitsSection {
                /// Instances of this component, or for this route, that are answering requests at once. Over it, a
                /// request is answered with 503. Not inherited: every cap holds where it is written.
                instances: Count<1, 100_000>;
                /// Sessions of this component, or on this route, that are held at once. Over it, the request is
                /// answered with 503. Not inherited: every cap holds where it is written.
                held: Count<0, 100_000>;
                /// Sessions of this component, or on this route, that hibernate at once. Over it, a session stays
                /// held. Not inherited: every cap holds where it is written.
                hibernated: Count<0, 10_000_000>;
                $($(#[doc = $doc])* $key: $type;)*
            }
        }

        section! {
            /// The limits of the requests to a group's routes. What is not set here is inherited.
            pub(crate) struct GroupLimitsSection {
                $($(#[doc = $doc])* $key: $type;)*
            }
        }

        impl HostLimitsSection {
            pub(crate) fn limits(&self) -> Limits {
                Limits { $($key: self.$key().get(),)* }
            }

            /// Where `body` is set here.
            pub(crate) fn body_place(&self) -> Option<Range<usize>> {
                self.body.as_ref().map(Spanned::span)
            }
        }

        impl LimitsSection {
            pub(crate) fn apply(&self, limits: &mut Limits) {
                $(if let Some(value) = &self.$key { limits.$key = value.get_ref().get(); })*
            }

            /// Where `body` is set here.
            pub(crate) fn body_place(&self) -> Option<Range<usize>> {
                self.body.as_ref().map(Spanned::span)
            }
        }

        impl GroupLimitsSection {
            pub(crate) fn apply(&self, limits: &mut Limits) {
                $(if let Some(value) = &self.$key { limits.$key = value.get_ref().get(); })*
            }

            /// Where `body` is set here.
            pub(crate) fn body_place(&self) -> Option<Range<usize>> {
                self.body.as_ref().map(Spanned::span)
            }
        }
    };
}

limits! {
    /// Memory of one request: linear memories and tables of its instance, and what the host holds for it, from the first
    /// byte of its body until the last of the response is sent. Growth over it fails inside the guest.
    memory: Bytes<{ 64 * KIB }, { 4 * GIB }> = "\"128MiB\"" => u64;
    /// CPU time from the instance's start to the end of `handle` and of `streaming.run`, and of what the host does for the
    /// request, such as compressing its response. Over it, the guest is stopped: 503 before the head, an aborted body
    /// after it.
    cpu: Time<1, { HOUR }> = "\"1s\"" => Duration;
    /// CPU time of each callback of a held session. Over it, the session is ended.
    callback_cpu: Time<1, { HOUR }> = "\"100ms\"" => Duration;
    /// Wall-clock time from the instance's start to the response's head. Over it, the request is answered with 504.
    deadline: Time<1, { DAY }> = "\"30s\"" => Duration;
    /// Wall-clock time from a request's head to the end of its response, its body and a slow reader included. Over it,
    /// the request is answered with 504, or its response is aborted. Event loops and WebSockets are not held to it once
    /// their head is sent: they have `idle`.
    total: OrNone<Time<1, { DAY }>> = "\"none\"" => Option<Duration>;
    /// How long a held session may be without an event and without a write before it is ended.
    idle: OrNone<Time<1000, { 30 * DAY }>> = "\"none\"" => Option<Duration>;
    /// How long a held session may be without an event before its guest is asked to hibernate: if it exports
    /// `hibernation` and gives its state, the instance is dropped, and the next event makes a fresh one.
    hibernate: OrNone<Time<10, { 30 * DAY }>> = "\"none\"" => Option<Duration>;
    /// The state of one session that hibernates. With more, the session stays held.
    hibernate_bytes: Bytes<0, { 16 * MIB }> = "\"64KiB\"" => u64;
    /// Request body that is read before the instance starts, in body mode `auto`. Over it, the request is answered
    /// with 413. It counts as `memory`: a value that is inherited is lowered to `memory` where that is less.
    body: Bytes<0, { GIB }> = "\"2MiB\"" => u64;
    /// Bytes that one call between guest and host may carry, such as a buffered response. Over it, the guest traps.
    host_call_bytes: Bytes<{ 4 * KIB }, { GIB }> = "\"16MiB\"" => u64;
    /// Bytes of the head of a guest's response, with 32 more for each field; the same for its trailer fields. Over it,
    /// the request is answered with 500.
    response_head: Bytes<{ KIB }, { MIB }> = "\"64KiB\"" => u64;
    /// Host resources, such as bodies and writers, that an instance may hold at once. Over it, the guest traps.
    handles: Count<8, 1_000_000> = "1000" => u32;
    /// Log text of one request or session. Lines past it are dropped and counted.
    log_bytes: Bytes<0, { 64 * MIB }> = "\"64KiB\"" => u64;
}

impl Default for Limits {
    fn default() -> Self {
        HostLimitsSection::default().limits()
    }
}

/// How many instances there may be at once, at one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Instances answering requests; none for no cap at this level.
    pub instances: Option<u32>,
    /// Sessions held; none for no cap at this level.
    pub held: Option<u32>,
    /// Sessions that hibernate; none for no cap at this level.
    pub hibernated: Option<u32>,
}

/// How many instances and connections there may be on the whole host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCaps {
    /// Instances answering requests.
    pub instances: u32,
    /// Sessions held.
    pub held: u32,
    /// Bytes that the host holds for all requests together; none for a part of the machine's memory.
    pub buffered: Option<u64>,
    /// Connections open.
    pub connections: u32,
    /// Connections open of one peer; none for no cap.
    pub connections_per_peer: Option<u32>,
    /// Sessions that hibernate.
    pub hibernated: u32,
    /// Requests that may wait at each cap.
    pub queue: u32,
    /// How long a request may wait.
    pub queue_wait: Duration,
}

impl HostCaps {
    /// The instances that there can be at once, which is the number of pool slots.
    pub fn pool_size(self) -> u32 {
        self.instances.saturating_add(self.held)
    }
}

impl LimitsSection {
    pub(crate) fn caps(&self) -> Caps {
        fn get<const MIN: u32, const MAX: u32>(field: &Field<Count<MIN, MAX>>) -> Option<u32> {
            field.as_ref().map(|value| value.get_ref().get())
        }
        Caps { instances: get(&self.instances), held: get(&self.held), hibernated: get(&self.hibernated) }
    }
}

impl HostLimitsSection {
    pub(crate) fn caps(&self) -> HostCaps {
        HostCaps {
            instances: self.instances().get(),
            held: self.held().get(),
            buffered: self.buffered.as_ref().map(|bytes| bytes.get_ref().get()),
            connections: self.connections().get(),
            connections_per_peer: self.connections_per_peer.as_ref().map(|most| most.get_ref().get()),
            hibernated: self.hibernated().get(),
            queue: self.queue().get(),
            queue_wait: self.queue_wait().get(),
        }
    }
}

impl Resolver<'_> {
    /// A body that is read for an instance counts as its memory, so a larger one could never be delivered. `place`
    /// is where the section that is resolved sets `body` itself.
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

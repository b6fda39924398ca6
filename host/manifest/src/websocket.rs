//! What a WebSocket may do, and how sections inherit it.
//!
//! The settings of a session stand in `[websocket]` and in the `websocket` of a group or a route. The innermost that
//! sets a key decides: defaults < `[websocket]` < outer group < inner group < route. The memory of all compression
//! together is the host's alone.

use std::time::Duration;

use schemars::{Schema, SchemaGenerator};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place, section};
use crate::scalar::units::{DAY, GIB, HOUR, KIB};
use crate::scalar::{AnyOr, Bytes, Count, OrNone, Origin, Time};

/// Declares the settings once: as keys of every section that can set them, and as [`WebSocket`].
macro_rules! settings {
    ($($(#[doc = $doc:literal])* $key:ident : $type:ty = $default:literal => $plain:ty;)*) => {
        /// The settings of a route's WebSockets, resolved for it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct WebSocket {
            $($(#[doc = $doc])* pub $key: $plain,)*
        }

        section! {
            /// WebSockets, on every route that does not set a key for itself. `idle` is among the limits.
            pub(crate) struct HostWebSocketSection {
                $($(#[doc = $doc])* $key: $type = $default;)*
                /// Memory that permessage-deflate may take on the whole host. A session counts with what it may
                /// hold while nothing happens: about 47 KiB, and up to 372 KiB more with `deflate-server-context`.
                /// Over it, new sessions go without that context, and then without compression.
                deflate_memory: Bytes<0, { 1024 * GIB }> = "\"512MiB\"";
            }
        }

        section! {
            /// The WebSockets of a group's routes or of one route. What is not set here is inherited.
            pub(crate) struct WebSocketSection {
                $($(#[doc = $doc])* $key: $type;)*
            }
        }

        impl HostWebSocketSection {
            pub(crate) fn settings(&self) -> WebSocket {
                WebSocket { $($key: self.$key().get(),)* }
            }
        }

        impl WebSocketSection {
            pub(crate) fn apply(&self, settings: &mut WebSocket) {
                $(if let Some(value) = &self.$key { settings.$key = value.get_ref().clone().get(); })*
            }
        }
    };
}

settings! {
    /// The origins whose pages may open a WebSocket, or `["*"]` for any. A handshake from another origin is
    /// answered with 403 before an instance exists. One without `Origin` passes: browsers always send it, and other
    /// programs can claim any.
    origins: Origins = "[\"*\"]" => AnyOr<String>;
    /// The most bytes of one frame's payload. Over it, the session is closed with 1009.
    frame_size: Bytes<125, { GIB }> = "\"10MiB\"" => u64;
    /// The most bytes of one message, after inflation and over all its fragments. Over it, the session is closed
    /// with 1009.
    message_size: Bytes<1, { GIB }> = "\"10MiB\"" => u64;
    /// The most frames of one message. Over it, the session is closed with 1008.
    fragments: Count<1, 10_000_000> = "131072" => u32;
    /// How many times larger than what was sent a message may inflate. Over it, the session is closed with 1008.
    /// DEFLATE itself ends at 1032, which a message of one repeated byte reaches; `message-size` bounds it all the same.
    compression_ratio: OrNone<Count<1, 1032>> = "\"none\"" => Option<u32>;
    /// Messages that inflate to no more than this are not held to `compression-ratio`.
    compression_floor: Bytes<0, { GIB }> = "\"1MiB\"" => u64;
    /// Control frames (pings, pongs) that a client may send a second; twice as many at once after a pause. Over it,
    /// the session is closed with 1008.
    control_rate: OrNone<Count<1, 1_000_000>> = "100" => Option<u32>;
    /// Messages that a client may send a second; twice as many at once after a pause. Over it, the session is
    /// closed with 1008. Without it, a client is only as fast as the guest.
    message_rate: OrNone<Count<1, 1_000_000>> = "\"none\"" => Option<u32>;
    /// Bytes that may wait for the client to read them. Over it, the guest's `send` waits, and nothing more is read
    /// from the client. One message past it may be queued. They count as `memory`.
    outgoing_queue: Bytes<{ KIB }, { GIB }> = "\"1MiB\"" => u64;
    /// The most bytes of one message that the guest sends. Over it, the session is closed with 1009.
    outgoing_message: Bytes<1, { GIB }> = "\"16MiB\"" => u64;
    /// After so long without a byte from the client, the host sends a ping.
    ping_interval: OrNone<Time<100, { DAY }>> = "\"30s\"" => Option<Duration>;
    /// After so long without a byte since that ping, the client is taken for dead. A client that does not read
    /// while `outgoing-queue` is full is found out in this way too, and not at all without `ping-interval`.
    pong_timeout: Time<100, { HOUR }> = "\"20s\"" => Duration;
    /// How long the client may take to answer a close frame, to read what is left, and to close the connection.
    close_wait: Time<100, { HOUR }> = "\"5s\"" => Duration;
    /// Whether permessage-deflate (RFC 7692) is agreed on with clients that offer it.
    deflate: bool = "true" => bool;
    /// How hard the host compresses, 1 (fast) to 9 (small).
    deflate_level: Count<1, 9> = "3" => u32;
    /// Messages of fewer bytes are sent as they are.
    deflate_threshold: Bytes<0, { GIB }> = "\"128B\"" => u64;
    /// Whether the host may refer back to its earlier messages. Many small alike messages get much smaller, and
    /// each session holds up to 372 KiB, also while nothing happens.
    deflate_server_context: bool = "false" => bool;
    /// Whether the client may refer back to its earlier messages. Each session then holds 47 KiB while nothing
    /// happens.
    deflate_client_context: bool = "false" => bool;
    /// The host's window as a power of two: 15 is 32 KiB.
    deflate_server_window: Count<9, 15> = "15" => u32;
    /// The window that clients are asked to keep to, where they let themselves be asked.
    deflate_client_window: Count<8, 15> = "15" => u32;
}

impl Default for WebSocket {
    fn default() -> Self {
        HostWebSocketSection::default().settings()
    }
}

/// What [`bool`] lacks to be declared like the other types.
trait Plain {
    fn get(self) -> Self;
}

impl Plain for bool {
    fn get(self) -> Self {
        self
    }
}

/// A list of origins, or `["*"]`.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Vec<Spanned<Origin>>);

impl Origins {
    pub(crate) fn get(self) -> AnyOr<String> {
        let origins: Vec<String> = self.0.into_iter().map(|origin| origin.into_inner().0).collect();
        if origins.iter().any(|origin| origin == "*") { AnyOr::Any } else { AnyOr::List(origins) }
    }
}

impl Decode for Origins {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let origins = Vec::<Spanned<Origin>>::decode(value, place, context)?;
        if origins.is_empty() {
            let fix = "list some, or leave the key out to let every origin in";
            context.report(value.span(), format!("{place} is empty"), fix);
            return None;
        }
        Some(Self(origins))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<Spanned<Origin>>::schema(generator)
    }

    fn kind() -> String {
        Vec::<Spanned<Origin>>::kind()
    }
}

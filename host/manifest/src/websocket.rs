//! The settings of WebSockets, and how sections inherit them.
//!
//! The settings of a session stand in `[websocket]` and in the `websocket` of a group or a route. The innermost section
//! that sets a key decides: defaults < `[websocket]` < outer group < inner group < route. The memory of all compression
//! together is the host's alone.

use roadrunner_values::{AnyOr, WebSocket};
use schemars::{Schema, SchemaGenerator};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place};
use crate::scalar::units::{DAY, GIB, HOUR, KIB};
use crate::scalar::{Bytes, Count, OrNone, Origin, Time};
use crate::section::{Sets, section};

/// Declares the keys of a session once, for every section that can set them.
macro_rules! settings {
    ($($key:ident : $type:ty;)*) => {
        section! {
            /// WebSockets, on every route that does not set a key for itself. `idle` is among the limits.
            #[title = "`[websocket]`"]
            pub(crate) struct HostWebSocketSection {
                ..WebSocket { $($key: $type;)* }
                /// Memory of permessage-deflate on the whole host. A session counts with the most that it holds while
                /// nothing happens: about 47 KiB, and up to 372 KiB more with `deflate-server-context`. Over it, new
                /// sessions go without that context, and then without compression.
                deflate_memory: Bytes<0, { 1024 * GIB }> = "\"512MiB\"";
            }
        }

        section! {
            /// The WebSockets of a group's routes or of one route. A key that is absent is inherited.
            #[title = "`websocket` of a group or a route"]
            pub(crate) struct WebSocketSection {
                ..WebSocket or "inherited" { $($key: $type;)* }
            }
        }
    };
}

settings! {
    origins: Origins;
    frame_size: Bytes<125, { GIB }>;
    message_size: Bytes<1, { GIB }>;
    fragments: Count<1, 10_000_000>;
    compression_ratio: OrNone<Count<1, 1032>>;
    compression_floor: Bytes<0, { GIB }>;
    control_rate: OrNone<Count<1, 1_000_000>>;
    message_rate: OrNone<Count<1, 1_000_000>>;
    outgoing_queue: Bytes<{ KIB }, { GIB }>;
    outgoing_message: Bytes<1, { GIB }>;
    ping_interval: OrNone<Time<100, { DAY }>>;
    pong_timeout: Time<100, { HOUR }>;
    close_wait: Time<100, { HOUR }>;
    deflate: bool;
    deflate_level: Count<1, 9>;
    deflate_threshold: Bytes<0, { GIB }>;
    deflate_server_context: bool;
    deflate_client_context: bool;
    deflate_server_window: Count<9, 15>;
    deflate_client_window: Count<8, 15>;
}

/// A list of origins, or `["*"]`.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Vec<Spanned<Origin>>);

impl Sets<AnyOr<String>> for Origins {
    fn get(&self) -> AnyOr<String> {
        let origins: Vec<String> = self.0.iter().map(|origin| origin.get_ref().0.clone()).collect();
        if origins.iter().any(|origin| origin == "*") { AnyOr::Any } else { AnyOr::List(origins) }
    }

    fn written(value: &AnyOr<String>) -> Option<String> {
        let listed =
            |origins: &[String]| origins.iter().map(|origin| format!("{origin:?}")).collect::<Vec<_>>().join(", ");
        Some(match value {
            AnyOr::Any => "[\"*\"]".to_owned(),
            AnyOr::List(origins) => format!("[{}]", listed(origins)),
        })
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

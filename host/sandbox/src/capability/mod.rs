//! Capabilities: a guest's access to things outside itself. There is one module per capability, each with its state for
//! the host, for a component and for an instance.

pub(crate) mod bus;
pub(crate) mod fields;
pub(crate) mod filesystem;
pub(crate) mod log;
pub(crate) mod outbound;
pub(crate) mod secrets;
pub(crate) mod store;
pub(crate) mod timers;
pub(crate) mod wasi;

pub use bus::{Broker, Bus, Message, PublishError};
pub use filesystem::Preopen;
pub use outbound::{Outbound, OutboundAnswer, OutboundDriver};
pub use secrets::{Secret, Secrets};
pub use store::{Bucket, StoreAnswer, StoreError, StorePage};

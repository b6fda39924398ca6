//! Runs components: each request gets an instance with its own memory and limits, which can be ended on its own.
//!
//! A [`Sandbox`] is the engine of a host. [`Component::load`] prepares a file, a [`Binding`] ties it to a route with
//! its limits, and [`Binding::respond`] starts an [`Instance`] for one request. The [`Response`] decides the next step:
//! nothing, [`Instance::run`], or a callback for each event while the session is held. A held session keeps its
//! instance, except while it hibernates ([`Held`]). Standard `wasi:http` components run on the same terms.
//!
//! This crate knows no sockets and no HTTP connections: requests come in as [`Request`], chunks go out through an
//! [`Outbox`], and dropping an instance ends its guest.

mod binding;
mod bindings;
mod call;
mod capability;
mod component;
mod engine;
mod guest;
mod hibernation;
mod instance;
mod load_error;
mod native;
mod parking;
mod restore;
mod sandbox;
mod shape;
mod standard;
mod state;

pub use binding::Binding;
pub use capability::bus::{Broker, Bus, Message, PublishError};
pub use capability::files::Preopen;
pub use capability::http::{Outbound, OutboundAnswer, OutboundDriver};
pub use capability::routes::Urls;
pub use capability::secrets::{Secret, Secrets};
pub use capability::session::Topics;
pub use capability::sql::{
    Database, SqlAnswer, SqlColumn, SqlFailure, SqlFault, SqlHostError, SqlRows, SqlTransaction, SqlValue,
};
pub use capability::store::{Bucket, StoreAnswer, StoreError, StorePage};
pub use component::{Component, Interfaces, Kind, inspect};
pub use engine::{
    Cache, CacheError, CompileError, CompileOrder, Compiler, EngineError, EngineSettings, Exhaustion, Reset, Whose,
    missing_maps,
};
pub use guest::event::{Disconnect, Event, Next};
pub use guest::output::{Outbox, Outgoing};
pub use guest::request::{Body, BodyError, BodyFault, BodyStream, ClientCertificate, Request, Upgrade};
pub use guest::response::{Head, Response};
pub use guest::webtransport::{SessionHandle, Waits, WebTransport, WebTransportError, WebTransportEvent};
pub use hibernation::Held;
pub use instance::{Instance, LeftBody};
pub use load_error::LoadError;
pub use parking::Parking;
pub use sandbox::{PARKED, RESTORED, Sandbox};
pub use shape::websocket::{SocketEvent, SocketMessage};
pub use standard::Standard;
pub use standard::members::Shared;
pub use state::Grants;
/// Types in the interface of [`Outbound`]: bodies of requests and responses, errors, and the guest's own timeouts.
pub use wasmtime_wasi_http::{Error as OutboundError, RequestOptions, WasiBody};

//! Runs components: each request gets an instance with its own memory and limits, which can be ended on its own.
//!
//! A [`Sandbox`] is the engine of a host. [`Component::load`] prepares a file, a [`Binding`] ties it to a route with
//! its limits, and [`Binding::respond`] starts an [`Instance`] for one request. The [`Response`] decides the next step:
//! nothing, [`Instance::run`], or a callback for each event while the session is held. A held session keeps its
//! instance, except while it hibernates ([`Held`]). Standard `wasi:http` components run on the same terms.
//!
//! This crate knows no sockets and no HTTP connections: requests come in as [`Request`], chunks go out through an
//! [`Outbox`], and dropping an instance ends its guest.

mod account;
mod bindings;
mod cache;
mod capability;
mod clock;
mod compile;
mod component;
mod engine;
mod exhaustion;
mod fit;
mod gate;
mod hibernation;
mod instance;
mod limits;
mod memory;
mod meter;
mod outcome;
mod output;
mod parking;
mod places;
mod registry;
mod request;
mod response;
mod standard;
mod state;
mod tenant;
mod turns;
mod websocket;
mod webtransport;
mod work;

pub use account::{Account, Buffers, Charge, Covering, Gathered, Holder, cover};
pub use cache::{Cache, CacheError};
pub use capability::log::admits as admits_log;
pub use capability::{
    Broker, Bucket, Bus, Message, Outbound, OutboundAnswer, OutboundDriver, Preopen, PublishError, Secret, Secrets,
    StoreAnswer, StoreError, StorePage,
};
pub use compile::{CompileError, CompileOrder, CompileSettings, Compiler, Whose};
pub use component::{Component, Digest, Digester, Interfaces, Kind, LoadError, NotADigest, inspect};
pub use engine::{EngineError, EngineSettings, Reset, Sandbox};
pub use exhaustion::Exhaustion;
pub use gate::{Gate, GateSettings, Gates, Permit};
pub use hibernation::Held;
pub use instance::{Disconnect, Event, Instance, LeftBody, Next};
pub use limits::Limits;
pub use meter::{Meter, Peer, RequestId, Shape, Subject};
pub use outcome::{Failure, Outcome, Row};
pub use output::{Outbox, Outgoing};
pub use parking::{PARKED, Parking};
pub use registry::Registry;
pub use request::{Body, BodyError, BodyFault, BodyStream, ClientCertificate, Request, Upgrade};
pub use response::{Head, Response};
pub use standard::{Shared, Standard};
pub use state::{Binding, Urls};
pub use tenant::{Flow, Level, Quota, Stock, Tenant};
/// Types in the interface of [`Outbound`]: bodies of requests and responses, errors, and the guest's own timeouts.
pub use wasmtime_wasi_http::{Error as OutboundError, RequestOptions, WasiBody};
pub use websocket::{SocketEvent, SocketMessage};
pub use webtransport::{SessionHandle, Waits, WebTransport, WebTransportError, WebTransportEvent};
pub use work::{Listed, PIECE, Pause, Payer, Worked};

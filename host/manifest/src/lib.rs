//! `roadrunner.toml` -> a checked [`Manifest`] with a compiled [`RouteTable`].
//!
//! The way in is [`Manifest::load`]. It reports everything that is wrong with a file at once, each problem with its
//! place and its fix ([`ManifestError`]). What comes out can be used without further checks.
//!
//! This crate opens no sockets and loads no components, so that it compiles in seconds and its tests need no engine.

#![forbid(unsafe_code)]

mod admin;
mod cli;
mod decode;
mod diagnostic;
mod dns;
mod document;
mod limits;
mod manifest;
mod origin;
mod pattern;
mod resolve;
mod route;
mod router;
mod scalar;
mod section;
mod store;
mod tenant;
mod websocket;
mod webtransport;

pub use admin::{Admin, AdminKeys};
pub use cli::{Language, NewError, Project, Sdk, new_project, routes_table, summary};
pub use diagnostic::{Diagnostic, ManifestError, Style};
pub use dns::Dns;
pub use document::{json_schema, reference};
pub use limits::{Caps, HostCaps, Limits};
pub use manifest::{
    AnyOr, Broker, BrokerCredentials, Bus, CertificateFiles, ClientCertificates, Compile, Component, ComponentOptions,
    Compression, Cors, Deploy, Directory, Etag, Http2, Http3, Listener, LoadError, MAX_BYTES, Manifest, Middleware,
    Outbound, Preopen, RateLimit, RequestId, ResponseHeaders, Reuse, SecurityHeaders, Server, Timeouts, Tls,
};
pub use origin::{Origin, Registry};
pub use pattern::{InvalidPattern, RoutePattern, Segment};
pub use route::{Files, Methods, Route, StaticFiles, Target};
pub use router::{Conflict, Lookup, Params, RouteTable, UrlError};
pub use scalar::{
    Address, BrokerUrl, ComponentName, DirectoryName, HostPattern, InvalidHost, InvalidName, InvalidReference,
    ListenerName, MediaType, MiddlewareName, OciReference, OutboundOrigin, PeerRange, RegistryName, RouteName,
    SecretName, StoreName, Subject, TenantName, format_duration, format_size,
};
pub use section::{AccessLogFormat, BodyMode, Encoding, ForwardedField, H2c, LogFormat, PathRule, Protocol};
pub use store::{Secret, Store, StorePlace};
pub use tenant::{Quota, Tenant};
pub use websocket::WebSocket;
pub use webtransport::WebTransport;

//! `roadrunner.toml` -> a checked [`Manifest`] with a compiled [`RouteTable`].
//!
//! The entry point is [`Manifest::load`]. It reports all problems of a file at once, each with its place and its fix
//! ([`ManifestError`]). A manifest needs no further checks.
//!
//! Each feature has a file with its section, its words, its checks and its value: `listener`, `store`, `wasi` and so
//! on. `middleware/` has a file for each type. A feature knows the core and the features that it needs, and never the
//! whole file. The core: `section` declares sections, `decode` and `scalar` read values, `diagnostic` reports problems,
//! `resolver` has the facts that all checks share. Above the features, `file` has all sections, `resolve` the order in
//! which they are checked, `load` the ways in, and `document` the schema and the reference. `router` is the table.
//!
//! This crate opens no sockets and loads no components, so that it compiles in seconds and its tests need no engine.

#![forbid(unsafe_code)]

mod admin;
mod bus;
mod cli;
mod compile;
mod component;
mod decode;
mod deploy;
mod diagnostic;
mod directory;
mod dns;
mod document;
mod file;
mod grpc;
mod http2;
mod http3;
mod keys;
mod limits;
mod listener;
mod load;
mod manifest;
mod middleware;
mod origin;
mod outbound;
mod pattern;
mod rate_limit;
mod registry;
mod resolve;
mod resolver;
mod reuse;
mod route;
mod router;
mod scalar;
mod secret;
mod section;
mod server;
mod signature;
mod sql;
mod store;
mod tenant;
mod timeouts;
mod tls;
mod wasi;
mod websocket;
mod webtransport;

pub use roadrunner_values::{
    AnyOr, Caps, Compile, ConnectionCaps, ForwardedField, H2c, HostCaps, Http2, Http3, Limits, PathRule, Quota,
    Timeouts, WebSocket, WebTransport, WebTransportCaps,
};

pub use admin::Admin;
pub use admin::keys::{AdminKeys, Subject};
pub use bus::{Broker, BrokerCredentials, BrokerUrl, Bus};
pub use cli::{Language, NewError, Project, Sdk, new_project, routes_table, summary};
pub use component::{Component, ComponentName};
pub use deploy::Deploy;
pub use diagnostic::{Diagnostic, ManifestError, Style};
pub use directory::{Directory, DirectoryName};
pub use dns::Dns;
pub use document::{json_schema, reference};
pub use grpc::{Grpc, GrpcService};
pub use listener::{Listener, ListenerName, PeerRange, Protocol};
pub use load::{LoadError, MAX_BYTES};
pub use manifest::{ComponentOptions, Manifest};
pub use middleware::basic_auth::BasicAuth;
pub use middleware::compression::{Compression, Encoding, MediaType};
pub use middleware::cors::Cors;
pub use middleware::etag::Etag;
pub use middleware::request_id::RequestId;
pub use middleware::response_headers::ResponseHeaders;
pub use middleware::security_headers::SecurityHeaders;
pub use middleware::{Middleware, MiddlewareName};
pub use origin::{InvalidReference, OciReference, Origin};
pub use outbound::{Outbound, OutboundOrigin};
pub use pattern::{InvalidPattern, RoutePattern, Segment};
pub use rate_limit::RateLimit;
pub use registry::{Registry, RegistryName};
pub use reuse::Reuse;
pub use route::static_files::{Files, StaticFiles};
pub use route::{BodyMode, Methods, Route, RouteName, Target};
pub use router::{Conflict, Lookup, Params, RouteTable, UrlError};
pub use scalar::{Address, HostPattern, InvalidHost, InvalidName, format_duration, format_size};
pub use secret::{Secret, SecretName};
pub use server::{AccessLogFormat, LogFormat, Server};
pub use sql::{Sql, SqlName, SqlTls};
pub use store::{Store, StoreName, StorePlace};
pub use tenant::{Tenant, TenantName};
pub use tls::{CertificateFiles, ClientCertificates, Tls};
pub use wasi::Preopen;

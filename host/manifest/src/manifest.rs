//! The checked configuration of a host.
//!
//! A [`Manifest`] is valid by itself: every name that one part uses exists in another, every limit is in its range, the
//! routes do not conflict. Paths are absolute or relative to the process's working folder. Only [`Manifest::load`]
//! checks whether files exist.

use std::collections::BTreeMap;
use std::path::PathBuf;

use roadrunner_values::{
    Compile, ConnectionCaps, HostCaps, Http2, Http3, Limits, Timeouts, WebSocket, WebTransport, WebTransportCaps,
};

use crate::admin::Admin;
use crate::bus::Bus;
use crate::component::{Component, ComponentName};
use crate::deploy::Deploy;
use crate::directory::{Directory, DirectoryName};
use crate::dns::Dns;
use crate::grpc::Grpc;
use crate::listener::Listener;
use crate::middleware::{Middleware, MiddlewareName};
use crate::rate_limit::RateLimit;
use crate::registry::{Registry, RegistryName};
use crate::route::BodyMode;
use crate::router::RouteTable;
use crate::scalar::Address;
use crate::secret::{Secret, SecretName};
use crate::server::Server;
use crate::sql::{Sql, SqlName};
use crate::store::{Store, StoreName};
use crate::tenant::{Tenant, TenantName};

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file of the manifest; `None` for [`Manifest::for_component`].
    pub file: Option<PathBuf>,
    /// `[server]`.
    pub server: Server,
    /// The caps in `[limits]`.
    pub caps: HostCaps,
    /// The caps on connections in `[limits]`.
    pub connections: ConnectionCaps,
    /// The limits in `[limits]`, before any component, group or route changes them.
    pub limits: Limits,
    /// `[[listener]]`, never empty.
    pub listeners: Vec<Listener>,
    /// `[admin]`.
    pub admin: Option<Admin>,
    /// `[compile]`.
    pub compile: Compile,
    /// `[deploy]`; `None` if nothing can be deployed.
    pub deploy: Option<Deploy>,
    /// `[registry]`. A registry without a section is used over TLS and without a user.
    pub registries: BTreeMap<RegistryName, Registry>,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[rate-limit]`; `None` for no such limit.
    pub rate_limit: Option<RateLimit>,
    /// `[bus]`.
    pub bus: Bus,
    /// `[dns]`.
    pub dns: Dns,
    /// `[grpc]`.
    pub grpc: Grpc,
    /// `[http2]`.
    pub http2: Http2,
    /// `[http3]`.
    pub http3: Http3,
    /// `[websocket]`, before any group or route changes it.
    pub websocket: WebSocket,
    /// Memory of permessage-deflate on the whole host, in bytes.
    pub deflate_memory: u64,
    /// `[webtransport]`, before any group or route changes it.
    pub webtransport: WebTransport,
    /// `[webtransport]`, the keys that no group and no route has.
    pub webtransport_caps: WebTransportCaps,
    /// `[tenant]`.
    pub tenants: BTreeMap<TenantName, Tenant>,
    /// `[directory]`.
    pub directories: BTreeMap<DirectoryName, Directory>,
    /// `[secret]`: the place of each.
    pub secrets: BTreeMap<SecretName, Secret>,
    /// `[store]`.
    pub stores: BTreeMap<StoreName, Store>,
    /// The databases that can be granted, by name.
    pub sql: BTreeMap<SqlName, Sql>,
    /// `[component]`.
    pub components: BTreeMap<ComponentName, Component>,
    /// `[middleware]`.
    pub middlewares: BTreeMap<MiddlewareName, Middleware>,
    /// `[[route]]` and `[[group]]`, flattened and compiled.
    pub routes: RouteTable,
}

/// The options of [`Manifest::for_component`].
#[derive(Clone, Debug, Default)]
pub struct ComponentOptions {
    /// The listeners; empty for the default listener.
    pub listeners: Vec<Listener>,
    /// Configuration values.
    pub config: BTreeMap<String, String>,
    /// Directories to grant, by name.
    pub directories: BTreeMap<DirectoryName, PathBuf>,
    /// The reader of request bodies.
    pub body: BodyMode,
    /// The address of the admin listener.
    pub admin: Option<Address>,
    /// Whether components of WASI 0.3 are served.
    pub wasi_03: bool,
}

//! The checked configuration of a host.
//!
//! A [`Manifest`] is valid by itself: every name that one part uses exists in another, every limit is in its range, the
//! routes do not conflict. Paths are absolute or relative to the process's working folder. Only [`Manifest::load`]
//! checks whether files exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roadrunner_values::{
    Compile, ConnectionCaps, HostCaps, Http2, Http3, Limits, Timeouts, WebSocket, WebTransport, WebTransportCaps,
};
use toml::Spanned;

use crate::admin::{Admin, AdminSection};
use crate::bus::{Bus, BusSection};
use crate::compile::CompileSection;
use crate::component::{Component, ComponentName, ComponentSection};
use crate::decode::section;
use crate::deploy::{Deploy, DeploySection};
use crate::diagnostic::ManifestError;
use crate::directory::{Directory, DirectoryName, DirectorySection};
use crate::dns::{Dns, DnsSection};
use crate::http2::Http2Section;
use crate::http3::Http3Section;
use crate::limits::HostLimitsSection;
use crate::listener::{Listener, ListenerSection};
use crate::middleware::{Middleware, MiddlewareName, MiddlewareSection};
use crate::rate_limit::{RateLimit, RateLimitSection};
use crate::registry::{Registry, RegistryName, RegistrySection};
use crate::resolve;
use crate::route::RouteSection;
use crate::route::group::GroupSection;
use crate::router::RouteTable;
use crate::scalar::{Address, Table};
use crate::secret::{Secret, SecretName, SecretSection};
use crate::server::{Server, ServerSection};
use crate::signature::SignaturesSection;
use crate::store::{Store, StoreName, StoreSection};
use crate::tenant::{Tenant, TenantName, TenantSection};
use crate::timeouts::TimeoutsSection;
use crate::websocket::HostWebSocketSection;
use crate::webtransport::HostWebTransportSection;

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
    pub body: crate::route::BodyMode,
    /// The address of the admin listener.
    pub admin: Option<Address>,
    /// Whether components of WASI 0.3 are served.
    pub wasi_03: bool,
}

impl Manifest {
    /// Reads and checks a file, and checks that the files and directories that it names exist.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_BYTES + 1), &mut bytes).map_err(read)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(LoadError::TooLarge { path: path.to_owned() });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|b| *b == b'\n').count();
            LoadError::NotUtf8 { path: path.to_owned(), line }
        })?;
        Ok(resolve::manifest(&text, path, resolve::Files::Checked)?)
    }

    /// Checks a text as if it were the file at `path`, without looking at the file system.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ManifestError> {
        resolve::manifest(text, path, resolve::Files::Unchecked)
    }

    /// The configuration of `roadrunner serve app.wasm`: every method and path goes to one component, under the
    /// default limits. The component's name is made from the file's; a directory's relative path is kept as it is.
    pub fn for_component(file: &Path, options: ComponentOptions) -> Self {
        resolve::for_component(file, options)
    }
}

/// The largest manifest, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// The reason why a manifest could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The manifest has problems.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The file is not text.
    #[error("{}:{line}: the file is not UTF-8 text: save it as UTF-8", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
        /// The first line that is not UTF-8, from 1.
        line: usize,
    },
    /// The file could not be read.
    #[error("cannot read the manifest {}: {source}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is larger than [`MAX_BYTES`].
    #[error("the manifest {} is larger than {} bytes", path.display(), MAX_BYTES)]
    TooLarge {
        /// The path.
        path: PathBuf,
    },
}

section! {
    /// The configuration of a Roadrunner host. Relative paths start at the folder of this file.
    #[title = "The file"]
    pub(crate) struct ManifestSection {
        /// The program as a whole.
        server: ServerSection;
        /// Caps of the whole host, and defaults for the limits of every request.
        limits: HostLimitsSection;
        /// The listeners. Without any, the host listens on 127.0.0.1:8080 for HTTP/1.1 and HTTP/2.
        listener: Vec<Spanned<ListenerSection>>;
        /// The listener for metrics, health and live instances. Without it there is none.
        admin: AdminSection;
        /// The limits of compiling a component.
        compile: CompileSection;
        /// Components that are deployed while the host runs.
        deploy: DeploySection;
        /// The signatures that components must have.
        signatures: SignaturesSection;
        /// Registries that components are pulled from, by name, such as `[registry."ghcr.io"]`. A registry with TLS and
        /// without a password needs no section.
        registry: Table<RegistryName, RegistrySection>;
        /// The deadlines of the transport.
        timeouts: TimeoutsSection;
        /// The rate limit of one peer.
        rate_limit: RateLimitSection;
        /// The bus, on which sessions send messages to each other.
        bus: BusSection;
        /// Name resolution.
        dns: DnsSection;
        /// Settings of HTTP/2.
        http2: Http2Section;
        /// Settings of HTTP/3.
        http3: Http3Section;
        /// WebSockets.
        websocket: HostWebSocketSection;
        /// WebTransport.
        webtransport: HostWebTransportSection;
        /// Tenants, by name: owners of components that need not trust each other.
        tenant: Table<TenantName, TenantSection>;
        /// Directories that can be granted to components and static routes, by name.
        directory: Table<DirectoryName, DirectorySection>;
        /// Secrets that can be granted to components, by name.
        secret: Table<SecretName, SecretSection>;
        /// Stores of keys and values that can be granted to components, by name.
        store: Table<StoreName, StoreSection>;
        /// Components, by name.
        component: Table<ComponentName, ComponentSection>;
        /// Middlewares, by name. A middleware acts where a route or a group lists it.
        middleware: Table<MiddlewareName, MiddlewareSection>;
        /// Routes. Of all routes that match a request, the most specific answers: first by host, then by path, where a
        /// literal segment precedes `:param`, which precedes `*rest`. The order in the file does not matter.
        route: Vec<Spanned<RouteSection>>;
        /// Routes that share a prefix, hosts, middlewares, configuration or limits.
        group: Vec<Spanned<GroupSection>>;
    }
}

//! The checked configuration of a host.
//!
//! What is here is valid by itself: every name that one part uses exists in another, every limit is in its range,
//! the routes do not conflict. Paths are absolute or relative to the process's working folder. Whether files exist
//! is known only to [`Manifest::load`], which looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;

use crate::admin::{Admin, AdminSection};
use crate::bus::{Bus, BusSection};
use crate::compile::{Compile, CompileSection};
use crate::component::{Component, ComponentSection};
use crate::decode::section;
use crate::deploy::{Deploy, DeploySection};
use crate::diagnostic::ManifestError;
use crate::directory::{Directory, DirectorySection};
use crate::dns::{Dns, DnsSection};
use crate::http2::{Http2, Http2Section};
use crate::http3::{Http3, Http3Section};
use crate::limits::{HostCaps, HostLimitsSection, Limits};
use crate::listener::{Listener, ListenerSection};
use crate::middleware::{Middleware, MiddlewareSection};
use crate::rate_limit::{RateLimit, RateLimitSection};
use crate::registry::{Registry, RegistryName, RegistrySection};
use crate::resolve;
use crate::route::RouteSection;
use crate::route::group::GroupSection;
use crate::router::RouteTable;
use crate::scalar::{Address, ComponentName, DirectoryName, MiddlewareName, SecretName, StoreName, Table, TenantName};
use crate::secret::{Secret, SecretSection};
use crate::server::{Server, ServerSection};
use crate::signature::SignaturesSection;
use crate::store::{Store, StoreSection};
use crate::tenant::{Tenant, TenantSection};
use crate::timeouts::{Timeouts, TimeoutsSection};
use crate::websocket::{HostWebSocketSection, WebSocket};
use crate::webtransport::{HostWebTransportSection, WebTransport};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file that it was read from; none when it was made by [`Manifest::for_component`].
    pub file: Option<PathBuf>,
    /// `[server]`.
    pub server: Server,
    /// The caps in `[limits]`.
    pub caps: HostCaps,
    /// The limits in `[limits]`, before any component, group or route changes them.
    pub limits: Limits,
    /// `[[listener]]`, never empty.
    pub listeners: Vec<Listener>,
    /// `[admin]`.
    pub admin: Option<Admin>,
    /// `[compile]`.
    pub compile: Compile,
    /// `[deploy]`; none where nothing can be deployed.
    pub deploy: Option<Deploy>,
    /// `[registry]`. One that has no section is spoken to over TLS, as nobody in particular.
    pub registries: BTreeMap<RegistryName, Registry>,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[rate-limit]`; none for no such limit.
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
    /// Memory that permessage-deflate may take on the whole host, in bytes.
    pub deflate_memory: u64,
    /// `[webtransport]`, before any group or route changes it.
    pub webtransport: WebTransport,
    /// WebTransport sessions on one connection; 0 when they are not offered.
    pub webtransport_sessions: u32,
    /// Streams that wait for a session, on one connection.
    pub webtransport_buffered_streams: u32,
    /// `[tenant]`.
    pub tenants: BTreeMap<TenantName, Tenant>,
    /// `[directory]`.
    pub directories: BTreeMap<DirectoryName, Directory>,
    /// `[secret]`: where each one is.
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

/// What [`Manifest::for_component`] is told beside the component.
#[derive(Clone, Debug, Default)]
pub struct ComponentOptions {
    /// Where to listen; the default listener when empty.
    pub listeners: Vec<Listener>,
    /// Configuration values.
    pub config: BTreeMap<String, String>,
    /// Directories to grant, by name.
    pub directories: BTreeMap<DirectoryName, PathBuf>,
    /// Who reads request bodies.
    pub body: crate::route::BodyMode,
    /// Where to serve metrics and health.
    pub admin: Option<Address>,
    /// Whether components of WASI 0.3 are served.
    pub wasi_03: bool,
}

impl Manifest {
    /// Reads and checks a file, and looks whether the files and directories that it names are there.
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

/// Why a manifest could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It was read, and something in it is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It is not text.
    #[error("{}:{line}: the file is not UTF-8 text: save it as UTF-8", path.display())]
    NotUtf8 {
        /// The manifest.
        path: PathBuf,
        /// The first line that is not, from 1.
        line: usize,
    },
    /// It could not be read.
    #[error("cannot read the manifest {}: {source}", path.display())]
    Read {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than [`MAX_BYTES`].
    #[error("the manifest {} is larger than {} bytes", path.display(), MAX_BYTES)]
    TooLarge {
        /// The manifest.
        path: PathBuf,
    },
}

section! {
    /// The configuration of a Roadrunner host. Relative paths start at the folder of this file.
    pub(crate) struct ManifestSection {
        /// The program as a whole.
        server: ServerSection;
        /// Limits of the whole host, and defaults for the limits of every request.
        limits: HostLimitsSection;
        /// Where the host listens. Without any, it listens on 127.0.0.1:8080 for HTTP/1.1 and HTTP/2.
        listener: Vec<Spanned<ListenerSection>>;
        /// The listener for metrics, health and live instances. Without it there is none.
        admin: AdminSection;
        /// What compiling a component may take.
        compile: CompileSection;
        /// Components that are put in place while the host runs.
        deploy: DeploySection;
        /// By whom components must be signed.
        signatures: SignaturesSection;
        /// Registries that components are pulled from, by name, such as `[registry."ghcr.io"]`. One that is spoken to
        /// over TLS and without a password needs no section.
        registry: Table<RegistryName, RegistrySection>;
        /// How long the host waits for its clients.
        timeouts: TimeoutsSection;
        /// How many requests one peer may make.
        rate_limit: RateLimitSection;
        /// The bus, on which sessions speak to each other.
        bus: BusSection;
        /// How the host resolves names.
        dns: DnsSection;
        /// Settings of HTTP/2.
        http2: Http2Section;
        /// Settings of HTTP/3.
        http3: Http3Section;
        /// WebSockets.
        websocket: HostWebSocketSection;
        /// WebTransport.
        webtransport: HostWebTransportSection;
        /// Tenants, by name: owners of components who may distrust each other.
        tenant: Table<TenantName, TenantSection>;
        /// Directories that components and static routes can be given, by name.
        directory: Table<DirectoryName, DirectorySection>;
        /// Secrets that components can be given, by name.
        secret: Table<SecretName, SecretSection>;
        /// Stores of keys and values that components can be given, by name.
        store: Table<StoreName, StoreSection>;
        /// Components, by name.
        component: Table<ComponentName, ComponentSection>;
        /// Middlewares, by name. They act where a route or a group lists them.
        middleware: Table<MiddlewareName, MiddlewareSection>;
        /// Routes. Of all that match a request, the most specific answers: first by host, then by path, where a
        /// literal segment goes before `:param` and that before `*rest`; the order in the file does not matter.
        route: Vec<Spanned<RouteSection>>;
        /// Routes that share a prefix, hosts, middlewares, configuration or limits.
        group: Vec<Spanned<GroupSection>>;
    }
}

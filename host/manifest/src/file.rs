//! The file as a whole: its sections, in the order of the reference.

use toml::Spanned;

use crate::admin::AdminSection;
use crate::bus::BusSection;
use crate::compile::CompileSection;
use crate::component::{ComponentName, ComponentSection};
use crate::deploy::DeploySection;
use crate::directory::{DirectoryName, DirectorySection};
use crate::dns::DnsSection;
use crate::grpc::GrpcSection;
use crate::http2::Http2Section;
use crate::http3::Http3Section;
use crate::limits::HostLimitsSection;
use crate::listener::ListenerSection;
use crate::middleware::{MiddlewareName, MiddlewareSection};
use crate::rate_limit::RateLimitSection;
use crate::registry::{RegistryName, RegistrySection};
use crate::route::group::GroupSection;
use crate::route::section::RouteSection;
use crate::scalar::Table;
use crate::secret::{SecretName, SecretSection};
use crate::section::section;
use crate::server::ServerSection;
use crate::signature::SignaturesSection;
use crate::sql::{SqlName, SqlSection};
use crate::store::{StoreName, StoreSection};
use crate::tenant::{TenantName, TenantSection};
use crate::timeouts::TimeoutsSection;
use crate::websocket::HostWebSocketSection;
use crate::webtransport::HostWebTransportSection;

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
        /// gRPC: health, reflection and the size of messages.
        grpc: GrpcSection;
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
        /// PostgreSQL databases that can be granted to components, by name.
        sql: Table<SqlName, SqlSection>;
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

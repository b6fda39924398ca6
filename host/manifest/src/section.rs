//! The sections of `roadrunner.toml` as they are written: every key, its type, its default and what it means.
//!
//! This is the one source of the decoder, the JSON Schema and docs/manifest.md. What a section means together with
//! the others is decided in `resolve`.

mod application;
mod host;
mod middleware;
mod origin;
mod store;
mod tenant;

use toml::Spanned;

use crate::decode::section;
use crate::dns::DnsSection;
use crate::limits::HostLimitsSection;
use crate::scalar::{
    ComponentName, DirectoryName, MiddlewareName, RegistryName, SecretName, StoreName, Table, TenantName,
};
use crate::websocket::HostWebSocketSection;
use crate::webtransport::HostWebTransportSection;

pub use application::BodyMode;
pub(crate) use application::{
    ComponentSection, DirectorySection, GroupSection, PreopenMode, PreopenSection, ReuseSection, RouteSection,
    StaticSection,
};
pub(crate) use host::ClientAuth;
pub use host::{AccessLogFormat, ForwardedField, H2c, LogFormat, PathRule, Protocol};
pub(crate) use host::{
    AdminSection, BusSection, CompileSection, DeploySection, Http2Section, Http3Section, ListenerSection,
    RateLimitSection, ServerSection, TimeoutsSection, TlsChoice, TlsSection,
};
pub use middleware::Encoding;
pub(crate) use middleware::{
    CompressionSection, CorsSection, EtagSection, MiddlewareSection, MiddlewareType, RateLimitMiddlewareSection,
    RequestIdSection, ResponseHeadersSection, SecurityHeadersSection,
};
pub(crate) use origin::{RegistrySection, SignaturesSection};
pub(crate) use store::{SecretSection, StoreSection};
pub(crate) use tenant::{QuotaSection, TenantSection};

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

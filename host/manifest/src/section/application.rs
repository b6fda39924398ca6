//! Sections about what is served: directories, components, routes, groups.

use toml::Spanned;

use crate::decode::section;
use crate::limits::{GroupLimitsSection, LimitsSection};
use crate::pattern::{Prefix, RoutePath};
use crate::scalar::units::{DAY, GIB, HOUR, KIB};
use crate::scalar::{
    Bytes, ComponentFile, ComponentName, ConfigKey, Count, DirectoryName, EnvironmentName, EnvironmentText, FilePath,
    GuestPath, HeaderText, HostPattern, MethodName, MiddlewareName, OutboundOrigin, PlainText, RelativePath, RouteName,
    SecretName, StoreName, Table, TenantName, Time, choice,
};
use crate::websocket::WebSocketSection;
use crate::webtransport::WebTransportSection;

section! {
    /// A directory of the host.
    pub(crate) struct DirectorySection {
        /// Where it is. Nothing outside it can be reached through it, links included.
        path: FilePath [required];
        /// The tenant whose components and static routes alone can be given it. Without it, it can be given to all.
        tenant: TenantName;
        /// What the files below it may take before guests can add no more; each file takes whole blocks of 4 KiB. What
        /// others have put there counts too.
        size: Bytes<{ 4 * KIB }, { 65_536 * GIB }> = "\"64MiB\"";
        /// Files, directories and links that there may be below it before guests can add no more.
        files: Count<1, 10_000_000> = "10000";
    }
}

section! {
    /// A component: a .wasm file, what it is given and what it may use.
    pub(crate) struct ComponentSection {
        /// The .wasm file; or, in a registry, `oci://REGISTRY/REPOSITORY:TAG`, to which `@sha256:DIGEST` adds the SHA-256
        /// of its manifest. A tag is looked up when the host starts and when the manifest is loaded again; what a digest
        /// names is pulled once.
        file: ComponentFile [required];
        /// PEM files of public keys, of which one must have signed it, instead of those of its tenant or of [signatures].
        /// The signature of a file stands beside it, in `FILE.sig`.
        signed_by: Vec<Spanned<FilePath>>;
        /// The tenant that it belongs to, with the routes that it answers. Without it, it belongs to the host itself.
        tenant: TenantName;
        /// The directories that its sendfile responses may name.
        directories: Vec<Spanned<DirectoryName>> = "[]";
        /// The directories that it can open files in through `wasi:filesystem`, with the file functions of its language.
        preopens: Vec<Spanned<PreopenSection>>;
        /// The environment that it sees through WASI. Nothing of the host's own environment is in it.
        environment: Table<EnvironmentName, EnvironmentText>;
        /// The same with secrets as values, by name. They are texts.
        secret_environment: Table<EnvironmentName, SecretName>;
        /// The secrets that it can read.
        secrets: Vec<Spanned<SecretName>> = "[]";
        /// The stores that it can open.
        stores: Vec<Spanned<StoreName>> = "[]";
        /// Values that the guest reads through the `config` interface. Groups and routes can add to them and
        /// replace them.
        config: Table<ConfigKey, PlainText>;
        /// What one request may use.
        limits: LimitsSection;
        /// Lets an instance answer more than one request. Without it every request gets a fresh instance. What one
        /// request leaves in the guest's memory, the next one on the same route can see.
        reuse: ReuseSection;
        /// The origins that its outgoing HTTP requests (`wasi:http/outgoing-handler`) may go to: scheme, host and port.
        /// `"https://*.example.org"` is every host below `example.org`. Without any, all are refused.
        outbound: Vec<Spanned<OutboundOrigin>> = "[]";
        /// Whether the names in `outbound` may resolve to addresses that are not public: loopback, private, link-local.
        /// An address that `outbound` names itself is granted either way.
        outbound_private: bool = "false";
        /// Outgoing connections open at once.
        outbound_connections: Count<1, 10_000> = "64";
        /// How long an outgoing request may take to resolve the name, connect and shake hands.
        outbound_connect_timeout: Time<1, { HOUR }> = "\"5s\"";
        /// How long it then waits for the head of the answer, and between two pieces of it.
        outbound_read_timeout: Time<1, { HOUR }> = "\"30s\"";
        /// How long it may take in all, to the end of the answer.
        outbound_timeout: Time<1, { DAY }> = "\"5m\"";
    }
}

section! {
    /// A directory that guests of a component have open from their start. What they open in it, they open below it:
    /// nothing outside can be reached, links included.
    pub(crate) struct PreopenSection {
        /// The directory. It is opened when the manifest is loaded.
        directory: DirectoryName [required];
        /// Where guests see it: an absolute path. Without it, `/` and the name of the directory.
        path: GuestPath;
        /// Whether they can only read what is in it, or change it too.
        mode: PreopenMode = "\"read\"";
    }
}

choice! {
    /// What guests can do with a directory.
    pub enum PreopenMode {
        /// List it, and read files.
        Read = "read",
        /// Also write, make, rename and remove files, directories and links.
        Write = "write",
    }
}

section! {
    /// How long an instance of a component is kept for further requests, on the route that it was started for. Only one
    /// that answered in full is kept; of a native component, with a buffered response.
    pub(crate) struct ReuseSection {
        /// Requests that one instance answers at most.
        requests: Count<2, 1_000_000> [required];
        /// Requests that one instance answers at once. More than one is for components of `wasi:http/service` 0.3 alone.
        /// Such an instance has one `memory` limit for all of them, and a fault ends them together.
        concurrency: Count<1, 10_000> = "1";
        /// How long it may wait for its next request.
        idle: Time<1, { HOUR }> = "\"1s\"";
    }
}

section! {
    /// A path and what answers it.
    pub(crate) struct RouteSection {
        /// The path: literal segments, `:name` for one segment, `*name` at the end for all that is left.
        path: RoutePath [required];
        /// The hosts that it answers for, `"example.com"` or `"*.example.org"`, without a port. Without it, every
        /// host, or those of the group.
        hosts: Vec<Spanned<HostPattern>>;
        /// The methods that it answers. Others get 405 with `Allow`. Without it, every method; for a static route,
        /// GET.
        methods: Vec<Spanned<MethodName>>;
        /// Whether a route for GET also answers HEAD.
        head: bool = "true";
        /// The component that answers.
        component: ComponentName;
        /// Files that answer, without any component.
        files as "static": StaticSection;
        /// The tenant that a static route belongs to. A route that a component answers belongs to that of the component.
        tenant: TenantName;
        /// The route's name in reverse URLs, logs and metrics. Unique.
        name: RouteName;
        /// Whether the host reads the request body before the instance starts (`auto`) or the guest pulls it from
        /// the wire (`manual`).
        body: BodyMode = "\"auto\"";
        /// Configuration values of this route; they win over those of its groups and its component.
        config: Table<ConfigKey, PlainText>;
        /// What one request to this route may use.
        limits: LimitsSection;
        /// WebSockets on this route.
        websocket: WebSocketSection;
        /// WebTransport sessions on this route.
        webtransport: WebTransportSection;
        /// Middlewares around this route, the outermost first, inside those of its groups.
        middlewares: Vec<Spanned<MiddlewareName>> = "[]";
    }
}

choice! {
    /// Who reads a request body.
    #[derive(Default)]
    pub enum BodyMode {
        /// The host, wholly and bounded by the `body` limit, before the instance starts.
        #[default]
        Auto = "auto",
        /// The guest, piece by piece, at the pace at which it reads.
        Manual = "manual",
    }
}

section! {
    /// A route that answers with files, without any component.
    pub(crate) struct StaticSection {
        /// The directory whose files are served.
        directory: DirectoryName [required];
        /// The one file that is served, for a route whose path has no `*` capture. Without it, the capture is the
        /// path of the file.
        file: RelativePath;
        /// The file that is served for a directory. An empty text turns this off.
        index: IndexFile = "\"index.html\"";
        /// The `cache-control` header of the answers 200, 206 and 304. Without it, there is none.
        cache_control: HeaderText;
        /// Whether a `.br` or `.gz` file beside the one that is asked for is sent to clients that accept it.
        precompressed: bool = "true";
    }
}

/// The name of an index file, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexFile(pub(crate) Option<String>);

impl crate::scalar::Text for IndexFile {
    const KIND: &'static str = "a file name, or an empty text";

    fn parse(text: &str) -> Result<Self, crate::scalar::Fault> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        if text.contains('/') {
            return Err(crate::scalar::Fault::new("is a path", "write the name of a file, without a slash"));
        }
        RelativePath::parse(text).map(|path| Self(Some(path.0)))
    }
}

section! {
    /// Routes with something in common. Groups nest.
    pub(crate) struct GroupSection {
        /// What the path of each of its routes starts with.
        prefix: Prefix = "\"\"";
        /// The hosts of its routes and groups that name none themselves.
        hosts: Vec<Spanned<HostPattern>>;
        /// Middlewares around its routes, the outermost first, inside those of the outer group.
        middlewares: Vec<Spanned<MiddlewareName>> = "[]";
        /// Configuration values of its routes; they win over those of the outer group and of components.
        config: Table<ConfigKey, PlainText>;
        /// What one request to its routes may use.
        limits: GroupLimitsSection;
        /// WebSockets on its routes.
        websocket: WebSocketSection;
        /// WebTransport sessions on its routes.
        webtransport: WebTransportSection;
        /// Its routes, `[[group.route]]`.
        route: Vec<Spanned<RouteSection>>;
        /// Groups inside it, `[[group.group]]`.
        group: Vec<Spanned<GroupSection>>;
    }
}

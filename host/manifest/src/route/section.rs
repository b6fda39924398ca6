//! The section of a route.

use toml::Spanned;

use crate::component::ComponentName;
use crate::limits::LimitsSection;
use crate::middleware::MiddlewareName;
use crate::pattern::RoutePath;
use crate::route::static_files::StaticSection;
use crate::route::{BodyMode, RouteName};
use crate::scalar::{ConfigKey, HostPattern, MethodName, PlainText, Table};
use crate::section::section;
use crate::tenant::TenantName;
use crate::websocket::WebSocketSection;
use crate::webtransport::WebTransportSection;

section! {
    /// A path and its target.
    #[title = "`[[route]]`"]
    pub(crate) struct RouteSection {
        /// The path: literal segments, `:name` for one segment, `*name` at the end for all that is left.
        path: RoutePath [required];
        /// The hosts that it answers for, `"example.com"` or `"*.example.org"`, without a port. Without it, every host,
        /// or those of the group.
        hosts: Vec<Spanned<HostPattern>>;
        /// The methods that it answers. Other methods get 405 with `Allow`. Without it, every method; for a static
        /// route, GET.
        methods: Vec<Spanned<MethodName>>;
        /// Whether a route for GET also answers HEAD.
        head: bool = "true";
        /// The component that answers.
        component: ComponentName;
        /// The files that answer, without any component.
        files as "static": StaticSection;
        /// The tenant that owns a static route. A route with a component belongs to the tenant of the component.
        tenant: TenantName;
        /// The route's name in reverse URLs, logs and metrics. Unique.
        name: RouteName;
        /// The reader of the request body: the host before the instance starts (`auto`), or the guest from the wire
        /// (`manual`). With `grpc = true` it is `manual`, unless this says otherwise.
        body: BodyMode = "\"auto\"";
        /// Whether the route takes calls of gRPC and nothing else: another content type is answered with 415. The
        /// services that health and reflection know are those of such routes.
        grpc: bool = "false";
        /// Configuration values of this route. They replace those of its groups and its component.
        config: Table<ConfigKey, PlainText>;
        /// The limits of one request to this route.
        limits: LimitsSection;
        /// WebSockets on this route.
        websocket: WebSocketSection;
        /// WebTransport sessions on this route.
        webtransport: WebTransportSection;
        /// Middlewares around this route, the outermost first. They stand inside those of its groups.
        middlewares: Vec<Spanned<MiddlewareName>> = "[]";
    }
}

//! One route, with all that it inherits from its component, its groups and the host.

pub(crate) mod group;
pub(crate) mod resolve;
pub(crate) mod static_files;

use std::collections::BTreeMap;

use http::Method;
use toml::Spanned;

use crate::decode::section;
use crate::limits::{Caps, Limits, LimitsSection};
use crate::pattern::{RoutePath, RoutePattern};
use crate::route::static_files::{StaticFiles, StaticSection};
use crate::scalar::{
    ComponentName, ConfigKey, HostPattern, MethodName, MiddlewareName, PlainText, RouteName, Table, TenantName, choice,
};
use crate::websocket::{WebSocket, WebSocketSection};
use crate::webtransport::{WebTransport, WebTransportSection};

/// A path and what answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The whole pattern, with the prefixes of its groups.
    pub pattern: RoutePattern,
    /// Whom it belongs to: the tenant of its component; none for the host itself.
    pub tenant: Option<TenantName>,
    /// The hosts that it answers for; empty for every host.
    pub hosts: Vec<HostPattern>,
    /// The methods that it answers.
    pub methods: Methods,
    /// What answers.
    pub target: Target,
    /// Its name, unique in the table.
    pub name: Option<RouteName>,
    /// Who reads request bodies.
    pub body: BodyMode,
    /// Configuration values: the component's, then those of groups from the outside in, then its own.
    pub config: BTreeMap<String, String>,
    /// What one request may use.
    pub limits: Limits,
    /// How many requests to this route there may be at once, beside the caps of its component and of the host.
    pub caps: Caps,
    /// Its WebSockets.
    pub websocket: WebSocket,
    /// Its WebTransport sessions.
    pub webtransport: WebTransport,
    /// Middlewares, the outermost first.
    pub middlewares: Vec<MiddlewareName>,
}

impl Route {
    /// A route for every host and method with default limits and nothing else.
    pub fn new(pattern: RoutePattern, target: Target) -> Self {
        Self {
            pattern,
            tenant: None,
            hosts: Vec::new(),
            methods: Methods::Any,
            target,
            name: None,
            body: BodyMode::Auto,
            config: BTreeMap::new(),
            limits: Limits::default(),
            caps: Caps::default(),
            websocket: WebSocket::default(),
            webtransport: WebTransport::default(),
            middlewares: Vec::new(),
        }
    }
}

/// What answers a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A component.
    Component(ComponentName),
    /// Files, without a component.
    Static(StaticFiles),
}

/// The methods that a route answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Methods {
    /// Every method.
    Any,
    /// These; never empty, none twice. HEAD is among them when GET is, unless the route refuses it.
    Listed(Vec<Method>),
}

impl Methods {
    /// A list, with HEAD added to GET when `head` is set (RFC 9110, 9.3.2).
    pub fn listed(methods: impl IntoIterator<Item = Method>, head: bool) -> Self {
        let mut listed: Vec<Method> = Vec::new();
        for method in methods {
            if !listed.contains(&method) {
                listed.push(method);
            }
        }
        if head && listed.contains(&Method::GET) && !listed.contains(&Method::HEAD) {
            listed.push(Method::HEAD);
        }
        Self::Listed(listed)
    }

    /// Whether a request with this method is answered.
    pub fn contains(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(methods) => methods.contains(method),
        }
    }

    /// Whether some method is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Listed(methods), other) => methods.iter().any(|method| other.contains(method)),
        }
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

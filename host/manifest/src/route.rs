//! One route, with the settings that it inherits from its component, its groups and the host.

pub(crate) mod group;
mod grpc;
pub(crate) mod resolve;
pub(crate) mod routes;
pub(crate) mod section;
pub(crate) mod static_files;
mod static_route;
mod tenant;

use std::collections::BTreeMap;

use http::Method;
use roadrunner_values::{Caps, Limits, WebSocket, WebTransport};

use crate::component::ComponentName;
use crate::grpc::GrpcService;
use crate::middleware::MiddlewareName;
use crate::pattern::RoutePattern;
use crate::route::static_files::StaticFiles;
use crate::scalar::{HostPattern, choice, name};
use crate::tenant::TenantName;

/// A path and its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The whole pattern, with the prefixes of its groups.
    pub pattern: RoutePattern,
    /// The tenant that owns it: the tenant of its component; `None` for the host itself.
    pub tenant: Option<TenantName>,
    /// The hosts that it answers for; empty for every host.
    pub hosts: Vec<HostPattern>,
    /// The methods that it answers.
    pub methods: Methods,
    /// The target.
    pub target: Target,
    /// The name, unique in the table.
    pub name: Option<RouteName>,
    /// The reader of request bodies.
    pub body: BodyMode,
    /// Whether it takes calls of gRPC and nothing else.
    pub grpc: bool,
    /// Configuration values: the component's, then those of groups from the outside in, then its own.
    pub config: BTreeMap<String, String>,
    /// The limits of one request.
    pub limits: Limits,
    /// The caps on its instances, in addition to those of its component and of the host.
    pub caps: Caps,
    /// The settings of its WebSockets.
    pub websocket: WebSocket,
    /// The settings of its WebTransport sessions.
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
            grpc: false,
            config: BTreeMap::new(),
            limits: Limits::default(),
            caps: Caps::default(),
            websocket: WebSocket::default(),
            webtransport: WebTransport::default(),
            middlewares: Vec::new(),
        }
    }
}

/// The target of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A component.
    Component(ComponentName),
    /// The host, for a service of gRPC.
    Grpc(GrpcService),
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

name! {
    /// The name of a route, for reverse URLs, logs and metrics.
    pub struct RouteName = "route";
}

choice! {
    /// The reader of a request body.
    #[derive(Default)]
    pub enum BodyMode {
        /// The host, before the instance starts: the whole body, bounded by the `body` limit.
        #[default]
        Auto = "auto",
        /// The guest, piece by piece, at its own pace.
        Manual = "manual",
    }
}

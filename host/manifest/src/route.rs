//! One route, with all that it inherits from its component, its groups and the host.

use std::collections::BTreeMap;

use http::{HeaderValue, Method};

use crate::limits::{Caps, Limits};
use crate::pattern::RoutePattern;
use crate::scalar::{ComponentName, DirectoryName, HostPattern, MiddlewareName, RouteName, TenantName};
use crate::section::BodyMode;
use crate::websocket::WebSocket;
use crate::webtransport::WebTransport;

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

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticFiles {
    /// The directory whose files are served.
    pub directory: DirectoryName,
    /// Which of its files.
    pub files: Files,
    /// The file served for a directory.
    pub index: Option<String>,
    /// The `cache-control` header of successful answers.
    pub cache_control: Option<HeaderValue>,
    /// Whether `.br` and `.gz` siblings are sent to clients that accept them.
    pub precompressed: bool,
}

/// Which files of a directory a static route serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// The one with this relative path.
    One(String),
    /// The one whose path the pattern's last capture holds. That path comes from the client: it is resolved below
    /// the directory and nowhere else.
    Captured,
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

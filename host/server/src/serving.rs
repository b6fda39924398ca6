//! The state that answers requests: of one manifest, and of the process.
//!
//! [`Serving`] is the state of one manifest, and never changes; a reload replaces it. An exchange keeps its [`Serving`]
//! to its end. [`Host`] is the state that outlives a manifest.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Request;
use roadrunner_account::{Holder, Tenant};
use roadrunner_files::{Directory, FileCache};
use roadrunner_manifest::{AccessLogFormat, Admin, BodyMode, GrpcService, Lookup, Params, RouteTable};
use roadrunner_names::Resolver;
use roadrunner_registry::Puller;
use roadrunner_sandbox::{Binding, Component, Sandbox};
use roadrunner_wire::{Connection, RequestBody};
use tokio::sync::watch;

use crate::access::{Access, Caller};
use crate::accounts::Accounts;
use crate::capability::Capabilities;
use crate::context::Ids;
use crate::counters::{HostCounters, show_routes};
use crate::deploy::store::Store;
use crate::drain::Drain;
use crate::grpc::routed::Routed;
use crate::metrics::{Shows, Text};
use crate::middleware::{Middlewares, Stack};
use crate::record::RouteAccount;
use crate::shapes::websocket::{DeflateMemory, WebSocketSettings};
use crate::shapes::webtransport::WebTransportSettings;
use crate::source::Sources;

/// The state of one manifest.
pub(crate) struct Serving {
    pub(crate) host: Arc<Host>,
    pub(crate) loaded: Loaded,
    pub(crate) table: Arc<RouteTable>,
    pub(crate) routes: Vec<Route>,
    pub(crate) accounts: Accounts,
    pub(crate) capabilities: Capabilities,
    pub(crate) middlewares: Middlewares,
    pub(crate) access_log: Option<AccessLogFormat>,
    /// The longest message of a call of gRPC, in bytes; none for what the protocol allows.
    pub(crate) max_message: Option<u32>,
    /// The time for which a shutdown continues to serve normally; `drain_time` is the wait after that.
    pub(crate) drain_delay: Duration,
    pub(crate) drain_time: Duration,
}

/// The parts of a manifest's state that come from outside of the manifest: from files and registries.
#[derive(Clone)]
pub(crate) struct Loaded {
    /// The components, by name: one for each of the manifest's.
    pub(crate) components: BTreeMap<String, Arc<Component>>,
    /// The sources of the components.
    pub(crate) sources: Arc<Sources>,
    /// The keys of the admin listener.
    pub(crate) access: Arc<Access>,
}

/// The state that lives as long as the process.
pub(crate) struct Host {
    pub(crate) sandbox: Sandbox,
    /// The admin listener as it was at the start.
    pub(crate) admin: Option<Admin>,
    /// The resolver for names of outgoing requests, of the bus and of stores.
    pub(crate) names: Resolver,
    /// The puller of components from registries.
    pub(crate) puller: Puller,
    /// The deployed versions; none where deploying is off.
    pub(crate) deployed: Option<Arc<Store>>,
    /// The largest memory that the engine has slots for, in bytes.
    pub(crate) max_memory: u64,
    pub(crate) files: FileCache,
    pub(crate) counters: HostCounters,
    pub(crate) drain: Drain,
    /// The state of the current manifest, for those that wait for the next one.
    pub(crate) latest: watch::Sender<Weak<Serving>>,
    /// The memory that permessage-deflate may take for all sessions together.
    pub(crate) deflate: Arc<DeflateMemory>,
    pub(crate) ids: Ids,
    /// Whether stores are opened. They stay closed where a manifest is only checked: the host that has them open may be
    /// running.
    pub(crate) opens_stores: bool,
}

/// A route of the table, bound to its target.
pub(crate) struct Route {
    pub(crate) account: RouteAccount,
    pub(crate) name: Option<Arc<str>>,
    /// The services behind a route that takes calls of gRPC alone; none for other routes.
    pub(crate) grpc: Option<Routed>,
    pub(crate) captures: Vec<Arc<str>>,
    pub(crate) target: Target,
    /// The tenant that the route belongs to; none for the host itself.
    pub(crate) tenant: Option<Arc<Tenant>>,
    /// The stack of middlewares; none for a route without middlewares, which then pays nothing.
    pub(crate) stack: Option<Stack>,
    /// The longest time that a request may take in total.
    pub(crate) total: Option<Duration>,
}

pub(crate) enum Target {
    Grpc(GrpcService),
    Guest(Guest),
    Static(StaticFiles),
}

pub(crate) struct Guest {
    pub(crate) binding: Arc<Binding>,
    pub(crate) component: Arc<str>,
    pub(crate) body: BodyMode,
    pub(crate) body_limit: u64,
    pub(crate) directories: BTreeMap<String, Arc<Directory>>,
    pub(crate) websocket: WebSocketSettings,
    pub(crate) webtransport: WebTransportSettings,
}

pub(crate) struct StaticFiles {
    pub(crate) directory: Arc<Directory>,
    pub(crate) settings: roadrunner_manifest::StaticFiles,
}

impl Serving {
    /// Finds the route of a request. A request that a middleware claims, such as a CORS preflight, belongs to the route
    /// that it asks about, if that route has the middleware.
    pub(crate) fn lookup<'r>(&'r self, host: Option<&str>, request: &'r Request<RequestBody>) -> Lookup<'r, 'r> {
        let path = request.uri().path();
        if let Some(method) = self.middlewares.claim(request) {
            let asked = self.table.lookup(host, &method, path);
            let claims = |stack: &Stack| stack.claims(request);
            if matches!(asked, Lookup::Found { index, .. } if self.routes[index].stack.as_ref().is_some_and(claims)) {
                return asked;
            }
        }
        self.table.lookup(host, request.method(), path)
    }

    /// The account for a request without an instance.
    pub(crate) fn holder(&self, tenant: Option<&Arc<Tenant>>, connection: &Connection) -> Holder {
        let buffers = self.host.sandbox.accounts().buffers.clone();
        Holder { buffers, tenant: tenant.cloned(), connection: connection.held.clone() }
    }
}

impl Route {
    pub(crate) fn params(&self, params: &Params<'_, '_>) -> Vec<(Arc<str>, String)> {
        self.captures.iter().cloned().zip(params.iter().map(|(_, value)| value.to_owned())).collect()
    }
}

impl Shows for Vec<Route> {
    fn show(&self, caller: &Caller, text: &mut Text) {
        let seen = self.iter().filter(|route| caller.sees(route.tenant.as_ref().map(|tenant| &*tenant.name)));
        let routes = seen.map(|route| {
            let RouteAccount { counters, labels, .. } = &route.account;
            let pattern = &*labels.route;
            let component = labels.component.as_ref().map_or("", |(name, _)| name);
            let tenant = labels.tenant.as_deref().map(|tenant| ("tenant", tenant));
            let labels = [("route", pattern), ("component", component)].into_iter().chain(tenant);
            (labels.collect(), &**counters)
        });
        show_routes(&routes.collect::<Vec<_>>(), text);
    }
}

//! The binding of a manifest: its routes, tied to loaded components and to all that these are granted.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use roadrunner_account::Gates;
use roadrunner_manifest::{
    self as manifest, AccessLogFormat, Admin, BodyMode, ComponentName, Manifest, RouteTable, Segment, TenantName,
    UrlError,
};
use roadrunner_sandbox::{Binding, Component, Grants, Kind, Parking, Shared, Urls};

use crate::access::Access;
use crate::access_log::{Labels, short};
use crate::accounts::{Accounts, gates_passed, route_gate};
use crate::app;
use crate::capability::{Capabilities, Grantee, Opening, secrets};
use crate::counters::RouteCounters;
use crate::grpc;
use crate::grpc::routed::Routed;
use crate::load;
use crate::machine;
use crate::middleware::{Middlewares, RouteService};
use crate::places;
use crate::record::RouteAccount;
use crate::serving::{Guest, Host, Loaded, Route, Serving, StaticFiles, Target};
use crate::shapes::websocket::WebSocketSettings;
use crate::shapes::webtransport::WebTransportSettings;
use crate::source::Sources;

/// Builds the state of a manifest on a running host. Parts that have not changed are taken from `before`: loaded
/// components, caps with their places, buckets of peers, counters of routes.
pub(crate) fn load(manifest: &Manifest, host: Arc<Host>, before: Option<&Serving>) -> Result<Serving> {
    let sources = Sources::read(manifest)?;
    let components = load::components(manifest, &host, before, &sources)?;
    let access = Arc::new(Access::read(admin(&host, manifest), manifest)?);
    host.sandbox.accounts().buffers.set_limit(machine::buffers(manifest.caps.buffered));
    bind(manifest, host, before, Loaded { components, sources: Arc::new(sources), access })
}

/// Builds the same state from loaded parts.
pub(crate) fn bind(manifest: &Manifest, host: Arc<Host>, before: Option<&Serving>, loaded: Loaded) -> Result<Serving> {
    let max_memory = max_memory(manifest);
    ensure!(
        max_memory <= host.max_memory,
        "a route has the limit memory = {max_memory} bytes, and the host was started with room for {}: restart it, or \
         lower the limit",
        host.max_memory
    );
    let binder = Binder::new(manifest, &host, before, &loaded.components)?;
    let routes = binder.table.routes().iter().map(|route| binder.route(route)).collect();
    let Binder { table, accounts, capabilities, middlewares, .. } = binder;
    Ok(Serving {
        routes,
        table,
        loaded,
        accounts,
        capabilities,
        middlewares,
        access_log: access_log(manifest),
        max_message: manifest.grpc.max_message,
        drain_delay: manifest.server.drain_delay,
        drain_time: manifest.server.drain,
        host,
    })
}

/// The parts that the routes of a manifest are bound to.
struct Binder<'b> {
    manifest: &'b Manifest,
    components: &'b BTreeMap<String, Arc<Component>>,
    table: Arc<RouteTable>,
    accounts: Accounts,
    capabilities: Capabilities,
    middlewares: Middlewares,
    /// The service behind all middlewares.
    target: RouteService,
    /// The counters of the current routes, by the identity of a route across manifests.
    counters: BTreeMap<String, Arc<RouteCounters>>,
}

impl<'b> Binder<'b> {
    fn new(
        manifest: &'b Manifest,
        host: &Host,
        before: Option<&Serving>,
        components: &'b BTreeMap<String, Arc<Component>>,
    ) -> Result<Self> {
        let accounts = Accounts::open(manifest, before.map(|before| &before.accounts));
        for (name, component) in &manifest.components {
            check_reuse(name, component, &components[name.as_str()])?;
        }
        places::check(manifest, &accounts.gates, components)?;
        let secrets = secrets::read(manifest)?;
        let opening = Opening {
            manifest,
            sandbox: &host.sandbox,
            names: &host.names,
            tenants: &accounts.tenants,
            secrets: &secrets,
            opens_stores: host.opens_stores,
        };
        let capabilities = Capabilities::open(&opening, before.map(|before| &before.capabilities))?;
        Ok(Self {
            manifest,
            components,
            table: Arc::new(manifest.routes.clone()),
            accounts,
            capabilities,
            middlewares: Middlewares::open(manifest, &secrets, before.map(|before| &before.middlewares))?,
            target: app::target(),
            counters: before.map(counters).unwrap_or_default(),
        })
    }

    fn route(&self, route: &manifest::Route) -> Route {
        let (target, component) = match &route.target {
            manifest::Target::Grpc(service) => (Target::Grpc(*service), None),
            manifest::Target::Component(name) => {
                let guest = self.guest(route, name);
                let digest = short(guest.binding.component.digest).into();
                let component = (guest.component.clone(), digest);
                (Target::Guest(guest), Some(component))
            }
            manifest::Target::Static(files) => {
                let directory = self.capabilities.files.directory(&files.directory);
                (Target::Static(StaticFiles { directory, settings: files.clone() }), None)
            }
        };
        let tenant = self.accounts.tenant(route.tenant.as_ref());
        let labels = Labels {
            route: route.pattern.as_str().into(),
            tenant: tenant.as_ref().map(|tenant| tenant.name.clone()),
            component,
        };
        let counters = self.counters.get(&identity(route)).cloned().unwrap_or_default();
        Route {
            account: RouteAccount { counters, log: access_log(self.manifest), labels },
            name: route.name.as_ref().map(|name| name.as_str().into()),
            grpc: route.grpc.then(|| self.routed(route)),
            captures: route.pattern.segments().iter().filter_map(Segment::capture).map(Arc::from).collect(),
            target,
            tenant,
            total: route.limits.total,
            stack: self.middlewares.stack(&route.middlewares, &self.target),
        }
    }

    /// The services behind a route.
    fn routed(&self, route: &manifest::Route) -> Routed {
        let descriptors = match &route.target {
            manifest::Target::Component(name) => self.components[name.as_str()].grpc_descriptors.clone(),
            manifest::Target::Grpc(service) => grpc::descriptors(*service),
            manifest::Target::Static(_) => Bytes::new(),
        };
        Routed::new(&route.pattern, descriptors)
    }

    fn guest(&self, route: &manifest::Route, name: &ComponentName) -> Guest {
        let (settings, loaded) = (&self.manifest.components[name], &self.components[name.as_str()]);
        let granted = self.capabilities.grant(Grantee { name, settings });
        let urls = NamedRoutes { table: self.table.clone(), tenant: settings.tenant.clone() };
        let grants = Grants {
            limits: Arc::new(route.limits.clone()),
            config: route.config.clone(),
            wasi_config: (&route.config).into(),
            urls: Some(Arc::new(urls)),
            ..granted.grants
        };
        let (reuse, gates) = (settings.reuse, self.gates(route, name));
        let binding = Binding {
            component: loaded.clone(),
            grants: Arc::new(grants),
            parking: match reuse {
                None if settings.restore && loaded.can_be_restored() => Some(Parking::restored(loaded, gates.tenant())),
                Some(reuse) if reuse.concurrency == 1 => Some(Parking::new(loaded, reuse.requests, reuse.idle)),
                _ => None,
            },
            gates,
            shared: reuse
                .filter(|reuse| reuse.concurrency > 1)
                .map(|reuse| Shared::new(reuse.requests, reuse.concurrency, reuse.idle)),
        };
        Guest {
            binding: Arc::new(binding),
            component: name.as_str().into(),
            // In WASI, the guest can only pull a body.
            body: match loaded.kind() {
                Kind::Native => route.body,
                Kind::Service | Kind::Standard => BodyMode::Manual,
            },
            body_limit: route.limits.body,
            directories: granted.directories,
            websocket: WebSocketSettings::new(&route.websocket, route.limits.idle),
            webtransport: WebTransportSettings::new(&route.webtransport, self.manifest.timeouts.write_stall),
        }
    }

    /// The gates that an instance passes.
    fn gates(&self, route: &manifest::Route, name: &ComponentName) -> Gates {
        let component = &self.manifest.components[name];
        let passed = gates_passed(route, name, component.tenant.as_ref());
        // Requests to a shared instance use its places, which count among the parked ones.
        let is_shared = component.reuse.is_some_and(|reuse| reuse.concurrency > 1);
        let places = if is_shared { 1 } else { self.components[name.as_str()].places };
        Gates::new(passed.iter().filter_map(|name| self.accounts.gates.get(name).cloned()).collect())
            .taking(places)
            .of(self.accounts.tenant(component.tenant.as_ref()))
    }
}

/// Checks that the instances of a component can be reused as the manifest says.
fn check_reuse(name: &ComponentName, component: &manifest::Component, loaded: &Component) -> Result<()> {
    ensure!(
        component.reuse.is_none_or(|reuse| reuse.concurrency == 1) || loaded.kind() == Kind::Service,
        "the component {name} answers one request at a time, as all do but those of wasi:http/service 0.3: leave \
         `concurrency` out of its `reuse`"
    );
    ensure!(
        component.reuse.is_none() || loaded.can_be_reused(),
        "the component {name} cannot be reused: handlers of fetch events that componentize-js makes answer one request \
         in their life; leave out its `reuse`"
    );
    Ok(())
}

/// The largest memory limit of a route, in bytes: the engine has slots of this size.
pub(crate) fn max_memory(manifest: &Manifest) -> u64 {
    let memory = manifest.routes.routes().iter().map(|route| route.limits.memory).max();
    memory.unwrap_or(manifest.limits.memory).next_multiple_of(64 << 10)
}

/// The format of the access log; none where it is off.
fn access_log(manifest: &Manifest) -> Option<AccessLogFormat> {
    manifest.server.access_log.then_some(manifest.server.access_log_format)
}

/// The admin listener of a manifest. A listener at another address waits for a restart; until then, the keys of the
/// current listener do not change either.
fn admin<'m>(host: &'m Host, manifest: &'m Manifest) -> Option<&'m Admin> {
    let started = host.admin.as_ref();
    let new = manifest.admin.as_ref().filter(|new| started.is_some_and(|started| started.is_where(new)));
    new.or(started)
}

fn counters(before: &Serving) -> BTreeMap<String, Arc<RouteCounters>> {
    let routes = before.table.routes().iter().zip(&before.routes);
    routes.map(|(route, bound)| (identity(route), bound.account.counters.clone())).collect()
}

fn identity(route: &manifest::Route) -> String {
    let target = match &route.target {
        manifest::Target::Component(name) => name.as_str(),
        manifest::Target::Grpc(service) => service.name(),
        manifest::Target::Static(files) => files.directory.as_str(),
    };
    format!("{target} {}", route_gate(route))
}

/// Named routes that guests of a tenant see: its own, and those of the host.
#[derive(Debug)]
struct NamedRoutes {
    table: Arc<RouteTable>,
    tenant: Option<TenantName>,
}

impl Urls for NamedRoutes {
    fn url_for(&self, name: &str, params: &[(String, String)]) -> Result<String, String> {
        let route = self.table.by_name(name);
        if route.is_some_and(|route| route.tenant.is_some() && route.tenant != self.tenant) {
            return Err(UrlError::UnknownRoute(name.to_owned()).to_string());
        }
        let params: Vec<_> = params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.table.url_for(name, &params).map_err(|error| error.to_string())
    }
}

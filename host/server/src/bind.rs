//! The binding of a manifest: its routes, tied to loaded components and to all that these are granted.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use roadrunner_account::Gates;
use roadrunner_files::Directory;
use roadrunner_manifest::{
    self as manifest, Admin, BodyMode, ComponentName, DirectoryName, Manifest, RateLimit, RouteTable, Segment,
    TenantName, UrlError,
};
use roadrunner_names::Resolver;
use roadrunner_sandbox::{
    Binding, Bucket, Bus, Component, Grants, Kind, Limits, Outbound, Parking, Preopen, Sandbox, Secret, Shared, Topics,
    Urls,
};

use crate::access::Access;
use crate::access_log::short;
use crate::accounts::{Accounts, gates_passed, owner, route_gate};
use crate::capability::outbound::WayOut;
use crate::capability::secrets;
use crate::capability::stores;
use crate::capability::wasi;
use crate::counters::RouteCounters;
use crate::load;
use crate::machine;
use crate::middleware::{Limiters, Stack};
use crate::places;
use crate::rate_limit::RateLimiter;
use crate::serving::{Capabilities, Guest, Host, Loaded, Route, Serving, StaticFiles, Target};
use crate::shapes::{websocket, webtransport};
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
    let Binder { table, accounts, capabilities, limiters, .. } = binder;
    Ok(Serving {
        routes,
        table,
        loaded,
        accounts,
        capabilities,
        limiters,
        access_log: manifest.server.access_log.then_some(manifest.server.access_log_format),
        drain_delay: manifest.server.drain_delay,
        drain_time: manifest.server.drain,
        host,
    })
}

/// The directories and the environment of a component.
type WasiGrants = (Vec<Preopen>, Vec<(String, String)>);

/// The parts that the routes of a manifest are bound to.
struct Binder<'b> {
    manifest: &'b Manifest,
    components: &'b BTreeMap<String, Arc<Component>>,
    bus: &'b Bus,
    table: Arc<RouteTable>,
    accounts: Accounts,
    capabilities: Capabilities,
    directories: BTreeMap<String, Arc<Directory>>,
    secrets: BTreeMap<String, Secret>,
    wasi: BTreeMap<&'b ComponentName, WasiGrants>,
    limiters: Limiters,
    /// The counters of the current routes, by the identity of a route across manifests.
    counters: BTreeMap<String, Arc<RouteCounters>>,
}

impl<'b> Binder<'b> {
    fn new(
        manifest: &'b Manifest,
        host: &'b Host,
        before: Option<&Serving>,
        components: &'b BTreeMap<String, Arc<Component>>,
    ) -> Result<Self> {
        let known = before.map(|before| &before.capabilities);
        let directories = directories(manifest)?;
        let accounts = Accounts::open(manifest, before.map(|before| &before.accounts));
        let outbound = outbound(manifest, &host.sandbox, &host.names, known);
        let secrets = secrets::read(manifest)?;
        let stores = match host.opens_stores {
            true => {
                stores::open(manifest, &secrets, &host.names, known.map_or(&BTreeMap::new(), |known| &known.stores))?
            }
            false => BTreeMap::new(),
        };
        let disks = wasi::open(manifest, &accounts.tenants, known.map_or(&BTreeMap::new(), |known| &known.disks))?;
        let mut wasi = BTreeMap::new();
        for (name, component) in &manifest.components {
            check_reuse(name, component, &components[name.as_str()])?;
            wasi.insert(name, (wasi::preopens(component, &disks)?, wasi::environment(component, &secrets)?));
        }
        places::check(manifest, &accounts.gates, components)?;
        let budgets = stores::budgets(manifest, &stores, known.map(|known| &known.budgets));
        let kept = stores::Kept { stores: &stores, budgets: &budgets, tenants: &accounts.tenants };
        let grants = stores::grants(manifest, kept, known.map(|known| &known.grants));
        Ok(Self {
            manifest,
            components,
            bus: host.sandbox.bus(),
            table: Arc::new(manifest.routes.clone()),
            accounts,
            capabilities: Capabilities { outbound, stores, grants, budgets, disks },
            directories,
            secrets,
            wasi,
            limiters: limiters(manifest, before),
            counters: before.map(counters).unwrap_or_default(),
        })
    }

    fn route(&self, route: &manifest::Route) -> Route {
        let middlewares = &self.manifest.middlewares;
        let is_cors = |name| matches!(middlewares.get(name), Some(manifest::Middleware::Cors(_)));
        Route {
            pattern: route.pattern.as_str().into(),
            name: route.name.as_ref().map(|name| name.as_str().into()),
            captures: route.pattern.segments().iter().filter_map(Segment::capture).map(Arc::from).collect(),
            target: match &route.target {
                manifest::Target::Component(name) => Target::Guest(self.guest(route, name)),
                manifest::Target::Static(files) => Target::Static(StaticFiles {
                    directory: self.directories[files.directory.as_str()].clone(),
                    settings: files.clone(),
                }),
            },
            tenant: self.accounts.tenant(route.tenant.as_ref()),
            counters: self.counters.get(&identity(route)).cloned().unwrap_or_default(),
            cors: route.middlewares.iter().any(is_cors),
            total: route.limits.total,
            stack: Stack::build(&route.middlewares, middlewares, &self.limiters),
        }
    }

    fn guest(&self, route: &manifest::Route, name: &ComponentName) -> Guest {
        let (component, loaded) = (&self.manifest.components[name], &self.components[name.as_str()]);
        let granted =
            component.directories.iter().map(|name| (name.to_string(), self.directories[name.as_str()].clone()));
        Guest {
            binding: Arc::new(self.binding(route, name)),
            component: name.as_str().into(),
            digest: short(loaded.digest).into(),
            // In WASI, the guest can only pull a body.
            body: match loaded.kind() {
                Kind::Native => route.body,
                Kind::Service | Kind::Standard => BodyMode::Manual,
            },
            body_limit: route.limits.body,
            directories: granted.collect(),
            websocket: websocket::Settings::new(&route.websocket, route.limits.idle),
            webtransport: webtransport::Settings::new(&route.webtransport, self.manifest.timeouts.write_stall),
        }
    }

    fn binding(&self, route: &manifest::Route, name: &ComponentName) -> Binding {
        let (loaded, reuse) = (&self.components[name.as_str()], self.manifest.components[name].reuse);
        Binding {
            component: loaded.clone(),
            grants: Arc::new(self.grants(route, name)),
            gates: self.gates(route, name),
            parking: reuse
                .filter(|reuse| reuse.concurrency == 1)
                .map(|reuse| Parking::new(loaded, reuse.requests, reuse.idle)),
            shared: reuse
                .filter(|reuse| reuse.concurrency > 1)
                .map(|reuse| Shared::new(reuse.requests, reuse.concurrency, reuse.idle)),
        }
    }

    fn grants(&self, route: &manifest::Route, name: &ComponentName) -> Grants {
        let component = &self.manifest.components[name];
        let (preopens, environment) = self.wasi[name].clone();
        let secrets = component.secrets.iter();
        let stores = self.capabilities.grants.get(name.as_str()).into_iter().flatten();
        Grants {
            limits: Arc::new(limits(&route.limits)),
            config: route.config.clone(),
            // A name has no colon, so that no component's name can equal the owner of a tenant's topics.
            events: Topics { bus: self.bus.clone(), owner: owner(name.as_str(), component.tenant.as_ref()).into() },
            urls: Some(Arc::new(NamedRoutes { table: self.table.clone(), tenant: component.tenant.clone() })),
            outbound: self.capabilities.outbound.get(name.as_str()).map(|way| way.clone() as Arc<dyn Outbound>),
            secrets: secrets
                .filter_map(|name| Some((name.to_string(), self.secrets.get(name.as_str())?.clone())))
                .collect(),
            stores: stores.map(|(name, grant)| (name.clone(), grant.clone() as Arc<dyn Bucket>)).collect(),
            preopens,
            environment,
            ..Grants::default()
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

/// Opens the directories that files are sent from.
fn directories(manifest: &Manifest) -> Result<BTreeMap<String, Arc<Directory>>> {
    let open = |(name, found): (&DirectoryName, &manifest::Directory)| {
        let owner = owner(&format!("directory:{name}"), found.tenant.as_ref());
        Ok((name.to_string(), Arc::new(Directory::open(name.as_str(), &found.path, &owner)?)))
    };
    manifest.directories.iter().map(open).collect()
}

/// The largest memory limit of a route, in bytes: the engine has slots of this size.
pub(crate) fn max_memory(manifest: &Manifest) -> u64 {
    let memory = manifest.routes.routes().iter().map(|route| route.limits.memory).max();
    memory.unwrap_or(manifest.limits.memory).next_multiple_of(64 << 10)
}

/// The admin listener of a manifest. A listener at another address waits for a restart; until then, the keys of the
/// current listener do not change either.
fn admin<'m>(host: &'m Host, manifest: &'m Manifest) -> Option<&'m Admin> {
    let started = host.admin.as_ref();
    let new = manifest.admin.as_ref().filter(|new| started.is_some_and(|started| started.is_where(new)));
    new.or(started)
}

/// The ways out that components are granted. An unchanged way out stays, with its connections and counters.
fn outbound(
    manifest: &Manifest,
    sandbox: &Sandbox,
    names: &Resolver,
    before: Option<&Capabilities>,
) -> BTreeMap<String, Arc<WayOut>> {
    let granted = manifest.components.iter().filter_map(|(name, component)| {
        let settings = component.outbound.as_ref()?;
        let owner = owner(&format!("component:{name}"), component.tenant.as_ref());
        let known = before.and_then(|before| before.outbound.get(name.as_str())).filter(|way| way.is(settings, &owner));
        let way = known.cloned().unwrap_or_else(|| {
            let tenant = component.tenant.as_ref().map(ToString::to_string);
            Arc::new(WayOut::new(settings, sandbox, owner, tenant, names))
        });
        Some((name.to_string(), way))
    });
    granted.collect()
}

fn limiters(manifest: &Manifest, before: Option<&Serving>) -> Limiters {
    let limiter = |name, settings: RateLimit| {
        let known = before.and_then(|before| before.limiters.get(name));
        let known = known.filter(|known| known.settings() == settings);
        known.cloned().unwrap_or_else(|| Arc::new(RateLimiter::new(settings)))
    };
    let settings = |middleware: &manifest::Middleware| match middleware {
        manifest::Middleware::RateLimit(settings) => Some(*settings),
        _ => None,
    };
    let limited = manifest.middlewares.iter().filter_map(|(name, middleware)| Some((name, settings(middleware)?)));
    limited.map(|(name, settings)| (name.clone(), limiter(name, settings))).collect()
}

fn counters(before: &Serving) -> BTreeMap<String, Arc<RouteCounters>> {
    let routes = before.table.routes().iter().zip(&before.routes);
    routes.map(|(route, bound)| (identity(route), bound.counters.clone())).collect()
}

fn identity(route: &manifest::Route) -> String {
    let target = match &route.target {
        manifest::Target::Component(name) => name.as_str(),
        manifest::Target::Static(files) => files.directory.as_str(),
    };
    format!("{target} {}", route_gate(route))
}

fn limits(limits: &manifest::Limits) -> Limits {
    Limits {
        memory: limits.memory,
        cpu: limits.cpu,
        callback_cpu: limits.callback_cpu,
        deadline: limits.deadline,
        response_head: usize::try_from(limits.response_head).unwrap_or(usize::MAX),
        host_call_bytes: usize::try_from(limits.host_call_bytes).unwrap_or(usize::MAX),
        handles: limits.handles as usize,
        log_bytes: limits.log_bytes,
        idle: limits.idle,
        hibernate: limits.hibernate,
        hibernate_bytes: usize::try_from(limits.hibernate_bytes).unwrap_or(usize::MAX),
        ..Limits::default()
    }
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

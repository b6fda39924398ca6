//! The binding of a manifest: its routes, tied to loaded components and to all that these are granted.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use roadrunner_account::Gates;
use roadrunner_files::Directory;
use roadrunner_manifest::{
    self as manifest, Admin, BodyMode, Manifest, RateLimit, RouteTable, Segment, TenantName, UrlError,
};
use roadrunner_names::Resolver;
use roadrunner_sandbox::{
    Binding, Bucket, Component, Grants, Kind, Limits, Outbound, Parking, Sandbox, Shared, Topics, Urls,
};

use crate::access::Access;
use crate::access_log::short;
use crate::accounts::{HOST_GATE, gates, owner, owners, route_gate, tenant_gate, tenants};
use crate::app::{Guest, Host, Inner, Route, StaticFiles, Target};
use crate::load;
use crate::machine;
use crate::metrics::RouteMetrics;
use crate::middleware::{Limiters, Stack};
use crate::outbound::WayOut;
use crate::places;
use crate::rate_limit::RateLimiter;
use crate::secrets;
use crate::shapes::{websocket, webtransport};
use crate::source::Sources;
use crate::stores;
use crate::wasi;

/// Builds the state of a manifest on a running host. Parts that have not changed are taken from `before`: loaded
/// components, caps with their places, buckets of peers, counters of routes.
pub(crate) fn inner(manifest: &Manifest, host: Arc<Host>, before: Option<&Inner>) -> Result<Inner> {
    let sources = Sources::read(manifest)?;
    let components = load::components(manifest, &host, before, &sources)?;
    let access = Arc::new(Access::read(admin(&host, manifest), manifest)?);
    host.sandbox.accounts().buffers.set_limit(machine::buffers(manifest.caps.buffered));
    assemble(manifest, host, before, Arc::new(sources), components, access)
}

/// Builds the same state from loaded components, one for each of the manifest's, and from the keys of the admin
/// listener.
pub(crate) fn assemble(
    manifest: &Manifest,
    host: Arc<Host>,
    before: Option<&Inner>,
    sources: Arc<Sources>,
    components: BTreeMap<String, Arc<Component>>,
    access: Arc<Access>,
) -> Result<Inner> {
    let max_memory = max_memory(manifest);
    ensure!(
        max_memory <= host.max_memory,
        "a route has the limit memory = {max_memory} bytes, and the host was started with room for {}: restart it, or \
         lower the limit",
        host.max_memory
    );
    let directories = manifest
        .directories
        .iter()
        .map(|(name, found)| {
            let owner = owner(&format!("directory:{name}"), found.tenant.as_ref());
            Ok((name.to_string(), Arc::new(Directory::open(name.as_str(), &found.path, &owner)?)))
        })
        .collect::<Result<BTreeMap<_, _>>>()?;
    let table = Arc::new(manifest.routes.clone());
    let urls = |tenant: &Option<TenantName>| NamedRoutes { table: table.clone(), tenant: tenant.clone() };
    let tenants = tenants(manifest, before);
    let tenant_of = |name: &Option<TenantName>| name.as_ref().and_then(|name| tenants.get(name.as_str()).cloned());
    let gates = gates(manifest, before);
    let outbound = outbound(manifest, &host.sandbox, &host.names, before);
    let secrets = secrets::read(manifest)?;
    let stores = match host.opens_stores {
        true => {
            stores::open(manifest, &secrets, &host.names, before.map_or(&BTreeMap::new(), |before| &before.stores))?
        }
        false => BTreeMap::new(),
    };
    let disks = wasi::open(manifest, &tenants, before.map_or(&BTreeMap::new(), |before| &before.disks))?;
    let mut through_wasi = BTreeMap::new();
    for (name, component) in &manifest.components {
        ensure!(
            component.reuse.is_none_or(|reuse| reuse.concurrency == 1)
                || components[name.as_str()].kind() == Kind::Service,
            "the component {name} answers one request at a time, as all do but those of wasi:http/service 0.3: \
             leave `concurrency` out of its `reuse`"
        );
        ensure!(
            component.reuse.is_none() || components[name.as_str()].can_be_reused(),
            "the component {name} cannot be reused: handlers of fetch events that componentize-js makes answer one \
             request in their life; leave out its `reuse`"
        );
        through_wasi.insert(name, (wasi::preopens(component, &disks)?, wasi::environment(component, &secrets)?));
    }
    places::check(manifest, &gates, &components)?;
    let budgets = stores::budgets(manifest, &stores, before.map(|before| &before.budgets));
    let kept = stores::Kept { stores: &stores, budgets: &budgets, tenants: &tenants };
    let grants = stores::grants(manifest, kept, before.map(|before| &before.grants));
    let target = |route: &manifest::Route| match &route.target {
        manifest::Target::Static(files) => Target::Static(StaticFiles {
            directory: directories[files.directory.as_str()].clone(),
            settings: files.clone(),
        }),
        manifest::Target::Component(name) => {
            let component = &manifest.components[name];
            let (preopens, environment) = through_wasi[name].clone();
            let tenant = tenant_of(&component.tenant);
            let of_tenant = component.tenant.as_ref().map(tenant_gate).unwrap_or_default();
            let passed = [route_gate(route), format!("component:{name}"), of_tenant, HOST_GATE.to_owned()];
            let loaded = &components[name.as_str()];
            // Requests to a shared instance use its places, which count among the parked ones.
            let is_shared = component.reuse.is_some_and(|reuse| reuse.concurrency > 1);
            let places = if is_shared { 1 } else { loaded.places };
            let granted =
                component.directories.iter().map(|name| (name.to_string(), directories[name.as_str()].clone()));
            Target::Guest(Guest {
                binding: Arc::new(Binding {
                    component: loaded.clone(),
                    gates: Gates::new(passed.iter().filter_map(|name| gates.get(name).cloned()).collect())
                        .taking(places)
                        .of(tenant),
                    parking: component
                        .reuse
                        .filter(|reuse| reuse.concurrency == 1)
                        .map(|reuse| Parking::new(loaded, reuse.requests, reuse.idle)),
                    shared: component
                        .reuse
                        .filter(|reuse| reuse.concurrency > 1)
                        .map(|reuse| Shared::new(reuse.requests, reuse.concurrency, reuse.idle)),
                    grants: Arc::new(Grants {
                        limits: Arc::new(limits(&route.limits)),
                        config: route.config.clone(),
                        // A name has no colon, so that no component's name can equal the owner of a tenant's topics.
                        events: Topics {
                            bus: host.sandbox.bus().clone(),
                            owner: owner(name.as_str(), component.tenant.as_ref()).into(),
                        },
                        urls: Some(Arc::new(urls(&component.tenant))),
                        outbound: outbound.get(name.as_str()).map(|way| way.clone() as Arc<dyn Outbound>),
                        secrets: component
                            .secrets
                            .iter()
                            .filter_map(|name| Some((name.to_string(), secrets.get(name.as_str())?.clone())))
                            .collect(),
                        stores: grants
                            .get(name.as_str())
                            .into_iter()
                            .flatten()
                            .map(|(name, grant)| (name.clone(), grant.clone() as Arc<dyn Bucket>))
                            .collect(),
                        preopens,
                        environment,
                        ..Grants::default()
                    }),
                }),
                component: name.as_str().into(),
                digest: short(components[name.as_str()].digest).into(),
                // In WASI, the guest can only pull a body.
                body: match components[name.as_str()].kind() {
                    Kind::Native => route.body,
                    Kind::Service | Kind::Standard => BodyMode::Manual,
                },
                body_limit: route.limits.body,
                directories: granted.collect(),
                websocket: websocket::Settings::new(&route.websocket, route.limits.idle),
                webtransport: webtransport::Settings::new(&route.webtransport, manifest.timeouts.write_stall),
            })
        }
    };
    let limiters = limiters(manifest, before);
    let counters = before.map(counters).unwrap_or_default();
    let routes = table.routes().iter().map(|route| Route {
        pattern: route.pattern.as_str().into(),
        name: route.name.as_ref().map(|name| name.as_str().into()),
        captures: route.pattern.segments().iter().filter_map(Segment::capture).map(Arc::from).collect(),
        target: target(route),
        tenant: tenant_of(&route.tenant),
        metrics: counters.get(&identity(route)).cloned().unwrap_or_default(),
        cors: route
            .middlewares
            .iter()
            .any(|name| matches!(manifest.middlewares.get(name), Some(manifest::Middleware::Cors(_)))),
        total: route.limits.total,
        stack: Stack::build(&route.middlewares, &manifest.middlewares, &limiters),
    });
    Ok(Inner {
        routes: routes.collect(),
        table: table.clone(),
        components,
        sources,
        gates,
        owners: owners(manifest),
        access,
        tenants,
        rate_limit: manifest.rate_limit.map(|settings| {
            let known = before.and_then(|before| before.rate_limit.clone());
            known.filter(|known| known.settings() == settings).unwrap_or_else(|| Arc::new(RateLimiter::new(settings)))
        }),
        outbound,
        stores,
        grants,
        budgets,
        disks,
        limiters,
        access_log: manifest.server.access_log.then_some(manifest.server.access_log_format),
        drain_delay: manifest.server.drain_delay,
        drain_time: manifest.server.drain,
        host,
    })
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
    before: Option<&Inner>,
) -> BTreeMap<String, Arc<WayOut>> {
    let granted = manifest.components.iter().filter_map(|(name, component)| {
        let settings = component.outbound.as_ref()?;
        let owner = owner(&format!("component:{name}"), component.tenant.as_ref());
        let known = before.and_then(|before| before.outbound.get(name.as_str())).filter(|way| way.is(settings, &owner));
        let way = known.cloned().unwrap_or_else(|| Arc::new(WayOut::new(settings, sandbox, owner, names)));
        Some((name.to_string(), way))
    });
    granted.collect()
}

fn limiters(manifest: &Manifest, before: Option<&Inner>) -> Limiters {
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

/// The counters of the current routes, by the identity of a route across manifests.
fn counters(before: &Inner) -> BTreeMap<String, Arc<RouteMetrics>> {
    let routes = before.table.routes().iter().zip(&before.routes);
    routes.map(|(route, bound)| (identity(route), bound.metrics.clone())).collect()
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

//! The start of a host from a manifest.

use std::sync::Arc;

<<<<<<< HEAD
use anyhow::Result;
use roadrunner_child::Stop;
use roadrunner_files::FileCache;
use roadrunner_manifest::{self as manifest, Manifest};
use roadrunner_names::Resolver;
use roadrunner_nats::Driver;
use roadrunner_sandbox::{EngineSettings, PARKED, Sandbox};
=======
use anyhow::{Result, ensure};
use roadrunner_child::{Stop, this_program};
use roadrunner_files::{Directory, FileCache};
use roadrunner_manifest::{
    self as manifest, Admin, BodyMode, Caps, HostCaps, Manifest, RateLimit, RouteTable, Segment, TenantName, UrlError,
};
use roadrunner_names::Resolver;
use roadrunner_nats::Driver;
use roadrunner_registry::Puller;
use roadrunner_sandbox::{
    Binding, Bucket, Cache, CompileSettings, Compiler, Component, EngineSettings, Gate, GateSettings, Gates, Kind,
    Limits, Outbound, PARKED, Parking, Quota, Sandbox, Shared, Tenant, Urls,
};
>>>>>>> 0a2ee4f8365a60814f00a10d5f7683d24f8ae92c

use crate::app::App;
use crate::bind::{self, max_memory};
use crate::broker;
use crate::child;
use crate::context::Ids;
use crate::counters::HostCounters;
use crate::deploy::store::Store;
use crate::drain::Drain;
<<<<<<< HEAD
use crate::machine;
use crate::serving::Host;
use crate::shapes::websocket;
=======
use crate::load;
use crate::machine;
use crate::metrics::{Metrics, RouteMetrics};
use crate::middleware::{Limiters, Stack};
use crate::outbound::WayOut;
use crate::places;
use crate::rate_limit::RateLimiter;
use crate::secrets;
use crate::shapes::{websocket, webtransport};
use crate::source::Sources;
use crate::stores;
use crate::wasi;

/// The name of the host's own gate in metrics.
pub(crate) const HOST_GATE: &str = "host";

/// The folder for pulled components, inside the cache's folder.
const PULLED: &str = "pulled";
>>>>>>> 0a2ee4f8365a60814f00a10d5f7683d24f8ae92c

/// Bytes of small files that are kept in memory.
const FILE_CACHE: u64 = 16 << 20;

/// Slots for parked instances, in addition to those that the caps allow.
const SPARE_SLOTS: u32 = PARKED as u32;

/// Creates the engine of a manifest: its slots, and its cache of compiled code. `stop` ends compilations.
pub fn sandbox(manifest: &Manifest, stop: &Stop) -> Result<Sandbox> {
    let defaults = EngineSettings::default();
    let settings = EngineSettings {
        slots: manifest.caps.pool_size().saturating_add(SPARE_SLOTS),
        // Standard components hold no sessions.
        wasi03_slots: if manifest.server.wasi_03 { manifest.caps.instances.saturating_add(SPARE_SLOTS) } else { 0 },
        max_memory: max_memory(manifest),
        buffers: machine::buffers(manifest.caps.buffered),
        threads: manifest.server.workers.map_or(defaults.threads, |workers| workers as usize),
        ..defaults
    };
    Ok(Sandbox::new(&settings, Some(child::compiler(manifest, stop)?))?)
}

fn names(settings: &manifest::Dns) -> Resolver {
    Resolver::new(roadrunner_names::Settings {
        servers: settings.servers.clone(),
        most: settings.lookups as usize,
        most_of_share: settings.lookups_per_tenant as usize,
    })
}

/// Loads every component, opens every store and binds every route. The driver keeps the connection to the broker of the
/// bus, if there is one. `stop` ends compilations and pulls, now and later.
pub fn app(manifest: &Manifest, stop: Stop) -> Result<(App, Option<Driver>)> {
    app_with(manifest, true, stop)
}

/// Does the same for a manifest that is only checked: no store is opened.
pub fn checked(manifest: &Manifest) -> Result<App> {
    Ok(app_with(manifest, false, Stop::default())?.0)
}

fn app_with(manifest: &Manifest, opens_stores: bool, stop: Stop) -> Result<(App, Option<Driver>)> {
    let sandbox = sandbox(manifest, &stop)?;
    let payload = manifest.bus.payload;
    sandbox.bus().set_max_payload(payload);
    let names = names(&manifest.dns);
    let joined =
        manifest.bus.broker.as_ref().map(|settings| broker::join(sandbox.bus(), settings, payload, names.own()));
    let (broker, driver) = joined.transpose()?.unzip();
    let puller = child::puller(manifest, &stop);
    let deployed = manifest.deploy.as_ref().map(|deploy| Store::open(&deploy.directory, deploy.keep as usize));
    let host = Host {
        sandbox,
        admin: manifest.admin.clone(),
        broker,
        names,
        puller,
        deployed: deployed.transpose()?.map(Arc::new),
        max_memory: max_memory(manifest),
        files: FileCache::new(FILE_CACHE),
        counters: HostCounters::default(),
        drain: Drain::default(),
        deflate: websocket::DeflateMemory::new(manifest.deflate_memory),
        ids: Ids::new(),
        opens_stores,
    };
<<<<<<< HEAD
    Ok((App::new(bind::load(manifest, Arc::new(host), None)?), driver))
=======
    Ok((App::new(inner(manifest, Arc::new(host), None)?), driver))
}

/// Builds the state of a manifest on a running host. Parts that have not changed are taken from `before`: loaded
/// components, caps with their places, buckets of peers, counters of routes.
pub(crate) fn inner(manifest: &Manifest, host: Arc<Host>, before: Option<&Inner>) -> Result<Inner> {
    let sources = Sources::read(manifest)?;
    let components = load::components(manifest, &host, before, &sources)?;
    let access = Arc::new(Access::read(admin(&host, manifest), manifest)?);
    host.sandbox.buffers().set_limit(machine::buffers(manifest.caps.buffered));
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
    anyhow::ensure!(
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
                    // A name has no colon, so that no component's name can equal the owner of a tenant's topics.
                    owner: owner(name.as_str(), component.tenant.as_ref()).into(),
                    limits: limits(&route.limits),
                    gates: Gates::new(passed.iter().filter_map(|name| gates.get(name).cloned()).collect())
                        .taking(places)
                        .of(tenant.clone()),
                    tenant,
                    config: route.config.clone(),
                    urls: Arc::new(urls(&component.tenant)),
                    parking: component
                        .reuse
                        .filter(|reuse| reuse.concurrency == 1)
                        .map(|reuse| Parking::new(reuse.requests, reuse.idle)),
                    shared: component
                        .reuse
                        .filter(|reuse| reuse.concurrency > 1)
                        .map(|reuse| Shared::new(reuse.requests, reuse.concurrency, reuse.idle)),
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

fn max_memory(manifest: &Manifest) -> u64 {
    let memory = manifest.routes.routes().iter().map(|route| route.limits.memory).max();
    memory.unwrap_or(manifest.limits.memory).next_multiple_of(64 << 10)
}

/// Builds the gates for all caps, by name. A cap whose number changed gets a new gate, which does not count older
/// instances: until they are gone, there may be as many more as the old cap allowed.
fn gates(manifest: &Manifest, before: Option<&Inner>) -> BTreeMap<String, Arc<Gate>> {
    let HostCaps { instances, held, hibernated, queue, queue_wait, .. } = manifest.caps;
    let queue = queue as usize;
    let mut gates = BTreeMap::new();
    let mut add = |name: String, caps: Caps| {
        let settings = GateSettings {
            instances: caps.instances.unwrap_or(u32::MAX) as usize,
            held: caps.held.unwrap_or(u32::MAX) as usize,
            hibernated: caps.hibernated.unwrap_or(u32::MAX) as usize,
            queue,
            queue_wait,
        };
        let known = before.and_then(|before| before.gates.get(&name)).filter(|gate| {
            let known = gate.settings();
            // The host's gate cannot change: it matches the number of the engine's slots.
            name == HOST_GATE || GateSettings { queue, queue_wait, ..known } == settings
        });
        let gate = match known {
            Some(gate) => {
                gate.set_queue(settings.queue, settings.queue_wait);
                gate.clone()
            }
            None => Gate::new(settings),
        };
        gates.insert(name, gate);
    };
    add(HOST_GATE.to_owned(), Caps { instances: Some(instances), held: Some(held), hibernated: Some(hibernated) });
    for (name, tenant) in &manifest.tenants {
        if tenant.caps != Caps::default() {
            add(tenant_gate(name), tenant.caps);
        }
    }
    for (name, component) in &manifest.components {
        if component.caps != Caps::default() {
            add(format!("component:{name}"), component.caps);
        }
    }
    for route in manifest.routes.routes() {
        if route.caps != Caps::default() {
            add(route_gate(route), route.caps);
        }
    }
    gates
}

/// The tenants of components and gates.
fn owners(manifest: &Manifest) -> Owners {
    let mut owners = Owners::default();
    for name in manifest.tenants.keys() {
        owners.gates.insert(tenant_gate(name), name.to_string());
    }
    for (name, component) in &manifest.components {
        if let Some(tenant) = &component.tenant {
            owners.components.insert(name.to_string(), tenant.to_string());
            owners.gates.insert(format!("component:{name}"), tenant.to_string());
        }
    }
    for route in manifest.routes.routes() {
        owners.gates.extend(route.tenant.as_ref().map(|tenant| (route_gate(route), tenant.to_string())));
    }
    owners
}

/// The admin listener of a manifest. A listener at another address waits for a restart; until then, the keys of the
/// current listener do not change either.
fn admin<'m>(host: &'m Host, manifest: &'m Manifest) -> Option<&'m Admin> {
    let started = host.admin.as_ref();
    let new = manifest.admin.as_ref().filter(|new| started.is_some_and(|started| started.is_where(new)));
    new.or(started)
}

/// Builds the tenants. A tenant whose quota changed starts a new account; instances started before the change are not
/// charged to it.
fn tenants(manifest: &Manifest, before: Option<&Inner>) -> BTreeMap<String, Arc<Tenant>> {
    let tenant = |(name, tenant): (&TenantName, &manifest::Tenant)| {
        let quota = quota(&tenant.quota);
        let known = before.and_then(|before| before.tenants.get(name.as_str())).filter(|known| known.quota == quota);
        (name.to_string(), known.cloned().unwrap_or_else(|| Tenant::new(name.as_str(), quota)))
    };
    manifest.tenants.iter().map(tenant).collect()
}

fn quota(quota: &manifest::Quota) -> Quota {
    Quota {
        memory: quota.memory,
        cpu_per_second: quota.cpu_per_second,
        requests_per_second: quota.requests_per_second.map(u64::from),
        log_bytes_per_second: quota.log_bytes_per_second,
        topics: quota.topics.map(u64::from),
        topic_bytes: quota.topic_bytes,
        disk: quota.disk,
        outbound_connections: quota.outbound_connections.map(u64::from),
        outbound_bytes_per_second: quota.outbound_bytes_per_second,
        deployed_bytes: quota.deployed_bytes,
        compiled_bytes: quota.compiled_bytes,
        store_bytes: quota.store_bytes,
    }
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

/// The owner's name for shared topics and threads: the tenant's or, without a tenant, `own`.
pub(crate) fn owner(own: &str, tenant: Option<&TenantName>) -> String {
    tenant.map_or_else(|| own.to_owned(), tenant_gate)
}

/// The name that stands for a tenant among names of components: of its gate, and of the owner of its topics.
pub(crate) fn tenant_gate(name: &TenantName) -> String {
    format!("tenant:{name}")
}

pub(crate) fn route_gate(route: &manifest::Route) -> String {
    let hosts: Vec<_> = route.hosts.iter().map(ToString::to_string).collect();
    let methods = match &route.methods {
        manifest::Methods::Any => String::new(),
        manifest::Methods::Listed(methods) => methods.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(","),
    };
    format!("route:{methods} {}{}", hosts.join(","), route.pattern.as_str())
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
>>>>>>> 0a2ee4f8365a60814f00a10d5f7683d24f8ae92c
}

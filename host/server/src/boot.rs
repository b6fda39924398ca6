//! From a manifest to a running host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use roadrunner_files::{Directory, FileCache};
use roadrunner_manifest::{self as manifest, Caps, Manifest, RouteTable, Segment};
use roadrunner_sandbox::{
    Binding, Cache, Component, EngineSettings, Gate, GateSettings, Gates, Limits, PARKED, Parking, Sandbox, Urls,
};
use roadrunner_wire::{
    self as wire, ClientAuth, EarlyData, ForwardedField, Forwarding, H2c, ListenAddress, ListenerConfig, Network,
    Peers, PoolConfig, Protocols, RetryPolicy, TlsConfig,
};

use crate::app::{App, Guest, Ids, Inner, Route, StaticFiles, Target};
use crate::drain::Drain;
use crate::inherited::Inherited;
use crate::metrics::Metrics;
use crate::middleware::Stack;
use crate::shapes::websocket;

/// The name of the host's own gate in metrics.
const HOST_GATE: &str = "host";

/// Bytes of small files that are kept in memory.
const FILE_CACHE: u64 = 16 << 20;

/// Slots beside those that the caps allow, for parked instances.
const SPARE_SLOTS: u32 = PARKED as u32;

/// The engine of a manifest: its slots, and its cache of compiled code.
pub fn sandbox(manifest: &Manifest) -> Result<Sandbox> {
    let memory = manifest.routes.routes().iter().map(|route| route.limits.memory).max();
    let settings = EngineSettings {
        slots: manifest.caps.pool_size().saturating_add(SPARE_SLOTS),
        max_memory: memory.unwrap_or(manifest.limits.memory).next_multiple_of(64 << 10),
        ..EngineSettings::default()
    };
    let cache = Cache::open(cache_directory(manifest))?;
    Ok(Sandbox::new(&settings, Some(cache))?)
}

/// Where compiled code is kept: `cache-dir`, or the user's cache folder.
fn cache_directory(manifest: &Manifest) -> PathBuf {
    if let Some(directory) = &manifest.server.cache_dir {
        return directory.clone();
    }
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("roadrunner")
}

/// Loads every component and binds every route.
pub fn app(manifest: &Manifest, sandbox: Sandbox) -> Result<App> {
    let directories = manifest
        .directories
        .iter()
        .map(|(name, path)| Ok((name.to_string(), Arc::new(Directory::open(name.to_string(), path)?))))
        .collect::<Result<BTreeMap<_, _>>>()?;
    let components = manifest
        .components
        .iter()
        .map(|(name, component)| Ok((name.to_string(), Component::load(&sandbox, &component.file)?)))
        .collect::<Result<BTreeMap<_, _>>>()?;

    let table = Arc::new(manifest.routes.clone());
    let urls: Arc<dyn Urls> = Arc::new(NamedRoutes(table.clone()));
    let mut gates = BTreeMap::new();
    gates.insert(
        HOST_GATE.to_owned(),
        gate(Caps {
            instances: Some(manifest.caps.instances),
            held: Some(manifest.caps.held),
            hibernated: Some(manifest.caps.hibernated),
        }),
    );
    for (name, component) in &manifest.components {
        if component.caps != Caps::default() {
            gates.insert(format!("component:{name}"), gate(component.caps));
        }
    }
    for route in table.routes() {
        if route.caps != Caps::default() {
            gates.insert(route_gate(route), gate(route.caps));
        }
    }

    let target = |route: &manifest::Route| match &route.target {
        manifest::Target::Static(files) => Target::Static(StaticFiles {
            directory: directories[files.directory.as_str()].clone(),
            settings: files.clone(),
        }),
        manifest::Target::Component(name) => {
            let component = &manifest.components[name];
            let passed = [route_gate(route), format!("component:{name}"), HOST_GATE.to_owned()];
            let granted =
                component.directories.iter().map(|name| (name.to_string(), directories[name.as_str()].clone()));
            Target::Guest(Guest {
                binding: Arc::new(Binding {
                    component: components[name.as_str()].clone(),
                    owner: name.as_str().into(),
                    limits: limits(&route.limits),
                    gates: Gates::new(passed.iter().filter_map(|name| gates.get(name).cloned()).collect()),
                    config: route.config.clone(),
                    urls: urls.clone(),
                    parking: component.reuse.map(|reuse| Parking::new(reuse.requests, reuse.idle)),
                }),
                component: name.as_str().into(),
                body: route.body,
                body_limit: route.limits.body,
                directories: granted.collect(),
                websocket: websocket::Settings::new(&route.websocket, route.limits.idle),
            })
        }
    };
    let targets: Vec<_> = table.routes().iter().map(target).collect();

    let inner = Arc::new_cyclic(|weak: &std::sync::Weak<Inner>| {
        let routes = table.routes().iter().zip(targets).map(|(route, target)| {
            let weak = weak.clone();
            let middlewares: Vec<_> = route.middlewares.iter().map(|name| manifest.middlewares[name].clone()).collect();
            Route {
                pattern: route.pattern.as_str().into(),
                name: route.name.as_ref().map(|name| name.as_str().into()),
                captures: route.pattern.segments().iter().filter_map(Segment::capture).map(Arc::from).collect(),
                target,
                metrics: Arc::default(),
                cors: middlewares.iter().any(|middleware| matches!(middleware, manifest::Middleware::Cors(_))),
                stack: Stack::build(&middlewares, move || weak.upgrade().map(App)),
            }
        });
        Inner {
            routes: routes.collect(),
            sandbox,
            table: table.clone(),
            gates,
            files: FileCache::new(FILE_CACHE),
            metrics: Metrics::default(),
            drain: Arc::new(Drain::default()),
            access_log: manifest.server.access_log,
            deflate: websocket::DeflateMemory::new(manifest.deflate_memory),
            ids: Ids::new(),
        }
    });
    Ok(App(inner))
}

/// The listeners of a manifest; those of systemd take their sockets.
pub(crate) fn listeners(manifest: &Manifest, inherited: &mut Inherited) -> Result<Vec<ListenerConfig>> {
    manifest.listeners.iter().map(|settings| listener(settings, inherited)).collect()
}

/// The certificates of a listener, read from their files; none for plaintext. For a start, a check, and for
/// [`Server::replace_tls`](roadrunner_wire::Server::replace_tls) after a change of the manifest.
pub fn tls(listener: &manifest::Listener) -> Result<Option<TlsConfig>> {
    let load = |tls: &manifest::Tls| match tls {
        manifest::Tls::SelfSigned => TlsConfig::self_signed(),
        manifest::Tls::Files { default, others, clients, watch } => {
            let mut config = TlsConfig::from_pem_files(&default.certificate, &default.key)?;
            for other in others {
                config = config.and_pem_files(&other.certificate, &other.key)?;
            }
            if let Some(clients) = clients {
                let auth = if clients.required { ClientAuth::Required } else { ClientAuth::Optional };
                config = config.with_client_auth(auth, &clients.authorities)?;
            }
            Ok(config.watched(*watch))
        }
    };
    let loaded = listener.tls.as_ref().map(load).transpose();
    loaded.with_context(|| format!("cannot set up TLS for the listener {}", listener.name))
}

/// The settings of the transport.
pub fn settings(manifest: &Manifest) -> wire::Settings {
    let defaults = wire::Settings::default();
    let timeouts = &manifest.timeouts;
    wire::Settings {
        timeouts: wire::Timeouts {
            handshake: timeouts.handshake,
            proxy_header: timeouts.proxy_header,
            preface: timeouts.preface,
            request_head: timeouts.request_head,
            body_idle: timeouts.body_idle,
            write_stall: timeouts.write_stall,
            keep_alive_idle: timeouts.keep_alive_idle,
            h2_idle: timeouts.h2_idle,
            h3_idle: timeouts.h3_idle,
            h3_lost: timeouts.h3_lost,
            ..defaults.timeouts
        },
        caps: wire::Caps {
            connections: manifest.caps.connections as usize,
            connections_per_peer: manifest.caps.connections_per_peer.map(|most| most as usize),
        },
        h2_stream_window: manifest.http2.stream_window,
        h2_connection_window: manifest.http2.connection_window,
        h2_max_concurrent_streams: manifest.http2.max_streams,
        max_header_bytes: manifest.http2.max_header_list,
        http3: http3(&manifest.http3, defaults.http3),
        http3_pool: http3_pool(&manifest.http3),
        alt_svc: wire::AltSvc { max_age: manifest.http3.alt_svc_max_age, port: manifest.http3.alt_svc_port },
        ..defaults
    }
}

fn http3(http3: &manifest::Http3, defaults: wire::Http3) -> wire::Http3 {
    wire::Http3 {
        stream_window: http3.stream_window,
        connection_window: http3.connection_window,
        send_window: http3.send_window,
        max_concurrent_requests: http3.max_streams,
        max_field_section_size: u64::from(http3.max_header_list),
        qpack_table_capacity: http3.qpack_table,
        qpack_encoder_capacity: http3.qpack_table,
        qpack_blocked_streams: http3.qpack_blocked_streams,
        retry: http3.retry_above.map_or(RetryPolicy::Never, |above| RetryPolicy::Above(above as usize)),
        early_data: if http3.early_data { EarlyData::SafeMethods } else { EarlyData::Off },
        ..defaults
    }
}

fn http3_pool(http3: &manifest::Http3) -> PoolConfig {
    let defaults = PoolConfig::default();
    let queue_bytes = http3.forward_queue as usize;
    PoolConfig {
        endpoints: http3.endpoints.map_or(defaults.endpoints, |endpoints| endpoints as usize),
        cid_lifetime: http3.cid_lifetime,
        kernel_steering: http3.kernel_steering,
        // Datagrams that fill the queue are as large as a path lets them be; what each costs beside is bounded too.
        queue_datagrams: queue_bytes / 1024,
        queue_bytes,
    }
}

fn listener(listener: &manifest::Listener, inherited: &mut Inherited) -> Result<ListenerConfig> {
    let address = match &listener.address {
        manifest::Address::Systemd(name) => {
            let socket = inherited.take(name);
            ListenAddress::Inherited(socket.with_context(|| format!("cannot open the listener {}", listener.name))?)
        }
        manifest::Address::Tcp(address) => ListenAddress::Tcp(*address),
        manifest::Address::Unix(path) => ListenAddress::Unix(path.clone()),
    };
    let protocols = match (listener.http1, listener.http2) {
        (true, false) => Protocols::HTTP1,
        (false, true) => Protocols::HTTP2,
        (false, false) => Protocols::HTTP3,
        (true, true) => Protocols::BOTH,
    };
    let forwarding = (!listener.trusted_proxies.is_empty()).then(|| Forwarding {
        trusted: peers(&listener.trusted_proxies),
        field: match listener.forwarded_field {
            manifest::ForwardedField::Forwarded => ForwardedField::Forwarded,
            manifest::ForwardedField::XForwardedFor => ForwardedField::XForwardedFor,
        },
    });
    Ok(ListenerConfig {
        protocols: if listener.http3 { protocols.and_http3() } else { protocols },
        h2c: match listener.h2c {
            manifest::H2c::Off => H2c::Off,
            manifest::H2c::PriorKnowledge => H2c::PriorKnowledge,
            manifest::H2c::Upgrade => H2c::Upgrade,
        },
        tls: tls(listener)?,
        max_connections: listener.connections.map(|most| most as usize),
        max_connections_per_peer: listener.connections_per_peer.map(|most| most as usize),
        proxy_protocol: listener.proxy_protocol_from.as_deref().map(peers),
        forwarding,
        ..ListenerConfig::plain(&*listener.name, address)
    })
}

fn peers(ranges: &[manifest::PeerRange]) -> Peers {
    let mut peers = Peers::default();
    for range in ranges {
        match range {
            // The manifest has checked that the address has so many bits.
            manifest::PeerRange::Network { address, prefix } => peers.networks.extend(Network::new(*address, *prefix)),
            manifest::PeerRange::Unix => peers.unix = true,
        }
    }
    peers
}

fn route_gate(route: &manifest::Route) -> String {
    let hosts: Vec<_> = route.hosts.iter().map(ToString::to_string).collect();
    let methods = match &route.methods {
        manifest::Methods::Any => String::new(),
        manifest::Methods::Listed(methods) => methods.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(","),
    };
    format!("route:{methods} {}{}", hosts.join(","), route.pattern.as_str())
}

fn gate(caps: Caps) -> Arc<Gate> {
    let none = u32::MAX;
    Gate::new(GateSettings {
        instances: caps.instances.unwrap_or(none) as usize,
        held: caps.held.unwrap_or(none) as usize,
        hibernated: caps.hibernated.unwrap_or(none) as usize,
        queue: 1000,
        queue_wait: Duration::from_secs(1),
    })
}

fn limits(limits: &manifest::Limits) -> Limits {
    Limits {
        memory: limits.memory,
        cpu: limits.cpu,
        callback_cpu: limits.callback_cpu,
        deadline: limits.deadline,
        host_call_bytes: usize::try_from(limits.host_call_bytes).unwrap_or(usize::MAX),
        handles: limits.handles as usize,
        log_bytes: limits.log_bytes,
        idle: limits.idle,
        hibernate: limits.hibernate,
        hibernate_bytes: usize::try_from(limits.hibernate_bytes).unwrap_or(usize::MAX),
        ..Limits::default()
    }
}

/// Named routes as guests see them.
#[derive(Debug)]
struct NamedRoutes(Arc<RouteTable>);

impl Urls for NamedRoutes {
    fn url_for(&self, name: &str, params: &[(String, String)]) -> Result<String, String> {
        let params: Vec<_> = params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.0.url_for(name, &params).map_err(|error| error.to_string())
    }
}

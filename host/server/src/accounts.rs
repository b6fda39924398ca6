//! The accounts that requests are charged to: tenants with their quotas, and gates with their caps. Each has a name, and
//! stays across reloads while its settings do.

use std::collections::BTreeMap;
use std::sync::Arc;

use roadrunner_account::{Gate, GateSettings, Tenant};
use roadrunner_manifest::{self as manifest, Caps, ComponentName, HostCaps, Manifest, TenantName};

use crate::access::Caller;
use crate::metrics::{Shows, Text};
use crate::rate_limit::RateLimiter;

/// The name of the host's own gate in metrics.
pub(crate) const HOST_GATE: &str = "host";

/// The accounts of one manifest.
pub(crate) struct Accounts {
    /// The tenants, by name.
    pub(crate) tenants: BTreeMap<String, Arc<Tenant>>,
    /// The gates, by name.
    pub(crate) gates: BTreeMap<String, Arc<Gate>>,
    pub(crate) owners: Owners,
    /// The limiter of all requests, by peer.
    pub(crate) rate_limit: Option<Arc<RateLimiter>>,
}

impl Accounts {
    /// Opens the accounts of a manifest. An account whose settings have not changed is taken from `before`.
    pub(crate) fn open(manifest: &Manifest, before: Option<&Self>) -> Self {
        let limiter = |settings| {
            let known = before.and_then(|before| before.rate_limit.clone());
            known.filter(|known| known.settings() == settings).unwrap_or_else(|| Arc::new(RateLimiter::new(settings)))
        };
        Self {
            tenants: tenants(manifest, before),
            gates: gates(manifest, before),
            owners: Owners::of(manifest),
            rate_limit: manifest.rate_limit.map(limiter),
        }
    }

    /// A tenant of the manifest.
    pub(crate) fn tenant(&self, name: Option<&TenantName>) -> Option<Arc<Tenant>> {
        self.tenants.get(name?.as_str()).cloned()
    }
}

impl Shows for Accounts {
    fn show(&self, caller: &Caller, text: &mut Text) {
        self.show_tenants(caller, text);
        self.show_gates(caller, text);
    }
}

impl Accounts {
    fn show_tenants(&self, caller: &Caller, text: &mut Text) {
        let tenants: Vec<_> = self.tenants.iter().filter(|(name, _)| caller.sees(Some(name))).collect();
        for (name, kind, help, value) in TENANT_FAMILIES {
            text.family(name, kind, help);
            for (tenant, account) in &tenants {
                text.sample(&[("tenant", tenant)], value(account));
            }
        }
        text.family(
            "roadrunner_tenant_quota_exceeded_total",
            "counter",
            "Times that a quota was exceeded, by its key.",
        );
        for (tenant, account) in &tenants {
            for (quota, count) in account.exceeded() {
                text.sample(&[("tenant", tenant), ("quota", quota)], count);
            }
        }
    }

    /// Shows the caps on instances: those of the host, of tenants, components and routes.
    fn show_gates(&self, caller: &Caller, text: &mut Text) {
        let gates: Vec<_> = self.gates.iter().filter(|(name, _)| caller.sees(self.owners.of_gate(name))).collect();
        for (name, kind, help, value) in GATE_FAMILIES {
            text.family(name, kind, help);
            for (gate, places) in &gates {
                text.sample(&[("gate", gate)], value(places));
            }
        }
    }
}

/// A family of samples: its name, its kind, its help, and the value of a sample.
type Family<T> = (&'static str, &'static str, &'static str, fn(&T) -> f64);

const TENANT_FAMILIES: [Family<Tenant>; 10] = [
    ("roadrunner_tenant_requests_total", "counter", "Requests within requests-per-second.", |tenant| {
        tenant.requests.total() as f64
    }),
    ("roadrunner_tenant_cpu_seconds_total", "counter", "CPU time of guests, and of the host for them.", |tenant| {
        tenant.cpu.total() as f64 / 1e9
    }),
    ("roadrunner_tenant_memory_bytes", "gauge", "Memory of all instances, and what the host holds.", |tenant| {
        tenant.memory.used() as f64
    }),
    ("roadrunner_tenant_buffered_bytes", "gauge", "What of it the host holds, outside of guests.", |tenant| {
        tenant.buffered() as f64
    }),
    ("roadrunner_tenant_log_bytes_total", "counter", "Log text that was written.", |tenant| {
        tenant.log_bytes.total() as f64
    }),
    ("roadrunner_tenant_topics", "gauge", "Subscriptions to topics.", |tenant| tenant.topics.used() as f64),
    ("roadrunner_tenant_topic_bytes", "gauge", "Messages that wait for sessions.", |tenant| {
        tenant.topic_bytes.used() as f64
    }),
    ("roadrunner_tenant_disk_bytes", "gauge", "Files in its directories that guests may write to.", |tenant| {
        tenant.disk.used() as f64
    }),
    ("roadrunner_tenant_outbound_connections_open", "gauge", "Outgoing connections.", |tenant| {
        tenant.outbound_connections.used() as f64
    }),
    ("roadrunner_tenant_outbound_bytes_total", "counter", "Bodies of outgoing requests and answers.", |tenant| {
        tenant.outbound_bytes.total() as f64
    }),
];

const GATE_FAMILIES: [Family<Gate>; 5] = [
    ("roadrunner_instances_running", "gauge", "Instances that are answering requests.", |gate| gate.running() as f64),
    ("roadrunner_sessions_held", "gauge", "Sessions that are held.", |gate| gate.held() as f64),
    ("roadrunner_sessions_hibernated", "gauge", "Sessions that hibernate.", |gate| gate.hibernated() as f64),
    ("roadrunner_requests_waiting", "gauge", "Requests that wait for an instance.", |gate| gate.waiting() as f64),
    (
        "roadrunner_requests_overloaded_total",
        "counter",
        "Requests over queue or queue-wait, by what they waited for.",
        |gate| gate.refused() as f64,
    ),
];

/// The tenants of components and gates, by name. Entries that are missing belong to the host itself.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    components: BTreeMap<String, String>,
    gates: BTreeMap<String, String>,
}

impl Owners {
    fn of(manifest: &Manifest) -> Self {
        let mut owners = Self::default();
        for name in manifest.tenants.keys() {
            owners.gates.insert(tenant_gate(name), name.to_string());
        }
        for (name, component) in &manifest.components {
            if let Some(tenant) = &component.tenant {
                owners.components.insert(name.to_string(), tenant.to_string());
                owners.gates.insert(component_gate(name), tenant.to_string());
            }
        }
        for route in manifest.routes.routes() {
            owners.gates.extend(route.tenant.as_ref().map(|tenant| (route_gate(route), tenant.to_string())));
        }
        owners
    }

    /// The tenant of a component.
    pub(crate) fn of_component(&self, name: &str) -> Option<&str> {
        self.components.get(name).map(String::as_str)
    }

    /// The tenant of a gate.
    pub(crate) fn of_gate(&self, name: &str) -> Option<&str> {
        self.gates.get(name).map(String::as_str)
    }

    /// The components of a tenant.
    pub(crate) fn components_of<'o>(&'o self, tenant: &'o str) -> impl Iterator<Item = &'o str> {
        self.components.iter().filter(move |(_, owner)| *owner == tenant).map(|(name, _)| name.as_str())
    }
}

/// Builds the tenants. A tenant whose quota changed starts a new account; instances started before the change are not
/// charged to it.
fn tenants(manifest: &Manifest, before: Option<&Accounts>) -> BTreeMap<String, Arc<Tenant>> {
    let tenant = |(name, tenant): (&TenantName, &manifest::Tenant)| {
        let quota = tenant.quota;
        let known = before.and_then(|before| before.tenants.get(name.as_str())).filter(|known| known.quota == quota);
        (name.to_string(), known.cloned().unwrap_or_else(|| Tenant::new(name.as_str(), quota)))
    };
    manifest.tenants.iter().map(tenant).collect()
}

/// Builds the gates for all caps, by name. A cap whose number changed gets a new gate, which does not count older
/// instances: until they are gone, there may be as many more as the old cap allowed.
fn gates(manifest: &Manifest, before: Option<&Accounts>) -> BTreeMap<String, Arc<Gate>> {
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
            add(component_gate(name), component.caps);
        }
    }
    for route in manifest.routes.routes() {
        if route.caps != Caps::default() {
            add(route_gate(route), route.caps);
        }
    }
    gates
}

/// The names of the gates that an instance of a component passes, from its route's to the host's.
pub(crate) fn gates_passed(route: &manifest::Route, name: &ComponentName, tenant: Option<&TenantName>) -> Vec<String> {
    let tenant = tenant.map(tenant_gate);
    [route_gate(route), component_gate(name)].into_iter().chain(tenant).chain([HOST_GATE.to_owned()]).collect()
}

/// The owner's name for shared topics and threads: the tenant's or, without a tenant, `own`.
pub(crate) fn owner(own: &str, tenant: Option<&TenantName>) -> String {
    tenant.map_or_else(|| own.to_owned(), tenant_gate)
}

fn component_gate(name: &ComponentName) -> String {
    format!("component:{name}")
}

/// The name that stands for a tenant among names of components: of its gate, and of the owner of its topics.
fn tenant_gate(name: &TenantName) -> String {
    format!("tenant:{name}")
}

/// The name of a route's gate, which also identifies the route across manifests.
pub(crate) fn route_gate(route: &manifest::Route) -> String {
    let hosts: Vec<_> = route.hosts.iter().map(ToString::to_string).collect();
    let methods = match &route.methods {
        manifest::Methods::Any => String::new(),
        manifest::Methods::Listed(methods) => methods.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(","),
    };
    format!("route:{methods} {}{}", hosts.join(","), route.pattern.as_str())
}

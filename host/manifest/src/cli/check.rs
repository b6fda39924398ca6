//! `roadrunner check`: the summary of a manifest without problems.

use roadrunner_values::{Caps, H2c, Limits};

use super::columns::columns;
use crate::component::Component;
use crate::listener::{Listener, PeerRange};
use crate::manifest::Manifest;
use crate::scalar::{format_duration, format_size};
use crate::secret::Secret;
use crate::store::StorePlace;
use crate::tenant::Tenant;
use crate::tls::{ClientCertificates, Tls};

/// A line that says that the manifest is right, then a line for each listener, tenant, directory, component and
/// middleware.
pub fn summary(manifest: &Manifest) -> String {
    let file = manifest.file.as_ref().map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string());
    let counts = [
        count(manifest.listeners.len(), "listener"),
        count(manifest.components.len(), "component"),
        count(manifest.routes.routes().len(), "route"),
    ];
    let mut rows = Vec::new();
    let mut row = |kind: &str, name: &str, what: String| rows.push(vec![kind.to_owned(), name.to_owned(), what]);
    for listener in &manifest.listeners {
        row("listener", &listener.name, listener_text(listener));
    }
    if let Some(admin) = &manifest.admin {
        row("admin", "-", format!("{}{}", admin.address, tls_text(admin.tls.as_ref())));
    }
    for (name, tenant) in &manifest.tenants {
        row("tenant", name.as_str(), tenant_text(tenant));
    }
    for (name, directory) in &manifest.directories {
        row("directory", name.as_str(), directory.path.display().to_string());
    }
    for (name, secret) in &manifest.secrets {
        let place = match secret {
            Secret::Environment(variable) => format!("from the environment, {variable}"),
            Secret::File(path) => path.display().to_string(),
        };
        row("secret", name.as_str(), place);
    }
    for (name, store) in &manifest.stores {
        let place = match &store.place {
            StorePlace::File { path, size } => format!("{}, {}", path.display(), format_size(*size)),
            StorePlace::Memory { size } => format!("in memory, {}", format_size(*size)),
            StorePlace::Redis { url, .. } => url.clone(),
        };
        row("store", name.as_str(), if store.shared { format!("{place}, shared") } else { place });
    }
    for (name, database) in &manifest.sql {
        let place = database.url.clone();
        row("sql", name.as_str(), if database.shared { format!("{place}, shared") } else { place });
    }
    for (name, component) in &manifest.components {
        row("component", name.as_str(), origin_text(component));
        let owner = component.tenant.as_ref().map(|tenant| format!("tenant {tenant}, ")).unwrap_or_default();
        row("", "", owner + &limits_text(&component.limits, component.caps));
    }
    for (name, middleware) in &manifest.middlewares {
        row("middleware", name.as_str(), middleware.kind().to_owned());
    }
    format!("{file} is right: {}\n\n{}", counts.join(", "), columns(&rows))
}

fn origin_text(component: &Component) -> String {
    let keys: Vec<_> = component.keys.iter().map(|path| path.display().to_string()).collect();
    let signed = if keys.is_empty() { String::new() } else { format!(", signed by {}", keys.join(" or ")) };
    format!("{}{signed}", component.origin)
}

fn listener_text(listener: &Listener) -> String {
    let spoken = [(listener.http1, "http1"), (listener.http2, "http2"), (listener.http3, "http3")];
    let protocols: Vec<_> = spoken.into_iter().filter_map(|(speaks, name)| speaks.then_some(name)).collect();
    let protocols = protocols.join(", ");
    let tls = tls_text(listener.tls.as_ref());
    let proxy = match &listener.proxy_protocol_from {
        None => String::new(),
        Some(from) => format!(", PROXY protocol from {}", words(from)),
    };
    let trusted = match listener.trusted_proxies.as_slice() {
        [] => String::new(),
        proxies => format!(", {} from {}", listener.forwarded_field, words(proxies)),
    };
    let h2c = match listener.h2c {
        H2c::Upgrade => ", h2c by upgrade",
        H2c::Off => ", no h2c",
        H2c::PriorKnowledge => "",
    };
    format!("{}, {protocols}{h2c}{tls}{proxy}{trusted}", listener.address)
}

fn tls_text(tls: Option<&Tls>) -> String {
    match tls {
        None => String::new(),
        Some(Tls::SelfSigned) => ", TLS with a self-signed certificate".to_owned(),
        Some(Tls::Files { default, others, clients, .. }) => {
            let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            let clients = match clients {
                None => "",
                Some(ClientCertificates { required: false, .. }) => ", client certificates optional",
                Some(ClientCertificates { required: true, .. }) => ", client certificates required",
            };
            format!(", TLS with {}{more}{clients}", default.certificate.display())
        }
    }
}

fn words(peers: &[PeerRange]) -> String {
    peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn limits_text(limits: &Limits, caps: Caps) -> String {
    let mut parts = vec![
        format!("memory {}", format_size(limits.memory)),
        format!("cpu {}", format_duration(limits.cpu)),
        format!("deadline {}", format_duration(limits.deadline)),
        format!("body {}", format_size(limits.body)),
    ];
    parts.extend(limits.total.map(|total| format!("total {}", format_duration(total))));
    parts.extend(limits.idle.map(|idle| format!("idle {}", format_duration(idle))));
    parts.extend(caps.instances.map(|instances| format!("instances {instances}")));
    parts.extend(caps.held.map(|held| format!("held {held}")));
    parts.join(", ")
}

fn tenant_text(tenant: &Tenant) -> String {
    let Tenant { hosts, caps, quota, keys } = tenant;
    let size = |bytes: Option<u64>, key: &str| bytes.map(|bytes| format!("{key} {}", format_size(bytes)));
    let number = |number: Option<u64>, key: &str| number.map(|number| format!("{key} {number}"));
    let hosts = match hosts.as_slice() {
        [] => "every host that no other has".to_owned(),
        hosts => hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    let parts = [
        Some(hosts),
        number(caps.instances.map(u64::from), "instances"),
        number(caps.held.map(u64::from), "held"),
        number(caps.hibernated.map(u64::from), "hibernated"),
        size(quota.memory, "memory"),
        quota.cpu_per_second.map(|time| format!("cpu-per-second {}", format_duration(time))),
        number(quota.requests_per_second, "requests-per-second"),
        size(quota.log_bytes_per_second, "log-bytes-per-second"),
        number(quota.topics, "topics"),
        size(quota.topic_bytes, "topic-bytes"),
        size(quota.disk, "disk"),
        number(quota.outbound_connections, "outbound-connections"),
        size(quota.outbound_bytes_per_second, "outbound-bytes-per-second"),
        size(quota.deployed_bytes, "deployed-bytes"),
        size(quota.compiled_bytes, "compiled-bytes"),
        size(quota.store_bytes, "store-bytes"),
        (!keys.is_empty()).then(|| "asks the admin listener".to_owned()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

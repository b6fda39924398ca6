//! Tenants: owners of components, whose hosts are whose, and who may name what.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use crate::admin::{AdminKeys, Subject};
use crate::decode::{Field, section};
use crate::limits::Caps;
use crate::manifest::ManifestSection;
use crate::resolve::{FileKind, Resolver, entries, list, value};
use crate::route::RouteSection;
use crate::route::resolve::Routes;
use crate::scalar::units::{GIB, HOUR, KIB};
use crate::scalar::{Bytes, Count, FilePath, HostPattern, TenantName, Time};

/// One of `[tenant]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    /// The hosts that its routes answer for; empty for every host that no other tenant has.
    pub hosts: Vec<HostPattern>,
    /// How many instances of all its components there may be at once.
    pub caps: Caps,
    /// What else they may use together.
    pub quota: Quota,
    /// Who speaks for it at the admin listener.
    pub keys: AdminKeys,
}

/// What all components of a tenant may use together. None of each is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Memory of all instances, in bytes.
    pub memory: Option<u64>,
    /// CPU time in one second.
    pub cpu_per_second: Option<Duration>,
    /// Requests in one second.
    pub requests_per_second: Option<u32>,
    /// Bytes of log text in one second.
    pub log_bytes_per_second: Option<u64>,
    /// Subscriptions at once.
    pub topics: Option<u32>,
    /// Bytes of messages that wait.
    pub topic_bytes: Option<u64>,
    /// Bytes of the files in its directories.
    pub disk: Option<u64>,
    /// Outgoing connections at once.
    pub outbound_connections: Option<u32>,
    /// Bytes of outgoing bodies, in both directions, in one second.
    pub outbound_bytes_per_second: Option<u64>,
    /// Bytes of deployed versions.
    pub deployed_bytes: Option<u64>,
    /// Bytes of what is compiled from them.
    pub compiled_bytes: Option<u64>,
    /// Bytes of keys and values.
    pub store_bytes: Option<u64>,
}

impl Tenant {
    /// Whether a pattern stands for hosts of this tenant alone: one of its own, or one below a wildcard of its own.
    pub(crate) fn has(&self, host: &HostPattern) -> bool {
        self.hosts.iter().any(|own| covers(own, host))
    }

    /// The first of its hosts that some request for `host` is also for.
    pub(crate) fn overlap(&self, host: &HostPattern) -> Option<&HostPattern> {
        self.hosts.iter().find(|own| covers(own, host) || covers(host, own))
    }
}

section! {
    /// An owner of components, with hosts and quotas. What names a tenant can be reached only on its hosts, and cannot
    /// name what belongs to another.
    pub(crate) struct TenantSection {
        /// The hosts that its routes answer for, `"example.com"` or `"*.example.org"`, without a port. Its routes that
        /// name none answer for all of these. No other tenant can have one of them, or a wildcard over one.
        hosts: Vec<Spanned<HostPattern>>;
        /// PEM files of public keys, of which one must have signed each of its components, instead of those in
        /// [signatures].
        signed_by: Vec<Spanned<FilePath>>;
        /// What all its components may use together.
        quota: QuotaSection;
        /// A file with a token for the admin listener, as `token-file` in [admin]. Whoever shows it sees and changes what
        /// is this tenant's alone: its metrics, instances and components. No two tokens are the same.
        admin_token_file: FilePath;
        /// The certificates of clients with which the admin listener takes them for this tenant, as `subjects` in [admin].
        admin_subjects: Vec<Spanned<Subject>>;
    }
}

section! {
    /// What all components of one tenant may use together, beside the limits of each request. What is not set here is
    /// not limited.
    pub(crate) struct QuotaSection {
        /// Instances at once that are answering requests. Over it, a request waits, and is then answered with 503.
        instances: Count<1, 100_000>;
        /// Sessions held at once. Over it, the request is answered with 503.
        held: Count<0, 100_000>;
        /// Sessions that hibernate at once. Over it, a session stays held.
        hibernated: Count<0, 10_000_000>;
        /// Memory of all instances: linear memories, tables, what the host buffers for them, and the states of sessions
        /// that hibernate. Growth over it fails inside the guest.
        memory: Bytes<{ 64 * KIB }, { 1024 * GIB }>;
        /// CPU time of all guests, and of what the host does for them, in one second of wall-clock time: `"500ms"` is half
        /// a processor, `"2s"` are two. Over it, guests that run pause, and so does the host's work; new requests wait, for
        /// as long as `queue-wait`, and are then answered with 503 and `Retry-After`. One second's worth can be saved up.
        cpu_per_second: Time<1, HOUR>;
        /// Requests a second, those for files included. Over it, a request is answered with 429 and `Retry-After`. One
        /// second's worth can be saved up.
        requests_per_second: Count<1, 1_000_000>;
        /// Log text a second. Lines over it are dropped and counted. One second's worth can be saved up.
        log_bytes_per_second: Bytes<0, GIB>;
        /// Subscriptions to topics of the bus at once. Over it, the guest's `subscribe` fails.
        topics: Count<0, 10_000_000>;
        /// Messages that wait for its sessions on all topics together. One that does not fit is missed.
        topic_bytes: Bytes<0, { 64 * GIB }>;
        /// What the files below its directories take, those of `[directory]` with this tenant. Over it, guests can add no
        /// more.
        disk: Bytes<0, { 65_536 * GIB }>;
        /// Outgoing connections open at once. Over it, an outgoing request is refused.
        outbound_connections: Count<0, 10_000>;
        /// Bytes a second of the bodies of outgoing requests and their answers. Over it, they pause. One second's worth
        /// can be saved up.
        outbound_bytes_per_second: Bytes<KIB, { 64 * GIB }>;
        /// Bytes of all versions of its components that are kept in the directory of [deploy], and of those that are being
        /// uploaded. Over it, an upload is refused with 507.
        deployed_bytes: Bytes<KIB, { 1024 * GIB }>;
        /// Bytes of what is compiled from these versions, in the cache of compiled code. Over it, a deployment is refused
        /// with 507.
        compiled_bytes: Bytes<KIB, { 1024 * GIB }>;
        /// What its components have in stores in files and in memory: keys and values, and 64 bytes for each key. Over it,
        /// nothing is added.
        store_bytes: Bytes<KIB, { 1024 * GIB }>;
    }
}

impl Resolver<'_> {
    /// The tenants, no two of which have a host in common.
    pub(crate) fn tenants(&mut self, section: &ManifestSection) -> BTreeMap<TenantName, Tenant> {
        let mut tenants: BTreeMap<TenantName, Tenant> = BTreeMap::new();
        let mut places: Vec<(TenantName, HostPattern, Range<usize>)> = Vec::new();
        for (name, declared) in entries(&section.tenant) {
            let name = name.get_ref();
            if let Some(field) = declared.hosts.as_ref().filter(|hosts| hosts.get_ref().is_empty()) {
                let fix = "list some, or leave the key out for every host that no other tenant has";
                self.context.report(field.span(), format!("`hosts` in [tenant.{name}] is empty"), fix);
            }
            let mut tenant = Tenant::default();
            for host in list(&declared.hosts) {
                if tenant.hosts.contains(host.get_ref()) {
                    self.context.report(
                        host.span(),
                        format!("the host `{}` is listed twice", host.get_ref()),
                        "remove one",
                    );
                    continue;
                }
                let taken = tenants.iter().find_map(|(other, tenant)| Some((other, tenant.overlap(host.get_ref())?)));
                if let Some((other, theirs)) = taken {
                    let place = places.iter().find(|(name, host, _)| name == other && host == theirs);
                    let related = place.map(|(_, _, place)| (place.clone(), "the other tenant's".to_owned()));
                    let message = match theirs == host.get_ref() {
                        true => format!("two tenants claim the host `{theirs}`"),
                        false => format!("two tenants claim hosts of `{}` and of `{theirs}`", host.get_ref()),
                    };
                    let fix = format!("give it to `{name}` or to `{other}`: a host has one tenant");
                    self.context.report(host.span(), message, fix);
                    if let Some(problem) = self.context.problems.last_mut() {
                        problem.related = related;
                    }
                    continue;
                }
                places.push((name.clone(), host.get_ref().clone(), host.span()));
                tenant.hosts.push(host.get_ref().clone());
            }
            if let Some(section) = value(&declared.quota) {
                (tenant.caps, tenant.quota) = quota(section);
            }
            tenant.keys = AdminKeys {
                token: self.path(&declared.admin_token_file, FileKind::File),
                subjects: self.subjects(&declared.admin_subjects),
            };
            tenants.insert(name.clone(), tenant);
        }
        tenants
    }

    /// The tenant that a section names, if there is one of that name.
    pub(crate) fn known_tenant(&mut self, section: &ManifestSection, name: &Field<TenantName>) -> Option<TenantName> {
        let name = name.as_ref()?;
        let declared = value(&section.tenant);
        let known: Vec<&str> =
            declared.map(|table| table.names.iter().map(String::as_str).collect()).unwrap_or_default();
        if !known.contains(&name.get_ref().as_str()) {
            self.context.unknown_name(name.span(), "tenant", name.get_ref().as_str(), &known);
            return None;
        }
        Some(name.get_ref().clone())
    }

    /// Whether something with this owner can be named by what belongs to `tenant`. What has no owner is for all.
    pub(crate) fn may_name(
        &mut self,
        span: Range<usize>,
        what: &str,
        name: &str,
        owner: Option<&TenantName>,
        tenant: Option<&TenantName>,
    ) -> bool {
        let Some(owner) = owner.filter(|owner| Some(*owner) != tenant) else { return true };
        let message = match tenant {
            Some(tenant) => format!("the {what} `{name}` belongs to the tenant `{owner}`, and not to `{tenant}`"),
            None => format!("the {what} `{name}` belongs to the tenant `{owner}`"),
        };
        let fix = format!("name one of its own, or remove `tenant` from [{what}.{name}] to share it");
        self.context.report(span, message, fix);
        false
    }
}

impl Routes<'_, '_, '_> {
    /// Whom a route belongs to.
    pub(crate) fn tenant(&mut self, route: &RouteSection, section: &str) -> Option<TenantName> {
        if let (Some(tenant), Some(component)) = (&route.tenant, &route.component) {
            let message = format!("[[{section}]] has both `component` and `tenant`");
            let fix = format!("remove `tenant`: [component.{}] says whose it is", component.get_ref());
            self.report(tenant.span(), message, fix);
            return None;
        }
        match value(&route.component) {
            Some(component) => self.components.get(component).and_then(|known| known.component.tenant.clone()),
            None => self.resolver.known_tenant(self.section, &route.tenant),
        }
    }

    /// The hosts of a route: where it belongs to a tenant, only its own, and all of them where it names none.
    pub(crate) fn tenant_hosts(
        &mut self,
        route: &RouteSection,
        tenant: Option<&TenantName>,
        hosts: Vec<HostPattern>,
    ) -> Vec<HostPattern> {
        let Some((name, own)) = tenant.and_then(|name| self.host.tenants.get_key_value(name)) else { return hosts };
        let place = route.hosts.as_ref().map(Spanned::span);
        let place = place.or(route.path.as_ref().map(Spanned::span)).unwrap_or_default();
        if own.hosts.is_empty() {
            for (other, theirs) in self.host.tenants {
                let taken = match hosts.is_empty() {
                    true => theirs.hosts.first(),
                    false => hosts.iter().find_map(|host| theirs.overlap(host)),
                };
                if let Some(taken) = taken {
                    let message = format!("a route of the tenant `{name}` answers for `{taken}`, a host of `{other}`");
                    let fix = format!("give the route, or [tenant.{name}], `hosts` of its own");
                    self.report(place, message, fix);
                    return hosts;
                }
            }
            return hosts;
        }
        if let Some(foreign) = hosts.iter().find(|host| !own.has(host)) {
            let message =
                format!("a route of the tenant `{name}` answers for `{foreign}`, which is not among its hosts");
            let fix = format!("add it to `hosts` in [tenant.{name}], or name one of those");
            self.report(place, message, fix);
        }
        if hosts.is_empty() { own.hosts.clone() } else { hosts }
    }
}

/// The quotas of a tenant: those that are caps on instances, and the others.
fn quota(section: &QuotaSection) -> (Caps, Quota) {
    fn count<const MIN: u32, const MAX: u32>(field: &Field<Count<MIN, MAX>>) -> Option<u32> {
        value(field).map(|count| count.get())
    }
    fn bytes<const MIN: u64, const MAX: u64>(field: &Field<Bytes<MIN, MAX>>) -> Option<u64> {
        value(field).map(|bytes| bytes.get())
    }
    let caps = Caps {
        instances: count(&section.instances),
        held: count(&section.held),
        hibernated: count(&section.hibernated),
    };
    let quota = Quota {
        memory: bytes(&section.memory),
        cpu_per_second: value(&section.cpu_per_second).map(|time| time.get()),
        requests_per_second: count(&section.requests_per_second),
        log_bytes_per_second: bytes(&section.log_bytes_per_second),
        topics: count(&section.topics),
        topic_bytes: bytes(&section.topic_bytes),
        disk: bytes(&section.disk),
        outbound_connections: count(&section.outbound_connections),
        outbound_bytes_per_second: bytes(&section.outbound_bytes_per_second),
        deployed_bytes: bytes(&section.deployed_bytes),
        compiled_bytes: bytes(&section.compiled_bytes),
        store_bytes: bytes(&section.store_bytes),
    };
    (caps, quota)
}

/// Whether every host of one pattern is one of the other's. Two patterns have a host in common only where one covers
/// the other.
fn covers(outer: &HostPattern, inner: &HostPattern) -> bool {
    match (outer, inner) {
        (HostPattern::Wildcard(zone), HostPattern::Exact(name)) => is_below(name, zone),
        (HostPattern::Wildcard(zone), HostPattern::Wildcard(name)) => name == zone || is_below(name, zone),
        (HostPattern::Exact(_), _) => outer == inner,
    }
}

fn is_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_cover_each_other() {
        let host = |text| HostPattern::new(text).expect("a host");
        for (outer, inner, expected) in [
            ("a.example", "a.example", true),
            ("a.example", "b.example", false),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", true),
            ("*.example", "example", false),
            ("*.example", "aexample", false),
            ("*.example", "*.example", true),
            ("*.example", "*.a.example", true),
            ("*.a.example", "*.example", false),
            ("a.example", "*.example", false),
        ] {
            assert_eq!(covers(&host(outer), &host(inner)), expected, "{outer} {inner}");
        }
    }
}

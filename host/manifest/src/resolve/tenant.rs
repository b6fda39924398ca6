//! Tenants: whose hosts are whose, and who may name what.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::route::Routes;
use super::{FileKind, Resolver, entries, list, value};
use crate::admin::AdminKeys;
use crate::decode::Field;
use crate::limits::Caps;
use crate::scalar::{Bytes, Count, HostPattern, TenantName};
use crate::section::{ManifestSection, QuotaSection, RouteSection};
use crate::tenant::{Quota, Tenant};

impl Resolver<'_> {
    /// The tenants, no two of which have a host in common.
    pub(super) fn tenants(&mut self, section: &ManifestSection) -> BTreeMap<TenantName, Tenant> {
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
    pub(super) fn known_tenant(&mut self, section: &ManifestSection, name: &Field<TenantName>) -> Option<TenantName> {
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
    pub(super) fn may_name(
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
    pub(super) fn tenant(&mut self, route: &RouteSection, section: &str) -> Option<TenantName> {
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
    pub(super) fn tenant_hosts(
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

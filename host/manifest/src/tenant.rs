//! Tenants: owners of components, with hosts that are theirs alone and quotas over all that they run.

use std::collections::BTreeMap;
use std::ops::Range;

use roadrunner_values::{Caps, Quota};
use toml::Spanned;

use crate::admin::keys::{AdminKeys, Subject};
use crate::decode::Field;
use crate::resolver::{FileKind, Resolver, entries, list, value};
use crate::scalar::units::{GIB, HOUR, KIB};
use crate::scalar::{Bytes, Count, FilePath, HostPattern, Name, Table, Time, name};
use crate::section::{Holds, section};

/// One of `[tenant]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    /// The hosts that its routes answer for; empty for every host that no other tenant has.
    pub hosts: Vec<HostPattern>,
    /// The caps on the instances of all its components together.
    pub caps: Caps,
    /// The quotas of its components together.
    pub quota: Quota,
    /// The keys that speak for it at the admin listener.
    pub keys: AdminKeys,
}

impl Tenant {
    /// Whether a pattern stands for hosts of this tenant only: one of its own, or one below a wildcard of its own.
    pub(crate) fn has(&self, host: &HostPattern) -> bool {
        self.hosts.iter().any(|own| covers(own, host))
    }

    /// The first of its hosts that shares a request with `host`.
    pub(crate) fn overlap(&self, host: &HostPattern) -> Option<&HostPattern> {
        self.hosts.iter().find(|own| covers(own, host) || covers(host, own))
    }
}

name! {
    /// The name of a tenant: `acme` in `[tenant.acme]`.
    pub struct TenantName = "tenant";
}

section! {
    /// An owner of components, with hosts and quotas. A section with a `tenant` can be reached only on that tenant's
    /// hosts, and cannot name sections of another tenant.
    #[title = "`[tenant.NAME]`"]
    pub(crate) struct TenantSection {
        /// The hosts that its routes answer for, `"example.com"` or `"*.example.org"`, without a port. Its routes
        /// without `hosts` answer for all of these. No other tenant can have one of them, or a wildcard over one.
        hosts: Vec<Spanned<HostPattern>>;
        /// PEM files of public keys, one of which must have signed each of its components. It replaces the keys of
        /// `[signatures]`.
        signed_by: Vec<Spanned<FilePath>>;
        /// The quotas of all its components together.
        quota: QuotaSection;
        /// A file with a token for the admin listener, like `token-file` in `[admin]`. A client with this token sees
        /// and changes the parts of this tenant only: its metrics, instances and components. No two tokens are the
        /// same.
        admin_token_file: FilePath;
        /// The client certificates that speak for this tenant at the admin listener, like `subjects` in `[admin]`.
        admin_subjects: Vec<Spanned<Subject>>;
    }
}

section! {
    /// The quotas of all components of one tenant together, in addition to the limits of each request. A key that is
    /// absent sets no limit.
    #[title = "`quota` of a tenant"]
    pub(crate) struct QuotaSection {
        ..Caps or "no limit" {
            instances: Count<1, 100_000>;
            held: Count<0, 100_000>;
            hibernated: Count<0, 10_000_000>;
        }
        ..Quota or "no limit" {
            memory: Bytes<{ 64 * KIB }, { 1024 * GIB }>;
            cpu_per_second: Time<1, HOUR>;
            requests_per_second: Count<1, 1_000_000>;
            log_bytes_per_second: Bytes<0, GIB>;
            topics: Count<0, 10_000_000>;
            topic_bytes: Bytes<0, { 64 * GIB }>;
            disk: Bytes<0, { 65_536 * GIB }>;
            outbound_connections: Count<0, 10_000>;
            outbound_bytes_per_second: Bytes<KIB, { 64 * GIB }>;
            deployed_bytes: Bytes<KIB, { 1024 * GIB }>;
            compiled_bytes: Bytes<KIB, { 1024 * GIB }>;
            store_bytes: Bytes<KIB, { 1024 * GIB }>;
        }
    }
}

impl Resolver<'_> {
    /// The tenants, no two of which share a host.
    pub(crate) fn tenants(
        &mut self,
        tenants: &Field<Table<TenantName, TenantSection>>,
    ) -> BTreeMap<TenantName, Tenant> {
        let declared = tenants;
        let mut tenants: BTreeMap<TenantName, Tenant> = BTreeMap::new();
        let mut places: Vec<(TenantName, HostPattern, Range<usize>)> = Vec::new();
        for (name, declared) in entries(declared) {
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
                (tenant.caps, tenant.quota) = (section.values(), section.values());
            }
            tenant.keys = AdminKeys {
                token: self.path(&declared.admin_token_file, FileKind::File),
                subjects: self.subjects(&declared.admin_subjects),
            };
            tenants.insert(name.clone(), tenant);
        }
        tenants
    }

    /// The tenant that a section names, if it is declared.
    pub(crate) fn known_tenant(&mut self, name: &Field<TenantName>) -> Option<TenantName> {
        let name = name.as_ref()?;
        self.is_declared(name).then(|| name.get_ref().clone())
    }

    /// Whether a section of `tenant` can name one of this owner. A section without an owner is for all.
    pub(crate) fn may_name<N: Name>(
        &mut self,
        place: &Spanned<N>,
        owner: Option<&TenantName>,
        tenant: Option<&TenantName>,
    ) -> bool {
        let Some(owner) = owner.filter(|owner| Some(*owner) != tenant) else { return true };
        let (what, name) = (N::DECLARES, place.get_ref().text());
        let message = match tenant {
            Some(tenant) => format!("the {what} `{name}` belongs to the tenant `{owner}`, and not to `{tenant}`"),
            None => format!("the {what} `{name}` belongs to the tenant `{owner}`"),
        };
        let fix = format!("name one of its own, or remove `tenant` from [{what}.{name}] to share it");
        self.context.report(place.span(), message, fix);
        false
    }
}

/// Whether every host of the inner pattern is one of the outer. Two patterns share a host only if one covers the other.
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

//! The tenant of a route, and the hosts that it may answer for.

use toml::Spanned;

use crate::resolver::value;
use crate::route::routes::Routes;
use crate::route::section::RouteSection;
use crate::scalar::HostPattern;
use crate::tenant::TenantName;

impl Routes<'_, '_, '_> {
    /// The tenant that owns a route.
    pub(crate) fn tenant(&mut self, route: &RouteSection, section: &str) -> Option<TenantName> {
        if let (Some(tenant), Some(component)) = (&route.tenant, &route.component) {
            let message = format!("[[{section}]] has both `component` and `tenant`");
            let fix = format!("remove `tenant`: [component.{}] says whose it is", component.get_ref());
            self.report(tenant.span(), message, fix);
            return None;
        }
        match value(&route.component) {
            Some(component) => self.components.get(component).and_then(|known| known.component.tenant.clone()),
            None => self.resolver.known_tenant(&route.tenant),
        }
    }

    /// The hosts of a route. For a route of a tenant, they must be the tenant's own; without `hosts`, it has all of
    /// them.
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

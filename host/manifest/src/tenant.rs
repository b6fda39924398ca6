//! Tenants: owners of components, with hosts that are theirs alone and quotas over all that they run.

use std::time::Duration;

use crate::admin::AdminKeys;
use crate::limits::Caps;
use crate::scalar::HostPattern;

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

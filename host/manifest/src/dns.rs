//! How the host resolves names.

use std::net::SocketAddr;

use toml::Spanned;

use crate::decode::section;
use crate::scalar::{Count, DnsServer};

section! {
    /// How the host resolves the names of outgoing requests, of NATS servers and of Redis stores. What stands in
    /// `/etc/hosts` goes before all else. Registries are asked by a process of its own, as the system does it.
    pub(crate) struct DnsSection {
        /// The DNS servers that are asked, over UDP and, for long answers, TCP. Without it, those of `/etc/resolv.conf`,
        /// with its search list and its options.
        servers: Vec<Spanned<DnsServer>>;
        /// Look-ups of guests that are under way. Over it, more wait, for as long as their requests have to connect.
        lookups: Count<1, 65_536> = "1024";
        /// The same for one tenant, or for one component without a tenant.
        lookups_per_tenant: Count<1, 65_536> = "64";
    }
}

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The servers; those of the system when empty.
    pub servers: Vec<SocketAddr>,
    /// Look-ups under way for guests.
    pub lookups: u32,
    /// The same for one tenant, or for one component without a tenant.
    pub lookups_per_tenant: u32,
}

impl DnsSection {
    pub(crate) fn settings(&self) -> Dns {
        let servers = self.servers.as_ref().map(|servers| servers.get_ref().as_slice()).unwrap_or_default();
        Dns {
            servers: servers.iter().map(|server| server.get_ref().0).collect(),
            lookups: self.lookups().get(),
            lookups_per_tenant: self.lookups_per_tenant().get(),
        }
    }
}

impl Default for Dns {
    fn default() -> Self {
        DnsSection::default().settings()
    }
}

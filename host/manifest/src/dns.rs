//! Name resolution.

use std::net::{IpAddr, SocketAddr};

use schemars::{Schema, json_schema};
use toml::Spanned;

use crate::decode::Field;
use crate::resolver::{Resolver, value};
use crate::scalar::{Count, Fault, Text};
use crate::section::section;

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The servers; empty for those of the system.
    pub servers: Vec<SocketAddr>,
    /// Look-ups in progress for guests.
    pub lookups: u32,
    /// Look-ups in progress for one tenant, or for one component without a tenant.
    pub lookups_per_tenant: u32,
}

impl Default for Dns {
    fn default() -> Self {
        DnsSection::default().settings()
    }
}

section! {
    /// Resolution of the names of outgoing requests, of NATS servers, of Redis stores and of databases. `/etc/hosts`
    /// takes precedence. The names of registries are resolved by a separate process, in the system's own way.
    #[title = "`[dns]`"]
    pub(crate) struct DnsSection {
        /// The DNS servers to ask, over UDP and, for long answers, over TCP. Without it, those of `/etc/resolv.conf`,
        /// with its search list and its options.
        servers: Vec<Spanned<DnsServer>>;
        /// Look-ups in progress for guests. Over it, more wait, for as long as their requests have to connect.
        lookups: Count<1, 65_536> = "1024";
        /// Look-ups in progress for one tenant, or for one component without a tenant. Over it, more wait in the same
        /// way.
        lookups_per_tenant: Count<1, 65_536> = "64";
    }
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

impl Resolver<'_> {
    pub(crate) fn dns(&mut self, section: &Field<DnsSection>) -> Dns {
        let dns = value(section).cloned().unwrap_or_default();
        if let Some(servers) = dns.servers.as_ref().filter(|servers| servers.get_ref().is_empty()) {
            self.context.report(servers.span(), "the list is empty", "name a server, or remove the key");
        }
        dns.settings()
    }
}

/// The port of DNS (RFC 1035, 4.2).
const PORT: u16 = 53;

/// An IP address, with a port if it is not the port of DNS. The name of a server would itself have to be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DnsServer(pub(crate) SocketAddr);

impl Text for DnsServer {
    const KIND: &'static str = "an IP address, such as \"192.0.2.53\", or one with a port";

    fn parse(text: &str) -> Result<Self, Fault> {
        let address = match text.parse::<IpAddr>() {
            Ok(address) => Some(SocketAddr::new(address, PORT)),
            Err(_) => text.parse().ok().filter(|address: &SocketAddr| address.port() != 0),
        };
        let fix = "write an IP address, such as \"192.0.2.53\" or \"[2001:db8::53]:5353\"";
        address.map(Self).ok_or_else(|| Fault::new(format!("is \"{text}\", not the address of a server"), fix))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["192.0.2.53", "127.0.0.1:5353", "[2001:db8::53]:53"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for (good, address) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(DnsServer::parse(good).map(|server| server.0), Ok(address.parse().unwrap()), "{good}");
        }
        for wrong in
            ["", "dns.test", "dns.test:53", "192.0.2.53:0", "192.0.2.53:99999", "192.0.2.0/24", "[2001:db8::53]"]
        {
            assert!(DnsServer::parse(wrong).is_err(), "{wrong}");
        }
    }
}

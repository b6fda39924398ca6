//! Where a DNS server is.

use std::net::{IpAddr, SocketAddr};

use schemars::{Schema, json_schema};

use super::{Fault, Text};

/// The port of DNS (RFC 1035, 4.2).
const PORT: u16 = 53;

/// An address, with a port where it is not that of DNS. A name would need a server to be resolved by.
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

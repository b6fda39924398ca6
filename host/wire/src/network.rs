//! Sets of trusted peers: networks, and the clients of Unix sockets.

use std::net::IpAddr;

use crate::Address;

/// A range of IP addresses, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Makes the network of addresses that share the first `prefix` bits with this one; `None` if the address has fewer
    /// bits.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Network> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Network { address, prefix })
    }

    /// Whether the address is in the network. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) counts as IPv4.
    pub fn contains(self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                (u32::from(own) ^ u32::from(ip)).checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                (u128::from(own) ^ u128::from(ip)).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// A set of peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Peers with an address in one of these networks.
    pub networks: Vec<Network>,
    /// Whether clients of Unix sockets, which have no address, are in the set.
    pub unix: bool,
}

impl Peers {
    /// Whether this peer is in the set.
    pub fn contains(&self, peer: &Address) -> bool {
        match peer {
            Address::Ip(address) => self.contains_ip(address.ip()),
            Address::Unix(_) => self.unix,
        }
    }

    pub(crate) fn contains_ip(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_is_its_first_bits() {
        let network = |text: &str, prefix| Network::new(ip(text), prefix).expect("it has so many bits");
        let eight = network("10.0.0.0", 8);
        assert!(eight.contains(ip("10.255.0.1")) && eight.contains(ip("::ffff:10.1.1.1")));
        assert!(!eight.contains(ip("11.0.0.0")) && !eight.contains(ip("2001:db8::1")));
        assert!(network("0.0.0.0", 0).contains(ip("255.1.2.3")));
        assert!(!network("0.0.0.0", 0).contains(ip("::1")));
        assert!(network("192.0.2.1", 32).contains(ip("192.0.2.1")));
        assert!(!network("192.0.2.1", 32).contains(ip("192.0.2.0")));
        assert!(network("2001:db8::", 32).contains(ip("2001:db8:ffff::1")));
        assert!(!network("2001:db8::", 33).contains(ip("2001:db8:ffff::1")));
        assert!(network("::", 0).contains(ip("::1")));
        assert!(Network::new(ip("10.0.0.0"), 33).is_none());
    }

    #[test]
    fn unix_peers_are_a_kind_of_their_own() {
        let everyone = Peers { networks: vec![Network { address: ip("0.0.0.0"), prefix: 0 }], unix: false };
        assert!(!everyone.contains(&Address::Unix(None)));
        assert!(Peers { unix: true, ..Peers::default() }.contains(&Address::Unix(None)));
    }
}

//! Who a listener believes: networks, and the peers of Unix sockets.

use std::fmt;
use std::net::IpAddr;

use schemars::{Schema, json_schema};

use super::{Fault, Text};

/// Some of the peers that a listener can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRange {
    /// Those whose address shares the first `prefix` bits with this one: `10.0.0.0/8`. The other bits are 0.
    Network {
        /// The first address.
        address: IpAddr,
        /// How many bits; at most 32 for IPv4 and 128 for IPv6.
        prefix: u8,
    },
    /// Those on a Unix socket.
    Unix,
}

impl Text for PeerRange {
    const KIND: &'static str = "a network, such as \"10.0.0.0/8\", an address, or `\"unix\"`";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let example = "write a network, such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
        let fault = |fix: &str| Fault::new(format!("is \"{text}\", not a network"), fix);
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else { return Err(fault(example)) };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix.map(str::parse) {
            None => bits,
            Some(Ok(prefix)) if prefix <= bits => prefix,
            Some(_) => return Err(fault(&format!("what follows the / is a number of bits, from 0 to {bits}"))),
        };
        let first = first_address(address, prefix);
        if first != address {
            return Err(Fault::new(
                format!("is \"{text}\", which has bits set after the first {prefix}"),
                format!("write \"{first}/{prefix}\", or more bits"),
            ));
        }
        Ok(Self::Network { address, prefix })
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "unix"] })
    }
}

fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    let kept = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) & !u32::MAX.checked_shr(kept).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::MAX.checked_shr(kept).unwrap_or(0)).into()),
    }
}

impl fmt::Display for PeerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { address, prefix } => write!(f, "{address}/{prefix}"),
            Self::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (good, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("unix", "unix"),
        ] {
            assert_eq!(PeerRange::parse(good).map(|range| range.to_string()).as_deref(), Ok(shown), "{good}");
        }
        for (wrong, fix) in [
            ("", "write a network"),
            ("localhost", "write a network"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.0.0.0/-1", "from 0 to 32"),
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("10.0.0.0:80", "write a network"),
        ] {
            let fault = PeerRange::parse(wrong).expect_err(wrong);
            assert!(fault.fix.contains(fix), "{wrong}: {fault:?}");
        }
    }
}

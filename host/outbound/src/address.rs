//! Classifies addresses: those of the public Internet, and those of this machine, its network or nobody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to the public Internet. Everything else (loopback, private, link-local, shared,
/// multicast, reserved, for documentation, of a cloud's own services) should be reachable by a guest only if the
/// operator allows it. Most of these ranges are listed in the IANA registries of special-purpose addresses (RFC 6890)
/// as not globally reachable. Cloud services for their own machines at addresses that look public are listed here.
///
/// An IPv6 address that represents an IPv4 address is as public as that address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match carried(address) {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        // RFC 6598: shared address space, with Alibaba Cloud's metadata (100.100.100.200).
        || (a == 100 && (64..128).contains(&b))
        // RFC 3927, with the metadata services of most clouds.
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        // RFC 6890: protocol assignments; RFC 5737: documentation; RFC 7526: 6to4 relays.
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 192 && b == 168)
        // RFC 2544: benchmarks.
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        // Azure's wire server, which gives machines their certificates and settings.
        || (a == 168 && b == 63 && c == 129 && d == 16)
        // IBM Cloud's services for its own machines.
        || (a == 161 && b == 26)
        || (a == 166 && (8..12).contains(&b))
        // Multicast, reserved, broadcast.
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // RFC 4291, 2.4: global unicast is allocated from 2000::/3 alone. This excludes unique local addresses, where AWS
    // (fd00:ec2::254) and Google (fd20:ce::254) have their metadata, and the translation prefix of RFC 8215. Within it:
    // RFC 4380 (Teredo) and the other protocol assignments of 2001::/23; RFC 3849 and RFC 9637: documentation; RFC 3056
    // (6to4), which ends at a relay of any nearby network.
    (a & 0xe000) == 0x2000
        && !(a == 0x2001 && b < 0x0200)
        && !(a == 0x2001 && b == 0x0db8)
        && !(a == 0x3fff && b < 0x1000)
        && a != 0x2002
}

/// The IPv4 address that is actually reached: mapped (RFC 4291, 2.5.5.2), or translated by the network (RFC 6052),
/// which gives access to all of IPv4 on networks without it.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    matches!((a, b, c, d, e, f), (0, 0, 0, 0, 0, 0xffff) | (0x0064, 0xff9b, 0, 0, 0, 0))
        .then(|| Ipv4Addr::from((u32::from(g) << 16) | u32::from(h)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            // Metadata and similar services, by cloud.
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "161.26.0.10",
            "166.8.0.1",
            "166.11.255.255",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:168.63.129.16",
            "64:ff9b::a83f:8110",
            "::",
            "::1",
            "::7f00:1",
            "::101:101",
            "::ffff:0:101:101",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::c0a8:1",
            "64:ff9b:1::1",
            "64:ff9b:1::101:101",
            "100::1",
            "2001::1",
            "2001:0:101:101::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:101:101::1",
            "2002:a83f:8110::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "5f00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_is_public() {
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "161.25.255.255",
            "166.7.255.255",
            "166.12.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "2003::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}

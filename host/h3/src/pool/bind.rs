//! Several UDP sockets on one port.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, sockopt};

/// Binds this many sockets to the address, in the order in which the kernel numbers them.
///
/// The first is bound without `SO_REUSEPORT`, which fails if any other socket has the port, including another pool's:
/// the kernel numbers all sockets of a port together, so two pools would get each other's datagrams.
pub(super) fn udp(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let first = open(address)?;
    rustix::net::bind(&first, &address)?;
    let first = UdpSocket::from(first);
    // It gives the port, if the system was to choose it.
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < count {
        let socket = open(address)?;
        if let [only] = &sockets[..] {
            sockopt::set_socket_reuseport(only, true)?;
        }
        sockopt::set_socket_reuseport(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::DGRAM, None)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    if address.is_ipv6() {
        // As for TCP listeners: an address is one family.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_port_belongs_to_one_pool() {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        for count in [1, 3] {
            let sockets = udp(any, count).expect("a port");
            let address = sockets[0].local_addr().expect("an address");
            assert_eq!(sockets.len(), count);
            assert!(sockets.iter().all(|socket| socket.local_addr().ok() == Some(address)));
            for another in [1, 3] {
                let error = udp(address, another).expect_err("it is taken");
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            }
        }
    }
}

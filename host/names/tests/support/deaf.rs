//! An address that neither answers nor refuses: a listener on loopback whose queue is full.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The listener, and the connections that fill it. It ends when it is dropped.
#[derive(Debug)]
pub struct Deaf {
    /// The address, to which no connection succeeds.
    pub address: SocketAddr,
    _listener: OwnedFd,
    filling: Vec<JoinHandle<()>>,
}

impl Deaf {
    /// Starts a listener on 127.0.0.2, at this port, or at any port with 0.
    ///
    /// # Panics
    /// When the port is taken, or a connection succeeds.
    pub async fn start(port: u16) -> Self {
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&listener, &SocketAddr::from(([127, 0, 0, 2], port))).expect("a free port");
        listen(&listener, 0).expect("it is bound");
        let bound = getsockname(&listener).expect("it is bound");
        let address = SocketAddr::try_from(bound).expect("an IP address");
        let fill = || async move {
            let held = TcpStream::connect(address).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(held);
        };
        let filling = (0..8).map(|_| tokio::spawn(fill())).collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let more = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await;
        assert!(more.is_err(), "its queue is full: {more:?}");
        Self { address, _listener: listener, filling }
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        for task in &self.filling {
            task.abort();
        }
    }
}

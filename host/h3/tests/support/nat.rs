//! A network address translator whose binding can be lost, as in home routers: from then on the server sees the
//! client's datagrams come from another port, while nothing has changed for the client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Nat {
    /// The address that the client sends to.
    pub address: SocketAddr,
    inside: Arc<UdpSocket>,
    outside: watch::Sender<Arc<UdpSocket>>,
    client: Arc<Mutex<Option<SocketAddr>>>,
    /// The datagrams that the client has sent.
    pub sent: Arc<Mutex<Vec<Vec<u8>>>>,
    /// The delay of each of the server's datagrams.
    delay: Duration,
    tasks: Vec<JoinHandle<()>>,
}

impl Nat {
    pub async fn to(server: SocketAddr) -> Nat {
        Nat::slow(server, Duration::ZERO).await
    }

    pub async fn slow(server: SocketAddr, delay: Duration) -> Nat {
        let inside = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port"));
        let address = inside.local_addr().expect("an address");
        let (outside, _) = watch::channel(socket_to(server).await);
        let client = Arc::<Mutex<Option<SocketAddr>>>::default();
        let sent = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (socket, current, seen) = (Arc::clone(&inside), outside.subscribe(), Arc::clone(&client));
        let record = Arc::clone(&sent);
        let out = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                *seen.lock() = Some(from);
                record.lock().push(buffer[..length].to_vec());
                let outside = Arc::clone(&current.borrow());
                // A datagram may be lost.
                let _ = outside.send(&buffer[..length]).await;
            }
        });
        let mut nat = Nat { address, inside, outside, client, sent, delay, tasks: vec![out] };
        nat.read_outside();
        nat
    }

    /// Forgets the binding, and makes a new one, to the same or another server.
    pub async fn rebind(&mut self, server: SocketAddr) {
        self.tasks.pop().expect("the reader of the old one").abort();
        self.outside.send_replace(socket_to(server).await);
        self.read_outside();
    }

    fn read_outside(&mut self) {
        let (outside, inside) = (Arc::clone(&self.outside.borrow()), Arc::clone(&self.inside));
        let (client, delay) = (Arc::clone(&self.client), self.delay);
        self.tasks.push(tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                let received = outside.recv(&mut buffer).await;
                let client = *client.lock();
                if let (Ok(length), Some(client)) = (received, client) {
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    let _ = inside.send_to(&buffer[..length], client).await;
                }
            }
        }));
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn socket_to(server: SocketAddr) -> Arc<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    socket.connect(server).await.expect("an address");
    Arc::new(socket)
}

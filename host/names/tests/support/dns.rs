//! A DNS server on loopback, over UDP and TCP, with the answers that a test wants (RFC 1035, 4).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// The types of questions.
const A: u16 = 1;
const AAAA: u16 = 28;

/// Answers with more records are truncated over UDP, so that clients ask again over TCP.
const MOST_OVER_UDP: usize = 20;

/// The server's entry for a name. An unknown name does not exist.
#[derive(Clone, Debug)]
pub enum Entry {
    /// It has these addresses, valid for this many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// The same, but questions for IPv6 are not answered.
    OnlyIpv4(Vec<IpAddr>),
    /// No question for it is answered.
    Silence,
}

/// The server. It ends when it is dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    known: Arc<Known>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Debug, Default)]
struct Known {
    names: Mutex<HashMap<String, Entry>>,
    asked: Mutex<Vec<String>>,
}

impl Dns {
    /// Starts a server that knows no name.
    ///
    /// # Panics
    /// When loopback has no port that is free for both.
    pub async fn start() -> Self {
        let (udp, tcp) = bind().await;
        let address = tcp.local_addr().expect("it is bound");
        let known = Arc::new(Known::default());
        let tasks = [tokio::spawn(over_udp(udp, known.clone())), tokio::spawn(over_tcp(tcp, known.clone()))];
        Self { address, known, tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the entry for a name; a name that begins with a dot matches all names with this suffix.
    ///
    /// # Panics
    /// Never.
    pub fn knows(&self, name: &str, entry: Entry) {
        self.known.names.lock().expect("nobody panics").insert(name.to_owned(), entry);
    }

    /// Sets addresses that are valid for a minute.
    ///
    /// # Panics
    /// When one is not an address.
    pub fn says(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        self.knows(name, Entry::Addresses(addresses, 60));
    }

    /// The number of questions for a name, in both families together.
    ///
    /// # Panics
    /// Never.
    pub fn asked(&self, name: &str) -> usize {
        self.known.asked.lock().expect("nobody panics").iter().filter(|asked| *asked == name).count()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("it is bound")).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both");
}

async fn over_udp(socket: UdpSocket, known: Arc<Known>) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query).await {
        if let Some(answer) = known.answer(&query[..length], MOST_OVER_UDP) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn over_tcp(listener: TcpListener, known: Arc<Known>) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let known = known.clone();
        tokio::spawn(async move {
            while let Ok(length) = socket.read_u16().await {
                let mut query = vec![0; usize::from(length)];
                if socket.read_exact(&mut query).await.is_err() {
                    return;
                }
                let Some(answer) = known.answer(&query, usize::MAX) else { continue };
                let length = u16::try_from(answer.len()).expect("few records");
                let message = [&length.to_be_bytes()[..], &answer].concat();
                if socket.write_all(&message).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Known {
    fn answer(&self, query: &[u8], most: usize) -> Option<Vec<u8>> {
        let (name, end) = name(query)?;
        let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
        self.asked.lock().expect("nobody panics").push(name.clone());
        let names = self.names.lock().expect("nobody panics");
        let below = || names.iter().find(|(known, _)| known.starts_with('.') && name.ends_with(*known));
        let entry = names.get(&name).or_else(|| below().map(|(_, entry)| entry));
        let (addresses, seconds) = match entry {
            None => (&[][..], 0),
            Some(Entry::Silence) => return None,
            Some(Entry::OnlyIpv4(_)) if kind == AAAA => return None,
            Some(Entry::OnlyIpv4(addresses)) => (addresses.as_slice(), 60),
            Some(Entry::Addresses(addresses, seconds)) => (addresses.as_slice(), *seconds),
        };
        let of_kind: Vec<&IpAddr> = addresses.iter().filter(|address| (kind == A) == address.is_ipv4()).collect();
        let is_cut = of_kind.len() > most;
        let answers = if is_cut { &[][..] } else { &of_kind };
        let code = if entry.is_some() { 0 } else { 3 };
        let mut message = query[..2].to_vec();
        // An answer, perhaps truncated; recursion was desired and is available.
        message.extend([0x81 | if is_cut { 2 } else { 0 }, 0x80 | code, 0, 1]);
        message.extend(u16::try_from(answers.len()).expect("few records").to_be_bytes());
        message.extend([0; 4]);
        message.extend_from_slice(&query[12..end + 4]);
        for address in answers {
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            message.extend([0xc0, 12]);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1]);
            message.extend(seconds.to_be_bytes());
            message.extend([0, u8::try_from(bytes.len()).expect("an address")]);
            message.extend(bytes);
        }
        Some(message)
    }
}

/// The name in the question, in lower case, and the offset of its end.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        let label = query.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
    }
}

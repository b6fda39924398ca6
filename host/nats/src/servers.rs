//! The known servers, and the order in which the client tries them.
//!
//! The servers of the settings always stay. The servers that one server names stay until another server names its own.

use std::fmt;
use std::net::IpAddr;

use rustls_pki_types::ServerName;

/// Servers of a cluster that are remembered beside those of the settings.
const MAX_DISCOVERED: usize = 64;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A name or an address, an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// A server, and the name that its certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) server: Server,
    certified: String,
}

/// All that are known.
#[derive(Debug)]
pub(crate) struct Servers {
    configured: Vec<Member>,
    discovered: Vec<Member>,
    /// Where the last connection was.
    last: Option<Server>,
}

impl Servers {
    pub(crate) fn new(servers: &[Server]) -> Self {
        let configured = servers.iter().map(|server| Member { server: server.clone(), certified: server.host.clone() });
        Self { configured: configured.collect(), discovered: Vec::new(), last: None }
    }

    /// All of them in an order of chance, so that many hosts spread over a cluster. The one that was connected to last
    /// comes last: it is the one that was lost.
    pub(crate) fn round(&self) -> Vec<Member> {
        let mut members: Vec<Member> = self.configured.iter().chain(&self.discovered).cloned().collect();
        for index in (1..members.len()).rev() {
            members.swap(index, chance(index + 1));
        }
        members.sort_by_key(|member| Some(&member.server) == self.last.as_ref());
        members
    }

    /// There is a connection to this one, which tells of these others. What is no server among them is passed over.
    pub(crate) fn connected(&mut self, member: &Member, told: &[String]) {
        self.last = Some(member.server.clone());
        self.discovered.clear();
        for server in told.iter().filter_map(|text| Server::parse(text)) {
            let is_known = self.configured.iter().chain(&self.discovered).any(|known| known.server == server);
            if !is_known && self.discovered.len() < MAX_DISCOVERED {
                let is_address = server.host.parse::<IpAddr>().is_ok();
                let certified = if is_address { member.certified.clone() } else { server.host.clone() };
                self.discovered.push(Member { server, certified });
            }
        }
    }
}

impl Member {
    /// The name that the certificate is for; none if it is none that one could be for.
    pub(crate) fn certified(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.certified.clone()).ok()
    }
}

impl Server {
    /// From what a server tells of another: `10.0.0.7:4222`, `[::1]:4222`, `nats-2.example.com:4222`.
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(address) => address.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

/// A number below this one.
fn chance(below: usize) -> usize {
    let mut bytes = [0; 4];
    // Without randomness the hosts choose alike, which is uneven and no fault.
    let _ = getrandom::fill(&mut bytes);
    u32::from_ne_bytes(bytes) as usize % below
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn server(text: &str) -> Server {
        Server::parse(text).unwrap()
    }

    fn hosts(servers: &Servers) -> Vec<String> {
        servers.round().iter().map(|member| member.server.to_string()).collect()
    }

    #[test]
    fn what_a_server_tells() {
        for text in ["10.0.0.7:4222", "[::1]:4222", "nats-2.example.com:4222"] {
            assert_eq!(server(text).to_string(), text);
        }
        for text in ["", ":", ":4222", "a", "a:", "a:0", "a:65536", "::1:4222", "[::1:4222", "[]:4222"] {
            assert_eq!(Server::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_server_that_was_lost_is_tried_last() {
        let mut servers = Servers::new(&[server("a:1"), server("b:1"), server("c:1")]);
        for _ in 0..20 {
            let first = servers.round().remove(0);
            servers.connected(&first, &[]);
            assert_eq!(servers.round().pop(), Some(first));
        }
    }

    #[test]
    fn each_server_comes_first_at_times() {
        let servers = Servers::new(&[server("a:1"), server("b:1"), server("c:1")]);
        let first: HashSet<_> = (0..200).map(|_| hosts(&servers).remove(0)).collect();
        assert_eq!(first.len(), 3);
    }

    #[test]
    fn a_cluster_is_what_the_last_server_told() {
        let mut servers = Servers::new(&[server("seed.example.com:4222")]);
        let seed = servers.round().remove(0);
        servers.connected(&seed, &["10.0.0.1:4222".to_owned(), "b.example.com:4222".to_owned(), "bad".to_owned()]);
        let named = |name: &str| ServerName::try_from(name.to_owned()).ok();
        for member in servers.round() {
            let name = if member.server.host == "b.example.com" { "b.example.com" } else { "seed.example.com" };
            assert_eq!(member.certified(), named(name), "{member:?}");
        }
        // An address has the name of the server that told of it, which may have had it from another.
        let address = servers.round().into_iter().find(|member| member.server.host == "10.0.0.1").unwrap();
        servers.connected(&address, &["10.0.0.2:4222".to_owned(), "seed.example.com:4222".to_owned()]);
        let mut known = hosts(&servers);
        known.sort();
        assert_eq!(known, ["10.0.0.2:4222", "seed.example.com:4222"]);
        assert!(servers.round().iter().all(|member| member.certified() == named("seed.example.com")));
    }

    proptest! {
        #[test]
        fn arbitrary_tellings_do_no_harm(told: Vec<String>, numbers in proptest::collection::vec(0..1000_u16, 0..200)) {
            let mut servers = Servers::new(&[server("a:1")]);
            let member = servers.round().remove(0);
            servers.connected(&member, &told);
            let many: Vec<_> = numbers.iter().map(|number| format!("10.0.0.1:{number}")).collect();
            servers.connected(&member, &many);
            let round = servers.round();
            let different: HashSet<_> = round.iter().map(|member| member.server.to_string()).collect();
            prop_assert!(round.len() <= 1 + MAX_DISCOVERED && different.len() == round.len());
        }
    }
}

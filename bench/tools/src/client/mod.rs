//! Clients of the scenarios: one connection each, which does the same again and again, and checks every answer.

mod h1;
mod h2;
mod h3;
mod websocket;

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use quinn::Endpoint;
use rustls::ClientConfig;
use tokio::net::TcpStream;

use crate::scenarios::{Does, Needs, Protocol, Scenario};
use crate::tls;

/// How long one exchange may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server, and what to ask it: all that the connections of a load share.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    protocol: Protocol,
    scenario: Scenario,
    paths: Vec<String>,
    fields: Vec<(String, String)>,
    body: Bytes,
    answer: Bytes,
    tls: Option<Arc<ClientConfig>>,
}

/// One connection. For [`Does::Connect`] there is none between two exchanges.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few, and each is polled often")]
pub enum Client {
    /// HTTP/1.1.
    H1(h1::Client),
    /// HTTP/2.
    H2(h2::Client),
    /// HTTP/3.
    H3(h3::Client),
    /// A WebSocket on HTTP/1.1.
    WebSocket(websocket::Client),
    /// A connection for each request.
    Connect(Arc<Target>, Option<Endpoint>),
}

/// The bodies of the answers to one request, as they have come so far.
#[derive(Debug, Default)]
struct Answers {
    /// A compressed body that was already found right.
    known: Option<Bytes>,
}

impl Target {
    /// What to ask a server at a loopback address for.
    ///
    /// # Errors
    /// The address is another one.
    pub fn new(scenario: &Scenario, protocol: Protocol, address: SocketAddr) -> Result<Arc<Self>> {
        ensure!(address.ip().is_loopback(), "{address} is not an address of this machine");
        let tls = match protocol {
            Protocol::H2 => Some(Arc::new(tls::client("h2")?)),
            _ => None,
        };
        Ok(Arc::new(Self {
            address,
            protocol,
            scenario: *scenario,
            paths: scenario.paths(),
            fields: (scenario.fields)(),
            body: (scenario.body)().into(),
            answer: (scenario.answer)().into(),
            tls,
        }))
    }

    /// The same, with other paths in turn.
    ///
    /// # Errors
    /// See [`Target::new`].
    pub fn with_paths(
        scenario: &Scenario,
        protocol: Protocol,
        address: SocketAddr,
        paths: Vec<String>,
    ) -> Result<Arc<Self>> {
        let target = Self::new(scenario, protocol, address)?;
        let target = Arc::into_inner(target).context("a new target has one owner")?;
        Ok(Arc::new(Self { paths, ..target }))
    }

    /// Its scenario.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Its protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// An endpoint that the connections of a runtime share, if the protocol needs one.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn endpoint(&self) -> Result<Option<Endpoint>> {
        if self.protocol == Protocol::H3 { tls::quic_client().map(Some) } else { Ok(None) }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// The server does not take it.
    pub async fn connect(self: &Arc<Self>, endpoint: Option<&Endpoint>) -> Result<Client> {
        match self.scenario.does {
            Does::Connect => Ok(Client::Connect(self.clone(), endpoint.cloned())),
            _ => self.open(endpoint).await,
        }
    }

    async fn open(self: &Arc<Self>, endpoint: Option<&Endpoint>) -> Result<Client> {
        let open = async {
            Ok(match (self.protocol, self.scenario.does) {
                (Protocol::H1, Does::Message) => Client::WebSocket(websocket::Client::connect(self).await?),
                (_, Does::Message) => bail!("WebSockets are loaded over HTTP/1.1 only"),
                (Protocol::H1, _) => Client::H1(h1::Client::connect(self).await?),
                (Protocol::H2, _) => Client::H2(h2::Client::connect(self).await?),
                (Protocol::H3, _) => {
                    let endpoint = endpoint.context("HTTP/3 needs an endpoint")?;
                    Client::H3(h3::Client::connect(self, endpoint).await?)
                }
            })
        };
        tokio::time::timeout(PATIENCE, open).await.context("no connection in time")?
    }

    async fn socket(&self) -> Result<TcpStream> {
        let socket = TcpStream::connect(self.address).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    /// Checks one answer.
    fn check(&self, status: u16, body: &[u8], encoding: Option<&[u8]>, answers: &mut Answers) -> Result<()> {
        ensure!(status == self.scenario.status, "the server answered {status}");
        if self.scenario.needs != Needs::Compression {
            ensure!(encoding.is_none(), "the answer is compressed");
            ensure!(body == self.answer, "the answer is another one: {:?}", text(body));
            return Ok(());
        }
        ensure!(encoding == Some(b"gzip"), "the answer is not compressed");
        if answers.known.as_ref().is_some_and(|known| known == body) {
            return Ok(());
        }
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(body).read_to_end(&mut plain).context("the answer is not gzip")?;
        ensure!(plain == self.answer, "the answer is another one: {:?}", text(&plain));
        answers.known = Some(Bytes::copy_from_slice(body));
        Ok(())
    }

    /// Counts the events in a piece of a body.
    fn events(piece: &[u8]) -> u64 {
        // Each event has one colon, behind `data`, and the sizes of chunks have none.
        piece.iter().filter(|byte| **byte == b':').count() as u64
    }
}

impl Client {
    /// Does what its scenario says once, and returns the number of answers.
    ///
    /// # Errors
    /// Any answer but the right one, or none in time.
    pub async fn exchange(&mut self) -> Result<u64> {
        let exchange = async {
            match self {
                Self::H1(client) => client.exchange().await,
                Self::H2(client) => client.exchange().await,
                Self::H3(client) => client.exchange().await,
                Self::WebSocket(client) => client.exchange().await,
                Self::Connect(target, endpoint) => match target.open(endpoint.as_ref()).await? {
                    Self::H1(mut client) => {
                        let count = client.exchange().await?;
                        client.reset()?;
                        Ok(count)
                    }
                    Self::H2(mut client) => client.exchange().await,
                    Self::H3(mut client) => client.exchange().await,
                    Self::WebSocket(_) | Self::Connect(..) => bail!("a connection has a protocol"),
                },
            }
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("no answer in time")?
    }

    /// Opens the session of [`Does::Listen`], without reading its events.
    ///
    /// # Errors
    /// The server does not answer with a head.
    pub async fn listen(&mut self) -> Result<()> {
        let listen = async {
            match self {
                Self::H1(client) => client.listen().await,
                Self::H2(client) => client.listen().await,
                Self::H3(client) => client.listen().await,
                Self::WebSocket(_) | Self::Connect(..) => Ok(()),
            }
        };
        tokio::time::timeout(PATIENCE, listen).await.context("no answer in time")?
    }
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned()
}

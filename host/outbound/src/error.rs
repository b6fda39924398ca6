//! The reasons why a request gets no answer, or an answer has no end.

use std::io;
use std::net::IpAddr;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// All addresses of the host are refused.
    #[error("the host {0} resolves to {1}, which is not public")]
    AddressRefused(String, IpAddr),
    /// The answer stopped coming.
    #[error("no more of the answer came in time")]
    BetweenBytesTimeout,
    /// The connection failed, for a reason of the network.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The connection was not made in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// The answer did not come in time.
    #[error("no answer in time")]
    FirstByteTimeout,
    /// The answer is not HTTP, or the connection was lost.
    #[error("{0}")]
    Http(#[source] hyper::Error),
    /// The target is not an absolute URL of http or https.
    #[error("the target is not an http or https URL without a user")]
    InvalidTarget,
    /// No grant covers the origin.
    #[error("the origin {scheme}://{host}:{port} is not granted", scheme = .0, host = .1, port = .2)]
    NotGranted(&'static str, String, u16),
    /// The name does not resolve.
    #[error("cannot resolve {0}: {1}")]
    Resolve(String, #[source] roadrunner_names::Error),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// The component has reached its limit of connections.
    #[error("{0} connections are open already")]
    TooManyConnections(usize),
    /// The whole exchange took too long.
    #[error("the request took too long")]
    TotalTimeout,
}

impl Error {
    /// The rule of the host that refused the request, by the name of its manifest key; `None` if no rule refused it.
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::AddressRefused(..) => Some("outbound-private"),
            Self::InvalidTarget | Self::NotGranted(..) => Some("outbound"),
            Self::TooManyConnections(_) => Some("outbound-connections"),
            _ => None,
        }
    }
}

//! One request, whatever protocol carried it.

use std::sync::Arc;

use http::{Request, header};

use crate::{Address, Connection, RequestBody, TunnelRequest, forwarded};

/// One request and the connection that it came on.
///
/// `request.uri()` has a path and a query. Whether it also has a scheme and an authority depends on the protocol, so
/// use [`Exchange::scheme`] and [`Exchange::authority`] for those.
#[derive(Debug)]
pub struct Exchange {
    /// Head and body. The version is the one that the client used.
    pub request: Request<RequestBody>,
    /// The connection that carried it.
    pub connection: Arc<Connection>,
}

/// Marks, in the extensions of a response, that it lasts until its client leaves, such as a stream of events: a client
/// that closes its side of an HTTP/1 connection ends it. Any other response is sent to its end, since a client may
/// close its side as soon as it has sent its request (RFC 9112, 9.6).
#[derive(Clone, Copy, Debug)]
pub struct Held;

impl Exchange {
    /// The host, with the port if the client gave one: `:authority` or `Host` (RFC 9113, 8.3.1; RFC 9112, 3.2). It has
    /// been checked against the grammar. For an HTTP/1.0 request with neither, it is this end of the connection.
    pub fn authority(&self) -> &str {
        if let Some(authority) = self.request.uri().authority() {
            return authority.as_str();
        }
        self.request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
    }

    /// `https` on TLS, otherwise `http`; behind a trusted proxy, the scheme that the proxy says the client used. The
    /// client's own claim in `:scheme` or in an absolute target is ignored.
    pub fn scheme(&self) -> &'static str {
        self.origin().1
    }

    /// The client: the peer of the connection, or the client that a trusted proxy names. The service, logs and limits
    /// use this address only. The port is 0 if the proxy does not give it.
    pub fn peer(&self) -> Address {
        self.origin().0
    }

    /// [`Exchange::peer`] and [`Exchange::scheme`], determined in one step.
    pub fn origin(&self) -> (Address, &'static str) {
        let own = if self.connection.tls.is_some() { "https" } else { "http" };
        match forwarded::client(&self.connection, self.request.headers()) {
            Some(client) => (client.peer, client.scheme.unwrap_or(own)),
            None => (self.connection.peer.clone(), own),
        }
    }

    /// Takes the request to become a tunnel: an HTTP/1.1 `Upgrade` or an HTTP/2 extended CONNECT (RFC 8441). `None` for
    /// an ordinary request, and from the second call on.
    pub fn take_tunnel(&mut self) -> Option<TunnelRequest> {
        TunnelRequest::take(&mut self.request, &self.connection)
    }
}

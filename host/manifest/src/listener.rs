//! Listeners: their addresses, their protocols and their trusted peers.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use roadrunner_values::{ForwardedField, H2c};
use schemars::{Schema, json_schema};
use toml::Spanned;

use crate::decode::Field;
use crate::resolver::{Resolver, list, value};
use crate::scalar::{Address, Count, Fault, Text, choice, name};
use crate::section::section;
use crate::tls::{Tls, TlsChoice};

/// One of `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The name, unique; the address if the manifest gives no name.
    pub name: String,
    /// The address.
    pub address: Address,
    /// Whether it speaks HTTP/1.1. It speaks at least one of the three.
    pub http1: bool,
    /// Whether it speaks HTTP/2.
    pub http2: bool,
    /// Whether it speaks HTTP/3. It then has a certificate and an IP address.
    pub http3: bool,
    /// The certificate; `None` for plaintext.
    pub tls: Option<Tls>,
    /// The way for clients without TLS to switch to HTTP/2.
    pub h2c: H2c,
    /// The cap on open connections; `None` for no cap of its own.
    pub connections: Option<u32>,
    /// The cap on open connections of one peer.
    pub connections_per_peer: Option<u32>,
    /// The peers that begin connections with a PROXY header; `None` if no peer does.
    pub proxy_protocol_from: Option<Vec<PeerRange>>,
    /// Proxies trusted to name the client of a request; empty for none.
    pub trusted_proxies: Vec<PeerRange>,
    /// The header field in which they name it.
    pub forwarded_field: ForwardedField,
    /// The cap on requests in flight; `None` for no cap.
    pub requests: Option<u32>,
}

impl Listener {
    /// A plaintext listener for HTTP/1.1 and HTTP/2, named by its address.
    pub fn plain(address: Address) -> Self {
        Self::named(None, address, &[Protocol::Http1, Protocol::Http2], None)
    }

    /// Whether it has this address. Port 0 is another port every time.
    pub(crate) fn has_address(&self, address: &Address) -> bool {
        self.address == *address && !matches!(address, Address::Tcp(address) if address.port() == 0)
    }

    pub(crate) fn named(
        name: Option<&ListenerName>,
        address: Address,
        protocols: &[Protocol],
        tls: Option<Tls>,
    ) -> Self {
        Self {
            name: name.map_or_else(|| address.to_string(), ToString::to_string),
            address,
            http1: protocols.contains(&Protocol::Http1),
            http2: protocols.contains(&Protocol::Http2),
            http3: protocols.contains(&Protocol::Http3),
            tls,
            h2c: H2c::default(),
            connections: None,
            connections_per_peer: None,
            proxy_protocol_from: None,
            trusted_proxies: Vec::new(),
            forwarded_field: ForwardedField::default(),
            requests: None,
        }
    }
}

name! {
    /// The name of a listener, in logs and metrics.
    pub struct ListenerName = "listener";
}

section! {
    /// One address that the host listens on.
    #[title = "`[[listener]]`"]
    pub(crate) struct ListenerSection {
        /// The listener's name in logs and metrics. Without it, its address.
        name: ListenerName;
        /// The address to listen on. With port 0 the system chooses a port, and the log names it. An IPv6 address
        /// accepts IPv6 only. `systemd:NAME` takes over a socket that systemd has opened (socket activation), by its
        /// name or its index.
        address: Address [required];
        /// The protocols of this listener. Without `tls`, HTTP/2 is recognised by its preface (prior knowledge); with
        /// it, by ALPN. HTTP/3 needs `tls` and an IP address, and uses the UDP port of the same number.
        protocols: Vec<Spanned<Protocol>> = "[\"http1\", \"http2\"]";
        /// Requests in flight on all connections of this listener, from the head until the response is sent. Event
        /// loops and WebSockets count for as long as they live. Over it, a request is answered with 503 and
        /// `Retry-After`. Without it, no cap.
        requests: Count<1, 10_000_000>;
        /// A certificate chain and its key as PEM files, or `"self-signed"` for a certificate that is made at the start
        /// and that no client trusts. Without it, the listener is plaintext.
        tls: TlsChoice;
        /// The way for clients of a plaintext listener with both protocols to switch to HTTP/2. `"prior-knowledge"`:
        /// they start with its preface. `"upgrade"`: the same, or they ask with `Upgrade: h2c` in a request without a
        /// body; behind a proxy that forwards `Upgrade` without understanding it, later requests bypass the proxy's
        /// rules. `"off"`: not at all. With TLS, ALPN decides, and the key is not allowed. Without it:
        /// `"prior-knowledge"`.
        h2c: H2c;
        /// Connections open at once on this listener. Over it, a new connection is closed at once. `connections` in
        /// `[limits]` applies too.
        connections: Count<1, 1_000_000>;
        /// Connections open at once from one peer on this listener: an IPv4 address or an IPv6 /64. Behind the PROXY
        /// protocol the client counts, and not the proxy. `connections-per-peer` in `[limits]` applies too.
        connections_per_peer: Count<1, 1_000_000>;
        /// The peers that speak the PROXY protocol (versions 1 and 2). With it, every connection must come from one of
        /// them and begin with a PROXY header, before TLS. Other connections are closed.
        proxy_protocol_from: Vec<Spanned<PeerRange>>;
        /// Proxies trusted to name the client of a request, in the header field `forwarded-field`. The client is the
        /// last address in that field that is not a trusted proxy itself. Without it, the client is the peer of the
        /// connection.
        trusted_proxies: Vec<Spanned<PeerRange>>;
        /// The header field that the trusted proxies write. The other field is ignored, since a client may have sent
        /// it. `"x-forwarded-for"` goes together with `X-Forwarded-Proto`.
        forwarded_field: ForwardedField [default];
    }
}

choice! {
    /// A version of HTTP, as a listener offers it.
    pub enum Protocol {
        /// HTTP/1.0 and HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2.
        Http2 = "http2",
        /// HTTP/3.
        Http3 = "http3",
    }
}

impl Resolver<'_> {
    /// The listeners. `early_data` is the key of `[http3]`.
    pub(crate) fn listeners(
        &mut self,
        sections: &Field<Vec<Spanned<ListenerSection>>>,
        early_data: Option<&Spanned<bool>>,
    ) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = Vec::new();
        for listener in list(sections) {
            let listener = listener.get_ref();
            let tls = value(&listener.tls).map(|choice| self.tls_choice(choice));
            let Some(address) = &listener.address else { continue };
            if let Some(protocols) = listener.protocols.as_ref().filter(|protocols| protocols.get_ref().is_empty()) {
                let fix = "write [\"http1\", \"http2\"], or leave the key out";
                self.context.report(protocols.span(), "a listener without protocols answers no client", fix);
            }
            let protocols: Vec<Protocol> = listener.protocols().into_iter().map(Spanned::into_inner).collect();
            let span = address.span();
            let address = address.get_ref().clone().resolve(&self.folder);
            if let Some(protocol) = listener.protocols.as_ref().and_then(http3_of) {
                if listener.tls.is_none() {
                    let fix = "give the listener `tls`, or take \"http3\" out";
                    self.context.report(
                        protocol.clone(),
                        "HTTP/3 is always encrypted, and this listener has no certificate",
                        fix,
                    );
                }
                if !matches!(address, Address::Tcp(_)) {
                    let fix = "give the listener an IP address and a port, or take \"http3\" out";
                    let message = "HTTP/3 needs a UDP port, and this listener has a socket of another kind";
                    self.context.report(protocol.clone(), message, fix);
                }
                if let Some(Tls::Files { clients: Some(_), .. }) = &tls
                    && let Some(early_data) = early_data.filter(|early_data| *early_data.get_ref())
                {
                    let fix = "remove it, or `client-auth` of the listener";
                    let message = "early data is served before the client's certificate is known";
                    self.context.report(early_data.span(), message, fix);
                }
                if listener.proxy_protocol_from.is_some() {
                    let fix = "take \"http3\" out, or `proxy-protocol-from`";
                    let message = "HTTP/3 has no PROXY header, so it would bypass the proxy";
                    self.context.report(protocol, message, fix);
                }
            }
            if listeners.iter().any(|other| other.has_address(&address)) {
                self.context.report(
                    span,
                    format!("two listeners have the address {address}"),
                    "give each its own, or remove one",
                );
            }
            let mut made = Listener::named(value(&listener.name), address, &protocols, tls);
            made.h2c = self.h2c(listener, &made);
            made.connections = value(&listener.connections).map(|most| most.get());
            made.connections_per_peer = value(&listener.connections_per_peer).map(|most| most.get());
            made.proxy_protocol_from = self.peers(&listener.proxy_protocol_from);
            made.trusted_proxies = self.peers(&listener.trusted_proxies).unwrap_or_default();
            made.requests = value(&listener.requests).map(|most| most.get());
            made.forwarded_field = listener.forwarded_field();
            if let Some(field) = listener.forwarded_field.as_ref().filter(|_| listener.trusted_proxies.is_none()) {
                let message = "`forwarded-field` is set, but there are no `trusted-proxies`";
                self.context.report(field.span(), message, "add `trusted-proxies`, or remove the key");
            }
            if let Some(name) = listener.name.as_ref().filter(|_| listeners.iter().any(|other| other.name == made.name))
            {
                let message = format!("two listeners are named `{}`", made.name);
                self.context.report(name.span(), message, "give each its own name");
            }
            listeners.push(made);
        }
        if listeners.is_empty() {
            listeners.push(Listener::plain(Address::Tcp(([127, 0, 0, 1], 8080).into())));
        }
        listeners
    }

    /// The value of `h2c`, which makes sense for a plaintext listener with both protocols only.
    fn h2c(&mut self, section: &ListenerSection, listener: &Listener) -> H2c {
        let Some(h2c) = &section.h2c else { return H2c::default() };
        let problem = match (section.tls.is_some(), listener.http1, listener.http2) {
            (true, ..) => Some(("this listener has TLS, where ALPN decides", "remove `h2c`")),
            (false, false, true) if *h2c.get_ref() != H2c::PriorKnowledge => Some((
                "this listener speaks HTTP/2 only, which plaintext clients know by prior knowledge",
                "remove `h2c`",
            )),
            (false, true, false) if *h2c.get_ref() != H2c::Off => {
                Some(("this listener does not speak HTTP/2", "remove `h2c`, or add \"http2\" to `protocols`"))
            }
            _ => None,
        };
        if let Some((message, fix)) = problem {
            self.context.report(h2c.span(), format!("`h2c` is \"{}\", and {message}", h2c.get_ref()), fix);
        }
        *h2c.get_ref()
    }

    /// The peers of a list. An empty list would trust no peer, and is reported as a mistake.
    fn peers(&mut self, field: &Option<Spanned<Vec<Spanned<PeerRange>>>>) -> Option<Vec<PeerRange>> {
        let field = field.as_ref()?;
        if field.get_ref().is_empty() {
            self.context.report(field.span(), "the list is empty", "name a network, or remove the key");
        }
        Some(field.get_ref().iter().map(|range| *range.get_ref()).collect())
    }
}

/// The place of HTTP/3 in a list of protocols.
fn http3_of(protocols: &Spanned<Vec<Spanned<Protocol>>>) -> Option<Range<usize>> {
    protocols.get_ref().iter().find(|protocol| *protocol.get_ref() == Protocol::Http3).map(Spanned::span)
}

/// A set of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRange {
    /// The peers whose address shares the first `prefix` bits with this one: `10.0.0.0/8`. The other bits are 0.
    Network {
        /// The first address.
        address: IpAddr,
        /// The number of bits; at most 32 for IPv4 and 128 for IPv6.
        prefix: u8,
    },
    /// The peers on a Unix socket.
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

//! Who sent a request that came through proxies: `Forwarded` (RFC 7239) or `X-Forwarded-For`, believed of listed
//! peers only.
//!
//! Each proxy appends the address of its own peer. So the list is read from its end: the connection's peer is trusted,
//! and what it wrote is the last entry; if that is the address of another trusted proxy, the entry before it is
//! believed too, and so on. The first address that is not a trusted proxy's is the client. What stands before it was
//! written by nobody who is trusted, and is not looked at.
//!
//! Only one of the two fields is read, and the operator says which: a proxy that writes one passes the other on as the
//! client sent it.
//!
//! # What it does not cover
//!
//! The host: a proxy has to pass the client's `Host` on, since routes are chosen by it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

use crate::{Address, Connection, Peers};

/// Whose word on a request's origin is taken, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The proxies.
    pub trusted: Peers,
    /// The field that they write.
    pub field: ForwardedField,
}

/// The header field in which proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedField {
    /// `Forwarded` (RFC 7239): `for=192.0.2.1;proto=https`.
    Forwarded,
    /// `X-Forwarded-For: 192.0.2.1`, with `X-Forwarded-Proto: https`.
    #[default]
    XForwardedFor,
}

/// What the proxies in front of this connection say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) peer: Address,
    /// The scheme that the client used, if it is said.
    pub(crate) scheme: Option<&'static str>,
}

/// The client of a request. None without a trusted proxy, or if that says nothing that can be understood.
pub(crate) fn client(connection: &Connection, headers: &HeaderMap) -> Option<Client> {
    let forwarding = connection.forwarding.as_deref()?;
    if !forwarding.trusted.contains(&connection.peer) {
        return None;
    }
    match forwarding.field {
        ForwardedField::Forwarded => last_untrusted(forwarding, headers, &header::FORWARDED, parse_forwarded),
        ForwardedField::XForwardedFor => {
            let mut client = last_untrusted(forwarding, headers, &X_FORWARDED_FOR, |text| Some((node(text)?, None)))?;
            // The peer wrote the last one.
            client.scheme = headers
                .get_all(&X_FORWARDED_PROTO)
                .iter()
                .next_back()
                .and_then(|value| value.to_str().ok())
                .and_then(|value| scheme(value.rsplit(',').next()?.trim()));
            Some(client)
        }
    }
}

/// An address and perhaps a scheme.
type Entry = (SocketAddr, Option<&'static str>);

/// Walks a list from its end: the first entry that is no trusted proxy's, or the last one before an entry that says no
/// address.
fn last_untrusted(
    forwarding: &Forwarding,
    headers: &HeaderMap,
    name: &HeaderName,
    parse: impl Fn(&str) -> Option<Entry>,
) -> Option<Client> {
    let mut found = None;
    for value in headers.get_all(name).iter().rev() {
        let Ok(value) = value.to_str() else { break };
        for entry in split_from_end(value) {
            let Some((peer, scheme)) = parse(entry.trim_matches([' ', '\t'])) else { return found };
            found = Some(Client { peer: Address::Ip(peer), scheme });
            if !forwarding.trusted.contains_ip(peer.ip()) {
                return found;
            }
        }
    }
    found
}

/// The elements of a list from its end. A comma within a quoted string is taken for a border too: what stands around it
/// is then no address, which ends the walk.
fn split_from_end(value: &str) -> impl Iterator<Item = &str> {
    value.rsplit(',')
}

/// RFC 7239, 4: `for=192.0.2.60;proto=http;by=203.0.113.43`, names in any case.
fn parse_forwarded(element: &str) -> Option<Entry> {
    let mut peer = None;
    let mut proto = None;
    for pair in element.split(';') {
        let (name, value) = pair.split_once('=')?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        if name.trim().eq_ignore_ascii_case("for") {
            if peer.replace(node(value)?).is_some() {
                return None;
            }
        } else if name.trim().eq_ignore_ascii_case("proto") {
            proto = scheme(value);
        }
    }
    Some((peer?, proto))
}

/// An address, with or without a port; none for `unknown` and for names that mean something to the proxy alone
/// (RFC 7239, 6). Without a port, the port is 0.
fn node(text: &str) -> Option<SocketAddr> {
    let (ip, port) = match text.parse::<SocketAddr>() {
        Ok(address) => (address.ip(), address.port()),
        Err(_) => {
            let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
            (bare.parse::<IpAddr>().ok()?, 0)
        }
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

fn scheme(text: &str) -> Option<&'static str> {
    ["https", "http"].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme))
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;

    use super::*;
    use crate::{Network, Protocol};

    fn connection(field: ForwardedField) -> Connection {
        let networks = [("127.0.0.0", 8), ("10.0.0.0", 8), ("2001:db8::", 32)]
            .map(|(address, prefix)| Network::new(address.parse().expect("an address"), prefix).expect("it fits"));
        let trusted = Peers { networks: networks.to_vec(), unix: false };
        let mut connection = Connection::detached(Protocol::Http1);
        connection.forwarding = Some(Arc::new(Forwarding { trusted, field }));
        connection
    }

    fn ask(connection: &Connection, lines: &[(&'static str, &'static str)]) -> Option<(String, Option<&'static str>)> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        client(connection, &headers).map(|client| (client.peer.to_string(), client.scheme))
    }

    #[test]
    fn the_last_address_that_is_no_proxys() {
        let trusting = connection(ForwardedField::XForwardedFor);
        let peer = |lines: &[(&'static str, &'static str)]| ask(&trusting, lines).map(|(peer, _)| peer);
        for (value, expected) in [
            ("192.0.2.1", Some("192.0.2.1:0")),
            ("192.0.2.1:99", Some("192.0.2.1:99")),
            ("1.1.1.1, 192.0.2.1", Some("192.0.2.1:0")),
            ("1.1.1.1, 192.0.2.1,10.0.0.1 ,  10.0.0.2", Some("192.0.2.1:0")),
            ("2001:dead::1", Some("[2001:dead::1]:0")),
            ("[2001:dead::1]:5", Some("[2001:dead::1]:5")),
            ("::ffff:192.0.2.1", Some("192.0.2.1:0")),
            ("10.0.0.1", Some("10.0.0.1:0")),
            ("nonsense, 10.0.0.1", Some("10.0.0.1:0")),
            ("192.0.2.1, unknown", None),
            ("192.0.2.1, ", None),
            ("", None),
        ] {
            assert_eq!(peer(&[("x-forwarded-for", value)]).as_deref(), expected, "{value:?}");
        }
        let two = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1, 10.0.0.1")];
        assert_eq!(peer(&two).as_deref(), Some("192.0.2.1:0"));
        assert_eq!(peer(&[("forwarded", "for=192.0.2.1")]), None, "the other field is the client's");
    }

    #[test]
    fn forwarded_elements() {
        let trusting = connection(ForwardedField::Forwarded);
        for (value, expected) in [
            ("for=192.0.2.1", Some(("192.0.2.1:0", None))),
            ("For=\"192.0.2.1:47\";Proto=HTTPS;by=10.0.0.1", Some(("192.0.2.1:47", Some("https")))),
            ("for=1.1.1.1;proto=http, for=\"[2001:dead::1]\";proto=https", Some(("[2001:dead::1]:0", Some("https")))),
            ("for=192.0.2.1;proto=https, for=10.0.0.1;proto=http", Some(("192.0.2.1:0", Some("https")))),
            ("for=_hidden", None),
            ("for=unknown", None),
            ("for=192.0.2.1;for=192.0.2.2", None),
            ("proto=https", None),
            ("for=\"1.1.1.1, 192.0.2.9\"", None),
        ] {
            let expected = expected.map(|(peer, scheme)| (peer.to_owned(), scheme));
            assert_eq!(ask(&trusting, &[("forwarded", value)]), expected, "{value:?}");
        }
    }

    #[test]
    fn the_scheme_is_the_peers_word() {
        let trusting = connection(ForwardedField::XForwardedFor);
        let scheme = |value| ask(&trusting, &[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", value)])?.1;
        assert_eq!(scheme("https"), Some("https"));
        assert_eq!(scheme("https, http"), Some("http"));
        assert_eq!(scheme("gopher"), None);
    }

    #[test]
    fn strangers_are_not_believed() {
        let mut stranger = connection(ForwardedField::XForwardedFor);
        stranger.peer = Address::Ip("192.0.2.9:1".parse().expect("an address"));
        assert_eq!(ask(&stranger, &[("x-forwarded-for", "10.0.0.1")]), None);
        let mut plain = connection(ForwardedField::XForwardedFor);
        plain.forwarding = None;
        assert_eq!(ask(&plain, &[("x-forwarded-for", "192.0.2.1")]), None);
    }
}

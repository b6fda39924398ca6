//! The client of a request that came through proxies: `Forwarded` (RFC 7239) or `X-Forwarded-For`, believed from listed
//! peers only.
//!
//! Each proxy appends the address of its own peer, so the list is read from its end. The connection's peer is trusted,
//! and it wrote the last entry. If that entry is the address of another trusted proxy, the entry before it is believed
//! too, and so on. The first address that does not belong to a trusted proxy is the client. Earlier entries come from
//! untrusted parties and are not read.
//!
//! Only one of the two fields is read, and the operator selects it: a proxy that writes one passes the other on as the
//! client sent it.
//!
//! # Not covered
//!
//! The host: a proxy has to pass the client's `Host` on, since routes are chosen by it.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use roadrunner_values::ForwardedField;

use crate::{Address, Connection, Forwarding};

/// The client of a request, as the proxies in front of this connection state it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) peer: Address,
    /// The scheme that the client used, if it is given.
    pub(crate) scheme: Option<&'static str>,
}

/// Finds the client of a request. `None` without a trusted proxy, or if the field cannot be understood.
pub(crate) fn client(connection: &Connection, headers: &HeaderMap) -> Option<Client> {
    let forwarding = connection.forwarding.as_deref()?;
    if !forwarding.trusted.contains(&connection.peer) {
        return None;
    }
    match forwarding.field {
        ForwardedField::Forwarded => last_untrusted(forwarding, headers, &header::FORWARDED, parse_forwarded),
        ForwardedField::XForwardedFor => {
            let mut client = last_untrusted(forwarding, headers, &X_FORWARDED_FOR, |text| Some((node(text)?, None)))?;
            // The peer wrote the last entry.
            client.scheme = headers
                .get_all(&X_FORWARDED_PROTO)
                .iter()
                .rev()
                .filter_map(|value| value.to_str().ok())
                .flat_map(members_from_end)
                .next()
                .and_then(scheme);
            Some(client)
        }
    }
}

/// An address and an optional scheme.
type Entry = (SocketAddr, Option<&'static str>);

/// Walks a list from its end to the first entry that is not a trusted proxy's, or to the last entry that follows an
/// entry without an address.
fn last_untrusted(
    forwarding: &Forwarding,
    headers: &HeaderMap,
    name: &HeaderName,
    parse: impl Fn(&str) -> Option<Entry>,
) -> Option<Client> {
    let mut found = None;
    for value in headers.get_all(name).iter().rev() {
        let Ok(value) = value.to_str() else { break };
        for member in members_from_end(value) {
            let Some((peer, scheme)) = parse(member) else { return found };
            found = Some(Client { peer: Address::Ip(peer), scheme });
            if !forwarding.trusted.contains_ip(peer.ip()) {
                return found;
            }
        }
    }
    found
}

/// The members of a list from its end, without empty members, which are ignored (RFC 9110, 5.6.1.2).
fn members_from_end(list: &str) -> impl Iterator<Item = &str> {
    let mut left = Some(list);
    let members = std::iter::from_fn(move || {
        let list = left?;
        let (before, member) = match last_comma(list) {
            Some(comma) => (Some(&list[..comma]), &list[comma + 1..]),
            None => (None, list),
        };
        left = before;
        Some(member.trim_matches([' ', '\t']))
    });
    members.filter(|member| !member.is_empty())
}

/// The last comma outside quoted strings (RFC 9110, 5.6.4). The search runs from the end, so that a quote that the
/// client left open does not swallow the part that a proxy has appended.
fn last_comma(list: &str) -> Option<usize> {
    let bytes = list.as_bytes();
    let mut quoted = false;
    for (at, byte) in bytes.iter().enumerate().rev() {
        match byte {
            b'"' => {
                let escapes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                quoted ^= !quoted || escapes % 2 == 0;
            }
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Parses an element (RFC 7239, 4): `for=192.0.2.60;proto=http;by=203.0.113.43`, names in any case. A pair may be
/// empty.
fn parse_forwarded(element: &str) -> Option<Entry> {
    let mut peer = None;
    let mut proto = None;
    let mut rest = element;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Some((peer?, proto));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        rest = after.trim_start_matches([' ', '\t']);
        if !(rest.is_empty() || rest.starts_with(';')) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") {
            if peer.replace(node(&value)?).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case("proto") {
            proto = scheme(&value);
        }
    }
}

/// A token or a quoted string (RFC 9110, 5.6.4) without its quotes, and the text after it. `None` if the string does
/// not end.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t', '"']).unwrap_or(text.len());
        return Some((text[..end].into(), &text[end..]));
    };
    let mut unquoted = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((unquoted.into(), &quoted[at + 1..])),
            '\\' => unquoted.push(characters.next()?.1),
            _ => unquoted.push(character),
        }
    }
    None
}

/// Parses an address, with or without a port; `None` for `unknown` and for names that only the proxy understands (RFC
/// 7239, 6). Without a port, the port is 0.
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
    use crate::{Network, Peers, Protocol};

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
            ("192.0.2.1, ", Some("192.0.2.1:0")),
            ("192.0.2.1,,10.0.0.1, \t,", Some("192.0.2.1:0")),
            (",192.0.2.1", Some("192.0.2.1:0")),
            (" , ,", None),
            ("", None),
        ] {
            assert_eq!(peer(&[("x-forwarded-for", value)]).as_deref(), expected, "{value:?}");
        }
        let two = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1, 10.0.0.1")];
        assert_eq!(peer(&two).as_deref(), Some("192.0.2.1:0"));
        let empty = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", ""), ("x-forwarded-for", " , ")];
        assert_eq!(peer(&empty).as_deref(), Some("192.0.2.1:0"));
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
            ("for=192.0.2.1,", Some(("192.0.2.1:0", None))),
            (",, for=192.0.2.1 ,\t, for=10.0.0.1,,", Some(("192.0.2.1:0", None))),
            (";for=192.0.2.1;;proto=https ; ", Some(("192.0.2.1:0", Some("https")))),
            ("for=192.0.2.1;by=\"_a,b;c\\\"d\"", Some(("192.0.2.1:0", None))),
            ("for=192.0.2.1;host=\"x\\\\\", for=10.0.0.1", Some(("192.0.2.1:0", None))),
            ("for=\"\\[2001:dead::1\\]\"", Some(("[2001:dead::1]:0", None))),
            // Text that a client puts into a quoted field is not an entry.
            ("for=192.0.2.1;host=\"x, for=6.6.6.6;a=\"", Some(("192.0.2.1:0", None))),
            ("for=192.0.2.1;host=\"x\\\", for=6.6.6.6;a=\"", Some(("192.0.2.1:0", None))),
            // A quote that the client leaves open does not hide the proxy's entry.
            ("for=\", for=192.0.2.1", Some(("192.0.2.1:0", None))),
            ("for=\"6.6.6.6", None),
            ("for=6.6.6.6\"", None),
            ("for=\"6.6.6.6\"x", None),
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
        assert_eq!(scheme("https, ,"), Some("https"));
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

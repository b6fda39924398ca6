//! The PROXY protocol, versions 1 and 2: the line or the block that a load balancer sends first on a connection, with
//! the client's address. Bytes in, addresses out; then the few lines that read them from a socket.
//!
//! The specification is HAProxy's "The PROXY protocol". Where it leaves room, this module refuses: a header that is
//! longer than [`MOST`], datagram addresses on a stream, fields that are not in the usual form.
//!
//! # Not covered
//!
//! The type-length-values of version 2. They are counted and skipped, including the checksum.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::Address;
use crate::socket::Socket;

/// The origin of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The proxy itself, such as a health check, or a client of an address family that the proxy cannot name: the
    /// socket's own addresses apply.
    Own,
    /// This client.
    Client(Address),
}

/// The result of parsing the first bytes of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// A header of this many bytes.
    Header(usize, Origin),
    /// The beginning of a header.
    Partial,
    /// Something else.
    Malformed,
}

/// Why there is no origin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the connection ended or failed within the PROXY header")]
    Io(#[from] io::Error),
    #[error("the connection does not start with a PROXY header")]
    Malformed,
}

/// Takes exactly the header from the socket. The caller holds the deadline.
pub(crate) async fn read(socket: &Socket) -> Result<Origin, ProxyError> {
    // On the heap: only listeners behind a proxy need it, and only at the start.
    let mut bytes = vec![0; MOST];
    let mut have = 0;
    loop {
        have = socket.peek(&mut bytes, have).await?;
        match parse(&bytes[..have]) {
            Parsed::Header(length, origin) => {
                socket.skip(length).await?;
                return Ok(origin);
            }
            Parsed::Partial if have < MOST => {}
            Parsed::Partial | Parsed::Malformed => return Err(ProxyError::Malformed),
        }
    }
}

fn parse(bytes: &[u8]) -> Parsed {
    if bytes.starts_with(SIGNATURE) {
        return version2(bytes);
    }
    let line = &bytes[..bytes.len().min(LONGEST_LINE)];
    if SIGNATURE.starts_with(bytes) || (V1.starts_with(line) && line.len() < V1.len()) {
        return Parsed::Partial;
    }
    if !line.starts_with(V1) {
        return Parsed::Malformed;
    }
    match line.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => match version1(&line[V1.len()..end]) {
            Some(origin) => Parsed::Header(end + 2, origin),
            None => Parsed::Malformed,
        },
        None if line.len() < LONGEST_LINE && !line.contains(&b'\n') => Parsed::Partial,
        None => Parsed::Malformed,
    }
}

/// Parses the rest of the line after `PROXY `.
fn version1(line: &[u8]) -> Option<Origin> {
    let line = std::str::from_utf8(line).ok()?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Origin::Own);
    }
    let mut words = line.split(' ');
    let family = words.next()?;
    let [source, destination, source_port, destination_port] =
        [words.next()?, words.next()?, words.next()?, words.next()?];
    if words.next().is_some() {
        return None;
    }
    let source: IpAddr = source.parse().ok()?;
    let destination: IpAddr = destination.parse().ok()?;
    let is_family = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    port(destination_port)?;
    is_family.then_some(client(source, port(source_port)?))
}

fn port(text: &str) -> Option<u16> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_decimal.then(|| text.parse().ok()).flatten()
}

fn version2(bytes: &[u8]) -> Parsed {
    let Some(&[version_and_command, family, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Parsed::Partial;
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 || length > MOST {
        return Parsed::Malformed;
    }
    let Some(rest) = bytes.get(FIXED..length) else {
        return Parsed::Partial;
    };
    let origin = match (version_and_command & 0xf, family) {
        (LOCAL, _) | (PROXY, UNSPECIFIED) => Some(Origin::Own),
        (PROXY, TCP4) => rest.first_chunk::<12>().map(|block| {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *block;
            client(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))
        }),
        (PROXY, TCP6) => rest.first_chunk::<36>().map(|block| {
            let mut source = [0; 16];
            source.copy_from_slice(&block[..16]);
            client(Ipv6Addr::from(source).into(), u16::from_be_bytes([block[32], block[33]]))
        }),
        (PROXY, UNIX_STREAM) => rest.first_chunk::<216>().map(|block| {
            let path: Vec<u8> = block[..108].iter().copied().take_while(|byte| *byte != 0).collect();
            let path = (!path.is_empty()).then(|| PathBuf::from(std::ffi::OsString::from_vec(path)));
            Origin::Client(Address::Unix(path))
        }),
        _ => None,
    };
    origin.map_or(Parsed::Malformed, |origin| Parsed::Header(length, origin))
}

fn client(ip: IpAddr, port: u16) -> Origin {
    Origin::Client(Address::Ip(SocketAddr::new(ip.to_canonical(), port)))
}

/// The longest header that is read, in bytes: the addresses of version 2 take at most 216, and the rest is for its
/// type-length-values.
const MOST: usize = 4096;

/// The longest line of version 1, with its CR LF (section 2.1).
const LONGEST_LINE: usize = 107;

const V1: &[u8] = b"PROXY ";

/// The signature of version 2 (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of signature, version and command, family, and length.
const FIXED: usize = 16;

const LOCAL: u8 = 0;
const PROXY: u8 = 1;

const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Origin {
        Origin::Client(Address::Ip(text.parse().expect("an address")))
    }

    fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    /// Checks that each beginning is partial, the whole is a header, and the bytes after it stay.
    fn good(bytes: &[u8], origin: &Origin) {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Parsed::Partial, "{end} of {:?}", String::from_utf8_lossy(bytes));
        }
        let more = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(parse(&more), Parsed::Header(bytes.len(), origin.clone()));
    }

    #[test]
    fn version_1() {
        good(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", &ip("192.0.2.7:56324"));
        good(b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n", &ip("[2001:db8::7]:1"));
        good(b"PROXY UNKNOWN\r\n", &Origin::Own);
        good(b"PROXY UNKNOWN ffff::1 what else 1 2\r\n", &Origin::Own);
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY\r\n",
            "proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7  198.51.100.1 1 2\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
            "PROXY UNKNOWNX\r\n",
        ] {
            assert_eq!(parse(bad.as_bytes()), Parsed::Malformed, "{bad:?}");
        }
        assert_eq!(parse(format!("PROXY UNKNOWN {}\r\n", "x".repeat(200)).as_bytes()), Parsed::Malformed);
    }

    #[test]
    fn version_2() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x01, 0x00, 0x01, 0xbb];
        good(&block(0x21, TCP4, &v4), &ip("192.0.2.7:256"));
        let tlv = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        good(&block(0x21, TCP4, &tlv), &ip("192.0.2.7:256"));
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().expect("an address").octets());
        v6[32] = 2;
        good(&block(0x21, TCP6, &v6), &ip("[2001:db8::7]:512"));
        let mut unix = [0; 216];
        unix[..3].copy_from_slice(b"/x\0");
        good(&block(0x21, UNIX_STREAM, &unix), &Origin::Client(Address::Unix(Some("/x".into()))));
        good(&block(0x20, UNSPECIFIED, &[]), &Origin::Own);
        good(&block(0x20, TCP4, &v4), &Origin::Own);
        good(&block(0x21, UNSPECIFIED, &[0; 7]), &Origin::Own);
        for bad in [
            block(0x11, TCP4, &v4),
            block(0x22, TCP4, &v4),
            block(0x21, 0x12, &v4),
            block(0x21, 0x41, &v4),
            block(0x21, TCP4, &v4[..11]),
            block(0x21, TCP6, &v4),
            block(0x21, TCP4, &[0; MOST]),
        ] {
            assert_eq!(parse(&bad), Parsed::Malformed, "{bad:?}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_ipv4() {
        good(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", &ip("192.0.2.7:1"));
    }
}

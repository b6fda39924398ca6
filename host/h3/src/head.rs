//! Field sections as HTTP messages: the requirements for a request (RFC 9114 sections 4.1.2, 4.2, 4.3 and 4.4), and the
//! fields of a response.
//!
//! A message that fails a check here is malformed, which is a stream error of type `H3_MESSAGE_ERROR` (section 4.1.2).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, Entry};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use roadrunner_qpack::{Field, FieldRef};

use crate::code::Fault;

/// The head of a request that has passed every check.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// `:method`.
    pub method: Method,
    /// `:scheme`, `:authority` (or `Host`, if there is no `:authority`) and `:path`; only the authority for a CONNECT
    /// without `:protocol`.
    pub uri: Uri,
    /// The fields, with the parts of `cookie` joined.
    pub headers: HeaderMap,
    /// `:protocol` of an extended CONNECT (RFC 9220).
    pub protocol: Option<Protocol>,
    /// The value of `content-length`, in bytes.
    pub content_length: Option<u64>,
}

/// The `:protocol` of an extended CONNECT (RFC 8441 section 4, RFC 9220 section 3), among the extensions of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(Arc<str>);

impl Protocol {
    /// As the client wrote it: `websocket`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it asks for a WebTransport session: `webtransport`, or `webtransport-h3` since draft 13.
    pub fn is_webtransport(&self) -> bool {
        matches!(self.as_str(), "webtransport" | "webtransport-h3")
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks the decoded field section at the front of a request.
///
/// `extended_connect` tells whether SETTINGS_ENABLE_CONNECT_PROTOCOL was sent.
///
/// # Errors
/// `H3_MESSAGE_ERROR`, with the reason.
pub fn read_request(fields: Vec<Field>, extended_connect: bool) -> Result<RequestHead, Fault> {
    let mut pseudo = Pseudo::default();
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut regular = false;
    for field in fields {
        match field.name.strip_prefix(b":") {
            // Section 4.3: pseudo-header fields come before all others.
            Some(_) if regular => return Err(Fault::malformed("a pseudo-header field after a regular one")),
            Some(name) => pseudo.set(name, field.value.clone())?,
            None => {
                regular = true;
                insert(&mut headers, field)?;
            }
        }
    }
    let content_length = content_length(&headers)?;
    let (method, uri, protocol) = pseudo.target(&headers, extended_connect)?;
    Ok(RequestHead { method, uri, headers, protocol, content_length })
}

/// Checks the decoded field section at the end of a request.
///
/// # Errors
/// `H3_MESSAGE_ERROR`, with the reason.
pub fn read_trailers(fields: Vec<Field>) -> Result<HeaderMap, Fault> {
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        // Section 4.3: pseudo-header fields MUST NOT appear in trailers.
        if field.name.starts_with(b":") {
            return Err(Fault::malformed("a pseudo-header field in the trailers"));
        }
        insert(&mut trailers, field)?;
    }
    Ok(trailers)
}

/// The fields of a response, `:status` first, without connection-specific fields (section 4.2).
pub fn response_fields<'a>(status: &'a StatusCode, headers: &'a HeaderMap) -> impl Iterator<Item = FieldRef<'a>> {
    let status = FieldRef::from((&b":status"[..], status.as_str().as_bytes()));
    std::iter::once(status).chain(regular_fields(headers))
}

/// The fields without connection-specific ones (section 4.2).
pub fn regular_fields(headers: &HeaderMap) -> impl Iterator<Item = FieldRef<'_>> {
    headers.iter().filter(|(name, _)| !is_connection_specific(name)).map(|(name, value)| FieldRef {
        name: name.as_str().as_bytes(),
        value: value.as_bytes(),
        never_indexed: value.is_sensitive(),
    })
}

#[derive(Debug, Default)]
struct Pseudo {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<Bytes>,
}

impl Pseudo {
    fn set(&mut self, name: &[u8], value: Bytes) -> Result<(), Fault> {
        let slot = match name {
            b"method" => &mut self.method,
            b"scheme" => &mut self.scheme,
            b"authority" => &mut self.authority,
            b"path" => &mut self.path,
            b"protocol" => &mut self.protocol,
            b"status" => return Err(Fault::malformed(":status in a request")),
            // Section 4.3: undefined pseudo-header fields make a request malformed.
            _ => return Err(Fault::malformed("an unknown pseudo-header field")),
        };
        // Section 4.3.1: exactly one value each.
        match slot.replace(value) {
            Some(_) => Err(Fault::malformed("a pseudo-header field comes twice")),
            None => Ok(()),
        }
    }

    fn target(self, headers: &HeaderMap, extended_connect: bool) -> Result<(Method, Uri, Option<Protocol>), Fault> {
        let method = self.method.ok_or(Fault::malformed("there is no :method"))?;
        let method = Method::from_bytes(&method).map_err(|_| Fault::malformed(":method is not a token"))?;
        let protocol = match self.protocol {
            None => None,
            // RFC 8441 section 4: only once the server has announced support, and only with CONNECT.
            Some(_) if !extended_connect => return Err(Fault::malformed(":protocol was not offered")),
            Some(_) if method != Method::CONNECT => return Err(Fault::malformed(":protocol without CONNECT")),
            Some(protocol) => match std::str::from_utf8(&protocol) {
                Ok(text) if is_token(text.as_bytes()) => Some(Protocol(text.into())),
                _ => return Err(Fault::malformed(":protocol is not a token")),
            },
        };
        let authority = self.authority.as_deref().map(authority).transpose()?;
        let host = host(headers)?;
        if let (Some(authority), Some(host)) = (&authority, host)
            && !authority.as_str().as_bytes().eq_ignore_ascii_case(host)
        {
            // Section 4.3.1: they MUST contain the same value.
            return Err(Fault::malformed(":authority and host contradict each other"));
        }

        if method == Method::CONNECT && protocol.is_none() {
            // Section 4.4.
            if self.scheme.is_some() || self.path.is_some() {
                return Err(Fault::malformed("CONNECT with :scheme or :path"));
            }
            let authority = authority.ok_or(Fault::malformed("CONNECT without :authority"))?;
            if authority.port_u16().is_none() {
                return Err(Fault::malformed("CONNECT without a port"));
            }
            let uri = Uri::builder().authority(authority).build();
            return uri.map(|uri| (method, uri, None)).map_err(|_| Fault::malformed(":authority is not one"));
        }

        let scheme = self.scheme.ok_or(Fault::malformed("there is no :scheme"))?;
        let scheme = self::scheme(&scheme)?;
        let path = self.path.ok_or(Fault::malformed("there is no :path"))?;
        let path = path_and_query(&path, &method)?;
        let authority = match (authority, host) {
            (Some(authority), _) => authority,
            (None, Some(host)) => self::authority(host)?,
            // Section 4.3.1: https and http have a mandatory authority. Without one no other scheme can be served
            // either.
            (None, None) => return Err(Fault::malformed("there is neither :authority nor host")),
        };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
        uri.map(|uri| (method, uri, protocol)).map_err(|_| Fault::malformed("the target is not a URI"))
    }
}

fn insert(headers: &mut HeaderMap, field: Field) -> Result<(), Fault> {
    // Section 4.2: names in upper case are malformed. HeaderName would silently convert them to lower case.
    if field.name.iter().any(u8::is_ascii_uppercase) {
        return Err(Fault::malformed("a field name in upper case"));
    }
    let name = HeaderName::from_bytes(&field.name).map_err(|_| Fault::malformed("a field name is not a token"))?;
    if is_connection_specific(&name) {
        return Err(Fault::malformed("a field that belongs to a connection"));
    }
    // RFC 9110 section 5.5: no space around a value; code that strips it elsewhere would see another value.
    if matches!(field.value.first(), Some(b' ' | b'\t')) || matches!(field.value.last(), Some(b' ' | b'\t')) {
        return Err(Fault::malformed("space around a field value"));
    }
    // Sections 4.2 and 10.3: CR, LF, NUL and the other control characters.
    let mut value = HeaderValue::from_maybe_shared(field.value)
        .map_err(|_| Fault::malformed("a field value with control bytes"))?;
    value.set_sensitive(field.never_indexed);
    // Section 4.2: the only value that TE may have.
    if name == header::TE && !value.as_bytes().eq_ignore_ascii_case(b"trailers") {
        return Err(Fault::malformed("te other than trailers"));
    }
    match headers.try_entry(name) {
        // Section 4.2.1: the parts of a cookie are joined before any other code sees them.
        Ok(Entry::Occupied(mut entry)) if entry.key() == header::COOKIE => {
            let joined = [entry.get().as_bytes(), b"; ", value.as_bytes()].concat();
            let mut joined = HeaderValue::from_maybe_shared(Bytes::from(joined))
                .map_err(|_| Fault::malformed("a field value with control bytes"))?;
            joined.set_sensitive(true);
            entry.insert(joined);
            Ok(())
        }
        Ok(Entry::Occupied(mut entry)) => {
            entry.append(value);
            Ok(())
        }
        Ok(Entry::Vacant(entry)) => match entry.try_insert(value) {
            Ok(_) => Ok(()),
            Err(_) => Err(Fault::malformed("too many fields")),
        },
        Err(_) => Err(Fault::malformed("too many fields")),
    }
}

/// Whether a field is connection-specific; an HTTP/3 message must not have one (section 4.2).
fn is_connection_specific(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade")
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault::malformed("content-length comes twice"));
    }
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Fault::malformed("content-length is not a number"));
    }
    // Digits are ASCII, so text; no body can be as long as a number above 64 bits.
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or(Fault::malformed("content-length is too large"))
}

fn host(headers: &HeaderMap) -> Result<Option<&[u8]>, Fault> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Fault::malformed("host comes twice"));
    }
    match host {
        // Section 4.3.1: if it is present it MUST NOT be empty.
        Some(host) if !is_authority(host.as_bytes()) => Err(Fault::malformed("host is not a host and a port")),
        host => Ok(host.map(HeaderValue::as_bytes)),
    }
}

fn authority(value: &[u8]) -> Result<Authority, Fault> {
    let malformed = Fault::malformed(":authority is not a host and a port");
    if !is_authority(value) {
        return Err(malformed);
    }
    Authority::try_from(value).map_err(|_| malformed)
}

/// Parses a scheme (RFC 3986 section 3.1). The `http` crate accepts an empty one, and one that begins with a digit.
fn scheme(value: &[u8]) -> Result<Scheme, Fault> {
    let good = value.first().is_some_and(u8::is_ascii_alphabetic);
    match Scheme::try_from(value) {
        Ok(scheme) if good => Ok(scheme),
        _ => Err(Fault::malformed(":scheme is not a scheme")),
    }
}

fn path_and_query(value: &[u8], method: &Method) -> Result<PathAndQuery, Fault> {
    // Section 4.3.1: not empty; `*` only for OPTIONS. A target has no fragment, and the `http` crate would cut it off.
    let good = match value {
        b"*" => method == Method::OPTIONS,
        value => value.starts_with(b"/") && !value.contains(&b'#'),
    };
    match PathAndQuery::try_from(value) {
        Ok(path) if good => Ok(path),
        _ => Err(Fault::malformed(":path is not a path")),
    }
}

/// Whether these bytes are `host [ ":" port ]`, without user information (RFC 9114 section 4.3.1).
fn is_authority(bytes: &[u8]) -> bool {
    let (host_is_good, rest) = match bytes {
        [b'[', literal @ ..] => match literal.iter().position(|byte| *byte == b']') {
            Some(end) if end > 0 => (literal[..end].iter().all(|byte| is_in_literal(*byte)), &literal[end + 1..]),
            _ => return false,
        },
        name => {
            let end = name.iter().position(|byte| *byte == b':').unwrap_or(name.len());
            (end > 0 && name[..end].iter().all(|byte| is_in_name(*byte)), &name[end..])
        }
    };
    host_is_good
        && match rest {
            [] => true,
            [b':', port @ ..] => is_port(port),
            _ => false,
        }
}

/// Whether these bytes are a port of at most five digits; an empty port means the scheme's own (RFC 3986 section
/// 3.2.3).
fn is_port(digits: &[u8]) -> bool {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    digits.is_empty() || digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) && text.parse::<u16>().is_ok()
}

fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

fn is_in_literal(byte: u8) -> bool {
    is_in_name(byte) || byte == b':'
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[cfg(test)]
mod tests;

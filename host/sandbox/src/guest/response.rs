//! Checks of a guest's answer: output of this module is valid HTTP.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use roadrunner_account::{Charge, Failure, Meter, Outcome, charge, cover};
use roadrunner_log::Quoted;

use crate::bindings::roadrunner::handler::types;

/// The most header fields, and trailer fields, that a guest may answer with.
const MAX_FIELDS: usize = 1000;

/// The size of a field in a head, in addition to its name and value (RFC 9113, 10.5.1), in bytes.
const FIELD: usize = 32;

/// The bytes that the host holds for a field.
const FIELD_HELD: usize = 128;

/// The bounds of an answer's fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    /// The account for the bytes that the host holds of the answer.
    pub(crate) meter: &'a Arc<Meter>,
    /// The most bytes of the answer's head, and of its trailer fields.
    pub(crate) head: usize,
}

/// The status and header fields of a response.
#[derive(Clone, Debug)]
pub struct Head {
    /// 200 to 599.
    pub status: StatusCode,
    /// Header fields: none that belong to the connection or that `Connection` names; no value begins or ends with a
    /// blank.
    pub headers: HeaderMap,
    /// The declared `content-length`: the field is there at most once, in plain digits.
    pub length: Option<u64>,
}

/// The shape of a response, with everything that is known of it when the handler returns.
#[derive(Debug)]
pub enum Response {
    /// The whole response.
    Buffered {
        /// Status and header fields.
        head: Head,
        /// The whole body.
        body: Bytes,
        /// Trailer fields.
        trailers: HeaderMap,
    },
    /// [`crate::Instance::run`] follows.
    Stream(Head),
    /// [`crate::Instance::on_event`] follows, for each event.
    Loop {
        /// Status and header fields.
        head: Head,
        /// Pieces of the request body are events.
        body_events: bool,
    },
    /// A file; the instance is no longer needed.
    Sendfile {
        /// Status and header fields.
        head: Head,
        /// The name of a granted directory.
        directory: String,
        /// A path below it.
        path: String,
        /// A range chosen by the guest: the first byte and a length.
        range: Option<(u64, Option<u64>)>,
    },
    /// A WebSocket.
    WebSocket {
        /// Header fields to add to the handshake's answer.
        headers: HeaderMap,
        /// The chosen subprotocol.
        subprotocol: Option<String>,
    },
    /// A WebTransport session.
    WebTransport {
        /// Header fields to add to the handshake's answer.
        headers: HeaderMap,
    },
}

impl Response {
    pub(crate) fn check(response: types::Response, bounds: Bounds<'_>) -> Result<Self, Failure> {
        Ok(match response {
            types::Response::Buffered(buffered) => {
                let body = cover(bounds.meter, buffered.body.into())?;
                let head = head(buffered.head, bounds)?;
                // With 304, and in answers to HEAD, the length is that of the body left out.
                if !body.is_empty() {
                    check_length(&head, body.len() as u64)?;
                }
                let trailers = trailers(buffered.trailers, bounds)?;
                Self::Buffered { head, body, trailers }
            }
            types::Response::Stream(start) => Self::Stream(head(start, bounds)?),
            types::Response::Loop(start) => {
                Self::Loop { head: head(start.head, bounds)?, body_events: start.body_events }
            }
            types::Response::Sendfile(file) => Self::Sendfile {
                head: head(file.head, bounds)?,
                directory: file.directory,
                path: file.path,
                range: file.range.map(|range| (range.start, range.length)),
            },
            types::Response::Websocket(start) => {
                Self::WebSocket { headers: headers(start.headers, bounds)?, subprotocol: start.subprotocol }
            }
            types::Response::Webtransport(fields) => Self::WebTransport { headers: headers(fields, bounds)? },
        })
    }
}

/// Checks trailer fields, and drops those that RFC 9110, 6.5.1 forbids there.
pub(crate) fn trailers(fields: Vec<types::Field>, bounds: Bounds<'_>) -> Result<HeaderMap, Failure> {
    let (headers, held) = checked(fields, bounds)?;
    let mut trailers = without_forbidden(headers);
    hold(&mut trailers, held);
    Ok(trailers)
}

/// Checks the head that a standard component has set. Its fields are valid by their type.
pub(crate) fn standard_head(head: http::response::Parts, bounds: Bounds<'_>) -> Result<Head, Failure> {
    let status = allowed(head.status.as_u16())?;
    let mut headers = head.headers;
    let sizes = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let held = bounds.check(headers.len(), sizes.sum())?;
    remove_connection_level(&mut headers);
    trim(&mut headers);
    let mut head = finished(status, headers)?;
    hold(&mut head.headers, held);
    Ok(head)
}

/// Filters the trailer fields with which a standard component has finished its body.
pub(crate) fn standard_trailers(mut trailers: HeaderMap) -> HeaderMap {
    remove_connection_level(&mut trailers);
    trim(&mut trailers);
    without_forbidden(trailers)
}

fn remove_connection_level(headers: &mut HeaderMap) {
    if !headers.keys().any(is_connection_level) {
        return;
    }
    let named: Vec<_> = headers.get_all(header::CONNECTION).iter().flat_map(named).collect();
    let found: Vec<_> = headers.keys().filter(|name| is_connection_level(name)).cloned().collect();
    for name in found.into_iter().chain(named) {
        headers.remove(name);
    }
}

/// Lists the fields that a value of `Connection` names.
fn named(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    let members = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    members.filter_map(|member| HeaderName::from_bytes(member).ok())
}

/// Drops blanks around values, which are no part of them (RFC 9110, 5.5). HTTP/1 drops them in transit; on HTTP/2 and
/// HTTP/3 they make the whole message malformed, and some clients close the connection for it.
fn trim(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let trimmed = trimmed(value.as_bytes());
        if trimmed.len() < value.len() {
            *value = HeaderValue::from_bytes(trimmed).expect("a part of a value is one");
        }
    }
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn without_forbidden(mut trailers: HeaderMap) -> HeaderMap {
    for name in [
        header::AGE,
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::DATE,
        header::EXPIRES,
        header::HOST,
        header::LOCATION,
        header::RETRY_AFTER,
        header::SET_COOKIE,
        header::TRAILER,
        header::VARY,
        header::WWW_AUTHENTICATE,
    ] {
        trailers.remove(name);
    }
    trailers
}

fn head(head: types::Head, bounds: Bounds<'_>) -> Result<Head, Failure> {
    let status = allowed(head.status)?;
    let (headers, held) = checked(head.headers, bounds)?;
    let mut head = finished(status, headers)?;
    hold(&mut head.headers, held);
    Ok(head)
}

fn headers(fields: Vec<types::Field>, bounds: Bounds<'_>) -> Result<HeaderMap, Failure> {
    let (mut headers, held) = checked(fields, bounds)?;
    hold(&mut headers, held);
    Ok(headers)
}

/// Attaches the charge to a field. Fields are all dropped together, so a single field holds the charge for all; without
/// fields, nothing holds it. The field is not the length, because a middleware may change that.
fn hold(headers: &mut HeaderMap, held: Option<Charge>) {
    let Some(held) = held else { return };
    if let Some((_, value)) = headers.iter_mut().find(|(name, _)| **name != header::CONTENT_LENGTH) {
        let covered = HeaderValue::from_maybe_shared(held.cover(Bytes::copy_from_slice(value.as_bytes())));
        *value = covered.expect("the bytes of a value are one");
    }
}

impl Bounds<'_> {
    /// Checks the number and size of the fields, and charges for the bytes that the host holds of them; none when they
    /// are few.
    fn check(self, fields: usize, bytes: usize) -> Result<Option<Charge>, Failure> {
        if fields > MAX_FIELDS {
            return Err(invalid(format!("{fields} header fields are more than {MAX_FIELDS}")));
        }
        let size = bytes + fields * FIELD;
        if size > self.head {
            let most = self.head;
            return Err(invalid(format!("a head of {size} bytes is over `response-head`, which is {most} bytes")));
        }
        Ok(charge(self.meter, (bytes + fields * FIELD_HELD) as u64)?)
    }
}

fn finished(status: StatusCode, mut headers: HeaderMap) -> Result<Head, Failure> {
    let length = declared_length(&headers)?;
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Head { status, headers, length })
}

/// The declared length: only digits (RFC 9110, 8.6). Several equal lengths, on separate lines or in a list, count as a
/// single length.
fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let mut declared = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for member in value.as_bytes().split(|byte| *byte == b',').map(trimmed) {
            let digits = std::str::from_utf8(member).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|digits| digits.parse::<u64>().ok());
            if length.is_none() || (declared.is_some() && declared != length) {
                let value = Quoted::bytes(value.as_bytes());
                return Err(invalid(format!("content-length is {value}, which is not one number")));
            }
            declared = length;
        }
    }
    Ok(declared)
}

fn allowed(status: u16) -> Result<StatusCode, Failure> {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or_else(|| invalid(format!("status {status} is not in 200..=599")))
}

/// Checks fields, and charges for the bytes that the host holds of them.
fn checked(fields: Vec<types::Field>, bounds: Bounds<'_>) -> Result<(HeaderMap, Option<Charge>), Failure> {
    let sizes = fields.iter().map(|(name, value)| name.len() + value.len());
    let held = bounds.check(fields.len(), sizes.sum())?;
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut hop = Vec::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("{} is not a header name", Quoted::text(&name))))?;
        let mut value = Bytes::from(value);
        let trimmed = trimmed(&value);
        if trimmed.len() < value.len() {
            value = value.slice_ref(trimmed);
        }
        let value = HeaderValue::from_maybe_shared(value)
            .map_err(|_| invalid(format!("the value of {} has a control character", Quoted::display(&name))))?;
        if name == header::CONNECTION {
            hop.extend(named(&value));
        }
        if !is_connection_level(&name) {
            headers.append(name, value);
        }
    }
    for name in hop {
        headers.remove(name);
    }
    Ok((headers, held))
}

/// Whether a field belongs to the connection, and so to the host (RFC 9110, 7.6.1; RFC 9113, 8.2.2).
fn is_connection_level(name: &HeaderName) -> bool {
    matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::TE)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Checks the length (RFC 9110, 8.6): a wrong length would let the client mistake where the response ends.
fn check_length(head: &Head, length: u64) -> Result<(), Failure> {
    match head.length {
        Some(given) if given != length => {
            Err(invalid(format!("content-length is {given}, and the body has {length} bytes")))
        }
        _ => Ok(()),
    }
}

fn invalid(detail: String) -> Failure {
    Failure::new(Outcome::InvalidResponse, detail)
}

/// Converts header fields for the guest.
pub(crate) fn fields(headers: &HeaderMap) -> Vec<types::Field> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use roadrunner_account::{Buffers, Digest, Peer, RequestId, Subject};

    use super::*;

    fn start(status: u16, fields: &[(&str, &str)]) -> types::Head {
        let headers = fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        types::Head { status, headers }
    }

    fn buffered(status: u16, fields: &[(&str, &str)], body: &str) -> types::Response {
        types::Response::Buffered(types::Buffered { head: start(status, fields), body: body.into(), trailers: vec![] })
    }

    /// An account without limits, for no particular request.
    fn meter() -> Arc<Meter> {
        let subject = Subject {
            request: RequestId::Made(0, 1),
            tenant: None,
            component: "c".into(),
            digest: Digest::of(b""),
            route: "/".into(),
            peer: Peer::Local,
            connection: Arc::default(),
        };
        Arc::new(Meter::new(1, subject, 1, Buffers::new(1 << 40), u64::MAX, 100))
    }

    fn check(response: types::Response) -> Result<Response, Failure> {
        let meter = meter();
        Response::check(response, Bounds { meter: &meter, head: 4096 })
    }

    #[test]
    fn a_head_has_a_size_and_is_on_the_account_until_it_is_dropped() {
        let meter = meter();
        let bounds = Bounds { meter: &meter, head: 4096 };
        let long = "v".repeat(2000);
        let Ok(Response::Buffered { mut head, .. }) =
            Response::check(buffered(200, &[("a", "b"), ("c", &long)], ""), bounds)
        else {
            panic!("it fits")
        };
        assert_eq!(meter.memory(), 2003 + 2 * 128);
        head.headers.clear();
        assert_eq!(meter.memory(), 0);
        let dropped = [("connection", "x"), ("content-length", "5"), ("a", &*long)];
        let Ok(Response::Stream(head)) = Response::check(types::Response::Stream(start(200, &dropped)), bounds) else {
            panic!("it fits")
        };
        assert_eq!(meter.memory(), 2027 + 3 * 128, "whatever becomes of the first fields");
        drop(head);
        assert_eq!(meter.memory(), 0);
        let twice = [("a", &*long), ("b", &*long), ("c", "12345678901234567890123456789012")];
        let failure = Response::check(buffered(200, &twice, ""), bounds).unwrap_err();
        assert_eq!(failure.outcome, Outcome::InvalidResponse);
        assert!(failure.detail.contains("a head of 4131 bytes is over `response-head`"), "{failure}");
        assert_eq!(meter.memory(), 0);
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for (status, fields, body) in [
            (99, &[][..], ""),
            (101, &[], ""),
            (600, &[], ""),
            (200, &[("bad name", "x")], ""),
            (200, &[("x", "a\r\nset-cookie: b")], ""),
            (200, &[("x", "a\0")], ""),
            (200, &[("content-length", "3")], "hello"),
            (200, &[("content-length", "x")], "hello"),
            (200, &[("content-length", "+5")], "hello"),
            (200, &[("content-length", "")], "hello"),
            (200, &[("content-length", "5, 6")], "hello"),
            (200, &[("content-length", "5"), ("content-length", "6")], ""),
            (304, &[("content-length", "0x5")], ""),
        ] {
            let failure = check(buffered(status, fields, body)).unwrap_err();
            assert_eq!(failure.outcome, Outcome::InvalidResponse, "{status} {fields:?}");
            assert!(!failure.detail.is_empty());
        }
    }

    #[test]
    fn connection_level_fields_do_not_cross() {
        let fields = [
            ("hop", "1"),
            ("connection", "close, Hop"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("x", "y"),
        ];
        let Ok(Response::Buffered { head, .. }) = check(buffered(200, &fields, "")) else { panic!() };
        assert_eq!(head.headers.len(), 1);
    }

    #[test]
    fn equal_lengths_are_one() {
        let fields = [("content-length", "005"), ("content-length", " 5,5\t")];
        let Ok(Response::Buffered { head, .. }) = check(buffered(200, &fields, "hello")) else { panic!() };
        let lengths: Vec<_> = head.headers.get_all("content-length").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!((head.length, lengths), (Some(5), vec![&b"5"[..]]));
    }

    #[test]
    fn blanks_around_values_are_no_part_of_them() {
        let fields = [("a", " \tb c\t "), ("d", " \t"), ("e", "")];
        let Ok(Response::Buffered { head, .. }) = check(buffered(200, &fields, "")) else { panic!() };
        assert_eq!((&head.headers["a"], &head.headers["d"]), (&"b c".parse().unwrap(), &"".parse().unwrap()));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let meter = meter();
        assert_eq!(trailers(fields.to_vec(), Bounds { meter: &meter, head: 4096 }).unwrap()["a"], "b c");
    }

    #[test]
    fn repeats_and_their_order_are_kept() {
        let fields = [("set-cookie", "a=1"), ("set-cookie", "b=2")];
        let Ok(Response::Buffered { head, .. }) = check(buffered(200, &fields, "")) else { panic!() };
        let cookies: Vec<_> = head.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }
}

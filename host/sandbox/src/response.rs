//! A guest's answer, checked: what leaves this module is valid HTTP.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::account::{Charge, charge, cover};
use crate::bindings::roadrunner::handler::types;
use crate::meter::Meter;
use crate::outcome::{Failure, Outcome};

/// The most header fields, and trailer fields, that a guest may answer with.
const MAX_FIELDS: usize = 1000;

/// What a field takes in a head beside its name and value (RFC 9113, 10.5.1), in bytes.
const FIELD: usize = 32;

/// What the host takes for it.
const FIELD_HELD: usize = 128;

/// What holds for the fields of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    /// Who answers for what the host holds of it.
    pub(crate) meter: &'a Arc<Meter>,
    /// The most bytes of its head, and of its trailer fields.
    pub(crate) head: usize,
}

/// Status and header fields.
#[derive(Clone, Debug)]
pub struct Head {
    /// 200 to 599.
    pub status: StatusCode,
    /// Never any connection-level field.
    pub headers: HeaderMap,
}

/// The shape of a response, and all that is known of it when the handler returns.
#[derive(Debug)]
pub enum Response {
    /// Everything.
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
    /// A file; the instance is not needed any more.
    Sendfile {
        /// Status and header fields.
        head: Head,
        /// The name of a granted directory.
        directory: String,
        /// A path below it.
        path: String,
        /// A part chosen by the guest: the first byte and a length.
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
                check_length(&head, body.len() as u64)?;
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

/// Trailer fields, without those that RFC 9110, 6.5.1 forbids there.
pub(crate) fn trailers(fields: Vec<types::Field>, bounds: Bounds<'_>) -> Result<HeaderMap, Failure> {
    Ok(without_forbidden(headers(fields, bounds)?))
}

/// The head that a standard component has set. Its fields are valid by their type.
pub(crate) fn standard_head(head: http::response::Parts, bounds: Bounds<'_>) -> Result<Head, Failure> {
    let status = allowed(head.status.as_u16())?;
    let mut headers = head.headers;
    let sizes = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let held = bounds.check(headers.len(), sizes.sum())?;
    remove_connection_level(&mut headers);
    if let (Some(value), Some(held)) = (headers.values_mut().next(), held) {
        // It has the bytes of a field's value, so it is one.
        if let Ok(covered) = HeaderValue::from_maybe_shared(held.cover(Bytes::copy_from_slice(value.as_bytes()))) {
            *value = covered;
        }
    }
    Ok(Head { status, headers })
}

/// The trailer fields that a standard component has finished its body with.
pub(crate) fn standard_trailers(mut trailers: HeaderMap) -> HeaderMap {
    remove_connection_level(&mut trailers);
    without_forbidden(trailers)
}

fn remove_connection_level(headers: &mut HeaderMap) {
    let found: Vec<_> = headers.keys().filter(|name| is_connection_level(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

fn without_forbidden(mut trailers: HeaderMap) -> HeaderMap {
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::HOST,
        header::SET_COOKIE,
    ] {
        trailers.remove(name);
    }
    trailers
}

fn head(head: types::Head, bounds: Bounds<'_>) -> Result<Head, Failure> {
    Ok(Head { status: allowed(head.status)?, headers: headers(head.headers, bounds)? })
}

impl Bounds<'_> {
    /// Fields of so many bytes in all, and the charge for what the host holds of them; none when that is little.
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

fn allowed(status: u16) -> Result<StatusCode, Failure> {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or_else(|| invalid(format!("status {status} is not in 200..=599")))
}

fn headers(fields: Vec<types::Field>, bounds: Bounds<'_>) -> Result<HeaderMap, Failure> {
    let sizes = fields.iter().map(|(name, value)| name.len() + value.len());
    let mut held = bounds.check(fields.len(), sizes.sum())?;
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(format!("{name:?} is not a header name")))?;
        if is_connection_level(&name) {
            continue;
        }
        let value = Bytes::from(value);
        // They are all dropped together, so one of them can have the charge for all.
        let value = match held.take() {
            Some(held) => held.cover(value),
            None => value,
        };
        let value = HeaderValue::from_maybe_shared(value)
            .map_err(|_| invalid(format!("the value of {name} has a control character")))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// RFC 9110, 7.6.1; RFC 9113, 8.2.2: these belong to the connection, and so to the host.
fn is_connection_level(name: &HeaderName) -> bool {
    matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::TE)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// RFC 9110, 8.6: a length that is not true would let the client mistake where the response ends.
fn check_length(head: &Head, length: u64) -> Result<(), Failure> {
    for value in head.headers.get_all(header::CONTENT_LENGTH) {
        let given = value.to_str().ok().and_then(|value| value.parse::<u64>().ok());
        // With 304, and in answers to HEAD, the length is that of the body left out.
        if given != Some(length) && length != 0 {
            return Err(invalid(format!("content-length is {value:?}, and the body has {length} bytes")));
        }
    }
    Ok(())
}

fn invalid(detail: String) -> Failure {
    Failure::new(Outcome::InvalidResponse, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffered(status: u16, fields: &[(&str, &str)], body: &str) -> types::Response {
        types::Response::Buffered(types::Buffered {
            head: types::Head {
                status,
                headers: fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect(),
            },
            body: body.into(),
            trailers: vec![],
        })
    }

    fn check(response: types::Response) -> Result<Response, Failure> {
        let meter = Arc::new(Meter::for_tests());
        Response::check(response, Bounds { meter: &meter, head: 4096 })
    }

    #[test]
    fn a_head_has_a_size_and_is_on_the_account_until_it_is_dropped() {
        let meter = Arc::new(Meter::for_tests());
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
        ] {
            let failure = check(buffered(status, fields, body)).unwrap_err();
            assert_eq!(failure.outcome, Outcome::InvalidResponse, "{status} {fields:?}");
            assert!(!failure.detail.is_empty());
        }
    }

    #[test]
    fn connection_level_fields_do_not_cross() {
        let fields = [("connection", "close"), ("transfer-encoding", "chunked"), ("keep-alive", "1"), ("x", "y")];
        let Ok(Response::Buffered { head, .. }) = check(buffered(200, &fields, "")) else { panic!() };
        assert_eq!(head.headers.len(), 1);
    }

    #[test]
    fn repeats_and_their_order_are_kept() {
        let fields = [("set-cookie", "a=1"), ("set-cookie", "b=2")];
        let Ok(Response::Buffered { head, .. }) = check(buffered(200, &fields, "")) else { panic!() };
        let cookies: Vec<_> = head.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }
}

//! Connection-specific fields (RFC 9110, 7.6.1): they concern the host only, and nothing behind it.
//!
//! | field | treatment |
//! |---|---|
//! | `connection`, `keep-alive`, `proxy-connection`, `transfer-encoding`, `upgrade`, `http2-settings` | removed |
//! | `te` | reduced to `te: trailers` if it lists `trailers`, otherwise removed |
//! | fields that `Connection` names | removed, in the head and in the trailers |
//!
//! A request is refused if its `Connection` names a field that is meant for the recipient, such as `Host` or
//! `Authorization`: a sender must not name such a field, and removing it would change the meaning of the request.
//!
//! `proxy-authorization` and `proxy-authenticate` stay: they are for the next proxy that wants them, and not for the
//! connection (RFC 9110, 11.7).

use http::{HeaderMap, HeaderName, HeaderValue, header};

const FIELDS: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes connection-specific fields, except `te: trailers`.
pub fn drop_connection_fields(headers: &mut HeaderMap) {
    // Many messages have none of them; a walk over the few names costs less than seven look-ups.
    if !headers.keys().any(is_connection_field) {
        return;
    }
    let trailers = lists(headers, &header::TE, "trailers");
    let names = members(headers, &header::CONNECTION).filter(|member| !is_usual(member));
    let names: Vec<_> = names.filter_map(|member| HeaderName::from_bytes(member.as_bytes()).ok()).collect();
    for name in names.iter().filter(|name| !is_for_the_recipient(name)).chain(&FIELDS) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether a field is connection-specific.
pub(crate) fn is_connection_field(name: &HeaderName) -> bool {
    FIELDS.contains(name)
}

/// Whether a list field has this member.
pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    members(headers, name).any(|member| member.eq_ignore_ascii_case(wanted))
}

/// Removes the fields that `Connection` names, and returns their names for the trailers.
///
/// # Errors
/// `Connection` names something that is not a field name, or a field that is meant for the recipient.
pub(crate) fn drop_named_fields(headers: &mut HeaderMap) -> Result<Vec<HeaderName>, &'static str> {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let value = value.to_str().map_err(|_| "Connection is not a list of names")?;
        for member in value.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|it| !it.is_empty()) {
            if is_usual(member) {
                continue;
            }
            let name = HeaderName::from_bytes(member.as_bytes()).map_err(|_| "Connection is not a list of names")?;
            if is_for_the_recipient(&name) {
                return Err("Connection names a field that is not the connection's");
            }
            if !is_connection_field(&name) {
                named.push(name);
            }
        }
    }
    for name in &named {
        headers.remove(name);
    }
    Ok(named)
}

/// Whether a `Connection` member is one of the usual ones, which name no field that could be present.
fn is_usual(member: &str) -> bool {
    ["close", "keep-alive", "upgrade"].iter().any(|usual| member.eq_ignore_ascii_case(usual))
}

/// The members of a list field, without parameters.
fn members<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|member| member.split(';').next().unwrap_or("").trim())
}

/// Whether a sender must not name this field in `Connection` (RFC 9110, 7.6.1): the field routes, frames, authorises or
/// describes a request, or was written by a proxy in front.
fn is_for_the_recipient(name: &HeaderName) -> bool {
    const PREFIXES: [&str; 6] = ["accept", "access-control-", "content-", "if-", "sec-", "x-forwarded"];
    const NAMES: [&str; 26] = [
        "authorization",
        "cache-control",
        "cdn-loop",
        "cookie",
        "date",
        "early-data",
        "expect",
        "forwarded",
        "from",
        "host",
        "idempotency-key",
        "max-forwards",
        "origin",
        "pragma",
        "priority",
        "proxy-authorization",
        "range",
        "referer",
        "traceparent",
        "tracestate",
        "trailer",
        "user-agent",
        "via",
        "x-client-ip",
        "x-real-ip",
        "x-request-id",
    ];
    let name = name.as_str();
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_te_trailers_is_left() {
        let all = [
            ("connection", "upgrade"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip;q=0.5, Trailers"),
            ("upgrade", "x"),
            ("http2-settings", "x"),
            ("proxy-connection", "x"),
            ("transfer-encoding", "chunked"),
            ("x", "y"),
        ];
        let mut headers = headers(&all);
        drop_connection_fields(&mut headers);
        assert_eq!(
            (headers.len(), &headers["te"], &headers["x"]),
            (2, &"trailers".parse().unwrap(), &"y".parse().unwrap())
        );
        headers.insert("te", HeaderValue::from_static("gzip"));
        drop_connection_fields(&mut headers);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn what_connection_names_goes() {
        let mut good = headers(&[("connection", "close, X-Hop"), ("connection", ",te ,"), ("x-hop", "1"), ("te", "x")]);
        assert_eq!(drop_named_fields(&mut good).unwrap(), ["x-hop"]);
        assert!(!good.contains_key("x-hop") && good.contains_key("te"));
        for bad in ["host", "Content-Length", "close, authorization", "cookie", "x-forwarded-for", "a b", "\"x\""] {
            let mut bad = headers(&[("connection", bad)]);
            assert!(drop_named_fields(&mut bad).is_err(), "{bad:?}");
        }
    }
}

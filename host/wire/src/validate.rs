//! Checks that a request must pass before the service sees it, beyond those of hyper's parsers.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};

use crate::connection_fields::drop_named_fields;
use crate::{Address, Connection, target};

/// Why a request is refused, as a sentence for the client.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
}

impl From<&'static str> for Refusal {
    fn from(reason: &'static str) -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, reason }
    }
}

/// Checks the head of a request, reduces its target to a path and a query, and normalises it for all later readers: one
/// `cookie`, a host, no field that `Connection` names. It returns the named fields, which must not come as trailers
/// either.
///
/// On HTTP/1 the connection is closed after an error, since another party may frame the next bytes differently.
pub(crate) fn validate<B>(request: &mut Request<B>, connection: &Connection) -> Result<Vec<HeaderName>, Refusal> {
    let scheme = check_scheme(request.uri(), connection);
    let named = if request.version() >= Version::HTTP_2 {
        validate_http2(request)?;
        Vec::new()
    } else {
        validate_http1(request, connection)?
    };
    scheme?;
    join_cookies(request.headers_mut());
    check_target(request, connection)?;
    Ok(named)
}

/// Checks the scheme (RFC 9110, 7.4): an `https` resource is served over TLS only, and the `http` resource of the same
/// name is a different one. A proxy in front that ends TLS states the client's scheme, as far as it is known.
fn check_scheme(uri: &Uri, connection: &Connection) -> Result<(), Refusal> {
    let Some(scheme) = uri.scheme_str() else { return Ok(()) };
    let own = if connection.tls.is_some() { "https" } else { "http" };
    if scheme.eq_ignore_ascii_case(own) {
        return Ok(());
    }
    // RFC 9113, 8.3.1: h2 takes an empty `:scheme`.
    if scheme.is_empty() {
        return Err("the :scheme is empty".into());
    }
    let is_of_web = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    if is_of_web && connection.tls_may_end_in_front() {
        return Ok(());
    }
    Err(Refusal { status: StatusCode::MISDIRECTED_REQUEST, reason: "the scheme is not that of this connection" })
}

fn validate_http1<B>(request: &mut Request<B>, connection: &Connection) -> Result<Vec<HeaderName>, Refusal> {
    let host = single_host(request.headers())?;
    let target = request.uri().authority();
    match host {
        // RFC 9112, 3.2.
        None if request.version() == Version::HTTP_11 => return Err("there is no Host".into()),
        None => {
            // RFC 9112, 3.3: on HTTP/1.0 the target or the server itself gives the host.
            let host = target.map_or_else(|| own_host(&connection.local), |target| target.as_str().to_owned());
            let host = HeaderValue::try_from(host).map_err(|_| "the target is not a host and a port")?;
            if !is_authority(host.as_bytes()) {
                return Err("the target is not a host and a port".into());
            }
            request.headers_mut().insert(header::HOST, host);
        }
        Some(host) if !is_authority(host) => return Err("Host is not a host and a port".into()),
        Some(host) => {
            if target.is_some_and(|target| !target.as_str().as_bytes().eq_ignore_ascii_case(host)) {
                return Err("the target and Host contradict each other".into());
            }
        }
    }
    // RFC 9112, 6.1: hyper accepts any list that ends in `chunked`, on any number of lines.
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err("Transfer-Encoding is not exactly one chunked".into());
    }
    Ok(drop_named_fields(request.headers_mut())?)
}

/// Checks an HTTP/2 request. HTTP/3 has the same rules (RFC 9114, 4.3.1); its own layer already enforces most of them.
fn validate_http2<B>(request: &Request<B>) -> Result<(), &'static str> {
    if request.headers().values().any(is_padded) {
        return Err("a field value begins or ends with a blank");
    }
    // RFC 9113, 8.3.1: either or both may name the resource, if they agree.
    let host = single_host(request.headers())?;
    let named = match (request.uri().authority().map(|authority| authority.as_str().as_bytes()), host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(":authority and Host contradict each other");
        }
        (Some(authority), _) => authority,
        (None, Some(host)) => host,
        (None, None) => return Err("there is neither :authority nor Host"),
    };
    if !is_authority(named) {
        return Err(":authority is not a host and a port");
    }
    Ok(())
}

/// Whether a value has white space at an end (RFC 9113, 8.2.1): h2 lets it pass, and code that trims it sees another
/// value.
pub(crate) fn is_padded(value: &HeaderValue) -> bool {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let bytes = value.as_bytes();
    bytes.first().is_some_and(is_blank) || bytes.last().is_some_and(is_blank)
}

/// Joins the parts of a cookie into one field before anything reads them (RFC 9113, 8.2.3, and for HTTP/1 RFC 6265,
/// 5.4).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_maybe_shared(Bytes::from(crumbs.join(&b"; "[..])));
    let mut joined = joined.expect("made of values and of a separator that may stand in one");
    joined.set_sensitive(true);
    headers.insert(header::COOKIE, joined);
}

/// This end of a connection as a host and a port.
fn own_host(local: &Address) -> String {
    match local {
        Address::Ip(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    }
}

fn single_host(headers: &HeaderMap) -> Result<Option<&[u8]>, &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("there is more than one Host");
    }
    Ok(host.map(|host| host.as_bytes()))
}

fn check_target<B>(request: &mut Request<B>, connection: &Connection) -> Result<(), &'static str> {
    let path = request.uri().path();
    // RFC 9112, 3.2.4: only OPTIONS addresses the server as a whole.
    if path == "*" && request.method() != Method::OPTIONS {
        return Err("the target * is only for OPTIONS");
    }
    if !path.starts_with('/') && path != "*" {
        return Err("the target has no path");
    }
    let is_reduced = request.version() < Version::HTTP_2 && request.uri().authority().is_some();
    let target = request.uri().path_and_query();
    if path != "*"
        && let Some(target) = target
    {
        target::check(target, connection.path_rule)?;
    }
    if is_reduced {
        let path = match target {
            None => PathAndQuery::from_static("/"),
            Some(target) if target.as_str().starts_with(['/', '*']) => target.clone(),
            // `http://host?query` (RFC 9112, 3.2.1).
            Some(query) => PathAndQuery::try_from(format!("/{query}", query = query.as_str()))
                .map_err(|_| "the target has no path")?,
        };
        *request.uri_mut() = Uri::from(path);
    }
    Ok(())
}

/// Whether these bytes are `host [ ":" port ]` without user information (RFC 9110, 4.2.4; RFC 3986, 3.2.2). It does not
/// check whether an IPv6 literal or a name is meaningful, only that no byte in it is ambiguous.
fn is_authority(bytes: &[u8]) -> bool {
    let (host_is_good, rest) = match bytes {
        [b'[', literal @ ..] => match literal.iter().position(|byte| *byte == b']') {
            Some(end) => {
                let address = &literal[..end];
                (!address.is_empty() && address.iter().all(|byte| is_literal(*byte)), &literal[end + 1..])
            }
            None => return false,
        },
        name => {
            let end = name.iter().position(|byte| *byte == b':').unwrap_or(name.len());
            (end > 0 && name[..end].iter().all(|byte| is_name(*byte)), &name[end..])
        }
    };
    let port_is_good = match rest {
        [] => true,
        [b':', port @ ..] => is_port(port),
        _ => false,
    };
    host_is_good && port_is_good
}

/// Whether these digits are a port: at most five digits that are a port of TCP or UDP; an empty port means the scheme's
/// own (RFC 3986, 3.2.3).
fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0_u32, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')).filter(|number| *number <= 65_535)
    });
    digits.len() <= 5 && number.is_some()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

fn is_literal(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || b":.".contains(&byte) || is_name(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    #[test]
    fn authorities() {
        for good in
            ["a", "example.com", "example.com:8080", "[::1]", "[::1]:80", "127.0.0.1:1", "a:", "a:65535", "xn--nxa"]
        {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a:b",
            "u@a",
            "a/b",
            "a b",
            "[::1",
            "[]",
            "[::1]x",
            "a:123456",
            "a:99999",
            "a:65536",
            "a,b\u{e9}",
            "a#",
            "a?",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    fn http1(method: &str, target: &str, hosts: &[&str]) -> Result<Request<()>, Refusal> {
        let version = if hosts == ["1.0"] { Version::HTTP_10 } else { Version::HTTP_11 };
        let hosts = if hosts == ["1.0"] { &[] } else { hosts };
        let mut builder = Request::builder().version(version).method(method).uri(target);
        for host in hosts {
            builder = builder.header("host", *host);
        }
        let mut request = builder.body(()).expect("a request that http can hold");
        validate(&mut request, &Connection::detached(Protocol::Http1)).map(|_| request)
    }

    #[test]
    fn an_absolute_target_is_reduced_to_its_path() {
        let request = http1("GET", "http://Example.com/a?b", &["example.COM"]).expect("they agree");
        assert_eq!(request.uri(), "/a?b");
        let request = http1("GET", "http://example.com", &["example.com"]).expect("they agree");
        assert_eq!(request.uri(), "/");
        let request = http1("GET", "http://example.com?a=b", &["example.com"]).expect("they agree");
        assert_eq!(request.uri().path_and_query().expect("a path").as_str(), "/?a=b");
    }

    #[test]
    fn there_is_always_a_host() {
        let own = http1("GET", "/", &["1.0"]).expect("HTTP/1.0 needs no Host");
        assert_eq!(own.headers()["host"], "127.0.0.1:0");
        let target = http1("GET", "http://example.com:80/a", &["1.0"]).expect("the target says it");
        assert_eq!((&target.headers()["host"], target.uri().path()), (&"example.com:80".parse().unwrap(), "/a"));
    }

    #[test]
    fn another_scheme_is_another_resource() {
        let refusal = http1("GET", "https://a/", &["a"]).expect_err("this is plaintext");
        assert_eq!(refusal.status, StatusCode::MISDIRECTED_REQUEST);
        assert!(http1("GET", "HTTP://a/", &["a"]).is_ok());
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(http1("GET", "/", &[]).is_err());
        assert!(http1("GET", "/", &["a", "a"]).is_err());
        assert!(http1("GET", "http://a/", &["b"]).is_err());
        assert!(http1("GET", "*", &["a"]).is_err());
        assert!(http1("OPTIONS", "*", &["a"]).is_ok());
    }
}

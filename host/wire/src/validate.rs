//! What a request must be before the service sees it, beyond what hyper's parsers check.

use http::{HeaderMap, Method, Request, Uri, Version, header, uri::PathAndQuery};

/// Checks the head of a request, and reduces its target to a path and a query.
///
/// The error is a sentence for the client; the answer is 400, and on HTTP/1 the connection is closed, since what
/// follows on it may be framed by someone with other ideas.
pub(crate) fn validate<B>(request: &mut Request<B>) -> Result<(), &'static str> {
    if request.version() >= Version::HTTP_2 { validate_http2(request) } else { validate_http1(request) }
}

fn validate_http1<B>(request: &mut Request<B>) -> Result<(), &'static str> {
    let host = single_host(request.headers())?;
    match host {
        // RFC 9112, 3.2.
        None if request.version() == Version::HTTP_11 => return Err("there is no Host"),
        None => {}
        Some(host) if !is_authority(host) => return Err("Host is not a host and a port"),
        Some(host) => {
            let target = request.uri().authority();
            if target.is_some_and(|target| !target.as_str().as_bytes().eq_ignore_ascii_case(host)) {
                return Err("the target and Host contradict each other");
            }
        }
    }
    // RFC 9112, 6.1: hyper accepts any list that ends in `chunked`, on any number of lines.
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err("Transfer-Encoding is not exactly one chunked");
    }
    check_target(request)
}

/// HTTP/3 has the same rules (RFC 9114, 4.3.1); most are kept by its own layer already.
fn validate_http2<B>(request: &mut Request<B>) -> Result<(), &'static str> {
    // RFC 9113, 8.3.1: h2 takes an empty `:scheme`.
    if request.uri().scheme_str().is_some_and(str::is_empty) {
        return Err("the :scheme is empty");
    }
    // RFC 9113, 8.3.1: the same resource may be named in either or in both, if they agree.
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
    check_target(request)
}

fn single_host(headers: &HeaderMap) -> Result<Option<&[u8]>, &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("there is more than one Host");
    }
    Ok(host.map(|host| host.as_bytes()))
}

fn check_target<B>(request: &mut Request<B>) -> Result<(), &'static str> {
    let path = request.uri().path();
    // RFC 9112, 3.2.4: only OPTIONS speaks to the server as a whole.
    if path == "*" && request.method() != Method::OPTIONS {
        return Err("the target * is only for OPTIONS");
    }
    if !path.starts_with('/') && path != "*" {
        return Err("the target has no path");
    }
    if request.version() < Version::HTTP_2 && request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
    }
    Ok(())
}

/// `host [ ":" port ]` without user information (RFC 9110, 4.2.4; RFC 3986, 3.2.2). Whether an IPv6 literal or a name
/// means anything is not checked, only that it has no byte that could mean something else to someone else.
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
        [b':', port @ ..] => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_is_good && port_is_good
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

    #[test]
    fn authorities() {
        for good in ["a", "example.com", "example.com:8080", "[::1]", "[::1]:80", "127.0.0.1:1", "a:", "xn--nxa"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in ["", ":80", "a:b", "u@a", "a/b", "a b", "[::1", "[]", "[::1]x", "a:123456", "a,b\u{e9}", "a#", "a?"]
        {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    fn http1(method: &str, target: &str, hosts: &[&str]) -> Result<Request<()>, &'static str> {
        let mut builder = Request::builder().method(method).uri(target);
        for host in hosts {
            builder = builder.header("host", *host);
        }
        let mut request = builder.body(()).expect("a request that http can hold");
        validate(&mut request).map(|()| request)
    }

    #[test]
    fn an_absolute_target_is_reduced_to_its_path() {
        let request = http1("GET", "http://Example.com/a?b", &["example.COM"]).expect("they agree");
        assert_eq!(request.uri(), "/a?b");
        let request = http1("GET", "http://example.com", &["example.com"]).expect("they agree");
        assert_eq!(request.uri(), "/");
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

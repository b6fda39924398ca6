//! A request, which stays in the host: the guest copies only the parts that it asks for.

use std::fmt;

use http::header::HeaderMap;
use http::{Method, Version};

use crate::bindings::roadrunner::handler::types as wit;
use crate::body::Body;
use crate::cookies::Cookies;
use crate::error::{Rejection, Result};
use crate::fields::Fields;
use crate::form::Pairs;
use crate::multipart::Multipart;

/// A request. Each accessor asks the host, so a handler pays only for the parts that it reads; keep a value that you
/// need twice.
pub struct Request(wit::Request);

/// The contents of a client's TLS certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// The subject's distinguished name (RFC 4514), with the most specific part first: `CN=alice,O=Example`.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The serial number, in lower-case hexadecimal.
    pub serial: String,
    /// The subject's alternative names: DNS names, email and IP addresses, URIs.
    pub names: Vec<String>,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub sha256: String,
}

/// The protocol that a handshake asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Upgrade {
    /// A WebSocket, with the subprotocols that the client offers, in its order.
    WebSocket(Vec<String>),
    /// A WebTransport session.
    WebTransport,
}

impl Request {
    /// The id, which also appears in the access log.
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// The method.
    pub fn method(&self) -> Method {
        Method::from_bytes(self.0.method().as_bytes())
            .expect("the host refuses methods that are not tokens (RFC 9110, 9.1)")
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> String {
        self.0.scheme()
    }

    /// The host, and the port when one was given: `example.com:8080`.
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    /// The path as it was sent, still percent-encoded, without the query.
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// The text after the `?`, still percent-encoded; `None` without a `?`.
    pub fn query(&self) -> Option<String> {
        self.0.query()
    }

    /// The query's pairs, decoded (`+` is a space); empty without a `?`.
    pub fn query_pairs(&self) -> Pairs {
        self.query().map(|query| Pairs::parse(query.as_bytes())).unwrap_or_default()
    }

    /// The HTTP version that the client used.
    pub fn version(&self) -> Version {
        match self.0.version() {
            wit::Version::Http10 => Version::HTTP_10,
            wit::Version::Http11 => Version::HTTP_11,
            wit::Version::Http2 => Version::HTTP_2,
            wit::Version::Http3 => Version::HTTP_3,
        }
    }

    /// The client's address with its port, `192.0.2.1:50000` or `[2001:db8::1]:50000`, after trusted forwarding. The
    /// port is 0 if a proxy does not give it; clients on a Unix socket are `local`.
    pub fn peer(&self) -> String {
        self.0.peer()
    }

    /// The client's TLS certificate, verified by the host; `None` if the listener asks for none (`client-auth`) or the
    /// client has sent none.
    pub fn client_certificate(&self) -> Option<ClientCertificate> {
        let wit::ClientCertificate { subject, issuer, serial, names, sha256 } = self.0.client_certificate()?;
        Some(ClientCertificate { subject, issuer, serial, names, sha256 })
    }

    /// The text that the route's pattern captured under this name, percent-decoded.
    pub fn param(&self, name: &str) -> Option<String> {
        self.0.param(name)
    }

    /// All captures of the route's pattern, in the pattern's order.
    pub fn params(&self) -> Vec<(String, String)> {
        self.0.params()
    }

    /// The name of the matching route, if the manifest gives it one.
    pub fn route(&self) -> Option<String> {
        self.0.route()
    }

    /// The first value of a header as text. Bytes that are not UTF-8 become U+FFFD; [`Request::header_bytes`] keeps
    /// them.
    pub fn header(&self, name: &str) -> Option<String> {
        self.header_bytes(name).map(text)
    }

    /// The first value of a header as it was sent.
    pub fn header_bytes(&self, name: &str) -> Option<Vec<u8>> {
        lower_case(name, |name| self.0.header(name))
    }

    /// Every value of a header as it was sent, in order.
    pub fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        lower_case(name, |name| self.0.header_values(name))
    }

    /// Every header field, as a map of the `http` crate.
    pub fn headers(&self) -> HeaderMap {
        self.header_fields().to_header_map()
    }

    /// Every header field in the order in which it was sent.
    pub fn header_fields(&self) -> Fields {
        self.0.headers().into()
    }

    /// The cookies of the request (RFC 6265, 4.2).
    pub fn cookies(&self) -> Cookies {
        Cookies::parse(self.header_values("cookie").iter().map(Vec::as_slice))
    }

    /// The body. It is returned once: a second call returns an empty body, as does a request without a body.
    pub fn body(&self) -> Body {
        Body::from(self.0.body())
    }

    /// The whole body, if it is a form (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// 415 for another type, 400 or 413 when the body did not arrive whole.
    pub fn form(&self) -> Result<Pairs, Rejection> {
        self.expect_media_type("application/x-www-form-urlencoded", |media_type| {
            media_type == "application/x-www-form-urlencoded"
        })?;
        Ok(Pairs::parse(&self.body().read_to_end()?))
    }

    /// The parts of the body, if it is a form with files (`multipart/form-data`). They are read as they arrive.
    ///
    /// # Errors
    /// 415 for another type, 400 if it has no boundary.
    pub fn multipart(&self) -> Result<Multipart, Rejection> {
        Multipart::new(&self.header("content-type").unwrap_or_default(), self.body())
    }

    /// The whole body, if it is JSON (`application/json`, or a type that ends with `+json`).
    ///
    /// # Errors
    /// 415 for another type, 400 for wrong JSON, 422 for JSON of another shape, 400 or 413 when the body did not
    /// arrive whole.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Rejection> {
        self.expect_media_type("application/json", |media_type| {
            media_type == "application/json" || media_type.ends_with("+json")
        })?;
        crate::json::parse(&self.body().read_to_end()?)
    }

    /// The protocol to switch to, on a WebSocket or WebTransport handshake.
    pub fn upgrade(&self) -> Option<Upgrade> {
        self.0.upgrade().map(|upgrade| match upgrade {
            wit::Upgrade::Websocket(subprotocols) => Upgrade::WebSocket(subprotocols),
            wit::Upgrade::Webtransport => Upgrade::WebTransport,
        })
    }

    /// Converts to a request of the `http` crate, with all its headers and its body.
    ///
    /// # Errors
    /// When the request's target is not a URI of the `http` crate.
    pub fn into_http(self) -> std::result::Result<http::Request<Body>, http::Error> {
        self.to_http(self.body())
    }

    /// A request of the `http` crate with all headers of this one, and another body.
    pub(crate) fn to_http<B>(&self, body: B) -> std::result::Result<http::Request<B>, http::Error> {
        let mut target = self.path();
        if let Some(query) = self.query() {
            target.push('?');
            target.push_str(&query);
        }
        let mut uri = http::Uri::builder().path_and_query(target);
        let authority = self.authority();
        if !authority.is_empty() {
            uri = uri.scheme(self.scheme().as_str()).authority(authority);
        }
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method();
        *request.uri_mut() = uri.build()?;
        *request.version_mut() = self.version();
        *request.headers_mut() = self.headers();
        Ok(request)
    }

    fn expect_media_type(&self, wanted: &str, fits: impl Fn(&str) -> bool) -> Result<(), Rejection> {
        let given = self.header("content-type").unwrap_or_default();
        // Parameters such as `charset` follow a semicolon; the type is compared without regard to case (RFC 9110,
        // 8.3.1).
        let media_type = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if fits(&media_type) {
            return Ok(());
        }
        Err(Rejection::new(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the body must be {wanted}")))
    }
}

impl From<wit::Request> for Request {
    fn from(request: wit::Request) -> Self {
        Self(request)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

/// Passes a name in lower case, since the contract compares lower-case names only; a lower-case name is passed
/// unchanged.
fn lower_case<T>(name: &str, ask: impl FnOnce(&str) -> T) -> T {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return ask(&name.to_ascii_lowercase());
    }
    ask(name)
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8(value).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

//! Methods, header fields, and origins as browsers send them.

use http::{HeaderName, HeaderValue, Method};
use schemars::{Schema, json_schema};

use super::HostPattern;
use crate::scalar::{Fault, Text};

/// A request method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MethodName(pub(crate) Method);

impl Text for MethodName {
    const KIND: &'static str = "a method, such as \"GET\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let upper = text.to_ascii_uppercase();
        // RFC 9110, 9.1: methods are case-sensitive, and the registered ones are in capitals.
        if upper != text && STANDARD.contains(&upper.as_str()) {
            return Err(Fault::new(
                format!("is \"{text}\", and methods are case-sensitive"),
                format!("write \"{upper}\""),
            ));
        }
        if text == "CONNECT" {
            return Err(Fault::new(
                "is \"CONNECT\"",
                "remove it: a WebSocket or WebTransport handshake is matched as GET on every protocol",
            ));
        }
        Method::from_bytes(text.as_bytes())
            .map(Self)
            .map_err(|_| Fault::new(format!("is \"{text}\", not a method"), "write a method, such as \"GET\""))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "examples": STANDARD })
    }
}

const STANDARD: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The name of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderField(pub(crate) HeaderName);

impl Text for HeaderField {
    const KIND: &'static str = "the name of a header field";

    fn parse(text: &str) -> Result<Self, Fault> {
        let name = HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| Fault::new(format!("is \"{text}\", not a header name"), "use letters, digits and `-`"))?;
        // These belong to the connection, which is the host's (RFC 9110, 7.6.1), or frame the message.
        if [
            "connection",
            "content-length",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ]
        .contains(&name.as_str())
        {
            return Err(Fault::new(
                format!("is \"{text}\", which belongs to the connection"),
                "remove it: the host writes it",
            ));
        }
        Ok(Self(name))
    }
}

/// The value of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderText(pub(crate) HeaderValue);

impl Text for HeaderText {
    const KIND: &'static str = "the value of a header field";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text != text.trim_matches([' ', '\t']) {
            return Err(Fault::new("starts or ends with a space", "remove it"));
        }
        HeaderValue::from_str(text)
            .map(Self)
            .map_err(|_| Fault::new("cannot be a header value", "remove line breaks and control characters"))
    }
}

/// An origin as browsers send it (RFC 6454, 6.2), or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(pub(crate) String);

impl Text for Origin {
    const KIND: &'static str = "an origin, such as \"https://example.com\", or `\"*\"`";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let wrong = |fix: String| Fault::new(format!("is \"{text}\", not an origin"), fix);
        let Some((scheme, authority)) = text.split_once("://") else {
            return Err(wrong(format!("write the scheme too: \"https://{text}\"")));
        };
        if let Some((authority, _)) = authority.split_once('/') {
            return Err(wrong(format!("an origin has no path: \"{scheme}://{authority}\"")));
        }
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, port)| if port.parse::<u16>().is_ok() { host } else { authority });
        let valid =
            ["http", "https"].contains(&scheme) && matches!(HostPattern::parse(host), Ok(HostPattern::Exact(_)));
        if !valid {
            return Err(wrong("write it as \"https://example.com\" or \"https://example.com:8443\"".to_owned()));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for good in ["*", "https://example.com", "http://localhost:3000", "http://[::1]:80"] {
            assert!(Origin::parse(good).is_ok(), "{good}");
        }
        for wrong in ["example.com", "https://example.com/", "https://*.example.com", "ftp://a", "https://"] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }
}

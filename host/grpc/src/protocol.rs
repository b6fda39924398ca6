//! The protocol of a request, by its content type.

use http::{HeaderMap, HeaderValue, header};

/// A protocol of the gRPC family, in which the host can answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Protocol {
    kind: Kind,
    /// The content type of the request, which its answer repeats.
    content_type: HeaderValue,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// `application/grpc`: the status is in trailer fields.
    Grpc,
    /// `application/grpc-web`: the status is the last frame of the body.
    Web,
    /// `application/grpc-web-text`: the same in base64.
    WebText,
}

impl Protocol {
    /// The protocol that a message of these fields is in; none for any other content type.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?;
        let kind = kind(content_type.as_bytes())?;
        Some(Self { kind, content_type: content_type.clone() })
    }

    /// Whether the protocol is gRPC itself, which needs HTTP/2 or later.
    pub fn is_grpc(&self) -> bool {
        self.kind == Kind::Grpc
    }

    /// Whether the body is base64, in which no message can be told from another.
    pub fn is_text(&self) -> bool {
        self.kind == Kind::WebText
    }

    /// The content type of an answer.
    pub fn content_type(&self) -> &HeaderValue {
        &self.content_type
    }
}

/// Media types are compared without case (RFC 9110, 8.3.1). After the type come its end, a subtype or a parameter.
fn kind(value: &[u8]) -> Option<Kind> {
    const GRPC: &[u8] = b"application/grpc";
    let rest = without_prefix(value, GRPC)?;
    if let Some(rest) = without_prefix(rest, b"-web-text") {
        return ends(rest).then_some(Kind::WebText);
    }
    if let Some(rest) = without_prefix(rest, b"-web") {
        return ends(rest).then_some(Kind::Web);
    }
    ends(rest).then_some(Kind::Grpc)
}

fn without_prefix<'v>(value: &'v [u8], prefix: &[u8]) -> Option<&'v [u8]> {
    let (start, rest) = value.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn ends(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(value: &'static str) -> Option<Protocol> {
        Protocol::of(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]))
    }

    #[test]
    fn a_content_type_names_the_protocol() {
        for (value, kind) in [
            ("application/grpc", Some(Kind::Grpc)),
            ("application/grpc+proto", Some(Kind::Grpc)),
            ("Application/gRPC;charset=utf-8", Some(Kind::Grpc)),
            ("application/grpc-web", Some(Kind::Web)),
            ("application/grpc-web+proto", Some(Kind::Web)),
            ("application/grpc-web-text", Some(Kind::WebText)),
            ("application/grpc-web-text+proto", Some(Kind::WebText)),
            ("application/grpcx", None),
            ("application/grpc-webx", None),
            ("application/grpc-web-textx", None),
            ("application/proto", None),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(protocol(value).map(|protocol| protocol.kind), kind, "{value}");
        }
        assert_eq!(Protocol::of(&HeaderMap::new()), None);
    }
}

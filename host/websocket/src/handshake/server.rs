//! The accepting side (RFC 6455, 4.2; RFC 8441, 4 and 5).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use super::fields::{Extension, MalformedField, list_has, tokens, upgrades_to};
use super::{VERSION, accept_key};
use crate::deflate::{DeflateConfig, DeflateParams};

/// Whether a request asks for a WebSocket with HTTP/1.1's Upgrade, well-formed or not. If so, pass it to
/// [`ServerHandshake::upgrade`]; otherwise it is an ordinary request.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    upgrades_to(headers, "websocket")
}

/// A valid handshake of a client.
#[derive(Clone, Debug)]
pub struct ServerHandshake {
    /// `Sec-WebSocket-Accept`; `None` over HTTP/2 and 3.
    accept: Option<String>,
    protocols: Vec<String>,
    extensions: Vec<Extension>,
}

impl ServerHandshake {
    /// Checks a request that uses HTTP/1.1's Upgrade (RFC 6455, 4.2.1).
    pub fn upgrade(method: &Method, version: Version, headers: &HeaderMap) -> Result<Self, Refusal> {
        if method != Method::GET || version < Version::HTTP_11 {
            return Err(Refusal::Request);
        }
        if !is_upgrade(headers) || !list_has(headers, &header::CONNECTION, "upgrade") {
            return Err(Refusal::Upgrade);
        }
        if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some(VERSION) {
            return Err(Refusal::Version { upgrade: true });
        }
        let key = only(headers, &header::SEC_WEBSOCKET_KEY).ok_or(Refusal::Key)?;
        // 4.1: 16 bytes in base64. Not all clients clear the unused bits of the last digit.
        let lenient = GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
        let nonce = GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(key);
        if nonce.is_ok_and(|nonce| nonce.len() == 16) {
            Self::new(Some(accept_key(key)), headers)
        } else {
            Err(Refusal::Key)
        }
    }

    /// Checks an extended CONNECT whose `:protocol` is `websocket` (RFC 8441, 5). There is no key, and neither
    /// `Upgrade` nor `Connection`.
    pub fn connect(headers: &HeaderMap) -> Result<Self, Refusal> {
        if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some(VERSION) {
            return Err(Refusal::Version { upgrade: false });
        }
        Self::new(None, headers)
    }

    /// The subprotocols that the client offers, in its order of preference, each once.
    pub fn protocols(&self) -> &[String] {
        &self.protocols
    }

    /// The parameters to agree on for permessage-deflate; `None` if the client offers nothing acceptable.
    pub fn deflate(&self, config: &DeflateConfig) -> Option<DeflateParams> {
        config.accept(&self.extensions)
    }

    /// The status of the acceptance: 101, or 200 if there is no Upgrade.
    pub fn status(&self) -> StatusCode {
        match self.accept {
            Some(_) => StatusCode::SWITCHING_PROTOCOLS,
            None => StatusCode::OK,
        }
    }

    /// The header fields of the acceptance (RFC 6455, 4.2.2).
    pub fn answer(&self, protocol: Option<&str>, deflate: Option<&DeflateParams>) -> Result<HeaderMap, NotOffered> {
        let mut headers = HeaderMap::with_capacity(5);
        if let Some(accept) = &self.accept {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, value(accept));
        }
        if let Some(protocol) = protocol {
            if !self.protocols.iter().any(|offered| offered == protocol) {
                return Err(NotOffered);
            }
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value(protocol));
        }
        if let Some(params) = deflate {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, value(&params.answer()));
        }
        Ok(headers)
    }

    fn new(accept: Option<String>, headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self {
            accept,
            protocols: tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL)?,
            extensions: Extension::parse_all(headers)?,
        })
    }
}

/// The error for a chosen subprotocol that the client did not offer, and would have to refuse (RFC 6455, 4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the subprotocol is not one that the client offers")]
pub struct NotOffered;

/// Why a handshake is refused, which also determines the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A field violates its grammar.
    #[error("Sec-WebSocket-Extensions or Sec-WebSocket-Protocol is malformed")]
    Field,
    /// Not exactly one `Sec-WebSocket-Key` that is 16 bytes in base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    /// Not a GET of HTTP/1.1.
    #[error("a WebSocket handshake is a GET of HTTP/1.1")]
    Request,
    /// `Upgrade` does not name websocket, or `Connection` not upgrade.
    #[error("Upgrade: websocket and Connection: upgrade are missing")]
    Upgrade,
    /// Not version 13.
    #[error("Sec-WebSocket-Version is not 13")]
    Version {
        /// Whether the request used Upgrade.
        upgrade: bool,
    },
}

impl Refusal {
    /// The answer's status: 426 for a wrong version over HTTP/1.1, 400 otherwise.
    pub fn status(&self) -> StatusCode {
        match self {
            // RFC 9110, 15.5.22: 426 must name the protocol to switch to in Upgrade, and HTTP/2 has no Upgrade.
            Self::Version { upgrade: true } => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer's header fields: for a wrong version, the supported one (RFC 6455, 4.2.2 and 4.4).
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Self::Version { upgrade } = self {
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
            if *upgrade {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            }
        }
        headers
    }
}

impl From<MalformedField> for Refusal {
    fn from(_: MalformedField) -> Self {
        Self::Field
    }
}

/// A field's value if the field occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::trim),
        _ => None,
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("base64, tokens and numbers are visible ASCII")
}

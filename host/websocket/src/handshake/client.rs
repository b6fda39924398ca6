//! The connecting side (RFC 6455, 4.1; RFC 8441, 5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::fields::{Extension, list_has, token, tokens};
use super::{VERSION, accept_key};
use crate::deflate::{DeflateConfig, DeflateParams};

/// A handshake that a client begins.
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    /// `Sec-WebSocket-Key`; `None` over HTTP/2 and 3.
    key: Option<String>,
    protocols: Vec<String>,
    deflate: Option<DeflateConfig>,
}

/// The server's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
    /// The agreed parameters of permessage-deflate.
    pub deflate: Option<DeflateParams>,
}

/// Why a client must reject a server's answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AnswerError {
    /// `Sec-WebSocket-Accept` does not match the key.
    #[error("Sec-WebSocket-Accept does not answer the key")]
    Accept,
    /// The server agreed to an extension that was not offered, or not in this form.
    #[error("the server agreed to an extension that was not offered")]
    Extension,
    /// The server chose a subprotocol that was not offered, or several.
    #[error("the server chose a subprotocol that was not offered")]
    Protocol,
    /// The status does not accept the handshake.
    #[error("the server answered with status {0}")]
    Status(StatusCode),
    /// `Upgrade` or `Connection` is missing.
    #[error("Upgrade: websocket and Connection: upgrade are missing")]
    Upgrade,
}

impl ClientHandshake {
    /// Begins a handshake over HTTP/1.1, with a fresh key. Subprotocols that are not tokens are left out.
    pub fn upgrade(protocols: &[&str], deflate: Option<DeflateConfig>) -> Result<Self, getrandom::Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        Ok(Self { key: Some(STANDARD.encode(nonce)), ..Self::connect(protocols, deflate) })
    }

    /// Begins a handshake over HTTP/2 or 3. Subprotocols that are not tokens are left out.
    pub fn connect(protocols: &[&str], deflate: Option<DeflateConfig>) -> Self {
        let protocols = protocols.iter().filter_map(|name| token(name.as_bytes())).map(str::to_owned);
        Self { key: None, protocols: protocols.collect(), deflate }
    }

    /// The header fields of the request, except `Host`.
    pub fn request(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(6);
        if let Some(key) = &self.key {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::SEC_WEBSOCKET_KEY, value(key));
        }
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        if !self.protocols.is_empty() {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value(&self.protocols.join(", ")));
        }
        if let Some(deflate) = &self.deflate {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, value(&deflate.offer()));
        }
        headers
    }

    /// Checks the server's answer (RFC 6455, 4.1, the list at its end).
    pub fn verify(&self, status: StatusCode, headers: &HeaderMap) -> Result<Opened, AnswerError> {
        if let Some(key) = &self.key {
            if status != StatusCode::SWITCHING_PROTOCOLS {
                return Err(AnswerError::Status(status));
            }
            let upgraded =
                list_has(headers, &header::UPGRADE, "websocket") && list_has(headers, &header::CONNECTION, "upgrade");
            if !upgraded {
                return Err(AnswerError::Upgrade);
            }
            let accept = headers.get(header::SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes().trim_ascii());
            if accept != Some(accept_key(key).as_bytes()) {
                return Err(AnswerError::Accept);
            }
        } else if !status.is_success() {
            return Err(AnswerError::Status(status));
        }
        Ok(Opened { protocol: self.protocol(headers)?, deflate: self.extension(headers)? })
    }

    fn protocol(&self, headers: &HeaderMap) -> Result<Option<String>, AnswerError> {
        let chosen = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).map_err(|_| AnswerError::Protocol)?;
        match chosen.as_slice() {
            [] => Ok(None),
            [chosen] if self.protocols.contains(chosen) => Ok(Some(chosen.clone())),
            _ => Err(AnswerError::Protocol),
        }
    }

    fn extension(&self, headers: &HeaderMap) -> Result<Option<DeflateParams>, AnswerError> {
        let agreed = Extension::parse_all(headers).map_err(|_| AnswerError::Extension)?;
        match (agreed.as_slice(), &self.deflate) {
            ([], _) => Ok(None),
            ([only], Some(config)) if only.name == "permessage-deflate" => {
                config.agree(only).map(Some).map_err(|_| AnswerError::Extension)
            }
            _ => Err(AnswerError::Extension),
        }
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("base64, tokens and numbers are visible ASCII")
}

//! The facts about a request that matter after its guest has answered.

use http::request::Parts;
use http::{HeaderMap, Method, header};

use super::handshake::Handshake;

/// The parts of a request that the shapes need after the guest has it.
pub(crate) struct RequestFacts {
    pub(super) method: Method,
    /// The fields that a file response depends on.
    pub(super) conditions: HeaderMap,
    pub(super) handshake: Option<Handshake>,
}

impl RequestFacts {
    pub(crate) fn of(head: &Parts, handshake: Option<Handshake>) -> Self {
        Self { method: head.method.clone(), conditions: conditions(&head.headers), handshake }
    }

    /// Whether a 2xx answer would open a tunnel.
    pub(super) fn is_connect(&self) -> bool {
        self.handshake.as_ref().is_some_and(Handshake::is_connect)
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// The request's header fields that decide how a file is sent.
fn conditions(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        if matches!(
            *name,
            header::ACCEPT_ENCODING
                | header::IF_MATCH
                | header::IF_MODIFIED_SINCE
                | header::IF_NONE_MATCH
                | header::IF_RANGE
                | header::IF_UNMODIFIED_SINCE
                | header::RANGE
        ) {
            kept.append(name, value.clone());
        }
    }
    kept
}

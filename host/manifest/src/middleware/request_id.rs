//! Request ids in headers.

use http::HeaderName;

use crate::decode::section;
use crate::middleware::MiddlewareType;
use crate::scalar::HeaderField;

/// Puts the request's id into headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The header.
    pub header: HeaderName,
    /// Whether the id of a trusted proxy is kept.
    pub trust: bool,
}

section! {
    /// Puts the request's id, the one in the logs, into a header of the request and of the response.
    pub(crate) struct RequestIdSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// The header's name.
        header: HeaderField = "\"x-request-id\"";
        /// Whether an id in this header is kept when one of the listener's `trusted-proxies` sends it. What anybody else
        /// sends is replaced: clients do not choose what stands in the logs.
        trust: bool = "false";
    }
}

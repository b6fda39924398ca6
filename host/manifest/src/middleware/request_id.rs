//! Request ids in headers.

use http::HeaderName;

use crate::middleware::kind::{Chosen, Kind, MiddlewareName};
use crate::resolver::Resolver;
use crate::scalar::HeaderField;
use crate::section::section;

/// The request's id in headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The header.
    pub header: HeaderName,
    /// Whether the id of a trusted proxy is kept.
    pub trust: bool,
}

section! {
    /// The request's id, which is the one in the logs, in a header of the request and of the response.
    pub(crate) struct RequestIdSection {
        /// The type.
        kind as "type": Chosen [required];
        /// The header's name.
        header: HeaderField = "\"x-request-id\"";
        /// Whether to keep an id in this header from one of the listener's `trusted-proxies`. An id from any other
        /// client is replaced: clients do not choose the contents of logs.
        trust: bool = "false";
    }
}

impl Kind for RequestIdSection {
    type Value = RequestId;

    fn check(&self, _: &MiddlewareName, _: &mut Resolver<'_>) -> Option<Self::Value> {
        Some(RequestId { header: self.header().0, trust: self.trust() })
    }
}

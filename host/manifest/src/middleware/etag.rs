//! Validators and conditional requests.

use crate::middleware::kind::{Chosen, Kind, MiddlewareName};
use crate::resolver::Resolver;
use crate::scalar::Bytes;
use crate::scalar::units::GIB;
use crate::section::section;

/// Validators for dynamic responses, and answers to conditional requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag {
    /// The largest body that gets a validator, in bytes.
    pub maximum_size: u64,
}

section! {
    /// An `etag`, made from the body, for buffered responses to GET and HEAD with status 200. If the client's
    /// `if-none-match` has it, the answer is 304 (RFC 9110, 13.1.2). This saves the transfer, and not the work: the
    /// guest still runs. An `etag` of the guest is kept. List this middleware after compression.
    pub(crate) struct EtagSection {
        /// The type.
        kind as "type": Chosen [required];
        /// The largest body that gets an `etag`.
        maximum_size: Bytes<0, { GIB }> = "\"1MiB\"";
    }
}

impl Kind for EtagSection {
    type Value = Etag;

    fn check(&self, _: &MiddlewareName, _: &mut Resolver<'_>) -> Option<Self::Value> {
        Some(Etag { maximum_size: self.maximum_size().get() })
    }
}

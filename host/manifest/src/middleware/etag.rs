//! Validators and conditional requests.

use crate::decode::section;
use crate::middleware::MiddlewareType;
use crate::scalar::Bytes;
use crate::scalar::units::GIB;

/// Gives dynamic responses a validator, and answers conditional requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag {
    /// The largest body that is looked at, in bytes.
    pub maximum_size: u64,
}

section! {
    /// Gives buffered responses to GET and HEAD with status 200 an `etag`, made from the body, and answers 304 when the
    /// client's `if-none-match` has it (RFC 9110, 13.1.2). The guest runs all the same: what is saved is the transfer. An
    /// `etag` of the guest's is kept. Put it inside compression, behind it in the list.
    pub(crate) struct EtagSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// Larger bodies get none.
        maximum_size: Bytes<0, { GIB }> = "\"1MiB\"";
    }
}

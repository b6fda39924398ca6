//! The length that a guest declares for a body that it writes piece by piece.

use bytes::Bytes;
use roadrunner_account::{Failure, Outcome};

/// The rest of the length that a guest declared for a body that it writes piece by piece. A body with another length is
/// aborted before the first byte too many, or in place of its end: it must never look whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim(Option<u64>);

impl Claim {
    pub(super) fn new(length: Option<u64>) -> Self {
        Self(length)
    }

    /// Takes a chunk from the rest; false when it does not fit.
    pub(super) fn take(&mut self, chunk: &Bytes) -> bool {
        let Self(Some(left)) = self else { return true };
        match left.checked_sub(chunk.len() as u64) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }

    /// Whether the body may end here.
    pub(super) fn is_kept(self) -> bool {
        self.0.unwrap_or(0) == 0
    }

    /// Whether the client has the whole declared length. The connection may then drop the body, which does not mean
    /// that the client has left early.
    pub(super) fn is_reached(self) -> bool {
        self.0 == Some(0)
    }

    pub(super) fn broken() -> Failure {
        Failure::new(Outcome::InvalidResponse, "the body is not as long as content-length says")
    }
}

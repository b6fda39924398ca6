//! A limit on the requests of one peer.

use crate::decode::section;
use crate::middleware::MiddlewareType;
use crate::scalar::Count;

section! {
    /// How many requests one peer may make to these routes, together: what `[rate-limit]` is for the host.
    pub(crate) struct RateLimitMiddlewareSection {
        /// What it does.
        kind as "type": MiddlewareType [required];
        /// Requests a second, on average. Over it, a request is answered with 429 and `Retry-After`.
        requests: Count<1, 1_000_000> [required];
        /// Requests at once after a pause. Without it, as many as `requests`.
        burst: Count<1, 1_000_000>;
        /// Peers that are remembered.
        peers: Count<64, 16_777_216> = "65_536";
    }
}

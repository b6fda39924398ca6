//! A limit on the requests of one peer.

use crate::middleware::kind::{Chosen, Kind, MiddlewareName};
use crate::rate_limit::RateLimit;
use crate::resolver::{Resolver, value};
use crate::scalar::Count;
use crate::section::section;

section! {
    /// The rate limit of one peer for all routes that list this middleware, like `[rate-limit]` for the host.
    pub(crate) struct RateLimitMiddlewareSection {
        /// The type.
        kind as "type": Chosen [required];
        /// Requests a second, on average. Over it, a request is answered with 429 and `Retry-After`.
        requests: Count<1, 1_000_000> [required];
        /// Requests at once after a pause. Without it, the number of `requests`.
        burst: Count<1, 1_000_000>;
        /// Peers to remember.
        peers: Count<64, 16_777_216> = "65_536";
    }
}

impl Kind for RateLimitMiddlewareSection {
    type Value = RateLimit;

    fn check(&self, _: &MiddlewareName, _: &mut Resolver<'_>) -> Option<Self::Value> {
        let requests = value(&self.requests)?.get();
        let burst = value(&self.burst).map_or(requests, |burst| burst.get());
        Some(RateLimit { requests, burst, peers: self.peers().get() })
    }
}

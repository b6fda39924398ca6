//! The rate limit of one peer.

use crate::decode::Field;
use crate::resolver::value;
use crate::scalar::Count;
use crate::section::section;

/// `[rate-limit]`, and `type = "rate-limit"`: a token bucket for each peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests a second, on average.
    pub requests: u32,
    /// Requests at once after a pause.
    pub burst: u32,
    /// Peers to remember.
    pub peers: u32,
}

section! {
    /// The rate limit of one peer: an IPv4 address, or the first 64 bits of an IPv6 address. Over it, a request is
    /// answered with 429 and `Retry-After`, before a route is looked for. Without this section there is no such limit.
    /// Clients of a unix socket have no address and are not limited.
    #[title = "`[rate-limit]`"]
    pub(crate) struct RateLimitSection {
        /// Requests a second, on average.
        requests: Count<1, 1_000_000> [required];
        /// Requests at once after a pause. Without it, the number of `requests`.
        burst: Count<1, 1_000_000>;
        /// Peers to remember, 17 bytes each. Over it, the peer that was quiet for the longest time is forgotten.
        peers: Count<64, 16_777_216> = "65_536";
    }
}

pub(crate) fn rate_limit(section: &Field<RateLimitSection>) -> Option<RateLimit> {
    let limit = value(section)?;
    // An absent required key has been reported.
    let requests = value(&limit.requests)?.get();
    let burst = value(&limit.burst).map_or(requests, |burst| burst.get());
    Some(RateLimit { requests, burst, peers: limit.peers().get() })
}

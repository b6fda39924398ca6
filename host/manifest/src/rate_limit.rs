//! How many requests one peer may make.

use crate::decode::section;
use crate::manifest::ManifestSection;
use crate::resolve::value;
use crate::scalar::Count;

/// `[rate-limit]`, and `type = "rate-limit"`: a token bucket for each peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests a second, on average.
    pub requests: u32,
    /// Requests at once after a pause.
    pub burst: u32,
    /// Peers that are remembered.
    pub peers: u32,
}

section! {
    /// How many requests one peer may make: an IPv4 address, or the first 64 bits of an IPv6 address. Over it, a request
    /// is answered with 429 and `Retry-After`, before any route is looked for. Without this section there is no such
    /// limit. Clients of a unix socket have no address and are not limited.
    pub(crate) struct RateLimitSection {
        /// Requests a second, on average.
        requests: Count<1, 1_000_000> [required];
        /// Requests at once after a pause. Without it, as many as `requests`.
        burst: Count<1, 1_000_000>;
        /// Peers that are remembered. Of more, those are forgotten that have been quiet for the longest time. Each takes
        /// 16 bytes.
        peers: Count<64, 16_777_216> = "65_536";
    }
}

pub(crate) fn rate_limit(section: &ManifestSection) -> Option<RateLimit> {
    let limit = value(&section.rate_limit)?;
    // What is required and not there has been reported.
    let requests = value(&limit.requests)?.get();
    let burst = value(&limit.burst).map_or(requests, |burst| burst.get());
    Some(RateLimit { requests, burst, peers: limit.peers().get() })
}

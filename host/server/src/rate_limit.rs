//! Admission by peer: a token bucket for each peer, in a table whose size never changes.
//!
//! A bucket is a single number, the time at which it would be full again (the generic cell rate algorithm): a request
//! moves it by one interval, and is refused while it would lie more than a burst ahead. A peer can be in eight places
//! of the table, chosen by a keyed hash. Where all are taken, the peer that has been quiet for the longest time is
//! forgotten, and gets a whole burst when it comes back. So a request costs a look at 128 bytes under a lock that few
//! share, whatever the number of peers, and no address makes the host remember more than the table holds.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use roadrunner_manifest::RateLimit;

/// Places of one peer.
const WAYS: usize = 8;

/// The buckets of all peers.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    settings: RateLimit,
    /// Nanoseconds that one request takes from the bucket.
    interval: u64,
    start: Instant,
    hasher: RandomState,
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    peer: u64,
    /// The time at which the bucket is full again, in nanoseconds since the start.
    full_at: u64,
}

impl RateLimiter {
    pub(crate) fn new(settings: RateLimit) -> Self {
        let sets = (settings.peers as usize).div_ceil(WAYS).max(1);
        Self {
            settings,
            interval: 1_000_000_000 / u64::from(settings.requests.max(1)),
            start: Instant::now(),
            hasher: RandomState::new(),
            sets: (0..sets).map(|_| Mutex::default()).collect(),
        }
    }

    /// The settings of the limiter.
    pub(crate) fn settings(&self) -> RateLimit {
        self.settings
    }

    /// Takes one request from the peer's bucket.
    ///
    /// # Errors
    ///
    /// The wait until the bucket has a request.
    pub(crate) fn take(&self, peer: IpAddr) -> Result<(), Duration> {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.take_at(peer, now)
    }

    fn take_at(&self, peer: IpAddr, now: u64) -> Result<(), Duration> {
        let peer = key(peer);
        let set = self.hasher.hash_one(peer) as usize % self.sets.len();
        let mut buckets = self.sets[set].lock();
        let index = match buckets.iter().position(|bucket| bucket.peer == peer) {
            Some(index) => index,
            None => {
                let quietest = buckets.iter().enumerate().min_by_key(|(_, bucket)| bucket.full_at);
                let index = quietest.map_or(0, |(index, _)| index);
                buckets[index] = Bucket { peer, full_at: 0 };
                index
            }
        };
        let full_at = buckets[index].full_at.max(now) + self.interval;
        let ahead = self.interval * u64::from(self.settings.burst);
        match (full_at - now).checked_sub(ahead) {
            None | Some(0) => {
                buckets[index].full_at = full_at;
                Ok(())
            }
            Some(wait) => Err(Duration::from_nanos(wait)),
        }
    }
}

/// The part of an address that identifies a client: an IPv4 address, or the first 64 bits of an IPv6 address.
fn key(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        // Addresses below ff00::/8 are for multicast and never those of a peer, so nothing collides.
        IpAddr::V4(address) => 0xffff_ffff_0000_0000 | u64::from(u32::from(address)),
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limiter(requests: u32, burst: u32, peers: u32) -> RateLimiter {
        RateLimiter::new(RateLimit { requests, burst, peers })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let limiter = limiter(10, 3, 64);
        let peer = ip("192.0.2.1");
        for _ in 0..3 {
            limiter.take_at(peer, 0).expect("within the burst");
        }
        assert_eq!(limiter.take_at(peer, 0), Err(Duration::from_millis(100)));
        assert_eq!(limiter.take_at(peer, SECOND / 20), Err(Duration::from_millis(50)));
        limiter.take_at(peer, SECOND / 10).expect("one is back");
        assert!(limiter.take_at(peer, SECOND / 10).is_err());
        let granted = (0..1000).filter(|step| limiter.take_at(peer, SECOND + step * SECOND / 100).is_ok()).count();
        assert_eq!(granted, 3 + 99, "ten seconds at ten a second, and what was saved up before");
        limiter.take_at(ip("192.0.2.2"), 0).expect("another peer");
    }

    #[test]
    fn an_ipv6_client_is_its_64_bits() {
        let limiter = limiter(1, 1, 64);
        limiter.take_at(ip("2001:db8::1"), 0).expect("the first");
        assert!(limiter.take_at(ip("2001:db8::ffff:0:1"), 0).is_err());
        limiter.take_at(ip("2001:db8:0:1::1"), 0).expect("another network");
        limiter.take_at(ip("192.0.2.1"), 0).expect("the first");
        assert!(limiter.take_at(ip("::ffff:192.0.2.1"), 0).is_err(), "the same client");
        limiter.take_at(ip("::1"), 0).expect("another");
    }

    #[test]
    fn more_peers_than_places_push_out_the_quiet_ones() {
        let limiter = limiter(1, 5, 64);
        let busy = ip("192.0.2.1");
        let mut granted = 0;
        for (time, peer) in (0..100_000_u32).enumerate() {
            let now = time as u64 * 1_000_000;
            granted += u32::from(limiter.take_at(busy, now).is_ok());
            limiter.take_at(IpAddr::V4((0x0a00_0000 + peer).into()), now).expect("a peer that was never seen");
        }
        assert!((100..=106).contains(&granted), "a hundred seconds at one a second: {granted}");
    }
}

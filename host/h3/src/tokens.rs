//! Address-validation tokens, by which a returning client proves its address without a round trip (RFC 9000 section
//! 8.1.3). This module records used tokens: none is accepted twice (section 8.1.4).

use std::collections::HashSet;
use std::mem;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use quinn::{TokenLog, TokenReuseError};

/// How long a token is valid.
pub(crate) const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of tokens for each connection: one for the client's next connection, and one for a parallel connection.
pub(crate) const SENT: u32 = 2;

/// The tokens that were used, for as long as they could be replayed.
#[derive(Default)]
pub(crate) struct UsedTokens {
    inner: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    /// Since when tokens are recorded here.
    began: Option<SystemTime>,
    now: HashSet<u128>,
    before: HashSet<u128>,
}

impl TokenLog for UsedTokens {
    fn check_and_insert(&self, nonce: u128, _: SystemTime, lifetime: Duration) -> Result<(), TokenReuseError> {
        let mut used = self.inner.lock();
        let now = SystemTime::now();
        let began = *used.began.get_or_insert(now);
        // After a clock was set back, this keeps more than it must.
        if now.duration_since(began).is_ok_and(|age| age >= lifetime) {
            used.began = Some(now);
            used.before = mem::take(&mut used.now);
        }
        // A client that fills the table makes clients prove their address again, as without a token.
        if used.before.contains(&nonce) || used.now.len() >= MOST || !used.now.insert(nonce) {
            return Err(TokenReuseError);
        }
        Ok(())
    }
}

/// The most tokens that are recorded in one lifetime, of 16 bytes each.
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_once() {
        let used = UsedTokens::default();
        let take = |nonce, lifetime| used.check_and_insert(nonce, SystemTime::now(), lifetime).is_ok();
        assert!(take(1, LIFETIME) && take(2, LIFETIME));
        assert!(!take(1, LIFETIME) && !take(2, LIFETIME));
        // After one lifetime they are still known, after two they have expired anyway.
        assert!(!take(1, Duration::ZERO));
        assert!(take(1, Duration::ZERO));
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let used = UsedTokens::default();
        let taken =
            (0..MOST as u128 + 10).filter(|nonce| used.check_and_insert(*nonce, SystemTime::now(), LIFETIME).is_ok());
        assert_eq!(taken.count(), MOST);
    }
}

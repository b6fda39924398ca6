//! Connection IDs that name a member, readable only with the key.
//!
//! ```text
//! plaintext   | member: 16 bits, below 1024 | random: 48 bits |
//! on the wire | Speck64/128 of it, under the key of the pool: 64 bits |
//! ```
//!
//! The whole connection ID is one block. To an observer it is 64 random bits, and two IDs of one connection have
//! nothing in common (RFC 9000 section 5.1).

use std::time::Duration;
use std::{fmt, io};

use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;

use super::MAX_ENDPOINTS;
use super::speck::{Block, Speck};

/// The length of every connection ID, in bytes.
pub(super) const LENGTH: usize = 8;

/// The key that encrypts connection IDs.
#[derive(Clone)]
pub(super) struct CidKey(pub(super) Speck);

impl CidKey {
    pub(super) fn random() -> io::Result<CidKey> {
        let mut key = [0; 4];
        for word in &mut key {
            *word = getrandom::u32().map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(CidKey(Speck::new(key)))
    }

    pub(super) fn encode(&self, member: u16, random: u64) -> [u8; LENGTH] {
        let block = u64::from(member) << 48 | random & 0xffff_ffff_ffff;
        let (x, y) = self.0.encrypt(((block >> 32) as u32, block as u32));
        (u64::from(x) << 32 | u64::from(y)).to_be_bytes()
    }

    /// The member that a connection ID names, if it may be one of ours: of the IDs that clients invent, all but one in
    /// 64 name no member.
    pub(super) fn member(&self, cid: [u8; LENGTH]) -> Option<usize> {
        let member = usize::from((self.0.decrypt(block(cid)).0 >> 16) as u16);
        (member < MAX_ENDPOINTS).then_some(member)
    }
}

/// Does not show the key.
impl fmt::Debug for CidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CidKey").finish_non_exhaustive()
    }
}

/// The destination connection ID of a datagram, if it is as long as ours.
pub(super) fn destination(datagram: &[u8]) -> Option<[u8; LENGTH]> {
    // RFC 8999 section 5.1 and 5.2: in a long header, the version and the length of the ID come before it.
    let start = match datagram.first()? {
        first if first & LONG_HEADER == 0 => 1,
        _ if usize::from(*datagram.get(5)?) == LENGTH => 6,
        _ => return None,
    };
    datagram.get(start..start + LENGTH)?.try_into().ok()
}

/// The bit of the first byte that long headers have (RFC 8999 section 5.1).
pub(super) const LONG_HEADER: u8 = 0x80;

fn block(cid: [u8; LENGTH]) -> Block {
    let block = u64::from_be_bytes(cid);
    ((block >> 32) as u32, block as u32)
}

/// The connection IDs of one member.
pub(super) struct MemberCids {
    key: CidKey,
    member: u16,
    lifetime: Option<Duration>,
}

impl MemberCids {
    pub(super) fn new(key: CidKey, member: usize, lifetime: Option<Duration>) -> MemberCids {
        let member = u16::try_from(member).expect("there are at most 1024");
        MemberCids { key, member, lifetime }
    }
}

impl ConnectionIdGenerator for MemberCids {
    fn generate_cid(&mut self) -> ConnectionId {
        let random = getrandom::u64().expect("the system gave the randomness for the key, and goes on giving it");
        ConnectionId::new(&self.key.encode(self.member, random))
    }

    /// Accepts every ID: any member of any pool with this key may have issued it, so that each resets unknown
    /// connections.
    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        let cid = cid[..].try_into().map_err(|_| InvalidCid)?;
        self.key.member(cid).map(drop).ok_or(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        self.lifetime
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> CidKey {
        CidKey::random().expect("randomness")
    }

    proptest! {
        #[test]
        fn every_member_comes_back(member in 0..MAX_ENDPOINTS, random: u64) {
            let key = key();
            prop_assert_eq!(key.member(key.encode(member as u16, random)), Some(member));
        }

        #[test]
        fn any_bytes_have_a_destination_or_none(datagram in proptest::collection::vec(any::<u8>(), 0..40)) {
            let found = destination(&datagram);
            let needed = if datagram.first().is_some_and(|first| first & 0x80 != 0) { 14 } else { 9 };
            prop_assert!(found.is_none() || datagram.len() >= needed);
        }
    }

    #[test]
    fn generated_ones_are_valid_for_every_member_and_for_no_other_key() {
        let key = key();
        let mut cids = MemberCids::new(key.clone(), 3, None);
        let other = MemberCids::new(key, 900, None);
        let stranger = MemberCids::new(self::key(), 3, None);
        let mut accepted = 0;
        for _ in 0..6400 {
            let cid = cids.generate_cid();
            assert!(other.validate(&cid).is_ok());
            accepted += usize::from(stranger.validate(&cid).is_ok());
        }
        // One in 64 is expected: 100, with a deviation of 10.
        assert!((20..200).contains(&accepted), "{accepted}");
    }

    /// The IDs show nothing of the plaintext: each bit is set in about half of one member's IDs, and no bit
    /// distinguishes the IDs of two members.
    #[test]
    fn ids_look_random() {
        let key = key();
        for member in [0, 1] {
            let mut cids = MemberCids::new(key.clone(), member, None);
            let mut ones = [0_u32; 64];
            for _ in 0..4096 {
                let bits = u64::from_be_bytes(cids.generate_cid()[..].try_into().expect("8 bytes"));
                for (bit, ones) in ones.iter_mut().enumerate() {
                    *ones += u32::from(bits >> bit & 1 == 1);
                }
            }
            // 2048 are expected, with a deviation of 32; this is seven of them.
            assert!(ones.iter().all(|count| (1824..2272).contains(count)), "{ones:?}");
        }
    }

    #[test]
    fn destinations() {
        let cid = [1, 2, 3, 4, 5, 6, 7, 8];
        let short = [&[0x40][..], &cid, b"rest"].concat();
        assert_eq!(destination(&short), Some(cid));
        let long = [&[0xc0, 0, 0, 0, 1, 8][..], &cid, b"rest"].concat();
        assert_eq!(destination(&long), Some(cid));
        let other = [&[0xc0, 0, 0, 0, 1, 9][..], &cid, b"rest"].concat();
        assert_eq!(destination(&other), None);
        assert_eq!(destination(&short[..8]), None);
        assert_eq!(destination(&long[..13]), None);
        assert_eq!(destination(&[]), None);
    }
}

//! Accounts of the bytes that the host holds for requests outside their guests: bodies, heads, chunks and messages in
//! transit.
//!
//! A [`Charge`] stands for such bytes. While it lives, it counts them three times: against the request's `memory`,
//! against the tenant, and against the host, whose [`Buffers`] are bounded by `limits.buffered`. It counts them before
//! the instance exists, while it exists and after it is gone: [`Charge::cover`] ties a charge to the bytes themselves.
//! The last holder of the bytes, often the transport, gives the charge back by dropping them.
//!
//! No party can take all of the host's buffers. A party is a tenant or, where a request has none, a client's
//! connection; it may hold as much as it leaves free. So a single party gets half of the buffers, two get a third each,
//! and a newcomer always finds room: the dynamic thresholds of shared-memory switches (Choudhury and Hahne, 1998), with
//! a factor of 1.
//!
//! Not covered: the bytes of a connection before its request is read and after its response is copied, which the
//! settings of the transport bound; and less than [`SMALL`] bytes at once, which is less than a request costs anyway.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::outcome::Outcome;
use crate::tenant::Tenant;

/// The smallest number of bytes that is counted on its own, so that a short answer costs nothing.
const SMALL: u64 = 1 << 10;

/// The largest piece, in bytes, that waits for room. A larger piece fails: the host would hold it while it waits.
const WAITS: u64 = 128 << 10;

/// The least spare capacity, in bytes, that gathered bytes get when they grow.
const STEP: usize = 1 << 10;

/// The bytes that the host may hold for all requests together.
#[derive(Debug)]
pub struct Buffers {
    limit: AtomicU64,
    used: AtomicU64,
    refused: AtomicU64,
    /// Pieces that wait for room.
    waiting: AtomicUsize,
    freed: Notify,
}

impl Buffers {
    /// Creates buffers with room for `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// Changes the limit. Bytes that are held already stay.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// Bytes that may be held.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Bytes that are held now.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The number of times that bytes did not fit.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Takes bytes for a party, whose total is `party`. Returns false, and takes nothing, when they do not fit. It then
    /// takes nothing even for a moment: giving bytes back would wake all waiting pieces, including the caller's.
    fn take(&self, party: &AtomicU64, bytes: u64) -> bool {
        let limit = self.limit();
        let taken = self.used.fetch_update(SeqCst, SeqCst, |used| {
            let after = used.checked_add(bytes)?;
            let held = party.load(Relaxed).checked_add(bytes)?;
            after.checked_add(held).filter(|sum| *sum <= limit).map(|_| after)
        });
        match taken {
            Ok(_) => drop(party.fetch_add(bytes, Relaxed)),
            Err(_) => drop(self.refused.fetch_add(1, Relaxed)),
        }
        taken.is_ok()
    }

    fn add(&self, party: &AtomicU64, bytes: u64) {
        party.fetch_add(bytes, Relaxed);
        self.used.fetch_add(bytes, SeqCst);
    }

    fn give_back(&self, party: &AtomicU64, bytes: u64) {
        party.fetch_sub(bytes, Relaxed);
        self.used.fetch_sub(bytes, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.freed.notify_waiters();
        }
    }
}

/// The party that holds the bytes: a tenant or, without a tenant, a client's connection.
pub(crate) struct Party<'a> {
    pub(crate) buffers: &'a Buffers,
    pub(crate) tenant: Option<&'a Tenant>,
    /// Bytes held for the connection.
    pub(crate) connection: &'a AtomicU64,
}

impl Party<'_> {
    pub(crate) fn take(&self, bytes: u64) -> Result<(), Outcome> {
        if let Some(tenant) = self.tenant
            && !tenant.memory.take(bytes)
        {
            return Err(Outcome::TenantMemoryExceeded);
        }
        if self.buffers.take(self.held(), bytes) {
            return Ok(());
        }
        if let Some(tenant) = self.tenant {
            tenant.memory.give_back(bytes);
        }
        Err(Outcome::BuffersExceeded)
    }

    pub(crate) fn add(&self, bytes: u64) {
        if let Some(tenant) = self.tenant {
            tenant.memory.add(bytes);
        }
        self.buffers.add(self.held(), bytes);
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        if let Some(tenant) = self.tenant {
            tenant.memory.give_back(bytes);
        }
        self.buffers.give_back(self.held(), bytes);
    }

    fn held(&self) -> &AtomicU64 {
        self.tenant.map_or(self.connection, |tenant| &tenant.buffered)
    }
}

/// An account that is charged for bytes that the host holds: a [`Meter`](crate::Meter), or a [`Holder`].
pub trait Account: fmt::Debug + Send + Sync {
    /// Takes bytes from every account involved, or from none.
    ///
    /// # Errors
    ///
    /// The limit that the bytes would exceed.
    fn take(&self, bytes: u64) -> Result<(), Outcome>;

    /// Takes bytes that exist already, whether they fit or not.
    fn add(&self, bytes: u64);

    /// Gives bytes back.
    fn give_back(&self, bytes: u64);

    /// The host's part of the account.
    fn buffers(&self) -> &Arc<Buffers>;
}

/// The account for a request that has no instance.
#[derive(Debug)]
pub struct Holder {
    /// The host's buffers.
    pub buffers: Arc<Buffers>,
    /// The tenant that the route belongs to; none for the host itself.
    pub tenant: Option<Arc<Tenant>>,
    /// Bytes held for the connection.
    pub connection: Arc<AtomicU64>,
}

impl Holder {
    fn party(&self) -> Party<'_> {
        Party { buffers: &self.buffers, tenant: self.tenant.as_deref(), connection: &self.connection }
    }
}

impl Account for Holder {
    fn take(&self, bytes: u64) -> Result<(), Outcome> {
        self.party().take(bytes)
    }

    fn add(&self, bytes: u64) {
        self.party().add(bytes);
    }

    fn give_back(&self, bytes: u64) {
        self.party().give_back(bytes);
    }

    fn buffers(&self) -> &Arc<Buffers> {
        &self.buffers
    }
}

/// A charge for bytes that the host holds; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    account: Arc<dyn Account>,
    bytes: u64,
}

impl Charge {
    /// Creates a charge of no bytes.
    pub fn none(account: Arc<dyn Account>) -> Self {
        Self { account, bytes: 0 }
    }

    /// Takes a charge of `bytes`.
    ///
    /// # Errors
    ///
    /// The limit that the bytes would exceed.
    pub fn take(account: Arc<dyn Account>, bytes: u64) -> Result<Self, Outcome> {
        account.take(bytes)?;
        Ok(Self { account, bytes })
    }

    /// The number of bytes charged.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes further bytes.
    ///
    /// # Errors
    ///
    /// The limit that the bytes would exceed. The earlier bytes stay charged.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Outcome> {
        self.account.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives some bytes back.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        if bytes > 0 {
            self.account.give_back(bytes);
            self.bytes -= bytes;
        }
    }

    /// Sets the charge to `bytes`, which exist already; to 0 where they are fewer than [`SMALL`].
    ///
    /// # Errors
    ///
    /// The limit that the bytes exceed. They count all the same, until the charge changes.
    pub fn set(&mut self, bytes: u64) -> Result<(), Outcome> {
        let bytes = if bytes < SMALL { 0 } else { bytes };
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            self.shrink(self.bytes - bytes);
            return Ok(());
        };
        let fits = self.account.take(more);
        if fits.is_err() {
            self.account.add(more);
        }
        self.bytes = bytes;
        fits
    }

    /// Ties the charge to its bytes: it lives as long as they do.
    pub fn cover(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Covered { bytes, _charge: self })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.give_back(self.bytes);
        }
    }
}

struct Covered {
    // Dropped first.
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Covered {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Charges an account for bytes that exist already, until they are dropped.
///
/// # Errors
///
/// The limit that the bytes would exceed.
pub fn cover<A: Account + 'static>(account: &Arc<A>, bytes: Bytes) -> Result<Bytes, Outcome> {
    let size = bytes.len() as u64;
    if size < SMALL {
        return Ok(bytes);
    }
    Ok(Charge::take(account.clone(), size)?.cover(bytes))
}

/// Takes a charge for bytes that accompany something else; none when they are few.
pub fn charge<A: Account + 'static>(account: &Arc<A>, bytes: u64) -> Result<Option<Charge>, Outcome> {
    (bytes >= SMALL).then(|| Charge::take(account.clone(), bytes)).transpose()
}

/// Charges an account for the pieces of a body, one at a time. A piece that finds no room in the host's buffers waits,
/// and holds up the producer of the next piece.
#[derive(Default)]
pub struct Covering {
    piece: Option<Bytes>,
    freed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Covering {
    /// Whether a piece waits.
    pub fn is_waiting(&self) -> bool {
        self.piece.is_some()
    }

    /// Sets the next piece. No other piece may be waiting.
    pub fn put(&mut self, piece: Bytes) {
        self.piece = Some(piece);
    }

    /// Polls for the piece, which is ready once there is room for it.
    ///
    /// # Errors
    ///
    /// The limit that the piece exceeds.
    pub fn poll<A: Account + 'static>(
        &mut self,
        account: &Arc<A>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Outcome>> {
        loop {
            let Some(piece) = &self.piece else { return Poll::Ready(Ok(Bytes::new())) };
            let covered = cover(account, piece.clone());
            if covered.as_ref().err() != Some(&Outcome::BuffersExceeded) || piece.len() as u64 > WAITS {
                *self = Self::default();
                return Poll::Ready(covered);
            }
            match &mut self.freed {
                Some(freed) => ready!(freed.as_mut().poll(context)),
                None => {
                    // The listener is registered before the next try, so that no notification is missed.
                    let mut listens = Box::pin(freed(account.buffers().clone()));
                    if listens.as_mut().poll(context).is_pending() {
                        self.freed = Some(listens);
                    }
                    continue;
                }
            }
            self.freed = None;
        }
    }
}

impl fmt::Debug for Covering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Covering").field("piece", &self.piece).finish_non_exhaustive()
    }
}

/// Resolves when bytes are given back after its first poll.
async fn freed(buffers: Arc<Buffers>) {
    struct Waiting<'a>(&'a AtomicUsize);
    impl Drop for Waiting<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    let notified = buffers.freed.notified();
    buffers.waiting.fetch_add(1, SeqCst);
    let _waiting = Waiting(&buffers.waiting);
    notified.await;
}

/// Bytes that arrive piece by piece, charged to an account as they arrive.
#[derive(Debug)]
pub struct Gathered {
    bytes: Vec<u8>,
    charge: Charge,
}

impl Gathered {
    /// Starts with no bytes.
    pub fn none(account: Arc<dyn Account>) -> Self {
        Self { bytes: Vec::new(), charge: Charge::none(account) }
    }

    /// Starts with no bytes, and charges for `beside` bytes that are held already.
    ///
    /// # Errors
    ///
    /// The limit that those bytes would exceed.
    pub fn new(account: Arc<dyn Account>, beside: u64) -> Result<Self, Outcome> {
        Ok(Self { bytes: Vec::new(), charge: Charge::take(account, beside)? })
    }

    /// The number of bytes gathered.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no bytes were gathered.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds a piece. `most` is the expected maximum of all pieces together, as far as it is known. All allocated bytes
    /// are charged.
    ///
    /// # Errors
    ///
    /// The limit that the piece would exceed.
    pub fn push(&mut self, piece: &[u8], most: usize) -> Result<(), Outcome> {
        let needed = self.bytes.len() + piece.len();
        let has = self.bytes.capacity();
        if needed > has {
            let room = (needed + (needed / 4).max(STEP)).min(most.max(needed));
            self.charge.grow((room - has) as u64)?;
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Returns all bytes, and the charge for them.
    pub fn finish(self) -> (Bytes, Charge) {
        (self.bytes.into(), self.charge)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use roadrunner_values::Quota;

    fn holder(buffers: &Arc<Buffers>, tenant: Option<&Arc<Tenant>>) -> Arc<Holder> {
        Arc::new(Holder { buffers: buffers.clone(), tenant: tenant.cloned(), connection: Arc::default() })
    }

    #[test]
    fn a_party_leaves_as_much_as_it_takes() {
        let buffers = Buffers::new(900 << 10);
        let take = |holder: &Arc<Holder>, kib: u64| Charge::take(holder.clone(), kib << 10);
        let (one, other) = (holder(&buffers, None), holder(&buffers, None));
        let first = take(&one, 450).expect("half of it");
        assert_eq!(take(&one, 1).unwrap_err(), Outcome::BuffersExceeded);
        let second = take(&other, 225).expect("half of what is left");
        assert_eq!(take(&other, 1).unwrap_err(), Outcome::BuffersExceeded);
        assert_eq!((buffers.used(), buffers.refused()), (675 << 10, 2));
        drop(first);
        let _more = take(&other, 225).expect("there is more again");
        drop(second);
        let tenant = Tenant::new("t", Quota { memory: Some(200 << 10), ..Quota::default() });
        let (here, there) = (holder(&buffers, Some(&tenant)), holder(&buffers, Some(&tenant)));
        let _third = take(&here, 150).expect("it fits");
        assert_eq!(take(&there, 51).unwrap_err(), Outcome::TenantMemoryExceeded, "a tenant is one, on any connection");
        assert_eq!((tenant.memory.used(), tenant.buffered.load(Relaxed)), (150 << 10, 150 << 10));
    }

    #[test]
    fn covered_bytes_count_until_the_last_part_of_them_is_dropped() {
        let buffers = Buffers::new(1 << 20);
        let account = holder(&buffers, None);
        let mut bytes = cover(&account, Bytes::from(vec![7; 4096])).expect("they fit");
        let part = bytes.split_to(16);
        drop(bytes);
        assert_eq!((&part[..], buffers.used()), (&[7; 16][..], 4096));
        drop(part);
        assert_eq!(buffers.used(), 0);
        let few = cover(&account, Bytes::from_static(b"hello")).expect("few");
        assert_eq!((few.len(), buffers.used()), (5, 0));
    }

    #[test]
    fn a_charge_that_is_set_counts_what_is_there_also_when_it_does_not_fit() {
        let buffers = Buffers::new(10_000);
        let mut charge = Charge::none(holder(&buffers, None));
        charge.set(4000).expect("it fits");
        assert_eq!(charge.set(6000), Err(Outcome::BuffersExceeded));
        assert_eq!((charge.bytes(), buffers.used()), (6000, 6000));
        charge.set(2000).expect("less always fits");
        assert_eq!(buffers.used(), 2000);
        charge.set(10).expect("next to nothing");
        assert_eq!(buffers.used(), 0);
        charge.set(2000).expect("it fits");
        drop(charge);
        assert_eq!(buffers.used(), 0);
    }

    #[test]
    fn what_is_gathered_is_on_the_account_before_it_is_allocated() {
        let buffers = Buffers::new(1 << 20);
        let mut gathered = Gathered::new(holder(&buffers, None), 100).expect("it fits");
        let most = 300 << 10;
        while gathered.len() < most {
            gathered.push(&[1; 1000][..1000.min(most - gathered.len())], most).expect("it fits");
            let held = buffers.used() as usize - 100;
            assert!(held >= gathered.len() && held <= gathered.len() + (gathered.len() / 4).max(2048), "{held}");
        }
        assert_eq!(buffers.used() as usize, 100 + most, "no more than was announced");
        let error = gathered.push(&[1; 250 << 10], 1 << 30).expect_err("more than half");
        assert_eq!(error, Outcome::BuffersExceeded);
        let (bytes, charge) = gathered.finish();
        assert_eq!((bytes.len(), buffers.used()), (most, 100 + most as u64));
        drop(charge);
        assert_eq!(buffers.used(), 0);
    }

    #[test]
    fn a_piece_waits_for_room_and_a_large_one_fails() {
        let buffers = Buffers::new(100 << 10);
        let account = holder(&buffers, None);
        let mut context = Context::from_waker(Waker::noop());
        let held = Charge::take(account.clone(), 40 << 10).expect("it fits");
        let mut covering = Covering::default();
        covering.put(Bytes::from(vec![0; 20 << 10]));
        assert!(covering.poll(&account, &mut context).is_pending() && covering.is_waiting());
        drop(held);
        let Poll::Ready(Ok(piece)) = covering.poll(&account, &mut context) else { panic!("there is room") };
        assert_eq!((piece.len() as u64, covering.is_waiting()), (buffers.used(), false));
        covering.put(Bytes::from(vec![0; 160 << 10]));
        let polled = covering.poll(&account, &mut context);
        assert!(matches!(polled, Poll::Ready(Err(Outcome::BuffersExceeded))), "{polled:?}");
        assert_eq!(buffers.waiting.load(SeqCst), 0);
    }
}

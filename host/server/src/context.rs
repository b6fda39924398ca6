//! A request on its way to its route's target: all that is known of it beside its head and its body.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use parking_lot::Mutex;
use roadrunner_account::RequestId;
use roadrunner_wire::{Address, Connection, TunnelRequest};

use crate::grpc::call::Call;
use crate::ledger::Ledger;

/// A request on its way to its route's target, without head and body.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) connection: Arc<Connection>,
    /// The client: the connection's peer, or the address that a trusted proxy names.
    pub(crate) peer: Address,
    pub(crate) id: RequestId,
    pub(crate) route: usize,
    pub(crate) params: Vec<(Arc<str>, String)>,
    pub(crate) authority: String,
    pub(crate) scheme: &'static str,
    /// The time at which the request has to be over.
    pub(crate) ends: Option<Instant>,
    /// The call of gRPC that the request is; none for other requests.
    pub(crate) call: Option<Call>,
    /// The account of the request, which waits for the middlewares; none without middlewares.
    pub(crate) ledger: Option<Ledger>,
    /// The tunnel that the request asks for; taken once.
    pub(crate) tunnel: Option<Arc<Mutex<Option<TunnelRequest>>>>,
}

/// A generator of request ids.
pub(crate) struct Ids {
    start: u64,
    count: AtomicU64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        Self { start: RandomState::new().hash_one(std::time::SystemTime::now()), count: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> RequestId {
        RequestId::Made(self.start, self.count.fetch_add(1, Relaxed))
    }
}

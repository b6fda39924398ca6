//! The places for connections to one database, which all owners share.
//!
//! A connection has a place as long as it is open. Where no place is free, a connection that nobody uses makes room,
//! and otherwise the next that is given back, in the order of those who wait.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use deadpool::managed::WeakPool;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::manager::Manager;

/// How long a connection stays open that nobody uses.
const IDLE: Duration = Duration::from_secs(60);

/// How often such connections are looked for.
const SWEEP: Duration = Duration::from_secs(15);

/// The place of one connection.
pub(crate) type Place = OwnedSemaphorePermit;

#[derive(Debug)]
pub(crate) struct Places {
    places: Arc<Semaphore>,
    most: usize,
    waiting: AtomicUsize,
    pools: Mutex<Vec<WeakPool<Manager>>>,
    is_swept: AtomicBool,
}

/// One who waits for a place.
struct Waiting<'p>(&'p AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Places {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let most = most.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(most)),
            most,
            waiting: AtomicUsize::new(0),
            pools: Mutex::default(),
            is_swept: AtomicBool::new(false),
        })
    }

    /// Adds the connections of an owner.
    pub(crate) fn add(&self, pool: WeakPool<Manager>) {
        let mut pools = self.pools.lock();
        pools.retain(|pool| pool.upgrade().is_some());
        pools.push(pool);
    }

    /// Takes a place for another connection.
    pub(crate) async fn take(self: &Arc<Self>) -> Place {
        if !self.is_swept.swap(true, Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return place;
        }
        self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        self.make_room();
        self.places.clone().acquire_owned().await.expect("it is never closed")
    }

    /// The places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.most - self.places.available_permits()
    }

    /// The number of places.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Whether somebody waits for a place, so that a connection should be closed rather than kept.
    pub(crate) fn are_wanted(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Closes one connection that nobody uses, the first of its owner that would be closed anyway.
    fn make_room(&self) {
        for pool in self.pools() {
            let mut is_first = true;
            let closed = pool.retain(|_, _| !std::mem::take(&mut is_first)).removed;
            if !closed.is_empty() {
                return;
            }
        }
    }

    /// Closes the connections that nobody has used for a while, and forgets those that are closed.
    fn close_idle(&self) {
        for pool in self.pools() {
            drop(pool.retain(|connection, use_| !connection.client.is_closed() && use_.last_used() < IDLE));
        }
    }

    fn pools(&self) -> Vec<deadpool::managed::Pool<Manager>> {
        self.pools.lock().iter().filter_map(WeakPool::upgrade).collect()
    }
}

async fn sweep(places: Weak<Places>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(places) = places.upgrade() else { return };
        places.close_idle();
    }
}

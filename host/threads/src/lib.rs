//! Work that may block: files, stores, operators' requests. It runs on the runtime's blocking threads, of which there
//! are [`MAX`], and which hang with the file system that they wait for. So each kind of work has a [`Pool`] with a
//! limited number of places, and each owner a [`Share`] of it with fewer. An owner whose files hang waits for its own
//! threads only.
//!
//! A place becomes free with its thread. A caller that stops waiting for the result does not free it.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::panic;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// The number of blocking threads of the runtime: more than the places of all pools, so that no pool waits for another,
/// and some for the engine and the runtime themselves.
pub const MAX: usize = 1024;

/// Files of responses.
pub static FILES: LazyLock<Pool> = LazyLock::new(|| Pool::new(256, 64));

/// Directories that guests have open.
pub static DIRECTORIES: LazyLock<Pool> = LazyLock::new(|| Pool::new(256, 64));

/// Reads of stores in files.
pub static STORES: LazyLock<Pool> = LazyLock::new(|| Pool::new(128, 32));

/// Requests of operators and tenants to the host itself: deploying, pulling, reloading.
pub static ORDERS: LazyLock<Pool> = LazyLock::new(|| Pool::new(64, 8));

/// Threads for work of one kind.
#[derive(Debug)]
pub struct Pool {
    places: Arc<Semaphore>,
    most_of_share: usize,
    /// The semaphore of each owner, as long as it has a share.
    owners: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// The threads of a pool that one owner may take.
#[derive(Clone, Debug)]
pub struct Share {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
    most: usize,
}

/// A taken thread; dropping this frees it.
#[derive(Debug)]
pub struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Pool {
    /// Makes a pool of `most` threads, of which one share may take `most_of_share`.
    pub fn new(most: usize, most_of_share: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), most_of_share, owners: Mutex::default() }
    }

    /// The share of an owner: a tenant has one for all its resources, and so has each resource without a tenant.
    pub fn share(&self, owner: &str) -> Share {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let known = owners.get(owner).and_then(Weak::upgrade);
        let own = known.unwrap_or_else(|| {
            owners.retain(|_, own| own.strong_count() > 0);
            let own = Arc::new(Semaphore::new(self.most_of_share));
            owners.insert(owner.to_owned(), Arc::downgrade(&own));
            own
        });
        Share { all: self.places.clone(), own, most: self.most_of_share }
    }
}

impl Share {
    /// Runs work on a thread when there is a place for it.
    pub fn start<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        if let Some(place) = self.place_now() {
            return Running(tokio::task::spawn_blocking(move || place.keep(work)));
        }
        let share = self.clone();
        Running(tokio::spawn(async move {
            let place = share.place().await;
            Running(tokio::task::spawn_blocking(move || place.keep(work))).await
        }))
    }

    /// Takes a place for work that finds its own thread.
    pub async fn place(&self) -> Place {
        const NEVER: &str = "they are never closed";
        // Its own first, so that it never has more waiters for the common places than its limit.
        let own = self.own.clone().acquire_owned().await.expect(NEVER);
        Place { _own: own, _all: self.all.clone().acquire_owned().await.expect(NEVER) }
    }

    fn place_now(&self) -> Option<Place> {
        let own = self.own.clone().try_acquire_owned().ok()?;
        Some(Place { _own: own, _all: self.all.clone().try_acquire_owned().ok()? })
    }

    /// Whether both are the share of one owner.
    pub fn is(&self, other: &Share) -> bool {
        Arc::ptr_eq(&self.own, &other.own)
    }

    /// The number of taken threads.
    pub fn taken(&self) -> usize {
        self.most - self.own.available_permits()
    }
}

impl Place {
    fn keep<T>(self, work: impl FnOnce() -> T) -> T {
        let result = work();
        drop(self);
        result
    }
}

/// Work that has a place or waits for one. Dropped before it has begun, it does not run; dropped later, it runs to its
/// end and keeps its place until then.
///
/// # Panics
/// When polled, if the work has panicked.
#[derive(Debug)]
#[must_use = "what is dropped may not run"]
pub struct Running<T>(JoinHandle<T>);

impl<T> Future for Running<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(result) => Poll::Ready(result),
            Err(error) => match error.try_into_panic() {
                Ok(cause) => panic::resume_unwind(cause),
                // The runtime is ending, and nothing is left to receive the result.
                Err(_) => Poll::Pending,
            },
        }
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    /// Work that blocks until the sender is dropped, and tells when it begins.
    fn stuck(share: &Share) -> (Sender<()>, oneshot::Receiver<()>, JoinHandle<()>) {
        let (release, released) = channel();
        let (begins, begun) = oneshot::channel();
        let share = share.clone();
        let task = tokio::spawn(async move {
            share
                .start(move || {
                    let _ = begins.send(());
                    let _ = released.recv();
                })
                .await;
        });
        (release, begun, task)
    }

    async fn taken(share: &Share, wanted: usize) {
        let reached = async {
            while share.taken() != wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("it gets there");
    }

    async fn runs(share: &Share) -> bool {
        tokio::time::timeout(Duration::from_millis(300), share.start(|| ())).await.is_ok()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_owner_that_hangs_takes_its_own_places_alone() {
        let pool = Pool::new(8, 3);
        let (hung, other) = (pool.share("hung"), pool.share("other"));
        let work: Vec<_> = (0..20).map(|_| stuck(&hung)).collect();
        taken(&hung, 3).await;
        assert!(!runs(&hung).await, "it waits for its own");
        assert!(runs(&other).await, "and nobody else does");
        drop(work);
        taken(&hung, 0).await;
        assert!(runs(&hung).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_place_is_free_when_the_thread_is() {
        let pool = Pool::new(2, 1);
        let share = pool.share("it");
        let (release, begun, task) = stuck(&share);
        begun.await.expect("it begins");
        task.abort();
        let _ = task.await;
        assert!(!runs(&share).await, "nobody waits for it, and the thread is still there");
        drop(release);
        taken(&share, 0).await;
        assert!(runs(&share).await);
    }

    #[tokio::test]
    async fn all_that_an_owner_has_is_one_share() {
        let pool = Pool::new(8, 2);
        let (one, same, other) = (pool.share("tenant:a"), pool.share("tenant:a"), pool.share("tenant:b"));
        let places = [one.place().await, same.place().await];
        assert_eq!((one.taken(), same.taken(), other.taken()), (2, 2, 0));
        assert!(one.is(&same) && !one.is(&other));
        assert!(!runs(&same).await && runs(&other).await);
        drop((one, same));
        // The share keeps its state while one of its places is taken.
        let again = pool.share("tenant:a");
        assert!(!runs(&again).await);
        drop(places);
        assert!(runs(&again).await);
    }

    #[tokio::test]
    async fn what_is_dropped_while_it_waits_does_not_run() {
        let share = Pool::new(1, 1).share("it");
        let place = share.place().await;
        let (ran, run) = channel();
        let work = share.start(move || ran.send(()));
        assert!(tokio::time::timeout(Duration::from_millis(50), work).await.is_err());
        drop(place);
        assert!(runs(&share).await && run.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_panic_gives_the_place_back() {
        let share = Pool::new(1, 1).share("it");
        let own = share.clone();
        assert!(
            tokio::spawn(async move { own.start(|| panic!("on purpose")).await }).await.is_err_and(|e| e.is_panic())
        );
        assert!(runs(&share).await);
    }
}

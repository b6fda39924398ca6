//! Shares of the resolver, their limits, and its cache.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hickory_resolver::proto::rr::Name;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::{Answer, ask};
use crate::system::{Files, System};

/// The most names whose addresses are cached. With the longest name and all addresses, an entry takes 2 KiB.
const CACHED: usize = 4096;

/// The longest time for which an answer is cached, whatever its server says.
const LONGEST_KEPT: Duration = Duration::from_secs(3600);

/// How often the system's files are checked, while names are looked up.
const LOOK: Duration = Duration::from_secs(1);

/// How long a look-up waits for such a check.
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// The servers to ask, and the limits on look-ups.
#[derive(Clone, Debug)]
pub struct Settings {
    /// DNS servers, over UDP and, for long answers, TCP. Without any, those of `/etc/resolv.conf`, with its search
    /// list.
    pub servers: Vec<SocketAddr>,
    /// The most pending look-ups of all shares together. Default 1024.
    pub most: usize,
    /// The most pending look-ups of one share. Default 64.
    pub most_of_share: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { servers: Vec::new(), most: 1024, most_of_share: 64 }
    }
}

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The servers did not answer, or not usefully.
    #[error("{0}")]
    Failed(String),
    /// It is not a valid name.
    #[error("it is no name of DNS")]
    NoName,
    /// There is no such name, or it only has other records.
    #[error("it has no address")]
    NotFound,
}

/// Finds the addresses of names.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    settings: Settings,
    files: Files,
    known: ArcSwap<Known>,
    looked: Mutex<Instant>,
    is_looking: AtomicBool,
    places: Arc<Semaphore>,
    shares: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// The state for one version of the system's files.
struct Known {
    system: System,
    stamps: [Option<(u64, u64, i64, i64)>; 2],
    answers: Cache<Box<str>, Answer>,
}

impl Resolver {
    /// Makes a resolver. Each look-up reports faults in the system's files.
    pub fn new(settings: Settings) -> Self {
        Self::with_files(settings, Files::default())
    }

    fn with_files(settings: Settings, files: Files) -> Self {
        let known = ArcSwap::from_pointee(Known::read(&settings, &files));
        let places = Arc::new(Semaphore::new(settings.most.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner {
            settings,
            files,
            known,
            looked: Mutex::new(Instant::now()),
            is_looking: AtomicBool::new(false),
            places,
            shares: Mutex::default(),
        }))
    }

    /// The share of this name. Shares of the same name have their places in common.
    pub fn share(&self, name: &str) -> Share {
        let mut shares = self.0.shares.lock();
        shares.retain(|_, places| places.strong_count() > 0);
        let known = shares.get(name).and_then(Weak::upgrade);
        let places = known.unwrap_or_else(|| {
            let most = self.0.settings.most_of_share.min(Semaphore::MAX_PERMITS);
            let made = Arc::new(Semaphore::new(most));
            shares.insert(name.to_owned(), Arc::downgrade(&made));
            made
        });
        Share { resolver: self.clone(), places: Some(places) }
    }

    /// A share for the program itself, which needs no place.
    pub fn own(&self) -> Share {
        Share { resolver: self.clone(), places: None }
    }

    /// The number of pending look-ups of shares.
    pub fn under_way(&self) -> usize {
        self.0.settings.most.min(Semaphore::MAX_PERMITS) - self.0.places.available_permits()
    }

    /// Reads the system's files again if they have changed. Blocks meanwhile.
    fn look(&self) {
        let inner = &self.0;
        // Set before the files are read, so that the next check sees a change made meanwhile.
        *inner.looked.lock() = Instant::now();
        if inner.files.stamps() != inner.known.load().stamps {
            inner.known.store(Arc::new(Known::read(&inner.settings, &inner.files)));
        }
    }

    async fn known(&self) -> Arc<Known> {
        let is_due = self.0.looked.lock().elapsed() >= LOOK;
        if is_due && !self.0.is_looking.swap(true, Relaxed) {
            let resolver = self.clone();
            let look = tokio::task::spawn_blocking(move || {
                resolver.look();
                resolver.0.is_looking.store(false, Relaxed);
            });
            // Do not wait for a disk that has spun down: the previous state will do.
            let _ = tokio::time::timeout(LONGEST_LOOK, look).await;
        }
        self.0.known.load_full()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Known {
    fn read(settings: &Settings, files: &Files) -> Self {
        let stamps = files.stamps();
        Self { system: System::read(files, &settings.servers), stamps, answers: Cache::new(CACHED) }
    }
}

/// A share of a [`Resolver`].
#[derive(Clone, Debug)]
pub struct Share {
    resolver: Resolver,
    /// `None` for no limit.
    places: Option<Arc<Semaphore>>,
}

impl Share {
    /// Looks up the addresses of a name; at least one. An address resolves to itself.
    ///
    /// # Errors
    /// The name has no address, or the look-up failed.
    pub async fn resolve(&self, name: &str) -> Result<Arc<[IpAddr]>, Error> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok([address].into());
        }
        let known = self.resolver.known().await;
        if let Some(answer) = known.answers.get(name)
            && answer.until > Instant::now()
        {
            return Ok(answer.addresses);
        }
        let absolute = Name::from_ascii(name).map_err(|_| Error::NoName)?;
        let of_hosts = known.system.of_hosts(&absolute);
        if !of_hosts.is_empty() {
            return Ok(of_hosts.into());
        }
        let _place = self.place().await;
        let answer = search(&known.system, &absolute).await?;
        let kept = Answer { until: answer.until.min(Instant::now() + LONGEST_KEPT), ..answer };
        known.answers.insert(name.into(), kept.clone());
        Ok(kept.addresses)
    }

    /// Takes the share's own place first, so that only look-ups with one wait for the common places.
    async fn place(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        const NEVER: &str = "they are never closed";
        let own = self.places.clone()?.acquire_owned().await.expect(NEVER);
        Some([own, self.resolver.0.places.clone().acquire_owned().await.expect(NEVER)])
    }
}

/// The addresses of the first name of the search list that has any.
async fn search(system: &System, name: &Name) -> Result<Answer, Error> {
    let resolver = system.resolver.as_ref().map_err(|error| Error::Failed(error.clone()))?;
    let mut failed = None;
    for candidate in system.candidates(name) {
        match ask(resolver, &candidate).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.map_or(Error::NotFound, |error| Error::Failed(error.to_string())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn files_of_the_system_are_read_again_when_they_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { hosts: folder.path().join("hosts"), servers: folder.path().join("servers") };
        fs::write(&files.hosts, "192.0.2.1 db.test\n").unwrap();
        fs::write(&files.servers, "").unwrap();
        let names = Resolver::with_files(Settings::default(), files.clone()).own();
        let first = |found: Arc<[IpAddr]>| found[0].to_string();
        assert_eq!(first(names.resolve("db.test").await.unwrap()), "192.0.2.1");
        assert!(matches!(names.resolve("other.test").await, Err(Error::Failed(_))), "there is no server");
        fs::write(&files.hosts, "192.0.2.77 db.test\n").unwrap();
        tokio::time::sleep(LOOK + Duration::from_millis(200)).await;
        assert_eq!(first(names.resolve("db.test").await.unwrap()), "192.0.2.77");
    }

    /// A manifest is checked without a runtime.
    #[test]
    fn being_made_needs_no_runtime() {
        assert_eq!(
            Resolver::new(Settings { servers: vec![([127, 0, 0, 1], 53).into()], ..Settings::default() }).under_way(),
            0
        );
        assert_eq!(Resolver::new(Settings::default()).under_way(), 0);
    }
}

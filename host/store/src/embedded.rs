//! A store in this process: a file, or memory.
//!
//! One thread writes. It takes all waiting operations, puts them into one transaction, makes that durable, and only
//! then answers them, so that concurrent writers share the wait for the disk. Reads see the last transaction and wait
//! for no writer; they run on threads that may block.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, DatabaseError, StorageBackend, StorageError};
use roadrunner_threads::Share;
use tokio::sync::oneshot;

use crate::bill::thread_time;
use crate::budget::{Gauges, Moved};
use crate::error::{Error, OpenError};
use crate::operation::Place;
use crate::tables::{Closed, Reading, Writing, now, read_namespaces};

/// The bytes of pages that are cached in memory, for each store.
const CACHE: usize = 16 << 20;

/// The most operations in one transaction.
const BATCH: usize = 256;

/// The least time between two checks for expired entries.
const SWEEP_PAUSE: Duration = Duration::from_millis(500);

/// A write operation, which returns a callback for its end.
type Job = Box<dyn FnOnce(&mut Writing<'_>) -> Told + Send>;

/// The callback for the end of the transaction, with its result, and the operation's share of its CPU time.
type Told = Box<dyn FnOnce(Result<(), Error>, Duration) + Send>;

/// An open store in this process.
#[derive(Clone, Debug)]
pub(crate) struct Embedded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: Arc<str>,
    /// `None` only while it is dropped.
    writer: Option<(Sender<Job>, JoinHandle<()>)>,
    database: Arc<Database>,
    account: Arc<Account>,
}

/// State that the writer shares with everything else.
#[derive(Debug)]
struct Account {
    bytes: AtomicU64,
    most: AtomicU64,
    gauges: Arc<Gauges>,
}

impl Embedded {
    pub(crate) fn file(name: &str, path: &Path, most: u64) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io(name.into(), path.into(), error);
        // No other user may read the guests' data.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let backend = FileBackend::new(file.map_err(io)?).map_err(|error| refused(name, path, error))?;
        let store = Self::open(name, path, backend, most)?;
        // A newly made file is only as durable as its name.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        Ok(store)
    }

    pub(crate) fn memory(name: &str, most: u64) -> Result<Self, OpenError> {
        Self::open(name, Path::new("memory"), InMemoryBackend::new(), most)
    }

    fn open(name: &str, path: &Path, backend: impl StorageBackend, most: u64) -> Result<Self, OpenError> {
        let refused = |error| refused(name, path, error);
        let database = Database::builder().set_cache_size(CACHE).create_with_backend(backend).map_err(refused)?;
        let name: Arc<str> = name.into();
        let account =
            Arc::new(Account { bytes: AtomicU64::new(0), most: AtomicU64::new(most), gauges: Arc::default() });
        let damaged = |error: String| OpenError::Damaged(name.to_string(), path.into(), error);
        read_namespaces(&database, &account.gauges).map_err(|error| damaged(error.to_string()))?;
        let database = Arc::new(database);
        let (jobs, waiting) = channel();
        let mut writer = Writer { name: name.clone(), database: database.clone(), account: account.clone() };
        // Makes the tables before the first read.
        let next = writer.batch(Vec::new()).map_err(|error| damaged(error.to_string()))?;
        let thread = thread::Builder::new().name(format!("store {name}")).spawn(move || writer.run(&waiting, next));
        let thread = thread.map_err(|error| OpenError::Io(name.to_string(), path.into(), error))?;
        Ok(Self(Arc::new(Inner { name, writer: Some((jobs, thread)), database, account })))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.account.bytes.load(Relaxed)
    }

    pub(crate) fn set_most(&self, most: u64) {
        self.0.account.most.store(most, Relaxed);
    }

    pub(crate) fn gauges(&self) -> &Gauges {
        &self.0.account.gauges
    }

    /// Runs a read on one of these threads. The place becomes free when it is done.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        threads: &Share,
        place: Place,
        read: impl FnOnce(&Reading) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (name, database) = (self.0.name.clone(), self.0.database.clone());
        let read = move || {
            let start = thread_time();
            let result = Reading::open(&database, &name).and_then(|reading| read(&reading));
            place.charge(thread_time().saturating_sub(start));
            result
        };
        threads.start(read).await
    }

    /// Runs a write in the next transaction, and returns its result once that is durable. The place becomes free then,
    /// too.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        place: Place,
        write: impl FnOnce(&mut Writing<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |tables| {
            let result = write(tables);
            Box::new(move |end, used| {
                place.charge(used);
                drop(place);
                // The caller may have left.
                let _ = tell.send(end.and(result));
            })
        });
        let ended = || self.failed("its writer has ended");
        let (jobs, _) = self.0.writer.as_ref().ok_or_else(ended)?;
        jobs.send(job).map_err(|_| ended())?;
        told.await.unwrap_or_else(|_| Err(ended()))
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Failed { store: self.0.name.clone(), reason: reason.to_owned() }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The file can be opened again once the writer has ended. It has at most one batch to finish.
        if let Some((jobs, thread)) = self.writer.take() {
            drop(jobs);
            // A panic of the writer was already reported.
            let _ = thread.join();
        }
    }
}

/// The thread that writes.
struct Writer {
    name: Arc<str>,
    database: Arc<Database>,
    account: Arc<Account>,
}

impl Writer {
    /// Runs until no more jobs can come. `next` is the time of the next expiry.
    fn run(mut self, jobs: &Receiver<Job>, mut next: Option<u64>) {
        loop {
            let first = match next {
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(next) => {
                    let wait = Duration::from_millis(next.saturating_sub(now()));
                    jobs.recv_timeout(wait.max(SWEEP_PAUSE))
                }
            };
            let mut batch = match first {
                Ok(first) => vec![first],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if !batch.is_empty() {
                batch.extend(jobs.try_iter().take(BATCH - 1));
            }
            match self.batch(batch) {
                Ok(expiry) => next = expiry,
                Err(error) => tracing::error!(store = %self.name, "{error}"),
            }
        }
    }

    /// Runs operations in one transaction, and tells each how it ended. Returns the time of the next expiry.
    fn batch(&mut self, jobs: Vec<Job>) -> Result<Option<u64>, Error> {
        let start = thread_time();
        let mut told = Vec::with_capacity(jobs.len());
        let end = self.transaction(jobs, &mut told);
        let used = thread_time().saturating_sub(start);
        let share = used / u32::try_from(told.len()).unwrap_or(u32::MAX).max(1);
        for tell in told {
            tell(end.as_ref().map(|_| ()).map_err(Error::clone), share);
        }
        end
    }

    fn transaction(&self, jobs: Vec<Job>, told: &mut Vec<Told>) -> Result<Option<u64>, Error> {
        let failed = |error: redb::Error| Error::Failed { store: self.name.clone(), reason: error.to_string() };
        let transaction = self.database.begin_write().map_err(|error| failed(error.into()))?;
        let most = self.account.most.load(Relaxed);
        let moved = Moved::new(&self.account.gauges);
        let mut tables = Writing::open(&transaction, &self.name, most, moved).map_err(failed)?;
        tables.sweep()?;
        told.extend(jobs.into_iter().map(|job| job(&mut tables)));
        if tables.has_failed() {
            // The transaction is dropped, so none of it has taken effect.
            return Err(Error::Failed { store: self.name.clone(), reason: "its pages cannot be written".to_owned() });
        }
        let Closed { bytes, next, moved } = tables.close().map_err(failed)?;
        transaction.commit().map_err(|error| failed(error.into()))?;
        moved.keep();
        self.account.bytes.store(bytes, Relaxed);
        Ok(next)
    }
}

fn refused(name: &str, path: &Path, error: DatabaseError) -> OpenError {
    let (name, path): (String, PathBuf) = (name.into(), path.into());
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(name, path),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
            OpenError::Io(name, path, error)
        }
        error => OpenError::Damaged(name, path, error.to_string()),
    }
}

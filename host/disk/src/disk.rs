//! A directory, opened once, with its account, and the schedule of its measurements.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use roadrunner_threads::{DIRECTORIES, Share};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as Turn, Notify};

use crate::account::{Account, Limits, Owner, Usage};
use crate::block::blocks;
use crate::walk::{self, identity};

/// How soon after a removal the directory is measured again.
const SOON: Duration = Duration::from_millis(100);

/// The same for changes by other processes, or by holders of removed files that are still open.
const LATER: Duration = Duration::from_secs(1);

/// The maximum age of the last measurement for a directory that is full and has seen no removal.
const OLD: Duration = Duration::from_secs(10);

/// The time between two measurements, as a multiple of the last one's duration.
const SHARE: u32 = 20;

/// A directory that is granted under a name. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Disk(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    name: String,
    path: PathBuf,
    root: Arc<File>,
    identity: (u64, u64),
    account: Mutex<Account>,
    /// Held by every change and every measurement.
    pub(crate) turn: Arc<Turn<()>>,
    measuring: Mutex<Measuring>,
    pub(crate) measured: Notify,
    /// Files that may be open.
    opened: Mutex<OpenFiles>,
    /// The owner's share of threads that may wait for the directory.
    pub(crate) threads: Share,
}

#[derive(Debug, Default)]
struct Measuring {
    /// A removal came after the last measurement.
    is_stale: bool,
    /// A measurement is scheduled.
    is_due: bool,
    last: Option<Instant>,
    took: Duration,
}

#[derive(Debug, Default)]
struct OpenFiles {
    files: Vec<Weak<File>>,
    /// How many entries there may be before closed files are forgotten.
    most: usize,
}

/// Why a directory cannot be granted.
#[derive(Debug, thiserror::Error)]
#[error("directory {name:?}: cannot {doing} {}: {source}", path.display())]
pub struct DiskError {
    name: String,
    path: PathBuf,
    doing: &'static str,
    source: io::Error,
}

impl Disk {
    /// Opens `path` and keeps it open: a directory that is moved or replaced afterwards is still the one granted. All
    /// directories of an owner share the threads that wait for directories.
    ///
    /// # Errors
    /// When `path` does not exist, is not a directory, or may not be read.
    pub fn open(name: &str, path: &Path, owner: &str) -> Result<Self, DiskError> {
        let failed = |source| DiskError { name: name.into(), path: path.into(), doing: "open", source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let stat = rustix::fs::fstat(&root).map_err(|errno| failed(errno.into()))?;
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            path: path.to_owned(),
            root: Arc::new(File::from(root)),
            identity: identity(&stat),
            account: Mutex::new(Account::new()),
            turn: Arc::default(),
            measuring: Mutex::default(),
            measured: Notify::new(),
            opened: Mutex::default(),
            threads: DIRECTORIES.share(owner),
        })))
    }

    /// The owner's share of threads that may wait for the directory.
    pub fn threads(&self) -> &Share {
        &self.0.threads
    }

    /// Whether a path currently leads to this directory.
    pub fn is_at(&self, path: &Path) -> bool {
        rustix::fs::stat(path).is_ok_and(|stat| identity(&stat) == self.0.identity)
    }

    /// Whether the directory was opened for this owner of threads.
    pub fn is_of(&self, owner: &str) -> bool {
        self.0.threads.is(&DIRECTORIES.share(owner))
    }

    /// Applies these limits and this owner to all later writes. The first time, the directory is measured.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub fn hold_to(&self, limits: Limits, owner: Option<Arc<dyn Owner>>) -> Result<(), DiskError> {
        let inner = &self.0;
        let before = {
            let mut account = inner.account.lock();
            let before = account.limits();
            account.hold_to(limits, owner);
            before
        };
        let is_known = inner.measuring.lock().last.is_some();
        if is_known && limits.files <= before.files {
            // Others may have freed or taken room.
            inner.schedule(SOON);
            return Ok(());
        }
        let failed =
            |source| DiskError { name: inner.name.clone(), path: inner.path.clone(), doing: "measure", source };
        inner.measure().map_err(failed)?;
        if inner.account.lock().is_over() {
            let Usage { bytes, files, .. } = self.usage();
            tracing::warn!(
                directory = inner.name,
                bytes,
                files,
                "it holds more than its `size` or `files` already: nothing can be added to it"
            );
        }
        Ok(())
    }

    /// Whether this is the same directory as another, and not only one at the same path.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it was ever measured, which means that writes are allowed.
    pub fn is_measured(&self) -> bool {
        self.0.measuring.lock().last.is_some()
    }

    /// The usage of the directory.
    pub fn usage(&self) -> Usage {
        self.0.account.lock().usage()
    }

    /// Counts a file for as long as it is open, whether it still has a name or not. Call it after opening a file.
    pub fn is_open(&self, file: &Arc<File>) {
        let mut opened = self.0.opened.lock();
        if opened.files.len() >= opened.most {
            opened.files.retain(|file| file.strong_count() > 0);
            opened.most = 64.max(opened.files.len() * 2);
        }
        opened.files.push(Arc::downgrade(file));
    }

    /// The directory itself.
    pub fn root(&self) -> &Arc<File> {
        &self.0.root
    }
}

impl Inner {
    pub(crate) fn take(self: &Arc<Self>, bytes: u64, files: u64) -> io::Result<()> {
        let taken = self.account.lock().take(bytes, files);
        // Other processes may have freed room.
        if taken.is_err() && self.measuring.lock().last.is_none_or(|last| last.elapsed() > OLD) {
            self.schedule(SOON);
        }
        taken
    }

    pub(crate) fn give_back(&self, bytes: u64, files: u64) {
        self.account.lock().give_back(bytes, files);
    }

    /// Notes a removal, whose room comes back with the next measurement.
    pub(crate) fn removed(self: &Arc<Self>) {
        self.measuring.lock().is_stale = true;
        self.schedule(SOON);
    }

    /// Whether there may be more room than the account shows.
    pub(crate) fn is_stale(&self) -> bool {
        let measuring = self.measuring.lock();
        measuring.is_stale && measuring.is_due
    }

    /// Schedules a measurement of the directory, unless one is already scheduled.
    fn schedule(self: &Arc<Self>, after: Duration) {
        // Without a runtime there are no writes either.
        let Ok(runtime) = Handle::try_current() else { return };
        let pause = {
            let mut measuring = self.measuring.lock();
            if std::mem::replace(&mut measuring.is_due, true) {
                return;
            }
            after.max(measuring.took * SHARE)
        };
        let disk = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            let Some(disk) = disk.upgrade() else { return };
            let turn = disk.turn.clone().lock_owned().await;
            let threads = disk.threads.clone();
            let measure = move || {
                let _turn = turn;
                if let Err(error) = disk.measure() {
                    tracing::warn!(directory = disk.name, "cannot measure it: {error}");
                }
                disk.measured.notify_waiters();
            };
            threads.start(measure).await;
        });
    }

    /// Measures the usage. The caller has the turn, or there are no writes yet.
    fn measure(self: &Arc<Self>) -> io::Result<()> {
        let start = Instant::now();
        let most = self.account.lock().limits().files;
        let measured = walk::measure(&self.root, most);
        let mut has_orphans = false;
        if let Ok(mut measured) = measured {
            let orphans = self.orphans();
            has_orphans = orphans > 0;
            measured.bytes += orphans;
            self.account.lock().set(measured);
        }
        {
            let mut measuring = self.measuring.lock();
            measuring.is_stale = false;
            measuring.is_due = false;
            measuring.last = Some(Instant::now());
            measuring.took = start.elapsed();
        }
        if has_orphans {
            self.schedule(LATER);
        }
        measured.map(drop)
    }

    /// The bytes of open files that no longer have a name.
    fn orphans(&self) -> u64 {
        let files: Vec<_> = self.opened.lock().files.iter().filter_map(Weak::upgrade).collect();
        let mut seen = HashSet::new();
        let of = |file: Arc<File>| {
            let stat = rustix::fs::fstat(&file).ok()?;
            let is_counted = stat.st_nlink > 0 || !seen.insert(identity(&stat));
            (!is_counted).then(|| blocks(u64::try_from(stat.st_size).unwrap_or(0)))
        };
        files.into_iter().filter_map(of).sum()
    }
}

/// Whether an operation failed for lack of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

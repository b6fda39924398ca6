//! A database, and the connections of its owners.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use deadpool::managed::{self, Metrics, Pool, QueueMode, RecycleError, RecycleResult};
use parking_lot::Mutex;

use crate::access::{Access, Limits};
use crate::connection::Connection;
use crate::link::{Link, Place};
use crate::places::Places;
use crate::{Error, OpenError};

/// The longest time that a connection is used.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// One database of a server, as one role sees it. Cheap to clone. Dropping the last closes its connections.
#[derive(Clone, Debug)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    places: Arc<Places>,
    counts: Arc<Counts>,
    owners: Mutex<HashMap<String, Pool<Manager>>>,
}

/// What happened to a database's connections since it was opened.
#[derive(Debug, Default)]
pub struct Counts {
    pub(crate) cancelled: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) opened: AtomicU64,
}

impl Counts {
    /// The statements that were cancelled at the server.
    pub fn cancelled(&self) -> u64 {
        self.cancelled.load(Relaxed)
    }

    /// The connections that could not be used again, because a statement was cut or the connection was lost.
    pub fn closed(&self) -> u64 {
        self.closed.load(Relaxed)
    }

    /// The connections that were opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }
}

/// An owner of connections.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The owner's name, which the server sees as part of `application_name`. Owners of the same name share
    /// connections.
    pub name: String,
    /// The most connections of the owner.
    pub connections: usize,
    /// The bill for the CPU time that they use.
    pub bill: Bill,
}

/// Takes the CPU time that an owner's connections use, in nanoseconds. Cheap to clone.
#[derive(Clone)]
pub struct Bill(Arc<dyn Fn(u64) + Send + Sync>);

impl Bill {
    /// Makes a bill that calls `charge` for each piece of work.
    pub fn new(charge: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(charge))
    }

    pub(crate) fn charge(&self, used: u64) {
        self.0(used);
    }
}

impl Default for Bill {
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl fmt::Debug for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bill")
    }
}

impl Database {
    /// Opens a database with at most this many connections. The first statement connects.
    ///
    /// # Errors
    /// The URL or the authorities are wrong.
    pub fn open(name: &str, place: &Place, connections: usize) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(Inner {
            link: Arc::new(Link::new(name, place)?),
            places: Places::new(connections),
            counts: Arc::default(),
            owners: Mutex::default(),
        })))
    }

    /// The database in the view of an owner, with limits on its statements. The connections of the owner take its
    /// latest settings.
    pub fn access(&self, owner: &Owner, limits: Limits) -> Access {
        let mut owners = self.0.owners.lock();
        let pool = owners.entry(owner.name.clone()).or_insert_with(|| {
            let manager = Manager {
                link: self.0.link.clone(),
                places: self.0.places.clone(),
                counts: self.0.counts.clone(),
                owner: owner.name.clone(),
                bill: owner.bill.clone(),
                most: Mutex::new(0),
            };
            // Those that nobody needs stay unused, and are closed.
            let settings = Pool::builder(manager).max_size(owner.connections).queue_mode(QueueMode::Lifo);
            let built = settings.runtime(deadpool::Runtime::Tokio1).build();
            let pool = built.expect("a pool with a runtime can have timeouts");
            self.0.places.add(pool.weak());
            pool
        });
        if pool.status().max_size != owner.connections {
            pool.resize(owner.connections);
        }
        let mut most = pool.manager().most.lock();
        *most = (*most).max(limits.result).max(limits.parameters);
        drop(most);
        Access::new(pool.clone(), self.0.link.clone(), limits)
    }

    /// What happened to its connections.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// The connections that are open.
    pub fn connections(&self) -> usize {
        self.0.places.taken()
    }

    /// The connections of an owner that are open.
    pub fn connections_of(&self, owner: &str) -> usize {
        self.0.owners.lock().get(owner).map_or(0, |pool| pool.status().size)
    }

    /// The connections that are open and that nobody uses.
    pub fn idle(&self) -> usize {
        self.0.owners.lock().values().map(|pool| pool.status().available).sum()
    }
}

/// Makes the connections of one owner.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) link: Arc<Link>,
    pub(crate) places: Arc<Places>,
    pub(crate) counts: Arc<Counts>,
    owner: String,
    bill: Bill,
    /// The most bytes of a message.
    most: Mutex<usize>,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = Error;

    async fn create(&self) -> Result<Connection, Error> {
        let place = self.places.take().await;
        let most = *self.most.lock();
        let made = self.link.connect(&self.owner, most, self.bill.clone(), place).await?;
        self.counts.opened.fetch_add(1, Relaxed);
        Ok(made)
    }

    async fn recycle(&self, connection: &mut Connection, used: &Metrics) -> RecycleResult<Error> {
        match connection.client.is_closed() || used.age() > LIFETIME {
            true => Err(RecycleError::message("it is closed, or old")),
            false => Ok(()),
        }
    }
}

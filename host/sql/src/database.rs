//! A database, and the connections of its owners.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool::managed::{Pool, QueueMode};
use parking_lot::Mutex;

use crate::OpenError;
use crate::access::{Access, Limits};
use crate::bill::Bill;
use crate::link::{Link, Place};
use crate::manager::{Counts, Manager};
use crate::places::Places;

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

//! The connections of one owner: how they are made, and when they are too old.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use parking_lot::Mutex;

use crate::Error;
use crate::bill::Bill;
use crate::connection::Connection;
use crate::link::Link;
use crate::places::Places;

/// The longest time that a connection is used.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

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

/// Makes the connections of one owner.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) link: Arc<Link>,
    pub(crate) places: Arc<Places>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) owner: String,
    pub(crate) bill: Bill,
    /// The most bytes of a message.
    pub(crate) most: Mutex<usize>,
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

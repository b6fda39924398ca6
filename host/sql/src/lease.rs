//! A connection that a statement or a transaction uses.
//!
//! Giving it back cleans it first, and closes it where that fails. One that is given up in the middle of a statement is
//! closed, after the statement was cancelled at the server. Both happen in a task of their own, during which the
//! connection counts as used.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool::managed::Object;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::connection::Connection;
use crate::link::Link;
use crate::manager::Manager;

/// How long a connection may take to be cleaned, and a statement to be cancelled.
const GRACE: Duration = Duration::from_secs(5);

/// How long a cancelled statement may go on until it is cancelled again: the first time it may not have begun.
const AGAIN: Duration = Duration::from_millis(200);

/// How long it may take to ask for a cancellation.
const ASKING: Duration = Duration::from_secs(2);

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Lease {
    /// None when it was given back.
    connection: Option<Object<Manager>>,
    link: Arc<Link>,
    state: State,
    runtime: Handle,
    /// The commands that clean it.
    clean: Arc<str>,
}

/// What is left to do before others can use the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// To cancel a statement.
    Busy,
    /// To clean it.
    Idle,
    /// Nothing: it cannot be used.
    Lost,
    /// To roll back, and to clean it.
    Transaction,
}

impl Lease {
    /// Takes a connection.
    pub(crate) fn new(connection: Object<Manager>, link: Arc<Link>, clean: Arc<str>) -> Self {
        Self { connection: Some(connection), link, state: State::Idle, runtime: Handle::current(), clean }
    }

    pub(crate) fn set(&mut self, state: State) {
        self.state = state;
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("it is there until the lease is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let (link, clean) = (self.link.clone(), self.clean.clone());
        match self.state {
            State::Busy => drop(self.runtime.spawn(cut(connection, link))),
            State::Idle => drop(self.runtime.spawn(give_back(connection, clean, false))),
            State::Lost => close(connection),
            State::Transaction => drop(self.runtime.spawn(give_back(connection, clean, true))),
        }
    }
}

/// Cleans a connection, and lets others use it.
async fn give_back(connection: Object<Manager>, clean: Arc<str>, is_in_transaction: bool) {
    let cleaned = async {
        if is_in_transaction {
            connection.client.batch_execute("ROLLBACK").await?;
        }
        connection.client.batch_execute(&clean).await
    };
    let is_clean = matches!(timeout(GRACE, cleaned).await, Ok(Ok(())));
    let are_wanted = Object::pool(&connection).is_none_or(|pool| pool.manager().places.are_wanted());
    match (is_clean, are_wanted) {
        (true, false) => drop(connection),
        (true, true) => drop(Object::take(connection)),
        (false, _) => close(connection),
    }
}

/// Cancels a statement, waits until the server has ended it, and closes the connection.
async fn cut(connection: Object<Manager>, link: Arc<Link>) {
    if let Some(pool) = Object::pool(&connection) {
        pool.manager().counts.cancelled.fetch_add(1, Relaxed);
    }
    cancel(&connection, &link).await;
    close(connection);
}

/// Cancels the statement of a connection until it has ended, or its time has.
async fn cancel(connection: &Connection, link: &Link) {
    let start = Instant::now();
    // It is answered after the statement.
    let mut ended = pin!(connection.client.check_connection());
    while start.elapsed() < GRACE {
        tokio::select! {
            _ = &mut ended => return,
            _ = timeout(ASKING, link.cancel(connection.client.cancel_token())) => {}
        }
        if timeout(AGAIN, &mut ended).await.is_ok() {
            return;
        }
    }
}

fn close(connection: Object<Manager>) {
    if let Some(pool) = Object::pool(&connection) {
        pool.manager().counts.closed.fetch_add(1, Relaxed);
    }
    drop(Object::take(connection));
}

//! Several statements that happen wholly or not at all.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::access::{Access, Brought, Rows, Wanted, refused};
use crate::lease::{Lease, State};
use crate::value::Value;
use crate::words::Command;
use crate::{Error, Fault};

/// A transaction. Dropping it rolls it back, as does the end of its time.
///
/// After a fault, statements fail until it is rolled back, or back to a savepoint. After any other error it is over.
#[derive(Debug)]
pub struct Transaction {
    access: Access,
    open: Arc<Mutex<Option<Open>>>,
    ends: Instant,
    watch: AbortHandle,
}

#[derive(Debug)]
struct Open {
    lease: Lease,
    /// Whether a statement has failed since the last savepoint.
    has_failed: bool,
}

impl Transaction {
    pub(crate) fn new(access: Access, lease: Lease, ends: Instant) -> Self {
        let open = Arc::new(Mutex::new(Some(Open { lease, has_failed: false })));
        let watch = tokio::spawn(end_at(ends, Arc::downgrade(&open))).abort_handle();
        Self { access, open, ends, watch }
    }

    /// Runs a statement as [`Access::query`] does.
    ///
    /// # Errors
    /// All of them.
    pub async fn query(&self, statement: &str, parameters: &[Value], most: usize) -> Result<Rows, Error> {
        match self.run(statement, parameters, Wanted::Rows(most)).await? {
            Brought::Rows(rows) => Ok(rows),
            Brought::Count(_) => Ok(Rows::default()),
        }
    }

    /// Runs a statement as [`Access::execute`] does.
    ///
    /// # Errors
    /// All of them.
    pub async fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64, Error> {
        match self.run(statement, parameters, Wanted::Count).await? {
            Brought::Count(count) => Ok(count),
            Brought::Rows(_) => Ok(0),
        }
    }

    /// Ends it, so that all of it has happened. After [`Error::Failed`] and [`Error::Timeout`] that is not known.
    ///
    /// # Errors
    /// A statement has failed, or a constraint does not hold: none of it has happened.
    pub async fn commit(&self) -> Result<(), Error> {
        let Open { mut lease, has_failed } = self.take()?;
        if has_failed {
            let fault = Fault {
                code: "25P02".to_owned(),
                message: "a statement of the transaction has failed, and it was rolled back".to_owned(),
                ..Fault::default()
            };
            return Err(Error::Fault(Box::new(fault)));
        }
        self.access.command(&mut lease, "COMMIT", self.statement_ends()).await
    }

    /// Ends it, so that none of it has happened.
    ///
    /// # Errors
    /// The server cannot be reached, or does not answer in time. None of it has happened then, either.
    pub async fn rollback(&self) -> Result<(), Error> {
        let Open { mut lease, .. } = self.take()?;
        self.access.command(&mut lease, "ROLLBACK", self.statement_ends()).await
    }

    /// Ends it at once, as dropping it does.
    pub fn abandon(&self) {
        drop(self.open.lock().take());
    }

    async fn run(&self, statement: &str, parameters: &[Value], wanted: Wanted) -> Result<Brought, Error> {
        self.access.check(statement, parameters)?;
        let command = Command::of(statement);
        if let Command::Refused(word) = command {
            return Err(refused(word));
        }
        let Open { mut lease, mut has_failed } = self.take()?;
        let ends = self.statement_ends();
        let ran = self.access.run_on(&mut lease, statement, parameters, wanted, ends).await;
        if let Err(failure) = &ran
            && failure.is_stale
        {
            lease.connection().forget();
        }
        match &ran {
            Ok(_) if command == (Command::Savepoint { goes_back: true }) => has_failed = false,
            Err(failure) if matches!(failure.error, Error::Fault(_)) => has_failed = true,
            _ => {}
        }
        if lease.state() == State::Transaction {
            *self.open.lock() = Some(Open { lease, has_failed });
        }
        ran.map_err(|failure| failure.error)
    }

    /// The connection. It is not there during a statement, and after the end.
    fn take(&self) -> Result<Open, Error> {
        self.open.lock().take().ok_or(Error::Closed)
    }

    fn statement_ends(&self) -> Instant {
        self.ends.min(Instant::now() + self.access.limits().timeout)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Ends a transaction at its time, unless a statement is under way, which ends at the same time.
async fn end_at(ends: Instant, open: Weak<Mutex<Option<Open>>>) {
    sleep_until(ends).await;
    let ended = open.upgrade().and_then(|open| open.lock().take());
    drop(ended);
}

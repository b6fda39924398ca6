//! One connection, with the statements that are prepared on it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

/// The most prepared statements of a connection.
const STATEMENTS: usize = 256;

/// The longest statement that stays prepared, in bytes.
const LONGEST: usize = 8 << 10;

/// A connection to a server. Dropping it closes it.
pub(crate) struct Connection {
    pub(crate) client: Client,
    driver: JoinHandle<()>,
    /// Whether a message of the server was too long.
    is_passed: Arc<AtomicBool>,
    prepared: Mutex<HashMap<Box<str>, Statement>>,
}

impl Connection {
    pub(crate) fn new(client: Client, driver: JoinHandle<()>, is_passed: Arc<AtomicBool>) -> Self {
        Self { client, driver, is_passed, prepared: Mutex::default() }
    }

    /// Prepares a statement, unless it is prepared already.
    pub(crate) async fn prepare(&self, statement: &str) -> Result<Statement, tokio_postgres::Error> {
        let known = self.prepared.lock().get(statement).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let made = self.client.prepare(statement).await?;
        if statement.len() <= LONGEST {
            let mut prepared = self.prepared.lock();
            if prepared.len() >= STATEMENTS {
                prepared.clear();
            }
            prepared.insert(statement.into(), made.clone());
        }
        Ok(made)
    }

    /// Forgets all prepared statements.
    pub(crate) fn forget(&self) {
        self.prepared.lock().clear();
    }

    /// Whether a message of the server was too long.
    pub(crate) fn is_passed(&self) -> bool {
        self.is_passed.load(Relaxed)
    }
}

/// Shows no statement.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

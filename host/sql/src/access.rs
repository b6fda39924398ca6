//! An owner's view of a database, with limits on each statement.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Pool, PoolError, Timeouts};
use futures_util::TryStreamExt as _;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Statement;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{Kind, Type};

use crate::columns;
use crate::lease::{Lease, State};
use crate::link::{Link, reason};
use crate::manager::Manager;
use crate::transaction::Transaction;
use crate::value::Value;
use crate::words::Command;
use crate::{Error, Fault};

/// The most parameters of a statement.
pub const MAX_PARAMETERS: usize = 32_767;

/// The bytes that each value of a result counts in addition to its own.
const VALUE: usize = 16;

/// The commands that take a connection back to its first state, except for prepared statements. The server ends what
/// its host has forgotten after the times that are set.
const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// How much later than its host the server ends a statement or a transaction.
const LATER: Duration = Duration::from_secs(1);

/// The limits on statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a statement's text.
    pub statement: usize,
    /// The most bytes of its parameters.
    pub parameters: usize,
    /// The most rows of a result.
    pub rows: usize,
    /// The most bytes of a result, with 16 more for each value.
    pub result: usize,
    /// The most time of a statement, including the wait for a connection.
    pub timeout: Duration,
    /// The most time of a transaction.
    pub transaction: Duration,
}

/// The rows of a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The names of the columns, with those of their types.
    pub columns: Vec<(String, String)>,
    /// The rows, with a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// The bytes of the result, as [`Limits::result`] counts them.
    pub bytes: usize,
}

/// A database in the view of an owner. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    pool: Pool<Manager>,
    link: Arc<Link>,
    limits: Limits,
    clean: Arc<str>,
}

/// What a statement is run for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The number of rows that it has changed.
    Count,
    /// Its rows, with this many bytes at most.
    Rows(usize),
}

/// What a statement has brought.
pub(crate) enum Brought {
    Count(u64),
    Rows(Rows),
}

impl Access {
    pub(crate) fn new(pool: Pool<Manager>, link: Arc<Link>, limits: Limits) -> Self {
        let (statement, transaction) = (limits.timeout + LATER, limits.transaction + LATER);
        let clean = format!(
            "{CLEAN}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}",
            millis(statement),
            millis(transaction)
        );
        Self { pool, link, limits, clean: clean.into() }
    }

    /// The limits on statements.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The most connections of the owner.
    pub fn connections(&self) -> usize {
        self.pool.status().max_size
    }

    /// Runs a statement, and returns its rows: at most `most` bytes of them, where that is less than the limit.
    ///
    /// # Errors
    /// All but [`Error::Closed`].
    pub async fn query(&self, statement: &str, parameters: &[Value], most: usize) -> Result<Rows, Error> {
        match self.run(statement, parameters, Wanted::Rows(most)).await? {
            Brought::Rows(rows) => Ok(rows),
            Brought::Count(_) => Ok(Rows::default()),
        }
    }

    /// Runs a statement, and returns how many rows it has changed.
    ///
    /// # Errors
    /// All but [`Error::Closed`].
    pub async fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64, Error> {
        match self.run(statement, parameters, Wanted::Count).await? {
            Brought::Count(count) => Ok(count),
            Brought::Rows(_) => Ok(0),
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        let start = Instant::now();
        let ends = start + self.limits.timeout;
        let mut lease = self.lease(ends).await?;
        self.command(&mut lease, "BEGIN", ends).await?;
        lease.set(State::Transaction);
        Ok(Transaction::new(self.clone(), lease, start + self.limits.transaction))
    }

    async fn run(&self, statement: &str, parameters: &[Value], wanted: Wanted) -> Result<Brought, Error> {
        self.check(statement, parameters)?;
        match Command::of(statement) {
            Command::Plain => {}
            Command::Refused(word) => return Err(refused(word)),
            Command::Savepoint { .. } => {
                return Err(Error::Refused("sql: a savepoint is part of a transaction".to_owned()));
            }
        }
        let ends = Instant::now() + self.limits.timeout;
        let mut lease = self.lease(ends).await?;
        let ran = self.run_on(&mut lease, statement, parameters, wanted, ends).await;
        match ran {
            // Nothing has happened.
            Err(Failure { is_stale: true, .. }) => {
                lease.connection().forget();
                self.run_on(&mut lease, statement, parameters, wanted, ends).await.map_err(|failure| failure.error)
            }
            ran => ran.map_err(|failure| failure.error),
        }
    }

    /// Checks the sizes of a statement.
    pub(crate) fn check(&self, statement: &str, parameters: &[Value]) -> Result<(), Error> {
        if statement.len() > self.limits.statement {
            return Err(Error::TooLarge(self.limits.statement as u64));
        }
        if parameters.len() > MAX_PARAMETERS {
            return Err(Error::Refused(format!("sql: a statement has at most {MAX_PARAMETERS} parameters")));
        }
        if parameters.iter().map(Value::bytes).sum::<usize>() > self.limits.parameters {
            return Err(Error::TooLarge(self.limits.parameters as u64));
        }
        Ok(())
    }

    /// Takes a connection of the owner.
    async fn lease(&self, ends: Instant) -> Result<Lease, Error> {
        let wait = ends.saturating_duration_since(Instant::now());
        let timeouts = Timeouts { wait: Some(wait), create: None, recycle: None };
        let connection = match timeout_at(ends, self.pool.timeout_get(&timeouts)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(PoolError::Backend(error))) => return Err(error),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => return Err(self.late()),
            Ok(Err(error)) => return Err(self.link.error(&error.to_string())),
        };
        let is_new = deadpool::managed::Object::metrics(&connection).recycle_count == 0;
        let mut lease = Lease::new(connection, self.link.clone(), self.clean.clone());
        if is_new {
            self.command(&mut lease, &self.clean, ends).await?;
        }
        Ok(lease)
    }

    /// The reason why there was no connection in time: none was free, or the server has not answered.
    fn late(&self) -> Error {
        let (own, all) = (self.pool.status(), &self.pool.manager().places);
        if own.size >= own.max_size {
            Error::Overloaded(own.max_size)
        } else if all.taken() >= all.most() {
            Error::Overloaded(all.most())
        } else {
            self.link.note(Some("it does not answer in time"));
            Error::Timeout
        }
    }

    /// Runs a command of the host.
    pub(crate) async fn command(&self, lease: &mut Lease, command: &str, ends: Instant) -> Result<(), Error> {
        lease.set(State::Busy);
        match timeout_at(ends, lease.connection().client.batch_execute(command)).await {
            Ok(Ok(())) => {
                lease.set(State::Idle);
                Ok(())
            }
            Ok(Err(error)) => Err(self.failure(lease, State::Idle, &error).error),
            Err(_) => Err(Error::Timeout),
        }
    }

    /// Runs a statement on a connection. On any error but a fault, and where it is dropped, the connection is lost.
    pub(crate) async fn run_on(
        &self,
        lease: &mut Lease,
        statement: &str,
        parameters: &[Value],
        wanted: Wanted,
        ends: Instant,
    ) -> Result<Brought, Failure> {
        let before = lease.state();
        lease.set(State::Busy);
        match timeout_at(ends, self.answer(lease, statement, parameters, wanted)).await {
            Ok(Ok(brought)) => {
                lease.set(before);
                Ok(brought)
            }
            Ok(Err(Stopped::Before(error))) => {
                lease.set(before);
                Err(error.into())
            }
            Ok(Err(Stopped::During(error))) => Err(error.into()),
            Ok(Err(Stopped::Server(error))) => Err(self.failure(lease, before, &error)),
            Err(_) => Err(Error::Timeout.into()),
        }
    }

    async fn answer(
        &self,
        lease: &Lease,
        statement: &str,
        parameters: &[Value],
        wanted: Wanted,
    ) -> Result<Brought, Stopped> {
        let connection = lease.connection();
        let prepared = connection.prepare(statement).await?;
        check_parameters(&prepared, parameters).map_err(Stopped::Before)?;
        let most = match wanted {
            Wanted::Count => return Ok(Brought::Count(connection.client.execute_raw(&prepared, parameters).await?)),
            Wanted::Rows(most) => most.min(self.limits.result),
        };
        if let Some(column) = columns::unreadable(prepared.columns()) {
            let (name, kind) = (column.name(), column.type_());
            let text = format!("sql: the column `{name}` has the type {kind}, which is not read: cast it to text");
            return Err(Stopped::Before(Error::Refused(text)));
        }
        let column = |column: &tokio_postgres::Column| (column.name().to_owned(), column.type_().name().to_owned());
        let mut rows = Rows { columns: prepared.columns().iter().map(column).collect(), ..Rows::default() };
        let mut stream = pin!(connection.client.query_raw(&prepared, parameters).await?);
        while let Some(row) = stream.try_next().await? {
            if rows.rows.len() >= self.limits.rows {
                let text = format!("rows: the result has more than {} rows", self.limits.rows);
                return Err(Stopped::During(Error::Refused(text)));
            }
            rows.bytes += row.raw_size_bytes() + VALUE * row.len();
            if rows.bytes > most {
                return Err(Stopped::During(Error::TooLarge(most as u64)));
            }
            let values =
                columns::values(&row).ok_or_else(|| Stopped::During(self.link.error("a value is not of its type")))?;
            rows.rows.push(values);
        }
        Ok(Brought::Rows(rows))
    }

    /// Makes an error of what the client tells, and sets whether the connection can be used after it.
    fn failure(&self, lease: &mut Lease, before: State, error: &tokio_postgres::Error) -> Failure {
        let connection = lease.connection();
        if connection.is_passed() {
            lease.set(State::Lost);
            return Error::TooLarge(self.limits.result as u64).into();
        }
        if let Some(fault) = error.as_db_error() {
            // The session ends with these.
            let is_over = matches!(fault.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
            let routine = fault.routine().unwrap_or_default();
            let is_stale = matches!(
                (fault.code().code(), routine),
                ("0A000", "RevalidateCachedQuery") | ("26000", "FetchPreparedStatement")
            );
            if is_over {
                lease.set(State::Lost);
                return self.link.error(&format!("{} (SQLSTATE {})", fault.message(), fault.code().code())).into();
            }
            lease.set(before);
            return Failure { error: Error::Fault(Box::new(Fault::from(fault))), is_stale };
        }
        lease.set(State::Lost);
        self.link.error(&reason(error)).into()
    }
}

/// The reason why a statement failed on a connection.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether it was prepared for a table that has changed, or is no longer prepared. It has not begun.
    pub(crate) is_stale: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, is_stale: false }
    }
}

/// Where a statement was stopped.
enum Stopped {
    /// Before it began, or after its end.
    Before(Error),
    /// While the server runs it.
    During(Error),
    /// By the server, or the way to it.
    Server(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Stopped {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

pub(crate) fn refused(word: &str) -> Error {
    Error::Refused(format!("sql: a guest has no `{}`", word.to_ascii_uppercase()))
}

fn check_parameters(statement: &Statement, parameters: &[Value]) -> Result<(), Error> {
    let (wanted, given) = (statement.params().len(), parameters.len());
    if wanted != given {
        return Err(Error::Refused(format!("sql: the statement has {wanted} parameters, and {given} were given")));
    }
    let mut both = statement.params().iter().zip(parameters).enumerate();
    let wrong = both.find(|(_, (kind, value))| matches!(value, Value::Bytes(_)) && !takes_bytes(kind));
    match wrong {
        Some((index, (kind, _))) => {
            Err(Error::Refused(format!("sql: the parameter {} has the type {kind}, and takes no bytes", index + 1)))
        }
        None => Ok(()),
    }
}

fn takes_bytes(kind: &Type) -> bool {
    match kind.kind() {
        Kind::Domain(base) => takes_bytes(base),
        _ => *kind == Type::BYTEA,
    }
}

fn millis(time: Duration) -> u32 {
    // The server's type is a signed number of 32 bits.
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX).min(i32::MAX.cast_unsigned())
}

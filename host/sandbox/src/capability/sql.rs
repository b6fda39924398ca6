//! Databases that a component is granted.
//!
//! The databases themselves are [`Database`]s, which the server provides: this crate knows no sockets. Each of them
//! takes a connection, has a timeout and checks sizes itself. Bytes held for the guest here count as its memory. A
//! transaction belongs to the instance that began it, and ends with it, or when the instance has answered.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use roadrunner_account::Outcome;
use wasmtime::Result;
use wasmtime::component::{Linker, Resource};

use crate::bindings::roadrunner::handler::sql;
use crate::bindings::roadrunner::handler::types::Error;
use crate::engine::Wasi;
use crate::guest::core::{Call, Capability, Carries, Of, Stop};

pub use crate::bindings::roadrunner::handler::sql::{
    Column as SqlColumn, Failure as SqlFailure, Fault as SqlFault, Rows as SqlRows, Value as SqlValue,
};
pub use crate::bindings::roadrunner::handler::types::Error as SqlHostError;

/// The bytes that the host needs for a value, in addition to those of a text.
const VALUE: u64 = 32;

/// The pending answer to a statement.
pub type SqlAnswer<T> = Pin<Box<dyn Future<Output = Result<T, SqlFailure>> + Send>>;

/// A component's view of a database. It enforces the database's limits, and counts statements.
pub trait Database: Send + Sync + fmt::Debug {
    /// Runs a statement, and returns its rows, with at most so many bytes.
    fn query(&self, statement: String, parameters: Vec<SqlValue>, most: u64) -> SqlAnswer<SqlRows>;
    /// Runs a statement, and returns how many rows it has changed.
    fn execute(&self, statement: String, parameters: Vec<SqlValue>) -> SqlAnswer<u64>;
    /// Begins a transaction.
    fn begin(&self) -> SqlAnswer<Arc<dyn SqlTransaction>>;
}

/// A transaction of a component. Dropping it rolls it back.
pub trait SqlTransaction: Send + Sync + fmt::Debug {
    /// Runs a statement, and returns its rows, with at most so many bytes.
    fn query(&self, statement: String, parameters: Vec<SqlValue>, most: u64) -> SqlAnswer<SqlRows>;
    /// Runs a statement, and returns how many rows it has changed.
    fn execute(&self, statement: String, parameters: Vec<SqlValue>) -> SqlAnswer<u64>;
    /// Ends it, so that all of it has happened.
    fn commit(&self) -> SqlAnswer<()>;
    /// Ends it, so that none of it has happened.
    fn rollback(&self) -> SqlAnswer<()>;
    /// Ends it as dropping does, while a guest still has its handle.
    fn abandon(&self);
}

/// A guest's handle on a database.
pub struct OpenDatabase(Arc<dyn Database>);

/// A guest's handle on a transaction.
pub struct OpenTransaction(Arc<dyn SqlTransaction>);

/// The transactions that an instance has begun for one request.
#[derive(Debug, Default)]
pub struct Transactions(Vec<Weak<dyn SqlTransaction>>);

impl Transactions {
    fn add(&mut self, transaction: &Arc<dyn SqlTransaction>) {
        self.0.retain(|known| known.strong_count() > 0);
        self.0.push(Arc::downgrade(transaction));
    }
}

/// The capability `sql`.
pub struct Sql;

impl Capability for Sql {
    type Grant = BTreeMap<String, Arc<dyn Database>>;
    type Held = Transactions;

    fn link<T: Carries<Self>>(linker: &mut Linker<T>, _: Wasi) -> Result<()> {
        sql::add_to_linker::<_, Of<Self>>(linker, T::call)
    }

    fn rest(held: &mut Self::Held) {
        for transaction in held.0.drain(..).filter_map(|transaction| transaction.upgrade()) {
            transaction.abandon();
        }
    }
}

impl sql::Host for Call<'_, Sql> {
    fn open(&mut self, name: String) -> Result<Result<Resource<OpenDatabase>, Error>> {
        let Some(database) = self.grant.get(&name).cloned() else {
            return Ok(Err(Error::Refused("sql: this component is granted no database of this name".into())));
        };
        Ok(Ok(self.core.table.push(OpenDatabase(database))?))
    }
}

impl sql::HostDatabase for Call<'_, Sql> {
    async fn query(
        &mut self,
        this: Resource<OpenDatabase>,
        statement: String,
        parameters: Vec<SqlValue>,
    ) -> Result<Result<SqlRows, SqlFailure>> {
        let database = self.core.table.get(&this)?.0.clone();
        self.rows(statement, parameters, |statement, parameters, most| database.query(statement, parameters, most))
            .await
    }

    async fn execute(
        &mut self,
        this: Resource<OpenDatabase>,
        statement: String,
        parameters: Vec<SqlValue>,
    ) -> Result<Result<u64, SqlFailure>> {
        let database = self.core.table.get(&this)?.0.clone();
        let size = size(&statement, &parameters);
        self.charged(size, database.execute(statement, parameters)).await
    }

    async fn begin(&mut self, this: Resource<OpenDatabase>) -> Result<Result<Resource<OpenTransaction>, SqlFailure>> {
        let database = self.core.table.get(&this)?.0.clone();
        let transaction = match database.begin().await {
            Ok(transaction) => transaction,
            Err(failure) => return Ok(Err(failure)),
        };
        self.held.add(&transaction);
        Ok(Ok(self.core.table.push(OpenTransaction(transaction))?))
    }

    fn drop(&mut self, this: Resource<OpenDatabase>) -> Result<()> {
        self.core.table.delete(this)?;
        Ok(())
    }
}

impl sql::HostTransaction for Call<'_, Sql> {
    async fn query(
        &mut self,
        this: Resource<OpenTransaction>,
        statement: String,
        parameters: Vec<SqlValue>,
    ) -> Result<Result<SqlRows, SqlFailure>> {
        let open = self.core.table.get(&this)?.0.clone();
        self.rows(statement, parameters, |statement, parameters, most| open.query(statement, parameters, most)).await
    }

    async fn execute(
        &mut self,
        this: Resource<OpenTransaction>,
        statement: String,
        parameters: Vec<SqlValue>,
    ) -> Result<Result<u64, SqlFailure>> {
        let open = self.core.table.get(&this)?.0.clone();
        let size = size(&statement, &parameters);
        self.charged(size, open.execute(statement, parameters)).await
    }

    async fn commit(&mut self, this: Resource<OpenTransaction>) -> Result<Result<(), SqlFailure>> {
        let open = self.core.table.get(&this)?.0.clone();
        Ok(open.commit().await)
    }

    async fn rollback(&mut self, this: Resource<OpenTransaction>) -> Result<Result<(), SqlFailure>> {
        let open = self.core.table.get(&this)?.0.clone();
        Ok(open.rollback().await)
    }

    fn drop(&mut self, this: Resource<OpenTransaction>) -> Result<()> {
        self.core.table.delete(this)?;
        Ok(())
    }
}

impl Call<'_, Sql> {
    /// Runs a statement whose rows the host holds until this call has returned, in addition to the guest.
    async fn rows(
        &mut self,
        statement: String,
        parameters: Vec<SqlValue>,
        run: impl FnOnce(String, Vec<SqlValue>, u64) -> SqlAnswer<SqlRows> + Send,
    ) -> Result<Result<SqlRows, SqlFailure>> {
        let size = size(&statement, &parameters);
        let left = self.core.memory.left().saturating_sub(size);
        let answer = self.charged(size, run(statement, parameters, left)).await?;
        match &answer {
            Ok(rows) if rows_size(rows) > self.core.memory.left() => Err(Stop(Outcome::MemoryExceeded).into()),
            // It was the memory's limit, and not the database's.
            Err(SqlFailure::Host(Error::TooLarge(limit))) if *limit == left => {
                Err(Stop(Outcome::MemoryExceeded).into())
            }
            _ => Ok(answer),
        }
    }

    /// Runs a statement during which the host holds bytes of the guest.
    async fn charged<T>(&mut self, bytes: u64, statement: SqlAnswer<T>) -> Result<Result<T, SqlFailure>> {
        if !self.core.memory.charge(bytes) {
            return Err(Stop(Outcome::MemoryExceeded).into());
        }
        let result = statement.await;
        self.core.memory.release(bytes);
        Ok(result)
    }
}

/// The bytes of a statement and its parameters.
fn size(statement: &str, parameters: &[SqlValue]) -> u64 {
    statement.len() as u64 + parameters.iter().map(value_size).sum::<u64>()
}

fn rows_size(rows: &SqlRows) -> u64 {
    rows.rows.iter().flatten().map(value_size).sum()
}

fn value_size(value: &SqlValue) -> u64 {
    let own = match value {
        SqlValue::Bytes(bytes) => bytes.len(),
        SqlValue::Text(text) => text.len(),
        _ => 0,
    };
    own as u64 + VALUE
}

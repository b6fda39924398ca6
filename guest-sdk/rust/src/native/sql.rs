//! The interface `sql`: a function of the test answers each statement. Transactions are told with the statements
//! `begin`, `commit` and `rollback`.

#![expect(clippy::result_large_err, reason = "as in the bindings that it stands in for")]

use std::rc::Rc;

use super::types::Error;
use super::with_host;

/// The test's answer to a statement.
pub(crate) type Answer = Rc<dyn Fn(&str, &[Value]) -> Result<Rows, Failure>>;

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub type_name: String,
}

#[derive(Clone, Debug)]
pub struct Rows {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub constraint: Option<String>,
    pub position: Option<u32>,
}

#[derive(Clone, Debug)]
pub enum Failure {
    Fault(Fault),
    Host(Error),
}

#[derive(Debug)]
pub struct Database(String);

#[derive(Debug)]
pub struct Transaction(Database);

pub fn open(name: &str) -> Result<Database, Error> {
    if with_host(|host| host.databases.contains_key(name)) {
        return Ok(Database(name.to_owned()));
    }
    Err(Error::Refused(format!("no database is granted as `{name}`")))
}

impl Database {
    pub fn query(&self, statement: &str, parameters: &[Value]) -> Result<Rows, Failure> {
        let answer = with_host(|host| host.databases.get(&self.0).map(|answer| answer.0.clone()));
        match answer {
            Some(answer) => answer(statement, parameters),
            None => Err(Failure::Host(Error::Closed)),
        }
    }

    /// Counts the rows of the answer.
    pub fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64, Failure> {
        Ok(self.query(statement, parameters)?.rows.len() as u64)
    }

    pub fn begin(&self) -> Result<Transaction, Failure> {
        self.query("begin", &[])?;
        Ok(Transaction(Self(self.0.clone())))
    }
}

impl Transaction {
    pub fn query(&self, statement: &str, parameters: &[Value]) -> Result<Rows, Failure> {
        self.0.query(statement, parameters)
    }

    pub fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64, Failure> {
        self.0.execute(statement, parameters)
    }

    pub fn commit(&self) -> Result<(), Failure> {
        self.query("commit", &[]).map(drop)
    }

    pub fn rollback(&self) -> Result<(), Failure> {
        self.query("rollback", &[]).map(drop)
    }
}

/// The answers of one database; shown without them.
pub(crate) struct Answers(pub(crate) Answer);

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answers")
    }
}

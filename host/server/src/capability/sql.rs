//! The databases of a manifest, and each component's view of them: connections of its owner, limits, counters.
//!
//! The components of a tenant use the connections of the tenant, and a component without a tenant its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context as _, Result};
use roadrunner_account::Tenant;
use roadrunner_manifest::{self as manifest, SqlName, SqlTls, TenantName};
use roadrunner_sandbox::{
    self as sandbox, Secret, SqlAnswer, SqlColumn, SqlFailure, SqlFault, SqlHostError, SqlRows, SqlTransaction,
    SqlValue,
};
use roadrunner_sql::{Access, Bill, Database, Error, Limits, Owner, Place, Rows, Tls, Transaction, Value};
use zeroize::Zeroizing;

use super::provider::{Granted, Grantee, Opening, Provider};
use crate::access::Caller;
use crate::accounts;
use crate::metrics::Text;

/// The outcomes of statements, as the metrics name them.
const OUTCOMES: [&str; 8] = ["closed", "failed", "fault", "ok", "overloaded", "refused", "timeout", "too-large"];

/// The databases of a manifest.
pub(crate) struct Sql {
    /// The databases that are open, by name.
    open: OpenDatabases,
    /// The components' views of the databases, by component and database.
    views: BTreeMap<String, BTreeMap<String, Arc<View>>>,
    /// The owners of connections that are tenants, by tenant.
    tenants: BTreeMap<String, String>,
}

type OpenDatabases = BTreeMap<String, Arc<OpenDatabase>>;

impl Provider for Sql {
    fn open(opening: &Opening<'_>, before: Option<&Self>) -> Result<Self> {
        let open = open(opening, before.map_or(&OpenDatabases::new(), |before| &before.open))?;
        let mut all = BTreeMap::new();
        for (name, settings) in &opening.manifest.components {
            all.insert(name.to_string(), views(opening, Grantee { name, settings }, &open));
        }
        let owner = |name: &TenantName| (name.to_string(), accounts::owner("", Some(name)));
        let tenants = opening.manifest.tenants.keys().map(owner).collect();
        Ok(Self { open, views: all, tenants })
    }

    fn grant(&self, component: Grantee<'_>, granted: &mut Granted) {
        let views = self.views.get(component.name.as_str()).into_iter().flatten();
        granted.grants.databases =
            views.map(|(name, view)| (name.clone(), view.clone() as Arc<dyn sandbox::Database>)).collect();
    }

    /// Shows the tenants' connections, and the databases.
    fn show(&self, caller: &Caller, text: &mut Text) {
        text.family("roadrunner_tenant_sql_connections", "gauge", "Connections to databases, used or not.");
        for (tenant, owner) in self.tenants.iter().filter(|(tenant, _)| caller.sees(Some(tenant))) {
            let connections: usize = self.open.values().map(|open| open.database.connections_of(owner)).sum();
            text.sample(&[("tenant", tenant)], connections);
        }
        if caller.tenant().is_some() {
            return;
        }
        text.family("roadrunner_sql_statements_total", "counter", "Statements of guests, by how they ended.");
        for (name, open) in &self.open {
            for (outcome, count) in OUTCOMES.iter().zip(&open.counts.0) {
                text.sample(&[("database", name), ("outcome", outcome)], count.load(Relaxed));
            }
        }
        text.family("roadrunner_sql_connections", "gauge", "Open connections to databases.");
        for (name, open) in &self.open {
            let (all, idle) = (open.database.connections(), open.database.idle());
            text.sample(&[("database", name), ("state", "idle")], idle);
            text.sample(&[("database", name), ("state", "used")], all.saturating_sub(idle));
        }
        text.family(
            "roadrunner_sql_connections_total",
            "counter",
            "Connections to databases that were opened, and those that were closed because nobody could use them again.",
        );
        for (name, open) in &self.open {
            let counts = open.database.counts();
            text.sample(&[("database", name), ("event", "closed")], counts.closed());
            text.sample(&[("database", name), ("event", "opened")], counts.opened());
        }
        text.family("roadrunner_sql_cancelled_total", "counter", "Statements that were cancelled at the server.");
        for (name, open) in &self.open {
            text.sample(&[("database", name)], open.database.counts().cancelled());
        }
    }
}

/// A database of the manifest, open.
#[derive(Debug)]
struct OpenDatabase {
    database: Database,
    url: String,
    connections: u32,
    tls: Tls,
    /// The role's password.
    password: Option<Secret>,
    counts: Arc<Counts>,
}

/// The statements of a database, by outcome.
#[derive(Debug, Default)]
struct Counts([AtomicU64; OUTCOMES.len()]);

impl Counts {
    fn count(&self, outcome: &str) {
        if let Some((_, count)) = OUTCOMES.iter().zip(&self.0).find(|(known, _)| **known == outcome) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// Opens the databases of a manifest. Those that are at the same place stay open.
fn open(opening: &Opening<'_>, before: &OpenDatabases) -> Result<OpenDatabases> {
    let Opening { manifest, secrets, names, .. } = opening;
    let open = |(name, settings): (&SqlName, &manifest::Sql)| {
        let password = settings.password.as_ref().and_then(|password| secrets.get(password.as_str()).cloned());
        let tls = match &settings.tls {
            SqlTls::Authorities(file) => {
                Tls::Authorities(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?)
            }
            SqlTls::Off => Tls::Off,
            SqlTls::Public => Tls::Public,
        };
        let known = before.get(name.as_str()).filter(|known| {
            known.url == settings.url
                && known.connections == settings.connections
                && known.tls == tls
                && known.password.as_ref().map(Secret::expose) == password.as_ref().map(Secret::expose)
        });
        if let Some(known) = known {
            return Ok((name.to_string(), known.clone()));
        }
        let text = |secret: &Secret| {
            let text = std::str::from_utf8(secret.expose()).ok().context("the password of a database is not UTF-8")?;
            Ok::<_, anyhow::Error>(Arc::new(Zeroizing::new(text.to_owned())))
        };
        let place = Place {
            url: settings.url.clone(),
            password: password.as_ref().map(text).transpose()?,
            tls: tls.clone(),
            names: names.own(),
        };
        let (url, connections) = (settings.url.clone(), settings.connections);
        let database = Database::open(name.as_str(), &place, connections as usize)?;
        Ok((
            name.to_string(),
            Arc::new(OpenDatabase { database, url, connections, tls, password, counts: Arc::default() }),
        ))
    };
    manifest.sql.iter().map(open).collect()
}

/// A component's views of its databases, by database.
fn views(opening: &Opening<'_>, component: Grantee<'_>, open: &OpenDatabases) -> BTreeMap<String, Arc<View>> {
    let Grantee { name: component, settings } = component;
    let tenant = settings.tenant.as_ref().and_then(|tenant| opening.tenants.get(tenant.as_str()));
    let view = |name: &SqlName| {
        let (open, database) = (open.get(name.as_str())?, opening.manifest.sql.get(name)?);
        let owner = Owner {
            name: accounts::owner(component.as_str(), settings.tenant.as_ref()),
            connections: database.tenant_connections as usize,
            bill: tenant.cloned().map_or_else(Bill::default, bill),
        };
        let access = open.database.access(&owner, limits(database));
        Some((name.to_string(), Arc::new(View { access, counts: open.counts.clone() })))
    };
    settings.sql.iter().filter_map(view).collect()
}

/// Charges a tenant for the CPU time of its connections.
fn bill(tenant: Arc<Tenant>) -> Bill {
    Bill::new(move |used| tenant.cpu.spend(used))
}

fn limits(database: &manifest::Sql) -> Limits {
    let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        statement: size(database.statement_size),
        parameters: size(database.parameters_size),
        rows: database.rows as usize,
        result: size(database.result_size),
        timeout: database.timeout,
        transaction: database.transaction_timeout,
    }
}

/// A component's view of a database.
#[derive(Debug)]
struct View {
    access: Access,
    counts: Arc<Counts>,
}

impl sandbox::Database for View {
    fn query(&self, statement: String, parameters: Vec<SqlValue>, most: u64) -> SqlAnswer<SqlRows> {
        let access = self.access.clone();
        counted(&self.counts, async move {
            let rows = access.query(&statement, &parameters_of(parameters), size(most)).await?;
            Ok(rows_of(rows))
        })
    }

    fn execute(&self, statement: String, parameters: Vec<SqlValue>) -> SqlAnswer<u64> {
        let access = self.access.clone();
        counted(&self.counts, async move { access.execute(&statement, &parameters_of(parameters)).await })
    }

    fn begin(&self) -> SqlAnswer<Arc<dyn SqlTransaction>> {
        let (access, counts) = (self.access.clone(), self.counts.clone());
        counted(&self.counts, async move {
            let transaction = Arc::new(access.begin().await?);
            Ok(Arc::new(Begun { transaction, counts }) as Arc<dyn SqlTransaction>)
        })
    }
}

/// A transaction that a component has begun.
#[derive(Debug)]
struct Begun {
    transaction: Arc<Transaction>,
    counts: Arc<Counts>,
}

impl SqlTransaction for Begun {
    fn query(&self, statement: String, parameters: Vec<SqlValue>, most: u64) -> SqlAnswer<SqlRows> {
        let transaction = self.transaction.clone();
        counted(&self.counts, async move {
            let rows = transaction.query(&statement, &parameters_of(parameters), size(most)).await?;
            Ok(rows_of(rows))
        })
    }

    fn execute(&self, statement: String, parameters: Vec<SqlValue>) -> SqlAnswer<u64> {
        let transaction = self.transaction.clone();
        counted(&self.counts, async move { transaction.execute(&statement, &parameters_of(parameters)).await })
    }

    fn commit(&self) -> SqlAnswer<()> {
        let transaction = self.transaction.clone();
        counted(&self.counts, async move { transaction.commit().await })
    }

    fn rollback(&self) -> SqlAnswer<()> {
        let transaction = self.transaction.clone();
        counted(&self.counts, async move { transaction.rollback().await })
    }

    fn abandon(&self) {
        self.transaction.abandon();
    }
}

/// Runs a statement, counts its outcome, and converts its error for the guest.
fn counted<T: Send + 'static>(
    counts: &Arc<Counts>,
    run: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> SqlAnswer<T> {
    let counts = counts.clone();
    Box::pin(async move {
        let result = run.await;
        counts.count(result.as_ref().map_or_else(outcome, |_| "ok"));
        result.map_err(told)
    })
}

fn outcome(error: &Error) -> &'static str {
    match error {
        Error::Closed => "closed",
        Error::Failed { .. } => "failed",
        Error::Fault(_) => "fault",
        Error::Overloaded(_) => "overloaded",
        Error::Refused(_) => "refused",
        Error::Timeout => "timeout",
        Error::TooLarge(_) => "too-large",
    }
}

/// Converts an error for the guest: the server's answer to its statement, and nothing about the host's network.
fn told(error: Error) -> SqlFailure {
    SqlFailure::Host(match error {
        Error::Fault(fault) => {
            let roadrunner_sql::Fault { code, message, detail, hint, constraint, position } = *fault;
            return SqlFailure::Fault(SqlFault { code, message, detail, hint, constraint, position });
        }
        Error::Closed => SqlHostError::Closed,
        Error::Failed { database, reason } => {
            tracing::debug!(%database, "a statement failed: {reason}");
            SqlHostError::Internal(format!("the database `{database}` failed"))
        }
        Error::Overloaded(limit) => SqlHostError::Refused(format!("connections: all {limit} are in use")),
        Error::Refused(rule) => SqlHostError::Refused(rule),
        Error::Timeout => SqlHostError::Timeout,
        Error::TooLarge(limit) => SqlHostError::TooLarge(limit),
    })
}

fn parameters_of(parameters: Vec<SqlValue>) -> Vec<Value> {
    let value = |value| match value {
        SqlValue::Boolean(boolean) => Value::Boolean(boolean),
        SqlValue::Bytes(bytes) => Value::Bytes(bytes),
        SqlValue::Float(float) => Value::Float(float),
        SqlValue::Integer(integer) => Value::Integer(integer),
        SqlValue::Null => Value::Null,
        SqlValue::Text(text) => Value::Text(text),
    };
    parameters.into_iter().map(value).collect()
}

fn rows_of(rows: Rows) -> SqlRows {
    let value = |value| match value {
        Value::Boolean(boolean) => SqlValue::Boolean(boolean),
        Value::Bytes(bytes) => SqlValue::Bytes(bytes),
        Value::Float(float) => SqlValue::Float(float),
        Value::Integer(integer) => SqlValue::Integer(integer),
        Value::Null => SqlValue::Null,
        Value::Text(text) => SqlValue::Text(text),
    };
    SqlRows {
        columns: rows.columns.into_iter().map(|(name, type_name)| SqlColumn { name, type_name }).collect(),
        rows: rows.rows.into_iter().map(|row| row.into_iter().map(value).collect()).collect(),
    }
}

fn size(most: u64) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX)
}

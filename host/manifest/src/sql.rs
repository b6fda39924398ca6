//! Databases: their servers, and the limits on what components do there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{Schema, json_schema};

use crate::decode::Field;
use crate::resolver::{FileKind, Resolver, entries, value};
use crate::scalar::units::{HOUR, KIB, MIB};
use crate::scalar::{Bytes, Count, Fault, FilePath, Table, Text, Time, name};
use crate::secret::SecretName;
use crate::section::section;

/// `[sql]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sql {
    /// The URL, without a password.
    pub url: String,
    /// The secret with the role's password.
    pub password: Option<SecretName>,
    /// Whether the server must speak TLS, and who vouches for it.
    pub tls: SqlTls,
    /// Whether components of several tenants may be granted it.
    pub shared: bool,
    /// The most connections of all tenants together.
    pub connections: u32,
    /// The most connections of one tenant, or of one component without a tenant.
    pub tenant_connections: u32,
    /// The largest statement, in bytes.
    pub statement_size: u64,
    /// The largest parameters of a statement together, in bytes.
    pub parameters_size: u64,
    /// The most rows of a result.
    pub rows: u32,
    /// The largest result, in bytes.
    pub result_size: u64,
    /// The deadline of a statement.
    pub timeout: Duration,
    /// The deadline of a transaction.
    pub transaction_timeout: Duration,
}

/// The authorities that vouch for a database's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlTls {
    /// Those of a PEM file.
    Authorities(PathBuf),
    /// None: there is no TLS.
    Off,
    /// Those that Mozilla trusts.
    Public,
}

name! {
    /// The name under which a database is granted and a guest opens it.
    pub struct SqlName = "sql";
}

section! {
    /// A PostgreSQL database, as one role sees it. The role's rights at the server are those of every component that is
    /// granted the database.
    #[title = "`[sql.NAME]`"]
    pub(crate) struct SqlSection {
        /// The server: `postgres://ROLE@HOST:PORT/DATABASE`, without a password. A Unix socket is named by its folder:
        /// `postgres://ROLE@%2Frun%2Fpostgresql/DATABASE`.
        url: PostgresUrl [required];
        /// The secret with the role's password.
        password: SecretName;
        /// Whether the server must speak TLS, with a certificate for its name. It does not hold for a Unix socket.
        tls: bool = "true";
        /// The PEM file of the authorities that sign the server's certificate. Without it, the authorities that Mozilla
        /// trusts.
        ca_file: FilePath;
        /// Whether components of several tenants may be granted it. They see the same data, and each other's statements
        /// at the server.
        shared: bool = "false";
        /// Open connections of all tenants together, used or not. Over it, more wait.
        connections: Count<1, 10_000> = "32";
        /// Open connections of one tenant, or of one component without a tenant. Over it, more wait.
        tenant_connections: Count<1, 10_000> = "8";
        /// The largest statement, without its parameters.
        statement_size: Bytes<1, { MIB }> = "\"64KiB\"";
        /// The largest parameters of a statement together.
        parameters_size: Bytes<1, { 64 * MIB }> = "\"1MiB\"";
        /// Rows of a result. Over it, the statement is cancelled.
        rows: Count<1, 1_000_000> = "10_000";
        /// The largest result, with 16 bytes more for each value. Over it, the statement is cancelled.
        result_size: Bytes<{ KIB }, { 64 * MIB }> = "\"4MiB\"";
        /// The deadline of a statement, including the wait for a connection. After it, the statement is cancelled.
        timeout: Time<1, { HOUR }> = "\"5s\"";
        /// The deadline of a transaction. After it, the transaction is rolled back.
        transaction_timeout: Time<1, { HOUR }> = "\"30s\"";
    }
}

impl Resolver<'_> {
    pub(crate) fn databases(&mut self, section: &Field<Table<SqlName, SqlSection>>) -> BTreeMap<SqlName, Sql> {
        let mut databases = BTreeMap::new();
        for (name, database) in entries(section) {
            if let Some(password) = &database.password {
                self.is_declared(password);
            }
            let authorities = self.path(&database.ca_file, FileKind::File);
            if let (Some(file), false) = (&database.ca_file, database.tls()) {
                let fix = "remove the key, or `tls = false`";
                self.context.report(file.span(), "without TLS there is no certificate to check", fix);
            }
            let Some(url) = value(&database.url) else { continue };
            let Some(url) = url.0.clone() else {
                self.context.report(
                    name.span(),
                    format!("`url` of the database `{}` contains a password", name.get_ref()),
                    "write it without, make the password a secret, and name that: `password = \"NAME\"`",
                );
                continue;
            };
            let tls = match (database.tls(), authorities) {
                (false, _) => SqlTls::Off,
                (true, Some(file)) => SqlTls::Authorities(file),
                (true, None) => SqlTls::Public,
            };
            let sql = Sql {
                url,
                password: value(&database.password).cloned(),
                tls,
                shared: database.shared(),
                connections: database.connections().get(),
                tenant_connections: database.tenant_connections().get(),
                statement_size: database.statement_size().get(),
                parameters_size: database.parameters_size().get(),
                rows: database.rows().get(),
                result_size: database.result_size().get(),
                timeout: database.timeout().get(),
                transaction_timeout: database.transaction_timeout().get(),
            };
            databases.insert(name.get_ref().clone(), sql);
        }
        databases
    }
}

/// The URL of a database; `None` for a URL with a password, since more people read manifests than secrets. The section
/// reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostgresUrl(pub(crate) Option<String>);

impl Text for PostgresUrl {
    const KIND: &'static str = "the URL of a PostgreSQL database, such as \"postgres://shop@127.0.0.1:5432/shop\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let example = "write it as \"postgres://ROLE@HOST:PORT/DATABASE\"";
        let wrong = |message: &str| Fault::new(message.to_owned(), example);
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or_else(|| wrong("is not the URL of a PostgreSQL database"))?;
        if rest.contains(['?', '#']) || rest.contains(char::is_whitespace) {
            return Err(wrong("has more than a role, a server and a database"));
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let Some((role, server)) = authority.rsplit_once('@').filter(|(role, _)| !role.is_empty()) else {
            return Err(wrong("names no role"));
        };
        if role.contains(':') {
            return Ok(Self(None));
        }
        if database.is_empty() || database.contains('/') {
            return Err(wrong("names no database"));
        }
        let (host, port) = match server.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        };
        let is_one = !host.is_empty() && !host.contains(',') && (host.starts_with('[') || !host.contains(':'));
        if !is_one || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(wrong("names no server"));
        }
        Ok(Self(Some(text.to_owned())))
    }

    fn text_schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^postgres(ql)?://",
            "examples": ["postgres://shop@127.0.0.1:5432/shop", "postgres://shop@%2Frun%2Fpostgresql/shop"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in [
            "postgres://shop@127.0.0.1:5432/shop",
            "postgresql://shop@db.example.com/shop",
            "postgres://shop@[::1]/shop",
            "postgres://shop@[::1]:5433/shop",
            "postgres://shop@%2Frun%2Fpostgresql/shop",
        ] {
            assert_eq!(PostgresUrl::parse(good), Ok(PostgresUrl(Some(good.to_owned()))), "{good}");
        }
        for wrong in [
            "",
            "shop@127.0.0.1",
            "mysql://shop@a/b",
            "postgres://a/b",
            "postgres://@a/b",
            "postgres://shop@a",
            "postgres://shop@a/",
            "postgres://shop@/b",
            "postgres://shop@a,b/c",
            "postgres://shop@a:x/b",
            "postgres://shop@::1/b",
            "postgres://shop@a/b?sslmode=disable",
            "postgres://shop@a/b c",
        ] {
            assert!(PostgresUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_not_kept() {
        assert_eq!(PostgresUrl::parse("postgres://shop:hunter2@a/b"), Ok(PostgresUrl(None)));
    }
}

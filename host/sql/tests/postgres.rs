//! Statements on a real server.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use roadrunner_names::{Resolver, Settings};
use roadrunner_sql::{Access, Bill, Database, Error, Limits, Owner, Place, Tls, Value};
use zeroize::Zeroizing;

#[path = "../../../tests/support/ports.rs"]
mod ports;
#[path = "../../../tests/support/postgres.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod postgres;

use postgres::{PASSWORD, Postgres};

const LIMITS: Limits = Limits {
    statement: 4096,
    parameters: 1 << 20,
    rows: 1000,
    result: 1 << 20,
    timeout: Duration::from_secs(10),
    transaction: Duration::from_secs(20),
};

const ALL: usize = usize::MAX;

fn place(url: &str) -> Place {
    Place {
        url: url.to_owned(),
        password: Some(Arc::new(Zeroizing::new(PASSWORD.to_owned()))),
        tls: Tls::Off,
        names: Resolver::new(Settings::default()).own(),
    }
}

fn open(url: &str, connections: usize) -> Database {
    Database::open("test", &place(url), connections).expect("the URL is right")
}

fn owner(name: &str, connections: usize) -> Owner {
    Owner { name: name.to_owned(), connections, bill: Bill::default() }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The only value of the only row.
async fn one(access: &Access, statement: &str, parameters: &[Value]) -> Value {
    let rows = access.query(statement, parameters, ALL).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    assert_eq!((rows.rows.len(), rows.columns.len()), (1, 1), "{statement}");
    rows.rows[0][0].clone()
}

/// The value as it is, which a failed test may show.
fn shown(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => format!("{bytes:?}"),
        Value::Boolean(boolean) => format!("{boolean:?}"),
        Value::Float(float) => format!("{float:?}"),
        Value::Integer(integer) => format!("{integer}"),
        Value::Null => "null".to_owned(),
        Value::Text(text) => format!("'{text}'"),
    }
}

fn code(error: &Error) -> &str {
    match error {
        Error::Fault(fault) => &fault.code,
        _ => "",
    }
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The statements that run at the server, apart from the one that asks.
fn running(server: &Postgres) -> String {
    server.run("select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query like '%pg_sleep%'")
}

#[tokio::test]
async fn values_of_all_types_come_and_go() {
    let Some(server) = Postgres::start("values_of_all_types_come_and_go") else { return };
    let access = open(&server.url(), 2).access(&owner("a", 2), LIMITS);
    server.run("create type mood as enum ('sad', 'happy'); create domain positive as int check (value > 0)");
    for (statement, value) in [
        ("select null::int", "null"),
        ("select true", "true"),
        ("select 7::int2", "7"),
        ("select -7::int4", "-7"),
        ("select (-9223372036854775808)::int8", "-9223372036854775808"),
        ("select 4294967295::oid", "4294967295"),
        ("select 0.1::float4", "0.1"),
        ("select '-infinity'::float4", "-inf"),
        ("select 'NaN'::float8", "NaN"),
        ("select 'é'::text", "'é'"),
        ("select 'a'::char(3)", "'a  '"),
        ("select 'a'::name", "'a'"),
        ("select '{\"a\": 1}'::json", "'{\"a\": 1}'"),
        ("select '{\"b\":2}'::jsonb", "'{\"b\": 2}'"),
        ("select 'happy'::mood", "'happy'"),
        ("select 5::positive", "5"),
        ("select '\\x00ff'::bytea", "[0, 255]"),
        ("select 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
        ("select 0::numeric", "'0'"),
        ("select 0.00::numeric", "'0.00'"),
        ("select 10000::numeric", "'10000'"),
        ("select -12345678901234567890.0123456789::numeric", "'-12345678901234567890.0123456789'"),
        ("select 0.00001234::numeric", "'0.00001234'"),
        ("select 1e20::numeric", "'100000000000000000000'"),
        ("select 'NaN'::numeric", "'NaN'"),
        ("select '2024-02-29'::date", "'2024-02-29'"),
        ("select 'infinity'::date", "'infinity'"),
        ("select '0044-03-15 BC'::date", "'0044-03-15 BC'"),
        ("select '1969-12-31 23:59:59.5'::timestamp", "'1969-12-31T23:59:59.5'"),
        ("select '2024-12-31 23:00:00.123456-03:00'::timestamptz", "'2025-01-01T02:00:00.123456Z'"),
        ("select '-infinity'::timestamptz", "'-infinity'"),
        ("select '04:05:06.7'::time", "'04:05:06.7'"),
        ("select '04:05:06+02:30'::timetz", "'04:05:06+02:30'"),
        ("select '1 year 2 months 3 days 4 hours 5 minutes 6.7 seconds'::interval", "'P1Y2M3DT4H5M6.7S'"),
        ("select '-1 second'::interval", "'PT-1S'"),
        ("select '0'::interval", "'PT0S'"),
        ("select '10.1.2.3'::inet", "'10.1.2.3'"),
        ("select '10.0.0.0/8'::cidr", "'10.0.0.0/8'"),
        ("select '2001:db8::1/64'::inet", "'2001:db8::1/64'"),
        ("select '{}'::int[]", "'{}'"),
        ("select '{1,null,3}'::int[]", "'{1,NULL,3}'"),
        ("select '{{1,2},{3,4}}'::int[]", "'{{1,2},{3,4}}'"),
        ("select array['a b', '', 'null', 'q\"\\', 'plain']", "'{\"a b\",\"\",\"null\",\"q\\\"\\\\\",plain}'"),
        ("select '[0:1]={t,f}'::bool[]", "'[0:1]={t,f}'"),
        ("select pg_sleep(0)", "null"),
    ] {
        assert_eq!(shown(&one(&access, statement, &[]).await), value, "{statement}");
    }
    // What a column has given can be given back as a parameter.
    for kind in
        ["numeric", "date", "timestamptz", "timestamp", "interval", "uuid", "jsonb", "int[]", "text[]", "inet", "time"]
    {
        let literal = match kind {
            "numeric" => "-1.50",
            "uuid" => "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "jsonb" => "[1]",
            "int[]" | "text[]" => "{1,2}",
            "inet" => "::1",
            "interval" => "1 day -02:03:04.5",
            "time" => "01:02:03.000004",
            _ => "2024-02-29 01:02:03.5",
        };
        let value = one(&access, &format!("select '{literal}'::{kind}"), &[]).await;
        let same =
            one(&access, &format!("select '{literal}'::{kind} = $1::{kind}"), std::slice::from_ref(&value)).await;
        assert_eq!(shown(&same), "true", "{kind}: {}", shown(&value));
    }
    for (statement, parameter, value) in [
        ("select $1::int2 + 1", Value::Integer(4), "5"),
        ("select $1::int8", Value::Integer(i64::MIN), "-9223372036854775808"),
        ("select $1::float8", Value::Float(0.1), "0.1"),
        ("select $1::float8", Value::Float(f64::NEG_INFINITY), "-inf"),
        ("select $1::float8", Value::Float(1e300), "1e300"),
        ("select $1::numeric", Value::Integer(12), "'12'"),
        ("select not $1", Value::Boolean(false), "true"),
        ("select $1::bytea", Value::Bytes(vec![0, 1, 255]), "[0, 1, 255]"),
        ("select $1::text", Value::Null, "null"),
        ("select $1::text", text("'; drop table x; --"), "''; drop table x; --'"),
        ("select $1::int4 = 7", text("7"), "true"),
    ] {
        assert_eq!(shown(&one(&access, statement, &[parameter]).await), value, "{statement}");
    }
    let unread = access.query("select point(1, 2) as p", &[], ALL).await.expect_err("it is not read");
    assert_eq!(unread.to_string(), "sql: the column `p` has the type point, which is not read: cast it to text");
    let bytes = access.query("select $1::text", &[Value::Bytes(vec![1])], ALL).await.expect_err("it is no text");
    assert_eq!(bytes.to_string(), "sql: the parameter 1 has the type text, and takes no bytes");
    let none = access.query("select $1::text", &[], ALL).await.expect_err("there is none");
    assert_eq!(none.to_string(), "sql: the statement has 1 parameters, and 0 were given");
    let rows = access.query("select 1 as a, 'x' as b", &[], ALL).await.expect("it is right");
    assert_eq!(rows.columns, [("a".to_owned(), "int4".to_owned()), ("b".to_owned(), "text".to_owned())]);
}

#[tokio::test]
async fn faults_have_their_sqlstate() {
    let Some(server) = Postgres::start("faults_have_their_sqlstate") else { return };
    let access = open(&server.url(), 1).access(&owner("a", 1), LIMITS);
    server.run("create table t (id int primary key, n int not null check (n > 0))");
    assert_eq!(access.execute("insert into t values (1, 1), (2, 2)", &[]).await.expect("it is right"), 2);
    for (statement, wanted) in [
        ("selec 1", "42601"),
        ("select 1; select 2", "42601"),
        ("select * from missing", "42P01"),
        ("select missing from t", "42703"),
        ("insert into t values (1, 1)", "23505"),
        ("insert into t values (3, null)", "23502"),
        ("insert into t values (3, 0)", "23514"),
        ("select 1 / 0", "22012"),
        ("select 'a'::int", "22P02"),
        ("do $$ begin raise exception 'own' using errcode = 'ZZ001'; end $$", "ZZ001"),
    ] {
        let error = access.execute(statement, &[]).await.expect_err(statement);
        assert_eq!(code(&error), wanted, "{statement}: {error:?}");
    }
    let error = access.execute("insert into t values ($1, 1)", &[Value::Integer(1)]).await.expect_err("it is there");
    let Error::Fault(fault) = &error else { panic!("{error:?}") };
    assert_eq!(fault.constraint.as_deref(), Some("t_pkey"));
    assert!(fault.detail.as_deref().is_some_and(|detail| detail.contains("(id)=(1)")), "{fault:?}");
    assert_eq!(error.to_string(), "the statement failed with SQLSTATE 23505", "and nothing of the tenant's");
    let Err(Error::Fault(fault)) = access.execute("select nothing", &[]).await else { panic!("it is wrong") };
    assert_eq!(fault.position, Some(8));
    // One connection has borne all of them.
    assert_eq!(server.run("select count(*) from pg_stat_activity where application_name = 'roadrunner a'"), "1");
}

#[tokio::test]
async fn sizes_are_bounded() {
    let Some(server) = Postgres::start("sizes_are_bounded") else { return };
    let limits = Limits { statement: 200, parameters: 1000, rows: 100, result: 64 << 10, ..LIMITS };
    let database = open(&server.url(), 1);
    let access = database.access(&owner("a", 1), limits);
    let long = format!("select 1 -- {}", "x".repeat(200));
    assert!(matches!(access.query(&long, &[], ALL).await, Err(Error::TooLarge(200))));
    let parameter = [text(&"x".repeat(1001))];
    assert!(matches!(access.query("select $1::text", &parameter, ALL).await, Err(Error::TooLarge(1000))));
    let many = vec![Value::Null; roadrunner_sql::MAX_PARAMETERS + 1];
    assert!(matches!(access.query("select 1", &many, ALL).await, Err(Error::Refused(_))));
    assert_eq!(access.query("select generate_series(1, 100)", &[], ALL).await.expect("it fits").rows.len(), 100);
    // Each of these is stopped, and the next works.
    for (statement, most, expected) in [
        ("select generate_series(1, 101)", ALL, "rows: the result has more than 100 rows"),
        ("select generate_series(1, 1000000000)", ALL, "rows: the result has more than 100 rows"),
        ("select repeat('x', 10000) from generate_series(1, 99)", ALL, "more than 65536 bytes"),
        ("select repeat('x', 65537)", ALL, "more than 65536 bytes"),
        ("select repeat('x', 300000000)", ALL, "more than 65536 bytes"),
        ("select repeat('x', 2000)", 1000, "more than 1000 bytes"),
    ] {
        let start = Instant::now();
        let error = access.query(statement, &[], most).await.expect_err(statement);
        assert_eq!(error.to_string(), expected, "{statement}");
        assert!(start.elapsed() < Duration::from_secs(8), "{statement}: {:?}", start.elapsed());
        assert_eq!(shown(&one(&access, "select 1", &[]).await), "1", "after {statement}");
    }
    let error = access.execute("do $$ begin raise exception '%', repeat('x', 10000000); end $$", &[]).await;
    assert!(matches!(error, Err(Error::TooLarge(65536))), "{error:?}");
    assert_eq!(access.execute("select generate_series(1, 5000)", &[]).await.expect("rows are dropped"), 5000);
    assert!(database.counts().closed() >= 5);
}

#[tokio::test]
async fn a_slow_statement_is_cancelled_at_the_server() {
    let Some(server) = Postgres::start("a_slow_statement_is_cancelled_at_the_server") else { return };
    let database = open(&server.url(), 2);
    let access = database.access(&owner("a", 2), Limits { timeout: Duration::from_millis(300), ..LIMITS });
    let start = Instant::now();
    let error = access.query("select pg_sleep(60)", &[], ALL).await.expect_err("it takes too long");
    assert!(matches!(error, Error::Timeout), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    until("it runs on", || running(&server) == "0").await;
    assert_eq!(database.counts().cancelled(), 1);
    // One that is dropped is cancelled, too, whether it is one of a transaction or not.
    let access = database.access(&owner("a", 2), LIMITS);
    for in_transaction in [false, true] {
        let transaction =
            if in_transaction { Some(access.begin().await.expect("there is a connection")) } else { None };
        let sleep = async {
            match &transaction {
                Some(transaction) => transaction.query("select pg_sleep(60)", &[], ALL).await,
                None => access.query("select pg_sleep(60)", &[], ALL).await,
            }
        };
        tokio::select! {
            done = sleep => panic!("{done:?}"),
            () = until("it does not begin", || running(&server) == "1") => {}
        }
        until("it runs on", || running(&server) == "0").await;
        if let Some(transaction) = transaction {
            let over = transaction.execute("select 1", &[]).await;
            assert!(matches!(over, Err(Error::Closed)), "{over:?}");
        }
    }
    assert_eq!(database.counts().cancelled(), 3);
    assert_eq!(shown(&one(&access, "select 1", &[]).await), "1");
    until("connections are left", || database.connections() == database.idle()).await;
}

#[tokio::test]
async fn connections_are_counted_by_owner_and_together() {
    let Some(server) = Postgres::start("connections_are_counted_by_owner_and_together") else { return };
    let database = open(&server.url(), 3);
    let limits = Limits { timeout: Duration::from_millis(500), ..LIMITS };
    let (one_owner, other) = (database.access(&owner("a", 2), limits), database.access(&owner("b", 2), limits));
    let held = [one_owner.begin().await.expect("the first"), one_owner.begin().await.expect("the second")];
    let error = one_owner.query("select 1", &[], ALL).await.expect_err("it has no third");
    assert!(matches!(error, Error::Overloaded(2)), "{error:?}");
    let own = other.begin().await.expect("the other's first");
    let error = other.query("select 1", &[], ALL).await.expect_err("all three are in use");
    assert!(matches!(error, Error::Overloaded(3)), "{error:?}");
    assert_eq!((database.connections(), database.connections_of("a"), database.connections_of("b")), (3, 2, 1));
    drop(held);
    until("they are not given back", || database.idle() == 2).await;
    // One that nobody uses makes room.
    let second = other.begin().await.expect("there is room");
    assert_eq!((database.connections_of("a"), database.connections_of("b")), (1, 2));
    drop((own, second));
    // One who waits gets the next connection that is given back, before its owner.
    let held = [one_owner.begin().await.expect("one"), one_owner.begin().await.expect("two")];
    let own = other.begin().await.expect("three");
    let wait = tokio::spawn({
        let other = other.clone();
        async move { other.begin().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let greedy = one_owner.clone();
    let again = tokio::spawn(async move { greedy.query("select 1", &[], ALL).await });
    drop(held);
    let waited = wait.await.expect("it does not panic");
    assert!(waited.is_ok(), "{waited:?}");
    drop((own, waited));
    assert!(again.await.expect("it does not panic").is_ok());
}

#[tokio::test]
async fn nothing_of_a_session_is_left() {
    let Some(server) = Postgres::start("nothing_of_a_session_is_left") else { return };
    let database = open(&server.url(), 1);
    let access = database.access(&owner("a", 1), LIMITS);
    server.run("create role other; create sequence s");
    for statement in [
        "set work_mem = '1MB'",
        "set role other",
        "set session statement_timeout = 0",
        "create temp table mine (a int)",
        "select pg_advisory_lock(1)::text",
        "select nextval('s')",
        "select set_config('app.secret', 'hidden', false)",
        "do $$ begin perform set_config('search_path', 'nowhere', false); end $$",
    ] {
        access.execute(statement, &[]).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    for (statement, value) in [
        ("select current_setting('work_mem') = '1MB'", "false"),
        ("select current_user::text", "'owner'"),
        ("select current_setting('statement_timeout')", "'11s'"),
        ("select current_setting('idle_in_transaction_session_timeout')", "'21s'"),
        ("select count(*) from pg_class where relname = 'mine'", "0"),
        ("select count(*) from pg_locks where locktype = 'advisory'", "0"),
        ("select coalesce(current_setting('app.secret', true), '')", "''"),
        ("select current_setting('search_path')", "'\"$user\", public'"),
    ] {
        assert_eq!(shown(&one(&access, statement, &[]).await), value, "{statement}");
    }
    assert_eq!(code(&access.query("select currval('s')", &[], ALL).await.expect_err("it is not set")), "55000");
    for statement in [
        "begin",
        "commit",
        "rollback",
        "start transaction",
        "copy t from stdin",
        "COPY t TO STDOUT",
        "listen x",
        "/* x */ prepare y as select 1",
        "prepare transaction 'x'",
        "discard all",
        "deallocate all",
    ] {
        let error = access.execute(statement, &[]).await.expect_err(statement);
        assert!(matches!(&error, Error::Refused(rule) if rule.starts_with("sql: a guest has no `")), "{error:?}");
    }
    assert_eq!(database.counts().opened(), 1, "all of this was one connection");
    assert_eq!(database.counts().closed(), 0);
}

#[tokio::test]
async fn transactions_happen_wholly_or_not_at_all() {
    let Some(server) = Postgres::start("transactions_happen_wholly_or_not_at_all") else { return };
    let database = open(&server.url(), 2);
    let access = database.access(&owner("a", 2), LIMITS);
    server.run("create table t (id int primary key, p int references t deferrable initially deferred)");
    let insert = "insert into t (id) values ($1)";
    let ids = || server.run("select coalesce(string_agg(id::text, ',' order by id), '') from t");
    let begin = async || access.begin().await.expect("there is a connection");

    let transaction = begin().await;
    assert_eq!(transaction.execute(insert, &[Value::Integer(1)]).await.expect("it is right"), 1);
    assert_eq!(ids(), "", "nobody else sees it");
    transaction.commit().await.expect("it is right");
    assert_eq!(ids(), "1");
    assert!(matches!(transaction.commit().await, Err(Error::Closed)));
    assert!(matches!(transaction.execute(insert, &[Value::Integer(2)]).await, Err(Error::Closed)));

    let transaction = begin().await;
    transaction.execute(insert, &[Value::Integer(2)]).await.expect("it is right");
    transaction.rollback().await.expect("it is right");
    assert!(matches!(transaction.rollback().await, Err(Error::Closed)));

    // It is rolled back where it is dropped, and where it is left alone for too long.
    let transaction = begin().await;
    transaction.execute(insert, &[Value::Integer(3)]).await.expect("it is right");
    drop(transaction);
    let short = database.access(&owner("a", 2), Limits { transaction: Duration::from_secs(3), ..LIMITS });
    let transaction = short.begin().await.expect("there is a connection");
    transaction.execute(insert, &[Value::Integer(3)]).await.expect("the one that was dropped holds no lock");
    let open = || server.run("select count(*) from pg_stat_activity where state like 'idle in transaction%'");
    assert_eq!(open(), "1");
    until("it stays open", || open() == "0").await;
    assert!(matches!(transaction.execute(insert, &[Value::Integer(4)]).await, Err(Error::Closed)));

    // After a fault, all of it fails, and the commit says so.
    let transaction = begin().await;
    transaction.execute(insert, &[Value::Integer(5)]).await.expect("it is right");
    assert_eq!(code(&transaction.execute(insert, &[Value::Integer(1)]).await.expect_err("it is there")), "23505");
    assert_eq!(code(&transaction.query("select 1", &[], ALL).await.expect_err("it has failed")), "25P02");
    assert_eq!(code(&transaction.commit().await.expect_err("it has failed")), "25P02");
    assert_eq!(ids(), "1");

    // Unless it goes back to a savepoint.
    let transaction = begin().await;
    transaction.execute("savepoint here", &[]).await.expect("it is part of a transaction");
    assert_eq!(code(&transaction.execute(insert, &[Value::Integer(1)]).await.expect_err("it is there")), "23505");
    transaction.execute("rollback to here", &[]).await.expect("it is part of a transaction");
    transaction.execute(insert, &[Value::Integer(6)]).await.expect("it is right");
    assert!(matches!(transaction.execute("commit", &[]).await, Err(Error::Refused(_))));
    transaction.commit().await.expect("it is right");
    assert_eq!(ids(), "1,6");
    assert!(matches!(access.execute("savepoint here", &[]).await, Err(Error::Refused(_))));

    // A constraint that is checked at the end.
    let transaction = begin().await;
    transaction.execute("insert into t values (7, 99)", &[]).await.expect("it is not checked yet");
    assert_eq!(code(&transaction.commit().await.expect_err("there is no 99")), "23503");
    assert_eq!(ids(), "1,6");
    until("connections are left", || database.connections() == database.idle()).await;
    assert_eq!(database.counts().closed(), 0, "all of them were used again");
}

#[tokio::test]
async fn prepared_statements_follow_their_tables() {
    let Some(server) = Postgres::start("prepared_statements_follow_their_tables") else { return };
    let access = open(&server.url(), 1).access(&owner("a", 1), LIMITS);
    server.run("create table t (a int); insert into t values (1)");
    let read = async || access.query("select * from t", &[], ALL).await.expect("it is right").columns.len();
    assert_eq!(read().await, 1);
    server.run("alter table t add b text");
    assert_eq!(read().await, 2);
    access.execute("do $$ begin execute 'deallocate all'; end $$", &[]).await.expect("the server allows it");
    assert_eq!(read().await, 2);
    // More statements than a connection keeps.
    for number in 0..600 {
        assert_eq!(shown(&one(&access, &format!("select {number}"), &[]).await), number.to_string());
    }
    let kept: i32 =
        server.run("select count(*) from pg_stat_activity where application_name = 'roadrunner a'").parse().unwrap();
    assert_eq!(kept, 1);
    let Value::Integer(prepared) = one(&access, "select count(*) from pg_prepared_statements", &[]).await else {
        panic!("it is a number")
    };
    assert!((1..=300).contains(&prepared), "{prepared}");
}

#[tokio::test]
async fn a_server_goes_and_comes_back() {
    let Some(mut server) = Postgres::start("a_server_goes_and_comes_back") else { return };
    let database = open(&server.url(), 2);
    let access = database.access(&owner("a", 2), Limits { timeout: Duration::from_secs(2), ..LIMITS });
    server.run("create table t (a int)");
    for round in 0..3 {
        let transaction = access.begin().await.expect("there is a connection");
        transaction.execute("insert into t values (1)", &[]).await.expect("it is right");
        let statement = tokio::spawn({
            let access = access.clone();
            async move { access.query("select pg_sleep(60)", &[], ALL).await }
        });
        until("it does not begin", || running(&server) == "1").await;
        server.kill();
        let cut = statement.await.expect("it does not panic").expect_err("its server is gone");
        assert!(matches!(cut, Error::Failed { .. }), "round {round}: {cut:?}");
        let error = transaction.commit().await.expect_err("its server is gone");
        assert!(matches!(error, Error::Failed { .. }), "round {round}: {error:?}");
        for _ in 0..3 {
            let start = Instant::now();
            let error = access.query("select 1", &[], ALL).await.expect_err("there is no server");
            assert!(matches!(error, Error::Failed { .. }), "round {round}: {error:?}");
            assert!(start.elapsed() < Duration::from_secs(1), "it fails at once: {:?}", start.elapsed());
        }
        server.start_again();
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(shown(&one(&access, "select count(*) from t", &[]).await), "0", "round {round}");
    }
    until("connections are left", || database.connections() == database.idle()).await;
}

#[tokio::test]
async fn tls_is_checked() {
    let name = "tls_is_checked";
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
    let pem = made.cert.pem();
    let Some(server) = Postgres::start_with_tls(name, &(pem.clone(), made.signing_key.serialize_pem())) else { return };
    let open = |tls: Tls| {
        let place = Place { tls, ..place(&server.url()) };
        Database::open("test", &place, 2).expect("the URL is right").access(&owner("a", 2), LIMITS)
    };
    let trusting = open(Tls::Authorities(pem.into_bytes()));
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(shown(&one(&trusting, encrypted, &[]).await), "true");
    for unsafe_ in [Tls::Off, Tls::Public] {
        let error = open(unsafe_.clone()).query("select 1", &[], ALL).await.expect_err("it is not trusted");
        let Error::Failed { reason, .. } = &error else { panic!("{error:?}") };
        let expected = if unsafe_ == Tls::Off { "no encryption" } else { "UnknownIssuer" };
        assert!(reason.contains(expected) || reason.contains("CaUsedAsEndEntity"), "{reason}");
    }
    // A statement is cancelled over TLS, too.
    tokio::select! {
        done = trusting.query("select pg_sleep(60)", &[], ALL) => panic!("{done:?}"),
        () = until("it does not begin", || running(&server) == "1") => {}
    }
    until("it runs on", || running(&server) == "0").await;
    // The socket needs none.
    let place = place(&server.socket_url());
    let local = Database::open("test", &place, 1).expect("the URL is right").access(&owner("a", 1), LIMITS);
    assert_eq!(shown(&one(&local, encrypted, &[]).await), "false");
    let wrong = Place { password: Some(Arc::new(Zeroizing::new("wrong".to_owned()))), ..place };
    let wrong = Database::open("test", &wrong, 1).expect("the URL is right").access(&owner("a", 1), LIMITS);
    let error = wrong.query("select 1", &[], ALL).await.expect_err("the password is wrong");
    let Error::Failed { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("password authentication failed"), "{reason}");
}

#[tokio::test]
async fn the_owner_pays_for_its_connections() {
    let Some(server) = Postgres::start("the_owner_pays_for_its_connections") else { return };
    let paid = Arc::new(AtomicU64::new(0));
    let bill = Bill::new({
        let paid = paid.clone();
        move |used| {
            paid.fetch_add(used, Relaxed);
        }
    });
    let access = open(&server.url(), 1).access(&Owner { bill, ..owner("a", 1) }, LIMITS);
    // Nobody reads the notices and the rows, but their owner pays for them.
    let notices = "do $$ begin for i in 1..20000 loop raise notice 'x'; end loop; end $$";
    access.execute(notices, &[]).await.expect("it is right");
    let after_notices = paid.load(Relaxed);
    assert!(after_notices > 100_000, "{after_notices} ns");
    access.execute("select generate_series(1, 100000)", &[]).await.expect("it is right");
    assert!(paid.load(Relaxed) > after_notices);
}

#[test]
fn wrong_places_are_refused() {
    for url in ["", "postgres://", "postgres://a@b,c/d", "http://a", "postgres://a@b:x/d"] {
        assert!(Database::open("test", &place(url), 1).is_err(), "{url}");
    }
    let place = Place { tls: Tls::Authorities(b"none".to_vec()), ..place("postgres://a@b/c") };
    assert!(Database::open("test", &place, 1).is_err());
}

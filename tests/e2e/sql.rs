//! Databases: the guests' statements and transactions, their limits, and what is left of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roadrunner_tests::postgres::{PASSWORD, Postgres};
use roadrunner_tests::{Answer, Ask, Server, Setup, Way, server, victim, within};
use serde_json::{Value, json};

use crate::languages::is_built;

/// How long a statement may run on after its guest is gone.
const CANCELLED: Duration = Duration::from_secs(5);

/// A component that is granted a database `main`, with these keys.
fn setup(postgres: &Postgres, keys: &str) -> Setup {
    Setup::of("sql")
        .component("sql = [\"main\"]")
        .and(&database("main", &postgres.url(), keys))
        .private_file("password", PASSWORD)
}

/// The section of a database, and that of its password.
fn database(name: &str, url: &str, keys: &str) -> String {
    format!(
        "[secret.{name}]\nfile = \"password\"\n[sql.{name}]\nurl = \"{url}\"\npassword = \"{name}\"\ntls = false\n{keys}\n"
    )
}

async fn ask(server: &Server, way: Way, path: &str, body: &Value) -> Answer {
    server.fetch(way, Ask::post(path, body.to_string())).await
}

/// Runs a statement over HTTP/1.1, and returns status and body.
async fn run(server: &Server, path: &str, statement: &str, parameters: Value) -> (u16, String) {
    let answer = ask(server, Way::H1, path, &json!({ "statement": statement, "parameters": parameters })).await;
    (answer.status, answer.text())
}

/// The only value of the only row of a query, which must succeed.
async fn one(server: &Server, statement: &str, parameters: Value) -> Value {
    let (status, text) = run(server, "/query", statement, parameters).await;
    assert_eq!(status, 200, "{statement}: {text}");
    let rows: Value = serde_json::from_str(&text).expect("JSON");
    rows["rows"][0][0].clone()
}

async fn statements(server: &Server, outcome: &str) -> f64 {
    let labels = format!("database=\"main\",outcome=\"{outcome}\"");
    server.metrics().await.sample(&format!("roadrunner_sql_statements_total{{{labels}}}"))
}

/// Waits until no connection is used, and nothing runs at the server and no transaction is open there.
async fn is_at_rest(server: &Server, postgres: &Postgres, after: &str) {
    let rest = within(CANCELLED, async || {
        let busy = postgres.run(
            "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() \
             and state <> 'idle'",
        );
        let metrics = server.metrics().await;
        (busy == "0" && metrics.sum("roadrunner_sql_connections", "state=\"used\"") == 0.0).then_some(())
    });
    if rest.await.is_none() {
        let left = postgres.run("select pid, state, query from pg_stat_activity where state <> 'idle'");
        panic!("not at rest after {after}:\n{left}");
    }
}

/// Waits until so many statements with `pg_sleep` run at the server.
async fn has_sleepers(postgres: &Postgres, wanted: &str) {
    let counted = within(Duration::from_secs(10), async || {
        let count = postgres.run(
            "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep%' \
             and pid <> pg_backend_pid()",
        );
        (count == wanted).then_some(())
    });
    assert!(
        counted.await.is_some(),
        "not {wanted} sleepers: {}",
        postgres.run("select state, query from pg_stat_activity")
    );
}

#[tokio::test]
async fn every_operation_over_every_protocol() {
    let Some(postgres) = Postgres::start("every_operation_over_every_protocol") else { return };
    postgres.run("create table t (way text, id int, name text, primary key (way, id))");
    let server = setup(&postgres, "").start().await;
    for way in Way::ALL {
        let name = format!("{way:?}");
        let insert = "insert into t values ($1, $2, $3)";
        for (path, statement, parameters, status, answer) in [
            ("/execute", insert, json!([name, 1, "one"]), 200, "1"),
            ("/execute", insert, json!([name, 2, null]), 200, "1"),
            ("/execute", "update t set name = upper(name) where way = $1", json!([name]), 200, "2"),
            (
                "/query",
                "select id, name from t where way = $1 order by id",
                json!([name]),
                200,
                "{\"columns\":[\"id int4\",\"name text\"],\"rows\":[[1,\"ONE\"],[2,null]]}",
            ),
            ("/query", "select id from t where false", json!([]), 200, "{\"columns\":[\"id int4\"],\"rows\":[]}"),
            (
                "/execute",
                insert,
                json!([name, 1, ""]),
                409,
                "23505: duplicate key value violates unique constraint \"t_pkey\"",
            ),
            ("/query", "selec 1", json!([]), 409, "42601: syntax error at or near \"selec\""),
        ] {
            let body = json!({ "statement": statement, "parameters": parameters });
            let seen = ask(&server, way, path, &body).await;
            assert_eq!((seen.status, seen.text().as_str()), (status, answer), "{way:?}: {statement}");
        }
        for (end, rows) in [("rollback", "2"), ("commit", "3")] {
            let insert = json!({ "statement": insert, "parameters": [name, 3, "three"] });
            let seen = ask(&server, way, "/transaction", &json!({ "statements": [insert], "end": end })).await;
            assert_eq!((seen.status, seen.text().as_str()), (200, "[1]"), "{way:?}: {end}");
            let count = one(&server, "select count(*)::text from t where way = $1", json!([name])).await;
            assert_eq!(count, rows, "{way:?}: {end}");
        }
        let seen = ask(&server, way, "/query", &json!({ "database": "other", "statement": "select 1" })).await;
        let refused = "Refused(\"sql: this component is granted no database of this name\")";
        assert_eq!((seen.status, seen.text().as_str()), (409, refused), "{way:?}");
    }
    let ways = Way::ALL.len() as f64;
    assert_eq!(statements(&server, "fault").await, 2.0 * ways);
    assert_eq!(server.metrics().await.sum("roadrunner_sql_cancelled_total", ""), 0.0);
    is_at_rest(&server, &postgres, "all of it").await;
    server.is_quiet().await;
}

#[tokio::test]
async fn parameters_are_never_statements() {
    let Some(postgres) = Postgres::start("parameters_are_never_statements") else { return };
    postgres.run("create table users (name text); insert into users values ('alice'), ('bob')");
    let server = setup(&postgres, "").start().await;
    for shape in [
        "alice' or '1'='1",
        "'; drop table users; --",
        "\\'; drop table users; --",
        "alice'/*",
        "$1",
        "$$; drop table users; $$",
        "\u{ff07}; drop table users",
        "x\n'); delete from users; --",
        "' union select current_user --",
    ] {
        assert_eq!(one(&server, "select $1::text", json!([shape])).await, *shape, "it comes back as it is");
        let (status, found) = run(&server, "/query", "select name from users where name = $1", json!([shape])).await;
        assert_eq!((status, found.as_str()), (200, "{\"columns\":[\"name text\"],\"rows\":[]}"), "{shape}");
        let (status, text) = run(&server, "/query", "select $1::int", json!([shape])).await;
        assert!(status == 409 && text.starts_with("22P02: "), "{shape}: {text}");
    }
    let (status, text) = run(&server, "/query", "select $1::text", json!(["a\u{0}b"])).await;
    assert!(status == 409 && text.starts_with("22021: "), "a text has no zero: {text}");
    for (statement, answer) in [
        ("select 1; drop table users", "42601: cannot insert multiple commands into a prepared statement"),
        ("commit", "Refused(\"sql: a guest has no `COMMIT`\")"),
        ("copy users to program 'id'", "Refused(\"sql: a guest has no `COPY`\")"),
        ("prepare transaction 'x'", "Refused(\"sql: a guest has no `PREPARE`\")"),
    ] {
        assert_eq!(run(&server, "/execute", statement, json!([])).await, (409, answer.to_owned()), "{statement}");
    }
    assert_eq!(one(&server, "select count(*) from users", json!([])).await, 2);
}

/// How a guest ends while its transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Drop,
    Leave,
    Trap,
    Cpu,
    Deadline,
    Kill,
    ClientLeaves,
}

#[tokio::test]
async fn a_transaction_ends_with_its_guest() {
    let Some(postgres) = Postgres::start("a_transaction_ends_with_its_guest") else { return };
    postgres.run("create table t (id int primary key)");
    let text = "[[route]]\npath = \"/short/transaction\"\ncomponent = \"sql\"\nlimits = { deadline = \"500ms\" }\n\
                [[route]]\npath = \"/*rest\"\ncomponent = \"sql\"\nlimits = { cpu = \"200ms\", deadline = \"1m\" }\n";
    let text = server::component("sql") + "sql = [\"main\"]\n" + text;
    let server = Setup::with(&text)
        .and(&database("main", &postgres.url(), "transaction-timeout = \"1m\""))
        .private_file("password", PASSWORD)
        .start()
        .await;
    let ends = [End::Drop, End::Leave, End::Trap, End::Cpu, End::Deadline, End::Kill, End::ClientLeaves];
    for way in Way::EACH {
        for end in ends {
            let what = format!("{way:?} {end:?}");
            let (word, status) = match end {
                End::Drop => ("drop", 200),
                End::Leave => ("leave", 200),
                End::Trap => ("trap", 500),
                End::Cpu => ("spin", 503),
                End::Deadline => ("hold", 504),
                End::Kill => ("hold", 503),
                End::ClientLeaves => ("hold", 0),
            };
            let insert = json!({ "statement": "insert into t values (1)" });
            let body = json!({ "statements": [insert], "end": word }).to_string();
            let path = if end == End::Deadline { "/short/transaction" } else { "/transaction" };
            let mut client = server.connect(way).await;
            let exchange = client.open(Ask::post(path, body)).await;
            if matches!(end, End::Kill | End::ClientLeaves) {
                let is_open = within(Duration::from_secs(10), async || {
                    let open =
                        postgres.run("select count(*) from pg_stat_activity where state = 'idle in transaction'");
                    (open == "1").then_some(())
                });
                assert!(is_open.await.is_some(), "{what}: no transaction");
            }
            match end {
                End::ClientLeaves if way.has_streams() => exchange.reset(),
                End::ClientLeaves => drop(exchange),
                End::Kill => {
                    let id = server.has_instances(1).await[0]["id"].clone();
                    assert_eq!(server.admin_request("DELETE", &format!("/instances/{id}")).await.0, 204, "{what}");
                    let answer = exchange.rest().await;
                    assert!(answer.status == status || !answer.end.is_whole(), "{what}: {answer:?}");
                }
                _ => {
                    let answer = exchange.rest().await;
                    assert_eq!(answer.status, status, "{what}: {answer:?}");
                }
            }
            drop(client);
            is_at_rest(&server, &postgres, &what).await;
            assert_eq!(postgres.run("select count(*) from t"), "0", "{what}");
        }
    }
    server.is_quiet().await;
    // The connections of transactions that nobody was in the middle of were used again.
    let closed = server.metrics().await.sum("roadrunner_sql_connections_total", "event=\"closed\"");
    assert_eq!(closed, 0.0);
}

/// A guest that keeps its transaction for too long loses it, and goes on.
#[tokio::test]
async fn a_transaction_has_a_time() {
    let Some(postgres) = Postgres::start("a_transaction_has_a_time") else { return };
    postgres.run("create table t (id int primary key)");
    let server = setup(&postgres, "transaction-timeout = \"300ms\"").limit("deadline = \"1m\"").start().await;
    let insert = json!({ "statement": "insert into t values (1)" });
    let hold = json!({ "statements": [insert], "end": "hold", "ms": 3000 });
    let start = Instant::now();
    let (answer, ()) = tokio::join!(ask(&server, Way::H2c, "/transaction", &hold), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let ended = within(Duration::from_millis(2500), async || {
            let open = postgres.run("select count(*) from pg_stat_activity where state like 'idle in transaction%'");
            (open == "0" && start.elapsed() > Duration::from_millis(300)).then_some(())
        });
        assert!(ended.await.is_some(), "it is open all the time");
    });
    assert_eq!((answer.status, answer.text().as_str()), (409, "Closed"));
    assert_eq!(postgres.run("select count(*) from t"), "0");
    // So does one whose statement takes too long.
    let sleep = json!({ "statement": "select pg_sleep(60)" });
    let both = json!({ "statements": [insert, sleep, insert], "end": "commit" });
    let answer = ask(&server, Way::H1, "/transaction", &both).await;
    assert_eq!((answer.status, answer.text().as_str()), (409, "Closed"));
    is_at_rest(&server, &postgres, "its time").await;
    assert_eq!(postgres.run("select count(*) from t"), "0");
}

/// An instance that serves further requests takes no transaction into the next.
#[tokio::test]
async fn a_reused_instance_keeps_no_transaction() {
    let Some(postgres) = Postgres::start("a_reused_instance_keeps_no_transaction") else { return };
    postgres.run("create table t (id int primary key)");
    for reuse in ["reuse = { requests = 1000, idle = \"1m\" }", "restore = true"] {
        let server = setup(&postgres, "").component(reuse).start().await;
        let insert = json!({ "statement": "insert into t values (1)" });
        for round in 0..5 {
            let answer =
                ask(&server, Way::H1, "/transaction", &json!({ "statements": [insert], "end": "leave" })).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "[1]"), "{reuse}, round {round}");
            is_at_rest(&server, &postgres, reuse).await;
        }
        assert_eq!(postgres.run("select count(*) from t"), "0", "{reuse}");
    }
}

#[tokio::test]
async fn a_slow_statement_is_cancelled_at_the_server() {
    let Some(postgres) = Postgres::start("a_slow_statement_is_cancelled_at_the_server") else { return };
    let sleep = json!({ "statement": "select pg_sleep(60)" });
    let server = setup(&postgres, "timeout = \"300ms\"").start().await;
    for way in Way::EACH {
        let start = Instant::now();
        let answer = ask(&server, way, "/query", &sleep).await;
        assert_eq!((answer.status, answer.text().as_str()), (409, "Timeout"), "{way:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{way:?}: {:?}", start.elapsed());
        is_at_rest(&server, &postgres, "its timeout").await;
    }
    assert_eq!(statements(&server, "timeout").await, Way::EACH.len() as f64);
    assert_eq!(server.metrics().await.sum("roadrunner_sql_cancelled_total", ""), Way::EACH.len() as f64);
    drop(server);
    // The end of the guest does the same: by its deadline, or because its client leaves.
    let server = setup(&postgres, "timeout = \"1m\"").limit("deadline = \"2s\"").start().await;
    for way in Way::EACH {
        let answer = ask(&server, way, "/query", &sleep).await;
        assert_eq!(answer.status, 504, "{way:?}: {answer:?}");
        is_at_rest(&server, &postgres, "its deadline").await;
        let mut client = server.connect(way).await;
        let exchange = client.open(Ask::post("/query", sleep.to_string())).await;
        has_sleepers(&postgres, "1").await;
        if way.has_streams() {
            exchange.reset();
        } else {
            drop(exchange);
        }
        drop(client);
        is_at_rest(&server, &postgres, "its client").await;
    }
    assert_eq!(server.metrics().await.sum("roadrunner_sql_cancelled_total", ""), 2.0 * Way::EACH.len() as f64);
    server.is_quiet().await;
}

#[tokio::test]
async fn statements_and_results_have_sizes() {
    let Some(postgres) = Postgres::start("statements_and_results_have_sizes") else { return };
    let keys = "statement-size = \"100B\"\nparameters-size = \"1KiB\"\nrows = 10\nresult-size = \"1MiB\"";
    let server = setup(&postgres, keys).start().await;
    for (statement, parameters, answer) in [
        (format!("select 1 -- {}", "x".repeat(100)).as_str(), json!([]), "TooLarge(100)"),
        ("select $1::text", json!(["x".repeat(1025)]), "TooLarge(1024)"),
        ("select generate_series(1, 11)", json!([]), "Refused(\"rows: the result has more than 10 rows\")"),
        ("select generate_series(1, 1e12::int8)", json!([]), "Refused(\"rows: the result has more than 10 rows\")"),
        ("select repeat('x', 300000) from generate_series(1, 5)", json!([]), "TooLarge(1048576)"),
        ("select repeat('x', 200000000)", json!([]), "TooLarge(1048576)"),
    ] {
        assert_eq!(run(&server, "/query", statement, parameters).await, (409, answer.to_owned()), "{statement}");
        assert_eq!(one(&server, "select 1", json!([])).await, 1, "after {statement}");
    }
    assert!(server.resident_anonymous() < 1 << 30, "{} bytes", server.resident_anonymous());
    assert_eq!(statements(&server, "too-large").await, 4.0);
    assert_eq!(statements(&server, "refused").await, 2.0);
    is_at_rest(&server, &postgres, "all of it").await;
}

/// The rows that the host holds for a guest are part of the guest's memory.
#[tokio::test]
async fn rows_count_as_memory_of_their_guest() {
    let Some(postgres) = Postgres::start("rows_count_as_memory_of_their_guest") else { return };
    let server = setup(&postgres, "result-size = \"32MiB\"").limit("memory = \"4MiB\"").start().await;
    for way in Way::EACH {
        let statement = json!({ "statement": "select repeat('x', 1000000) from generate_series(1, 20)" });
        let answer = ask(&server, way, "/query", &statement).await;
        assert_eq!(answer.status, 503, "{way:?}: {answer:?}");
    }
    assert_eq!(server.metrics().await.outcome("memory-exceeded"), Way::EACH.len() as f64);
    assert_eq!(one(&server, "select 1", json!([])).await, 1);
    is_at_rest(&server, &postgres, "all of it").await;
    server.is_quiet().await;
}

/// Two tenants that are granted one database, on the hosts `attacker` and `normal`.
fn two(postgres: &Postgres, keys: &str) -> Setup {
    let mut text = String::new();
    for (tenant, component) in [("attacker", "theirs"), ("normal", "ours")] {
        text += &format!(
            "[tenant.{tenant}]\nhosts = [\"{tenant}\"]\n[component.{component}]\nfile = \"{{guests}}/sql.wasm\"\n\
             tenant = \"{tenant}\"\nsql = [\"main\"]\nlimits = {{ deadline = \"2m\" }}\n\
             [[route]]\npath = \"/*rest\"\nhosts = [\"{tenant}\"]\ncomponent = \"{component}\"\n"
        );
    }
    let keys = format!("shared = true\n{keys}");
    Setup::with(&text).and(&database("main", &postgres.url(), &keys)).private_file("password", PASSWORD)
}

#[tokio::test]
async fn a_tenant_can_use_up_its_own_connections_alone() {
    let Some(postgres) = Postgres::start("a_tenant_can_use_up_its_own_connections_alone") else { return };
    let keys = "connections = 8\ntenant-connections = 4\ntimeout = \"2s\"\ntransaction-timeout = \"1m\"";
    let server = Arc::new(two(&postgres, keys).alone().start().await);
    let path = "/query?ask=%7B%22statement%22%3A%22select%201%22%7D";
    let time = Duration::from_secs(3);
    let quiet = victim::ask(server.address("plain"), path, time).await;
    assert!(quiet.errors == 0 && quiet.count() > 20, "{quiet}");
    // Transactions that hold all of them, and statements that wait for one or give it back half-used.
    let body = json!({ "count": 4, "ms": 60_000 }).to_string();
    let holder = tokio::spawn({
        let server = server.clone();
        async move { server.fetch(Way::H2c, Ask::post("/open-many", body).host("attacker")).await }
    });
    let held = within(Duration::from_secs(10), async || {
        let sample = server.metrics().await.sum("roadrunner_tenant_sql_connections", "tenant=\"attacker\"");
        (sample == 4.0).then_some(())
    });
    assert!(held.await.is_some(), "the attacker has its connections");
    let waiters: Vec<_> = (0..12)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                let statement = json!({ "statement": "select pg_sleep(60)" }).to_string();
                server.fetch(Way::H2c, Ask::post("/query", statement).host("attacker")).await
            })
        })
        .collect();
    let loaded = victim::ask(server.address("plain"), path, time).await;
    assert!(loaded.are_within(&quiet, 3), "quiet: {quiet}; beside an attacker: {loaded}");
    for waiter in waiters {
        let answer = waiter.await.expect("it does not panic");
        let refused = "Refused(\"connections: all 4 are in use\")";
        assert_eq!((answer.status, answer.text().as_str()), (409, refused));
    }
    assert_eq!(statements(&server, "overloaded").await, 12.0);
    holder.abort();
    let _ = holder.await;
    is_at_rest(&server, &postgres, "the attack").await;
    server.is_quiet().await;
}

/// Each tenant has a role and a database of its own. Nothing of one is in an error, a metric or a line for the other.
#[tokio::test]
async fn tenants_never_share() {
    let Some(postgres) = Postgres::start("tenants_never_share") else { return };
    let mut text = String::new();
    for tenant in ["one", "two"] {
        postgres.run(&format!("create role {tenant} login password '{PASSWORD}'"));
        postgres.run(&format!("create database {tenant} owner {tenant}"));
        postgres.run(&format!("revoke connect on database {tenant} from public"));
        text += &format!(
            "[tenant.{tenant}]\nhosts = [\"{tenant}\"]\n[component.{tenant}]\nfile = \"{{guests}}/sql.wasm\"\n\
             tenant = \"{tenant}\"\nsql = [\"{tenant}\"]\n\
             [[route]]\npath = \"/*rest\"\nhosts = [\"{tenant}\"]\ncomponent = \"{tenant}\"\n"
        );
        text += &database(tenant, &postgres.url_of(tenant, tenant), "");
    }
    let server =
        Setup::with(&text).private_file("password", PASSWORD).environment("RUST_LOG", "info,tokio_postgres=trace");
    let server = server.start().await;
    let on = async |host: &str, path: &str, body: Value| {
        let answer = server.fetch(Way::H2c, Ask::post(path, body.to_string()).host(host)).await;
        (answer.status, answer.text())
    };
    let create = json!({ "database": "one", "statement": "create table t (secret text primary key)" });
    assert_eq!(on("one", "/execute", create).await, (200, "0".to_owned()));
    let insert =
        json!({ "database": "one", "statement": "insert into t values ($1) -- hushtext", "parameters": ["hushvalue"] });
    assert_eq!(on("one", "/execute", insert.clone()).await, (200, "1".to_owned()));
    let (status, text) = on("one", "/execute", insert).await;
    assert!(status == 409 && text.starts_with("23505: "), "{text}");
    let raise =
        json!({ "database": "one", "statement": "do $$ begin raise notice 'hushnotice'; raise 'husherror'; end $$" });
    assert_eq!(on("one", "/execute", raise).await, (409, "P0001: husherror".to_owned()));
    for name in ["one", "missing"] {
        let (status, text) = on("two", "/query", json!({ "database": name, "statement": "select * from t" })).await;
        let refused = "Refused(\"sql: this component is granted no database of this name\")";
        assert_eq!((status, text.as_str()), (409, refused), "{name}");
    }
    let (status, text) = on("two", "/query", json!({ "database": "two", "statement": "select * from t" })).await;
    assert_eq!((status, text.as_str()), (409, "42P01: relation \"t\" does not exist"));
    let others = "select coalesce(string_agg(query, ' '), '') from pg_stat_activity where usename = 'one'";
    let (status, text) = on("two", "/query", json!({ "database": "two", "statement": others })).await;
    assert!(status == 200 && !text.contains("hush"), "{text}");
    let log = server.log.text();
    assert!(!log.contains("hush"), "a statement, a parameter or a notice is in the log:\n{log}");
    let (_, metrics) = server.admin_request("GET", "/metrics").await;
    let connections = server.metrics().await.sum("roadrunner_tenant_sql_connections", "tenant=\"two\"");
    // A second one is opened while the first is cleaned.
    assert!((1.0..=2.0).contains(&connections), "{metrics}");
    assert!(!metrics.contains("hush"));
    server.is_quiet().await;
}

/// Of what a statement does to its session, the next one sees nothing, even of the same tenant and connection.
#[tokio::test]
async fn nothing_of_a_session_is_left() {
    let Some(postgres) = Postgres::start("nothing_of_a_session_is_left") else { return };
    let server = two(&postgres, "connections = 1\ntenant-connections = 1").start().await;
    let on = async |host: &str, statement: &str| {
        let body = json!({ "statement": statement }).to_string();
        let answer = server.fetch(Way::H1, Ask::post("/query", body).host(host)).await;
        assert_eq!(answer.status, 200, "{host} {statement}: {}", answer.text());
        answer.text()
    };
    for round in 0..3 {
        for host in ["attacker", "normal"] {
            on(host, "select set_config('app.secret', 'hidden', false)").await;
            on(host, "create temp table mine as select 1 as a").await;
            on(host, "select pg_advisory_lock(7)::text").await;
            for reader in [host, if host == "normal" { "attacker" } else { "normal" }] {
                let seen = on(
                    reader,
                    "select coalesce(current_setting('app.secret', true), '') \
                     || (select count(*) from pg_class where relname = 'mine') \
                     || (select count(*) from pg_locks where locktype = 'advisory') as left",
                )
                .await;
                assert_eq!(seen, "{\"columns\":[\"left text\"],\"rows\":[[\"00\"]]}", "{round}: {host}, {reader}");
            }
        }
    }
}

async fn works(server: &Server) {
    let works = within(Duration::from_secs(20), async || {
        (run(server, "/query", "select count(*) from t", json!([])).await.0 == 200).then_some(())
    });
    assert!(works.await.is_some(), "it still fails:\n{}", server.log);
}

#[tokio::test]
async fn a_database_goes_and_comes_back() {
    let Some(mut postgres) = Postgres::start("a_database_goes_and_comes_back") else { return };
    postgres.run("create table t (id serial primary key)");
    let server = Arc::new(setup(&postgres, "timeout = \"2s\"").start().await);
    works(&server).await;
    let (mut answered, mut failed) = (0, 0);
    for round in 0..3 {
        // A statement and a transaction are under way when the server is killed.
        let sleeping = tokio::spawn({
            let server = server.clone();
            async move { run(&server, "/query", "select pg_sleep(60)", json!([])).await }
        });
        has_sleepers(&postgres, "1").await;
        postgres.kill();
        let (status, text) = sleeping.await.expect("it does not panic");
        assert_eq!((status, text.as_str()), (409, "Internal(\"the database `main` failed\")"), "round {round}");
        for _ in 0..5 {
            let start = Instant::now();
            let (status, text) = run(&server, "/execute", "insert into t default values", json!([])).await;
            assert_eq!((status, text.as_str()), (409, "Internal(\"the database `main` failed\")"), "round {round}");
            assert!(start.elapsed() < Duration::from_secs(3), "round {round}: {:?}", start.elapsed());
            failed += 1;
        }
        postgres.start_again();
        works(&server).await;
        for _ in 0..10 {
            match run(&server, "/execute", "insert into t default values", json!([])).await.0 {
                200 => answered += 1,
                _ => failed += 1,
            }
        }
    }
    let count = one(&server, "select count(*) from t", json!([])).await.as_i64().expect("a number");
    assert!((answered..=answered + failed).contains(&count), "{count} for {answered} answers and {failed} failures");
    assert_eq!(answered, 30, "it works again at once");
    let log = server.log.text();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("a database cannot be reached"), 3, "{log}");
    assert_eq!(lines("a database can be reached again"), 3, "{log}");
    is_at_rest(&server, &postgres, "all of it").await;
    server.is_quiet().await;
}

#[tokio::test]
async fn databases_over_tls() {
    let Some(postgres) = Postgres::start_with_tls("databases_over_tls", server::certificate()) else { return };
    let keys = format!("ca-file = {:?}", postgres.certificate());
    let with_tls = |keys: &str| {
        let text = database("main", &postgres.url(), keys).replace("tls = false\n", "");
        Setup::of("sql").component("sql = [\"main\"]").and(&text).private_file("password", PASSWORD)
    };
    let server = with_tls(&keys).start().await;
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    for way in Way::EACH {
        let answer = ask(&server, way, "/query", &json!({ "statement": encrypted })).await;
        assert_eq!(answer.text(), "{\"columns\":[\"ssl bool\"],\"rows\":[[true]]}", "{way:?}");
    }
    // Others than the authorities that the manifest names vouch for nothing.
    let strict = with_tls("").beside().start().await;
    let failed = (409, "Internal(\"the database `main` failed\")".to_owned());
    assert_eq!(run(&strict, "/query", "select 1", json!([])).await, failed);
    let line = strict.log.message("a database cannot be reached").await.to_string();
    assert!(line.contains("certificate") || line.contains("UnknownIssuer"), "{line}");
    let plain = setup(&postgres, "").beside().start().await;
    assert_eq!(run(&plain, "/query", "select 1", json!([])).await, failed, "it speaks TLS alone");
}

#[tokio::test]
async fn a_reload_keeps_connections_and_takes_limits() {
    let Some(postgres) = Postgres::start("a_reload_keeps_connections_and_takes_limits") else { return };
    let server = setup(&postgres, "rows = 5").start().await;
    let pid = one(&server, "select pg_backend_pid()", json!([])).await;
    // A connection is cleaned before it serves again.
    is_at_rest(&server, &postgres, "a statement").await;
    let path = server.folder().join("roadrunner.toml");
    let text = std::fs::read_to_string(&path).expect("the manifest");
    std::fs::write(&path, text.replace("rows = 5", "rows = 3")).expect("a file");
    assert_eq!(server.admin_request("POST", "/reload").await, (200, "reloaded\n".to_owned()));
    assert_eq!(one(&server, "select pg_backend_pid()", json!([])).await, pid, "the connection is kept");
    let (status, text) = run(&server, "/query", "select generate_series(1, 4)", json!([])).await;
    assert_eq!((status, text.as_str()), (409, "Refused(\"rows: the result has more than 3 rows\")"));
}

/// The modules of the other SDKs: every kind of value, a transaction, a fault.
#[tokio::test]
async fn javascript_and_python_have_databases() {
    let Some(postgres) = Postgres::start("javascript_and_python_have_databases") else { return };
    for guest in ["demo-js", "demo-python"] {
        if !is_built(&format!("sql::javascript_and_python_have_databases {guest}"), guest) {
            continue;
        }
        let setup = Setup::of(guest).component("sql = [\"demo\"]").and(&database("demo", &postgres.url(), ""));
        let server = setup.private_file("password", PASSWORD).compiled().await.start().await;
        let row = json!({ "id": -7, "name": null, "data": [0, 255], "price": "12.50", "half": -0.5, "yes": true });
        for way in Way::EACH {
            let answer = server.fetch(way, Ask::get("/sql")).await;
            let seen: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{guest}: {answer:?}"));
            assert_eq!(seen, json!({ "count": 1, "rows": [row], "fault": "42P01" }), "{guest} {way:?}");
        }
        is_at_rest(&server, &postgres, guest).await;
        server.is_quiet().await;
        drop(server);
        let server = Setup::of(guest).compiled().await.start().await;
        let answer = server.fetch(Way::H1, Ask::get("/sql")).await;
        assert_eq!((answer.status, answer.text().as_str()), (409, "refused\n"), "{guest}");
    }
}

//! Statements on a database, as the request asks for them in JSON, in its body or as `ask` in its query; and transactions that end well, badly or never.

use std::time::Duration;

use roadrunner_guest::sql::{Database, Error, Result, Rows, Value};
use roadrunner_guest::{IntoResponse, Request, Response, StatusCode, handler};
use serde_json::{Value as Json, json};

#[handler]
fn answer(request: Request) -> Response {
    let path = request.path();
    let body = match request.body().read_to_end() {
        Ok(body) => body,
        Err(error) => return format!("{error}").into_response(),
    };
    let query = request.query_pairs();
    let text = query.get("ask").map_or(&body[..], str::as_bytes);
    let Ok(asked) = serde_json::from_slice::<Json>(text) else {
        return (StatusCode::BAD_REQUEST, "there is no JSON").into_response();
    };
    match run(&path, &asked) {
        Ok(answer) => answer.to_string().into_response(),
        Err(error) => (StatusCode::CONFLICT, told(&error)).into_response(),
    }
}

fn run(path: &str, asked: &Json) -> Result<Json> {
    let database = Database::open(asked["database"].as_str().unwrap_or("main"))?;
    let (statement, parameters) = statement(asked);
    match path.rsplit('/').next().unwrap_or_default() {
        "query" => Ok(rows(database.query(statement, parameters)?)),
        "execute" => Ok(json!(database.execute(statement, parameters)?)),
        "transaction" => transaction(&database, asked),
        "open-many" => {
            let open: Result<Vec<_>> = (0..asked["count"].as_u64().unwrap_or(1)).map(|_| database.begin()).collect();
            let open = open?;
            std::thread::sleep(Duration::from_millis(asked["ms"].as_u64().unwrap_or(0)));
            Ok(json!(open.len()))
        }
        _ => Ok(Json::Null),
    }
}

/// Runs statements, and then ends the transaction as it was asked to.
fn transaction(database: &Database, asked: &Json) -> Result<Json> {
    let transaction = database.begin()?;
    let mut counts = Vec::new();
    for asked in asked["statements"].as_array().into_iter().flatten() {
        let (statement, parameters) = statement(asked);
        match transaction.execute(statement, parameters) {
            Ok(count) => counts.push(json!(count)),
            Err(error) => counts.push(json!(told(&error))),
        }
    }
    match asked["end"].as_str().unwrap_or("commit") {
        "commit" => transaction.commit()?,
        "rollback" => transaction.rollback()?,
        "drop" => drop(transaction),
        // The handle outlives the request, as far as the guest can help it.
        "leave" => std::mem::forget(transaction),
        "hold" => {
            std::thread::sleep(Duration::from_millis(asked["ms"].as_u64().unwrap_or(600_000)));
            transaction.commit()?;
        }
        "spin" => loop {
            std::hint::black_box(());
        },
        _ => panic!("on purpose"),
    }
    Ok(json!(counts))
}

fn statement(asked: &Json) -> (&str, Vec<Value>) {
    let parameters = asked["parameters"].as_array().into_iter().flatten();
    (asked["statement"].as_str().unwrap_or_default(), parameters.map(parameter).collect())
}

fn parameter(json: &Json) -> Value {
    match json {
        Json::Bool(boolean) => (*boolean).into(),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64().into(),
        },
        Json::String(text) => text.into(),
        Json::Array(bytes) => {
            let byte = |byte: &Json| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()).unwrap_or_default();
            Value::Bytes(bytes.iter().map(byte).collect())
        }
        Json::Null | Json::Object(_) => Value::Null,
    }
}

fn rows(rows: Rows) -> Json {
    let columns: Vec<_> = rows.columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
    let value = |value: &Value| match value {
        Value::Boolean(boolean) => json!(boolean),
        Value::Bytes(bytes) => json!(bytes),
        Value::Float(float) => json!(float),
        Value::Integer(integer) => json!(integer),
        Value::Null => Json::Null,
        Value::Text(text) => json!(text),
    };
    let rows: Vec<Vec<_>> = rows.rows.iter().map(|row| row.iter().map(value).collect()).collect();
    json!({ "columns": columns, "rows": rows })
}

fn told(error: &Error) -> String {
    match error {
        Error::Fault(fault) => format!("{}: {}", fault.code, fault.message),
        Error::Host(error) => format!("{error:?}"),
        other => format!("{other:?}"),
    }
}

//! One operation on the store `store` (`demo`) for each request: on `key`, with the body as the value.

use std::time::Duration;

use roadrunner_guest::store::Bucket;
use roadrunner_guest::{Error, IntoResponse, Pairs, Request, Response, Result, StatusCode};
use serde::Serialize;

/// An error of the host is 409 with the contract's name of it.
pub fn answer(request: &Request, operation: &str) -> Response {
    let body = match request.body().read_to_end() {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let name = match operate(operation, &request.query_pairs(), &body) {
        Ok(response) => return response,
        Err(Error::Closed) => "closed".to_owned(),
        Err(Error::Refused(_)) => "refused".to_owned(),
        Err(Error::Timeout) => "timeout".to_owned(),
        Err(Error::TooLarge(limit)) => format!("too-large {limit}"),
        Err(_) => "internal".to_owned(),
    };
    (StatusCode::CONFLICT, format!("{name}\n")).into_response()
}

fn operate(operation: &str, query: &Pairs, value: &[u8]) -> Result<Response> {
    let bucket = Bucket::open(query.get("store").unwrap_or("demo"))?;
    let key = query.get("key").unwrap_or_default();
    let ttl = query.parsed("ttl").map(Duration::from_millis);
    let line = |text: String| (text + "\n").into_response();
    Ok(match operation {
        "get" => match bucket.get(key)? {
            Some(value) => value.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        "set" => {
            match ttl {
                Some(ttl) => bucket.set_for(key, value, ttl)?,
                None => bucket.set(key, value)?,
            }
            "done\n".into_response()
        }
        "set-if" => {
            let expected = query.get("expected").map(str::as_bytes);
            line(match ttl {
                Some(ttl) => bucket.set_if_for(key, expected, value, ttl)?.to_string(),
                None => bucket.set_if(key, expected, value)?.to_string(),
            })
        }
        "delete" => line(bucket.delete(key)?.to_string()),
        "exists" => line(bucket.exists(key)?.to_string()),
        "increment" => line(bucket.increment(key, query.parsed("by").unwrap_or(1))?.to_string()),
        "keys" => {
            let page = bucket.keys(key, query.get("cursor"), query.parsed("limit").unwrap_or(0))?;
            roadrunner_guest::Json(Page { keys: page.keys, cursor: page.cursor }).into_response()
        }
        _ => (StatusCode::NOT_FOUND, "there is nothing here\n").into_response(),
    })
}

/// As it is answered.
#[derive(Serialize)]
struct Page {
    keys: Vec<String>,
    cursor: Option<String>,
}

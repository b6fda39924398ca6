//! One operation on a store for each request, or a look at a secret: the path names the operation, the query its
//! arguments, the body its value.

use std::time::Duration;

use roadrunner_guest::http::StatusCode;
use roadrunner_guest::store::Bucket;
use roadrunner_guest::{Error, IntoResponse, Pairs, Request, Response, Result, handler, secrets};
use serde_json::json;

#[handler]
fn answer(request: Request) -> Response {
    let query = request.query_pairs();
    let path = request.path();
    if path == "/secret" {
        // What a secret is leaves the guest here, because this is a test.
        return match secrets::get(query.get("name").unwrap_or_default()) {
            Some(secret) => secret.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let body = match request.body().read_to_end() {
        Ok(body) => body,
        Err(error) => return format!("{error}").into_response(),
    };
    match operate(&path, &query, &body) {
        Ok(response) => response,
        Err(error) => (StatusCode::CONFLICT, format!("{error:?}")).into_response(),
    }
}

fn operate(path: &str, query: &Pairs, body: &[u8]) -> Result<Response> {
    let bucket = Bucket::open(query.get("store").unwrap_or("main"))?;
    let key = query.get("key").unwrap_or_default();
    let number = |name: &str| query.get(name).and_then(|text| text.parse().ok());
    let ttl = number("ttl").map(|ms: i64| Duration::from_millis(ms.unsigned_abs()));
    Ok(match path {
        "/get" => match bucket.get(key)? {
            Some(value) => value.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        "/set" => {
            match ttl {
                Some(ttl) => bucket.set_for(key, body, ttl)?,
                None => bucket.set(key, body)?,
            }
            "set".into_response()
        }
        "/set-if" => {
            let expected = query.get("expected").map(str::as_bytes);
            let was = match ttl {
                Some(ttl) => bucket.set_if_for(key, expected, body, ttl)?,
                None => bucket.set_if(key, expected, body)?,
            };
            was.to_string().into_response()
        }
        "/delete" => bucket.delete(key)?.to_string().into_response(),
        "/exists" => bucket.exists(key)?.to_string().into_response(),
        "/increment" => bucket.increment(key, number("by").unwrap_or(1))?.to_string().into_response(),
        "/keys" => {
            let limit = number("limit").and_then(|limit| u32::try_from(limit).ok()).unwrap_or(0);
            let page = bucket.keys(key, query.get("cursor"), limit)?;
            json!({ "keys": page.keys, "cursor": page.cursor }).to_string().into_response()
        }
        "/json" => {
            bucket.set_json(key, &json!({ "a": [1, 2] }))?;
            let read: Option<serde_json::Value> = bucket.get_json(key)?;
            read.unwrap_or_default().to_string().into_response()
        }
        other => return Err(Error::internal(format!("there is no operation {other}"))),
    })
}

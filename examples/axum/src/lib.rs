//! An app of axum, as it is written for any server, and the one line that makes it a guest.

use std::collections::HashMap;
use std::convert::Infallible;
use std::thread;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{StreamExt as _, stream};
use roadrunner_guest::client::{self, Exchange};
use roadrunner_guest::service;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Order {
    item: String,
    count: u32,
}

#[derive(Clone)]
struct Shop {
    greeting: &'static str,
}

#[service]
fn app() -> Router {
    Router::new()
        .route("/hello", get(hello))
        .route("/users/{name}", get(user))
        .route("/orders", post(order))
        .route("/echo", post(echo))
        .route("/ticks", get(ticks))
        .route("/whoami", get(whoami))
        .route("/fetch", get(fetch))
        .route("/forward", post(forward))
        .route("/fails", get(fails))
        .with_state(Shop { greeting: "hello from axum" })
}

async fn hello(State(shop): State<Shop>) -> String {
    format!("{}\n", shop.greeting)
}

async fn user(Path(name): Path<String>, Query(query): Query<HashMap<String, String>>) -> String {
    format!("{name} asks {}\n", query.get("ask").map_or("nothing", String::as_str))
}

/// The extractor answers 415, 400 and 422 for what is no order.
async fn order(Json(mut order): Json<Order>) -> (StatusCode, Json<Order>) {
    order.count += 1;
    (StatusCode::CREATED, Json(order))
}

/// Each piece goes back as it arrives, and so do the trailers.
async fn echo(headers: HeaderMap, body: Body) -> Response {
    let mut response = body.into_response();
    if let Some(names) = headers.get("trailer") {
        response.headers_mut().insert("trailer", names.clone());
    }
    response
}

/// A stream with time in between: a chunk leaves when it is made.
async fn ticks() -> Body {
    Body::from_stream(stream::iter(1..=3).map(|number| {
        if number > 1 {
            thread::sleep(Duration::from_millis(200));
        }
        Ok::<_, Infallible>(format!("tick {number}\n"))
    }))
}

async fn whoami(Extension(context): Extension<service::Context>) -> String {
    format!("{} {}\n", context.peer(), context.route().unwrap_or_default())
}

/// Passes the answer of another server on: `/fetch?url=https://example.com/`. The manifest has to grant it.
async fn fetch(Query(query): Query<HashMap<String, String>>) -> Result<Response, (StatusCode, String)> {
    let url = query.get("url").ok_or((StatusCode::BAD_REQUEST, "no url\n".to_owned()))?;
    let request = Request::get(url).body("").map_err(|error| bad_gateway(&error))?;
    let (head, body) = client::send(request).map_err(|error| bad_gateway(&error))?.into_parts();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    response.headers_mut().insert("x-fetched", HeaderValue::from_static("yes"));
    Ok(response)
}

/// Sends the body on as it arrives: `/forward?url=https://example.com/`.
async fn forward(Query(query): Query<HashMap<String, String>>, body: Body) -> Result<Response, (StatusCode, String)> {
    let url = query.get("url").ok_or((StatusCode::BAD_REQUEST, "no url\n".to_owned()))?;
    let request = Request::post(url).body(()).map_err(|error| bad_gateway(&error))?;
    let mut exchange = Exchange::start(request).map_err(|error| bad_gateway(&error))?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
        if !exchange.write(piece) {
            break;
        }
    }
    exchange.finish(()).map_err(|error| bad_gateway(&error))?;
    let (head, body) = exchange.response().map_err(|error| bad_gateway(&error))?.into_parts();
    Ok((head.status, Body::new(body)).into_response())
}

/// A body that fails half way is visibly cut.
async fn fails() -> Body {
    let halves = [Ok(Bytes::from_static(b"half of it")), Err(std::io::Error::other("the rest is gone"))];
    Body::from_stream(stream::iter(halves))
}

fn bad_gateway(error: &dyn std::error::Error) -> (StatusCode, String) {
    (StatusCode::BAD_GATEWAY, format!("{error}\n"))
}

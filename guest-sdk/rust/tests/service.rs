//! Services of tower, and a router of axum, called on the machine's own target.
#![cfg(all(feature = "tower", not(target_family = "wasm")))]

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, Query};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use http_body::Frame;
use roadrunner_guest::testing::{TestHost, TestRequest};
use roadrunner_guest::{Error, Request, Response, service};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Order {
    item: String,
    count: u32,
}

#[service]
fn app() -> Router {
    Router::new()
        .route("/", get(async || "hello, world\n"))
        .route("/users/{name}", get(user))
        .route("/orders", post(order))
        .route("/echo", post(async |body: Body| body))
        .route("/bytes", post(async |body: Bytes| body.len().to_string()))
        .route("/whoami", get(async |Extension(context): Extension<service::Context>| context.peer()))
        .route("/chunks", get(async || Body::from_stream(stream::iter(["a", "b"].map(Ok::<_, Infallible>)))))
        .route("/stuck", get(async || std::future::pending::<()>().await))
}

async fn user(Path(name): Path<String>, Query(query): Query<Vec<(String, String)>>) -> String {
    format!("{name} {query:?}")
}

async fn order(Json(mut order): Json<Order>) -> impl axum::response::IntoResponse {
    order.count += 1;
    (http::StatusCode::CREATED, [("x-made", "yes")], Json(order)).into_response()
}

fn answer(request: Request) -> Response {
    service::call(app(), request)
}

#[test]
fn a_router_of_axum_answers() {
    let response = TestRequest::get("/").send(answer);
    assert_eq!((response.status(), response.text().as_str()), (200, "hello, world\n"));
    assert_eq!(response.header("content-type").as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(TestRequest::get("/users/h%C3%A9?a=%20b").send(answer).text(), "h\u{e9} [(\"a\", \" b\")]");
    let json = TestRequest::post("/orders", r#"{"item":"tea","count":1}"#).header("content-type", "application/json");
    let response = json.send(answer);
    assert_eq!((response.status(), response.header("x-made").as_deref()), (201, Some("yes")));
    assert_eq!(response.text(), r#"{"item":"tea","count":2}"#);
    assert_eq!(TestRequest::get("/nowhere").send(answer).status(), 404);
    assert_eq!(TestRequest::post("/", "x").send(answer).status(), 405);
    assert_eq!(TestRequest::get("/whoami").send(answer).text(), "127.0.0.1:50000");
}

#[test]
fn bodies_are_streamed_both_ways() {
    let echo = TestRequest::post("/echo", "one").piece("two").trailer("x-sum", "5");
    let response = echo.send(answer);
    assert_eq!(response.chunks(), [b"one", b"two"]);
    assert_eq!(response.trailers().get("x-sum"), Some(&b"5"[..]));
    assert_eq!(TestRequest::get("/chunks").send(answer).chunks(), [b"a", b"b"]);
    let response = TestRequest::post("/echo", "one").piece("two").reads(3).send(answer);
    assert_eq!((response.text().as_str(), response.error()), ("one", Some(&Error::Closed)));
    let response = TestRequest::post("/echo", "one").cut_short(Error::Closed).send(answer);
    assert_eq!((response.text().as_str(), response.error()), ("one", Some(&Error::Closed)));
}

#[test]
fn a_body_that_does_not_arrive_is_the_client_s_fault() {
    let short = |error| TestRequest::post("/bytes", "abc").cut_short(error).send(answer).status();
    assert_eq!(short(Error::Closed), 400);
    assert_eq!(short(Error::Timeout), 408);
    assert_eq!(short(Error::TooLarge(3)), 413);
    assert_eq!(TestRequest::post("/bytes", "abc").send(answer).text(), "3");
}

#[test]
fn a_future_that_nothing_wakes_is_an_error() {
    let host = TestHost::fresh();
    assert_eq!(TestRequest::get("/stuck").send(answer).status(), 500);
    let (_, line) = &host.log()[0];
    assert!(line.contains("nothing in a component wakes"), "{line}");
}

/// A service of its own: it fails, or its body does.
#[derive(Clone)]
struct Failing;

struct Cut(bool);

impl http_body::Body for Cut {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(Some(Err(std::io::Error::other("the disk is gone"))));
        }
        // Something that is not there at once.
        context.waker().wake_by_ref();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"half")))))
    }
}

impl tower_service::Service<http::Request<service::RequestBody>> for Failing {
    type Response = http::Response<Cut>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<service::RequestBody>) -> Self::Future {
        std::future::ready(match request.uri().path() {
            "/cut" => Ok(http::Response::new(Cut(false))),
            _ => Err(std::io::Error::other("no database")),
        })
    }
}

#[test]
fn errors_of_a_service_are_logged_and_cut_its_body() {
    let host = TestHost::fresh();
    let response = TestRequest::get("/").send(|request| service::call(Failing, request));
    assert_eq!((response.status(), response.text().as_str()), (500, "internal error\n"));
    assert_eq!(host.log()[0].1, "the service failed: no database");
    let response = TestRequest::get("/cut").send(|request| service::call(Failing, request));
    assert_eq!(response.text(), "half");
    assert_eq!(response.error(), Some(&Error::internal("the disk is gone")));
}

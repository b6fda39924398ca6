//! The same, with a response that is written while the request is read.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use spin_sdk::http::body::{self, IncomingBodyExt as _};
use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::{http_service, wasip3};

#[http_service]
async fn echo(request: Request) -> impl IntoResponse {
    let mut input = request.into_body().stream();
    let (mut output, body) = body::stream::<Bytes>();
    wasip3::spawn(async move {
        while let Some(Ok(piece)) = input.next().await {
            // The client has left.
            if output.send(piece).await.is_err() {
                return;
            }
        }
    });
    http::Response::new(body)
}

//! A standard component as its authors write it: with the public crate `wstd`, and nothing of Roadrunner.

use wstd::http::{Body, Request, Response, Result};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    Ok(match path.as_str() {
        "/echo" => Response::new(request.into_body()),
        _ => Response::new(format!("hello from wstd, {path}\n").into()),
    })
}

//! The smallest guest: it reads nothing of the request and answers with a line. The benchmarks measure it.

use roadrunner_guest::{IntoResponse, Request, handler};

#[handler]
fn hello(_request: Request) -> impl IntoResponse {
    "hello, world\n"
}

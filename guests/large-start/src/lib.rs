//! Declares a memory of 1 GiB that is there from the start.

use roadrunner_guest::{IntoResponse, Request, handler};

#[handler]
fn answer(_request: Request) -> impl IntoResponse {
    "the memory was granted\n"
}

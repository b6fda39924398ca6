//! Declares a table of twenty million elements, which is 160 MB of the host's memory for each instance.

use roadrunner_guest::{IntoResponse, Request, handler};

#[handler]
fn answer(_request: Request) -> impl IntoResponse {
    "the table was granted\n"
}

//! A component for Spin as its authors write it: with the public crate `spin-sdk`, and nothing of Roadrunner.

use spin_sdk::http::Request;
use spin_sdk::http_service;

#[http_service]
async fn hello(_request: Request) -> &'static str {
    "hello from Spin\n"
}

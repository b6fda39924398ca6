//! The test's own NATS server, and a client that implements the protocol by hand: those of the tests of `host/nats`.

#[path = "../../host/nats/tests/support/nats.rs"]
mod server;

pub use self::server::{Heard, Nats, Stranger};
use crate::ports;

impl Nats {
    /// The section `[bus]` of a manifest, with these further keys.
    pub fn section(&self, keys: &str) -> String {
        format!("[bus]\nurl = \"nats://127.0.0.1:{}\"\n{keys}\n", self.port())
    }
}

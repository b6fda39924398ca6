//! The test's own Redis server: that of the tests of `host/store`.

#[path = "../../host/store/tests/support/redis.rs"]
mod server;

pub use self::server::Redis;
use crate::ports;
use crate::server::certificate;

impl Redis {
    /// Starts a server that supports TLS only, with the certificate of the tests' servers, for `localhost` and
    /// 127.0.0.1. `None`, with a line that says so, if the program is not installed.
    pub fn start_with_tls(test: &str) -> Option<Self> {
        let (certificate, key) = certificate();
        Self::start_with_certificate(test, certificate, key)
    }
}

//! A native server to load.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use roadrunner_bench::client::Target;
use roadrunner_bench::load;
use roadrunner_bench::native::Native;
use roadrunner_bench::scenarios::{self, Protocol};
use roadrunner_bench::tls;
use tokio::net::TcpListener;

/// A native server on a runtime of its own, which ends with it.
pub struct Server {
    http1: SocketAddr,
    tls: SocketAddr,
    started: Instant,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Starts it, and waits for its answers.
    pub fn start(native: Native) -> Self {
        // The server's own clock started with its value.
        let started = Instant::now();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        tls::write_certificate(folder.path()).unwrap();
        let listen = || runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let (http1, http2) = (listen(), listen());
        let (plain, secure) = (http1.local_addr().unwrap(), http2.local_addr().unwrap());
        runtime.spawn(native.clone().serve_http1(http1));
        let (second, third) = (native.clone(), native);
        let path = folder.path().to_owned();
        runtime.spawn(async move { second.serve_http2(http2, &path).await });
        let path = folder.path().to_owned();
        runtime.spawn(async move { third.serve_http3(secure, &path).await });
        let server = Self { http1: plain, tls: secure, started, _runtime: runtime };
        for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
            let target = Target::new(scenarios::find("hello").unwrap(), protocol, server.address(protocol)).unwrap();
            let ready = (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(20));
                load::check(&target).is_ok()
            });
            assert!(ready, "{protocol:?} does not start");
        }
        server
    }

    /// Where it speaks a protocol.
    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        if protocol == Protocol::H1 { self.http1 } else { self.tls }
    }

    /// The time since it started.
    #[allow(dead_code, reason = "not every test has to know")]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }
}

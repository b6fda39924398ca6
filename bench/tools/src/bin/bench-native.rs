//! The native server that the benchmarks compare with, until it is killed.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use roadrunner_bench::native::Native;
use tokio::net::TcpListener;

// As Roadrunner's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Options {
    /// Where to speak HTTP/1.1
    #[arg(long)]
    h1: SocketAddr,
    /// Where to speak HTTP/2 over TLS, and HTTP/3
    #[arg(long)]
    tls: SocketAddr,
    /// The folder of the certificate
    #[arg(long)]
    certificate: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Options { h1, tls, certificate } = Options::parse();
    let native = Native::new();
    let (http1, http2) = (TcpListener::bind(h1).await?, TcpListener::bind(tls).await?);
    tokio::try_join!(
        native.clone().serve_http1(http1),
        native.clone().serve_http2(http2, &certificate),
        native.serve_http3(tls, &certificate),
    )?;
    Ok(())
}

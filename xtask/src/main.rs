//! Tasks of the repository: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench`.
//!
//! Each command works in a fresh clone: it checks its requirements, names a missing one in one sentence, installs the
//! guests' compilation target itself, and builds before it runs. Cargo's own output is passed on, so that progress is
//! visible. Nothing here is part of the server.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod architecture;
mod attacks;
mod autobahn;
mod bench;
mod bench_http3;
mod bench_websocket;
mod bench_windows;
mod c_bindings;
mod contract;
mod demo;
mod frameworks;
mod languages;
mod layout;
mod public_tools;
mod soak;
mod suite;
mod toolchain;
mod tree;

use tree::Tree;

/// Builds guests, runs the demo, the tests and the benchmarks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Attack a host for a minute in each way, next to a victim, and write the table of docs/security.md
    Attacks(attacks::Options),
    /// Run the Autobahn fuzzing client against a component that echoes, over HTTP/1.1, TLS, HTTP/2 and HTTP/3
    Autobahn(autobahn::Options),
    /// Measure the cost of an instance per request, compared with native hyper and `wasmtime serve`
    Bench(bench::Options),
    /// Measure the cost of an instance per request over HTTP/3, and header bytes with and without QPACK's dynamic table
    BenchHttp3(bench_http3::Options),
    /// Measure the cost of a component for a WebSocket, compared with a native server with the same codec
    BenchWebsocket(bench_websocket::Options),
    /// Measure the gain of HTTP/2's receive windows for an upload, and their cost in memory
    BenchWindows(bench_windows::Options),
    /// Write docs/contract.md and the bindings of the C SDK from wit/
    Contract,
    /// Build the host and the demo guest, and serve every response shape on this machine
    Demo(demo::Options),
    /// Build every guest, and the demo in each language whose tools are installed
    Guests,
    /// Measure the crates under host/, and write the table of docs/design/layout.md
    Layout(layout::Options),
    /// Draw the pictures of docs/architecture.md
    Pictures,
    /// Run the tests that take minutes: a million requests with clients that leave, thousands of slow clients
    Soak(soak::Options),
    /// Run all tests
    Test(suite::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let tree = Tree::find()?;
    match command {
        Command::Attacks(options) => attacks::run(&tree, &options),
        Command::Autobahn(options) => autobahn::run(&tree, &options),
        Command::Bench(options) => bench::run(&tree, &options),
        Command::BenchHttp3(options) => bench_http3::run(&tree, &options),
        Command::BenchWebsocket(options) => bench_websocket::run(&tree, &options),
        Command::BenchWindows(options) => bench_windows::run(&tree, &options),
        Command::Contract => contract::run(&tree, false).map(|()| ExitCode::SUCCESS),
        Command::Demo(options) => demo::run(&tree, &options),
        Command::Guests => languages::run(&tree),
        Command::Layout(options) => layout::run(&tree, &options),
        Command::Pictures => architecture::run(&tree, false).map(|()| ExitCode::SUCCESS),
        Command::Soak(options) => soak::run(&tree, &options),
        Command::Test(options) => suite::run(&tree, &options),
    }
}

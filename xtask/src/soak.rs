//! `cargo xtask soak`: the end-to-end tests that take minutes or thousands of descriptors.
//!
//! A million requests whose clients leave at any moment, a thousand of each kind of slow client at once, a thousand
//! deployments under load, ten minutes next to a tenant that spins, a hundred thousand searches for leftovers of other
//! instances, ten thousand idle WebSockets, and a minute of each attack of one tenant next to another. They run one
//! after the other, on a release build, and print their observations. Each client and each connection of the server
//! needs a descriptor: some 10 000 for either, so `ulimit -n` has to allow that.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use rustix::process::{Resource, getrlimit};

use crate::toolchain::{self, cargo, say};
use crate::tree::{Profile, Tree};

/// The descriptors of one process.
const DESCRIPTORS: u64 = 10_240;

/// The options of a run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Requests that are begun and mostly not finished
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// Use an unoptimised build: quicker to build, slower to run
    #[arg(long)]
    dev: bool,
}

/// Runs the tests; the exit code says whether all passed.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(
        allowed >= DESCRIPTORS,
        "a process may open {allowed} descriptors, and {DESCRIPTORS} are needed: ulimit -n {DESCRIPTORS}"
    );
    let profile = if options.dev { Profile::Dev } else { Profile::Release };
    toolchain::prepare()?;
    toolchain::build_guests(tree)?;
    toolchain::build_server(tree, profile)?;
    say(&format!("{} requests, and all else that takes long", options.requests));
    let mut command = cargo(&tree.root);
    command.env("CARGO_TARGET_DIR", &tree.target);
    command.args(["test", "--workspace"]).args(profile.arguments()).args(["--test", "e2e", "--"]);
    command.args(["--ignored", "--nocapture", "--test-threads=1"]);
    command.args([
        "attacks::",
        "soak::",
        "slow_clients::",
        "deploy::",
        "fairness::",
        "isolation::",
        "websocket_memory::",
    ]);
    command.env("ROADRUNNER_BIN", tree.server(profile)).env("ROADRUNNER_GUESTS", tree.components());
    command.env("ROADRUNNER_SOAK_REQUESTS", options.requests.to_string());
    toolchain::run(&mut command).map(|()| ExitCode::SUCCESS)
}

//! The load generator of the benchmarks: closed and open loads, connections that are kept, answers that are checked.
//! It speaks to loopback addresses only, and each run is bounded in time and count. Results are one line of JSON.

#![forbid(unsafe_code)]

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use roadrunner_bench::client::Target;
use roadrunner_bench::load::{self, Plan};
use roadrunner_bench::scenarios::{self, Protocol};
use roadrunner_bench::tls;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
enum Command {
    /// Write a certificate and its key
    Certificate {
        /// The folder
        folder: PathBuf,
    },
    /// Ask once, and fail unless the answer is right
    Check {
        #[command(flatten)]
        what: What,
    },
    /// Ask on one connection until so many answers have come
    Count {
        #[command(flatten)]
        what: What,
        /// How many
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        exchanges: u64,
    },
    /// Open connections, print a line, and keep them until standard input ends
    Hold {
        #[command(flatten)]
        what: What,
        /// How many
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200_000))]
        connections: u32,
    },
    /// Open connections, print `ready`, load a server, and print what came of it
    Run {
        #[command(flatten)]
        what: What,
        /// Connections; by default those of the scenario
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
        connections: Option<u32>,
        /// Requests a second, at fixed times; without it, each connection asks as soon as it has an answer
        #[arg(long)]
        rate: Option<f64>,
        /// Milliseconds that are not counted
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=60_000))]
        warm_up: u64,
        /// Milliseconds that are counted
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
        milliseconds: u64,
        /// Threads
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
        threads: u32,
    },
}

#[derive(clap::Args, Debug)]
struct What {
    /// The scenario's name
    #[arg(long)]
    scenario: String,
    /// The protocol
    #[arg(long)]
    protocol: Name,
    /// A loopback address
    #[arg(long)]
    address: SocketAddr,
    /// Ask for `/c/1` to `/c/N` in turn instead of the scenario's path
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    components: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    H1,
    H2,
    H3,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Certificate { folder } => tls::write_certificate(&folder),
        Command::Check { what } => load::check(&what.target()?),
        Command::Count { what, exchanges } => load::count(&what.target()?, exchanges),
        Command::Hold { what, connections } => load::hold(&what.target()?, connections as usize, move || {
            println!("holding {connections}");
            let mut rest = Vec::new();
            // An error is an end, too.
            let _ = std::io::stdin().read_to_end(&mut rest);
        }),
        Command::Run { what, connections, rate, warm_up, milliseconds, threads } => {
            let target = what.target()?;
            let plan = Plan {
                connections: connections.map_or(target.scenario().connections, |connections| connections as usize),
                rate,
                warm_up: Duration::from_millis(warm_up),
                length: Duration::from_millis(milliseconds),
                threads: threads as usize,
            };
            let report = load::run(&target, plan, || println!("ready"))?;
            println!("{}", serde_json::to_string(&report)?);
            Ok(())
        }
    }
}

impl What {
    fn target(&self) -> Result<Arc<Target>> {
        let scenario = scenarios::find(&self.scenario).with_context(|| format!("there is no {}", self.scenario))?;
        let protocol = match self.protocol {
            Name::H1 => Protocol::H1,
            Name::H2 => Protocol::H2,
            Name::H3 => Protocol::H3,
        };
        match self.components {
            None => Target::new(scenario, protocol, self.address),
            Some(count) => {
                let paths = (1..=count).map(|number| format!("/c/{number}")).collect();
                Target::with_paths(scenario, protocol, self.address, paths)
            }
        }
    }
}

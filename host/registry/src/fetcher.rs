//! The host's side of [`fetch`](crate::fetch()): starts the process, feeds it, takes a bounded number of bytes, and
//! ends it when it takes too long.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use roadrunner_child::{End, Errand, Stop};
use roadrunner_log::{MAX_QUOTED, escaped};
use zeroize::Zeroizing;

use crate::fetch::{Failure, MEMORY, Order, bounds};

/// The variables of the host's environment that the process gets: how this machine reaches others.
const ENVIRONMENT: [&str; 6] = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "no_proxy"];

/// How much longer than its own timeout the process may take.
const GRACE: Duration = Duration::from_secs(5);

/// Starts a process for each request.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    pub(crate) program: PathBuf,
    pub(crate) argument: String,
    pub(crate) stop: Stop,
}

impl Fetcher {
    /// Runs an order, and blocks until it ends. Fails with the reason as one line of plain text.
    pub(crate) fn fetch(&self, order: &Order) -> Result<Vec<u8>, (Failure, String)> {
        let started =
            |error: io::Error| (Failure::Other, format!("the process that asks it cannot be started: {error}"));
        let text = Zeroizing::new(serde_json::to_vec(order).map_err(|error| started(error.into()))?);
        let mut arguments = vec![self.argument.clone()];
        arguments.extend(bounds().arguments());
        let errand = Errand {
            program: &self.program,
            arguments,
            environment: ENVIRONMENT
                .iter()
                .filter_map(|name| Some((*name, std::env::var_os(OsStr::new(name))?)))
                .collect(),
            input: &text,
            deadline: Instant::now() + order.access.timeout + GRACE,
            stop: &self.stop,
        };
        let ended = errand.run(|stdout| take(stdout, order.most)).map_err(started)?;
        if ended.taken.len() as u64 > order.most {
            return Err((Failure::TooLarge, String::new()));
        }
        if ended.is_over_memory() {
            return Err((Failure::Other, format!("what it answers takes more than {} MiB of memory", MEMORY >> 20)));
        }
        if ended.is_over_cpu() {
            return Err((Failure::Other, "what it answers takes too much CPU time".to_owned()));
        }
        match ended.end {
            End::Exited(status) if status.success() => Ok(ended.taken),
            End::Exited(status) if ended.said.is_empty() => Err((Failure::of(status.code()), status.to_string())),
            // Some of the text comes from the registry.
            End::Exited(status) => Err((Failure::of(status.code()), escaped(&ended.said, MAX_QUOTED))),
            End::Late => Err((Failure::Unreachable, "the process that asks it does not end".to_owned())),
            End::Stopped => Err((Failure::Other, "the host is shutting down".to_owned())),
        }
    }
}

/// Reads everything, up to one byte more than the limit. The pipe is then closed, so that the process ends.
fn take(from: impl Read, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.take(most.saturating_add(1)).read_to_end(&mut bytes);
    bytes
}

//! The host's side of [`fetch`](crate::fetch()): starts the process, feeds it, takes a bounded number of bytes, and ends
//! it when it takes too long.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use roadrunner_log::{MAX_QUOTED, escaped};
use zeroize::Zeroizing;

use crate::fetch::{Failure, MEMORY, Order};

/// What of the host's environment the process gets: how this machine reaches others.
const ENVIRONMENT: [&str; 6] = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "no_proxy"];

/// How much longer than its own timeout the process may take.
const GRACE: Duration = Duration::from_secs(5);

/// Bytes of what it says that are kept.
const MOST_SAID: u64 = 2 << 10;

/// How often it is looked whether it has ended.
const POLL: Duration = Duration::from_millis(2);

/// Starts a process for each request.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    pub(crate) program: PathBuf,
    pub(crate) argument: String,
}

impl Fetcher {
    /// Does what is ordered, and blocks for as long as that takes. Fails with the reason as one line of plain text.
    pub(crate) fn fetch(&self, order: &Order) -> Result<Vec<u8>, (Failure, String)> {
        let started =
            |error: io::Error| (Failure::Other, format!("the process that asks it cannot be started: {error}"));
        let text = Zeroizing::new(serde_json::to_vec(order).map_err(|error| started(error.into()))?);
        let mut command = Command::new(&self.program);
        command
            .arg(&self.argument)
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(OsStr::new(name))?))))
            // Memory is reserved in pieces that the limit has room for, in KiB.
            .env("MIMALLOC_ARENA_RESERVE", "32768")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let deadline = Instant::now() + order.access.timeout + GRACE;
        // The child dies with the thread that starts it, so this thread is the one that waits for it.
        let mut running = Running(command.spawn().map_err(started)?);
        let pipes = (running.0.stdin.take(), running.0.stdout.take(), running.0.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(started(io::Error::other("it has no pipes")));
        };
        let (ended, taken, said) = thread::scope(|scope| {
            scope.spawn(move || {
                // One that does not read to the end has its reasons, and says so.
                let _ = stdin.write_all(&text);
            });
            let taken = scope.spawn(|| take(stdout, order.most));
            let said = scope.spawn(|| listen(stderr));
            let ended = running.wait(deadline);
            (ended, taken.join().unwrap_or_default(), said.join().unwrap_or_default())
        });
        match ended.map_err(started)? {
            _ if taken.len() as u64 > order.most => Err((Failure::TooLarge, String::new())),
            Some(status) if status.success() => Ok(taken),
            Some(_) if said.contains("memory allocation of") => {
                let reason = format!("what it answers takes more than {} MiB of memory", MEMORY >> 20);
                Err((Failure::Other, reason))
            }
            Some(status) if said.is_empty() => Err((Failure::of(status.code()), status.to_string())),
            Some(status) => Err((Failure::of(status.code()), said)),
            None => Err((Failure::Unreachable, "the process that asks it does not end".to_owned())),
        }
    }
}

/// A child that does not outlive its owner.
struct Running(Child);

impl Running {
    /// Its status; none when it had to be ended.
    fn wait(&mut self, deadline: Instant) -> io::Result<Option<std::process::ExitStatus>> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                self.0.kill()?;
                self.0.wait()?;
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that was waited for is not there any more, and this does nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything that comes, and one byte more than there may be. The pipe is closed then, so that the process ends.
fn take(from: impl Read, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.take(most.saturating_add(1)).read_to_end(&mut bytes);
    bytes
}

/// The first of what it says, as one line of plain text.
fn listen(mut from: impl Read) -> String {
    let mut said = Vec::new();
    let _ = from.by_ref().take(MOST_SAID).read_to_end(&mut said);
    let _ = io::copy(&mut from, &mut io::sink());
    let said = String::from_utf8_lossy(&said);
    // Some of it is the registry's.
    escaped(&said.split_whitespace().collect::<Vec<_>>().join(" "), MAX_QUOTED)
}

//! Compiling what nobody has vouched for: in a process of its own, which has nothing but the component's bytes and a
//! pipe for what it makes of them.
//!
//! [`Compiler`] is the host's side: it starts this program again ([`CompileOrder`] is what it is told), when it is its
//! turn (`queue`), and takes the compiled code from its pipe into the cache. [`child`] is the other side: it holds itself
//! to [`Bounds`], and `confine` is what it gives up beyond them before it reads the first byte: all system calls that open
//! or start something. What comes back is trusted as far as the compiler is: it came from this host's own program, over
//! a pipe that nobody else has.
//!
//! | over | told as |
//! |---|---|
//! | the file's size | [`CompileError::TooLarge`] |
//! | the numbers in [`census`] | [`CompileError::Rejected`] |
//! | memory | [`CompileError::Memory`] |
//! | CPU time, wall-clock time | [`CompileError::Cpu`], [`CompileError::Time`] |
//!
//! It does not cover what compiled code does when it runs: that is what instances are for.

mod census;
pub(crate) mod child;
mod confine;
mod queue;

use std::io::{self, Read};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use roadrunner_child::{Bounds, End, Ended, Errand, Stop};
use rustix::process::Signal;
use wasmtime::Engine;

use crate::cache::{Cache, Entry};
use crate::component::Digest;

pub use child::CompileOrder;
pub(crate) use queue::Place;
use queue::Queue;

/// What one compilation may take, and how many there may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CompileSettings {
    /// Memory of one compiler, in bytes. Default 2 GiB.
    pub memory: u64,
    /// CPU time of one compiler, all of its threads together; counted in whole seconds. Default 60 s.
    pub cpu: Duration,
    /// Wall-clock time of one compiler. Default 5 min.
    pub time: Duration,
    /// Compilers at once; others wait. Default: one for each core.
    pub concurrency: usize,
    /// The largest component, in bytes. Default 64 MiB.
    pub max_wasm: u64,
}

impl Default for CompileSettings {
    fn default() -> Self {
        Self {
            memory: 2 << 30,
            cpu: Duration::from_secs(60),
            time: Duration::from_secs(300),
            concurrency: cores(),
            max_wasm: 64 << 20,
        }
    }
}

/// Why a component was not compiled. The manifest's key stands in the text of those that are limits.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Its code cannot be kept, and code is run from the cache only.
    #[error("its compiled code cannot be written to the cache: {0}")]
    Cache(io::Error),
    /// The compiler could not be confined, and so was not given the component.
    #[error("the compiler could not be confined: {0}")]
    Confinement(String),
    /// It used up its CPU time.
    #[error("compiling took more than {0:?} of CPU time (`cpu` in [compile])")]
    Cpu(Duration),
    /// The compiler failed in a way that it should not.
    #[error("the compiler failed: {0}")]
    Crashed(String),
    /// It used up its memory.
    #[error("compiling took more than {0} MiB of memory (`memory` in [compile])")]
    Memory(u64),
    /// The compiler rejects it.
    #[error("{0}")]
    Rejected(String),
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Stopped,
    /// The compiler could not be started.
    #[error("the compiler cannot be started: {0}")]
    Start(io::Error),
    /// It took too long.
    #[error("compiling took more than {0:?} (`time` in [compile])")]
    Time(Duration),
    /// It is larger than a component may be.
    #[error("it is larger than {0} bytes (`max-wasm` in [compile])")]
    TooLarge(u64),
}

/// Compiles components into the cache, each in a process of its own.
#[derive(Debug)]
pub struct Compiler {
    cache: Cache,
    program: PathBuf,
    arguments: Vec<String>,
    settings: CompileSettings,
    queue: Queue,
    stop: Stop,
}

/// For whom a component is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The component's name in the manifest.
    pub component: &'a str,
    /// The tenant that asks; none where the operator does, whose components do not wait for each other.
    pub tenant: Option<&'a str>,
}

impl Compiler {
    /// Starts `program` with these arguments, and those of a [`CompileOrder`] after them, for each component. `stop` ends
    /// all compilations, those that wait too.
    pub fn new(
        cache: Cache,
        program: impl Into<PathBuf>,
        arguments: &[&str],
        settings: CompileSettings,
        stop: Stop,
    ) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let queue = Queue::new(settings.concurrency);
        Self { cache, program: program.into(), arguments, settings, queue, stop }
    }

    /// Its bounds.
    pub fn settings(&self) -> &CompileSettings {
        &self.settings
    }

    /// How many components are compiled now, and how many wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.queue.counts()
    }

    /// Where its results are.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Waits until it may compile this.
    pub(crate) fn enter(
        &self,
        engine: &Engine,
        digest: &Digest,
        tenant: Option<&str>,
    ) -> Result<Place<'_>, CompileError> {
        self.queue.enter((*digest, child::fingerprint(engine)), tenant, &self.stop).ok_or(CompileError::Stopped)
    }

    /// Compiles a component into the cache. Blocks for as long as that takes.
    pub(crate) fn compile(
        &self,
        place: &Place<'_>,
        engine: &Engine,
        wasm: &[u8],
        digest: &Digest,
        whose: Whose<'_>,
    ) -> Result<(), CompileError> {
        if wasm.len() as u64 > self.settings.max_wasm {
            return Err(CompileError::TooLarge(self.settings.max_wasm));
        }
        let component = whose.component;
        tracing::info!(component, %digest, bytes = wasm.len(), "compiling a component");
        let entry = self.cache.entry_for(engine, digest).map_err(CompileError::Cache)?;
        let order = CompileOrder {
            bounds: Bounds {
                memory: self.settings.memory,
                cpu_seconds: seconds(self.settings.cpu),
                // The pipes.
                descriptors: 3,
                parent: std::process::id(),
            },
            fingerprint: child::fingerprint(engine),
        };
        // The first of several compilers may use every core, later ones their share.
        let threads = (cores() / place.running).max(1).to_string();
        let started = Instant::now();
        let errand = Errand {
            program: &self.program,
            arguments: [&self.arguments[..], &order.arguments()].concat(),
            environment: vec![("RAYON_NUM_THREADS", threads.into())],
            input: wasm,
            deadline: started + self.settings.time,
            stop: &self.stop,
        };
        let ended = errand.run(|stdout| keep(stdout, entry, self.settings.memory)).map_err(CompileError::Start)?;
        // A compiler whose code is not taken fails for that alone.
        let Ended { end, taken, said } = ended;
        let entry = taken.map_err(CompileError::Cache)?;
        let ended = Ended { end, taken: (), said };
        match ended.end {
            End::Exited(status) if status.success() => {
                entry.finish().map_err(CompileError::Cache)?;
                let milliseconds = started.elapsed().as_millis() as u64;
                tracing::info!(component, %digest, milliseconds, "compiled a component");
                Ok(())
            }
            _ => Err(self.judge(ended)),
        }
    }

    /// What the end of a compiler means.
    fn judge(&self, ended: Ended<()>) -> CompileError {
        if ended.is_over_cpu() {
            return CompileError::Cpu(Duration::from_secs(seconds(self.settings.cpu)));
        }
        if ended.is_over_memory() {
            return CompileError::Memory(self.settings.memory >> 20);
        }
        let killed = ended.was_ended_by(Signal::KILL);
        let Ended { end, said, .. } = ended;
        let status = match end {
            End::Exited(status) => status,
            End::Late => return CompileError::Time(self.settings.time),
            End::Stopped => return CompileError::Stopped,
        };
        match status.code() {
            Some(child::REJECTED) => CompileError::Rejected(said),
            Some(child::NOT_CONFINED) => CompileError::Confinement(said),
            _ if killed => CompileError::Crashed("the system killed it, as it does when memory is short".into()),
            _ if said.is_empty() => CompileError::Crashed(status.to_string()),
            _ => CompileError::Crashed(format!("{status}: {said}")),
        }
    }
}

/// Everything that comes, up to a limit.
fn keep(from: impl Read, mut entry: Entry, most: u64) -> io::Result<Entry> {
    if io::copy(&mut from.take(most.saturating_add(1)), entry.file())? > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes")));
    }
    Ok(entry)
}

/// Whole seconds, rounded up: what the kernel counts CPU time in.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

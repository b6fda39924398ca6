//! Compilation of untrusted components: in a separate process, which has only the component's bytes and a pipe for its
//! output.
//!
//! [`Compiler`] is the host's side: when a component's turn comes (`queue`), it starts this program again with a
//! [`CompileOrder`], and takes the compiled code from the pipe into the cache. [`child`] is the other side: it holds
//! itself to [`Bounds`]. Beyond them, `confine` gives up all system calls that open or start something, before the
//! first byte is read. The output is trusted as far as the compiler is: it came from this host's own program, over a
//! pipe that nobody else has.
//!
//! | limit exceeded | error |
//! |---|---|
//! | the file's size | [`CompileError::TooLarge`] |
//! | the numbers in [`census`] | [`CompileError::Rejected`] |
//! | memory | [`CompileError::Memory`] |
//! | CPU time, wall-clock time | [`CompileError::Cpu`], [`CompileError::Time`] |
//!
//! Not covered: the behavior of compiled code when it runs. Instances are for that.

mod census;
pub(crate) mod child;
mod confine;
mod queue;

use std::io::{self, Read};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use roadrunner_account::Digest;
use roadrunner_child::{Bounds, End, Ended, Errand, Stop};
use roadrunner_log::{MAX_QUOTED, escaped};
use rustix::process::Signal;
use wasmtime::Engine;

use crate::engine::cache::{Cache, Entry};
use crate::engine::config::fingerprint;

pub use child::CompileOrder;
pub(crate) use child::restorable;
pub(crate) use queue::Place;
use queue::Queue;

/// The limits of one compilation, and the number of compilations at once.
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

/// The reason why a component was not compiled. The text of a limit names the manifest's key.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiled code cannot be kept, and code is run only from the cache.
    #[error("its compiled code cannot be written to the cache: {0}")]
    Cache(io::Error),
    /// The compiler could not be confined, and so was not given the component.
    #[error("the compiler could not be confined: {0}")]
    Confinement(String),
    /// The compiler used up its CPU time.
    #[error("compiling took more than {0:?} of CPU time (`cpu` in [compile])")]
    Cpu(Duration),
    /// The compiler failed in a way that it should not.
    #[error("the compiler failed: {0}")]
    Crashed(String),
    /// The compiler used up its memory.
    #[error("compiling took more than {0} MiB of memory (`memory` in [compile])")]
    Memory(u64),
    /// The compiler rejects the component.
    #[error("{0}")]
    Rejected(String),
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Stopped,
    /// The compiler could not be started.
    #[error("the compiler cannot be started: {0}")]
    Start(io::Error),
    /// The compilation took too long.
    #[error("compiling took more than {0:?} (`time` in [compile])")]
    Time(Duration),
    /// The component is larger than a component may be.
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

/// The name and the tenant under which a component is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The component's name in the manifest.
    pub component: &'a str,
    /// The tenant that asks; none for the operator, whose components do not wait for each other.
    pub tenant: Option<&'a str>,
}

impl Compiler {
    /// Creates a compiler that starts `program` with these arguments, followed by those of a [`CompileOrder`], for each
    /// component. `stop` ends all compilations, including waiting ones.
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

    /// The settings of the compiler.
    pub fn settings(&self) -> &CompileSettings {
        &self.settings
    }

    /// The number of components that are compiled now, and the number that wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.queue.counts()
    }

    /// The cache for compiled code.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Waits until this component may be compiled.
    pub(crate) fn enter(
        &self,
        engine: &Engine,
        digest: &Digest,
        tenant: Option<&str>,
    ) -> Result<Place<'_>, CompileError> {
        self.queue.enter((*digest, fingerprint(engine)), tenant, &self.stop).ok_or(CompileError::Stopped)
    }

    /// Compiles a component into the cache. Blocks until it is done.
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
                // The three pipes.
                descriptors: 3,
                parent: std::process::id(),
            },
            fingerprint: fingerprint(engine),
        };
        // The first of several compilers may use every core, later compilers their share.
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
        // If the code cannot be stored, this is the reported error, however the compiler ended.
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

    /// Interprets the end of a compiler.
    fn judge(&self, ended: Ended<()>) -> CompileError {
        if ended.is_over_cpu() {
            return CompileError::Cpu(Duration::from_secs(seconds(self.settings.cpu)));
        }
        if ended.is_over_memory() {
            return CompileError::Memory(self.settings.memory >> 20);
        }
        let killed = ended.was_ended_by(Signal::KILL);
        let Ended { end, said, .. } = ended;
        // Names in the message come from the component.
        let said = escaped(&said, MAX_QUOTED);
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

/// Copies the whole input, up to a limit.
fn keep(from: impl Read, mut entry: Entry, most: u64) -> io::Result<Entry> {
    if io::copy(&mut from.take(most.saturating_add(1)), entry.file())? > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes")));
    }
    Ok(entry)
}

/// The time in whole seconds, rounded up: the unit in which the kernel limits CPU time.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

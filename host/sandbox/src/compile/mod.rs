//! Compiling what nobody has vouched for: in a process of its own, which has nothing but the component's bytes and a
//! pipe for what it makes of them.
//!
//! [`Compiler`] is the host's side: it starts this program again ([`CompileOrder`] is what it is told), feeds it, reads
//! the compiled code from its pipe into the cache, and ends it when it takes too long. [`child`] is the other side, and
//! `confine` is what the child gives up before it reads the first byte: address space, CPU time, descriptors, files,
//! processes, sockets. What comes back is trusted as far as the compiler is: it came from this host's own program, over
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

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use roadrunner_log::{MAX_QUOTED, escaped};
use rustix::process::Signal;
use wasmtime::Engine;

use crate::cache::{Cache, Entry};
use crate::component::Digest;

pub use child::CompileOrder;

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
    running: Mutex<usize>,
    ended: Condvar,
}

impl Compiler {
    /// Starts `program` with these arguments, and those of a [`CompileOrder`] after them, for each component.
    pub fn new(cache: Cache, program: impl Into<PathBuf>, arguments: &[&str], settings: CompileSettings) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { cache, program: program.into(), arguments, settings, running: Mutex::new(0), ended: Condvar::new() }
    }

    /// Its bounds.
    pub fn settings(&self) -> &CompileSettings {
        &self.settings
    }

    /// Where its results are.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Compiles a component into the cache. Blocks for as long as that takes, and before it for a place.
    pub(crate) fn compile(&self, engine: &Engine, wasm: &[u8], digest: &Digest) -> Result<(), CompileError> {
        if wasm.len() as u64 > self.settings.max_wasm {
            return Err(CompileError::TooLarge(self.settings.max_wasm));
        }
        let place = self.place();
        let entry = self.cache.entry_for(engine, digest).map_err(CompileError::Cache)?;
        let order = CompileOrder {
            memory: self.settings.memory,
            cpu_seconds: seconds(self.settings.cpu),
            parent: std::process::id(),
            fingerprint: child::fingerprint(engine),
        };
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .args(order.arguments())
            .env_clear()
            // The first of several compilers may use every core, later ones their share.
            .env("RAYON_NUM_THREADS", (cores() / place.running).max(1).to_string())
            // Memory is reserved in pieces that the limit has room for, in KiB.
            .env("MIMALLOC_ARENA_RESERVE", "32768")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // The child dies with the thread that starts it, so this thread is the one that waits for it.
        let started = Instant::now();
        let mut running = Running(command.spawn().map_err(CompileError::Start)?);
        let (stdin, stdout, stderr) = (running.0.stdin.take(), running.0.stdout.take(), running.0.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(CompileError::Crashed("it has no pipes".into()));
        };
        let (ended, kept, said) = thread::scope(|scope| {
            scope.spawn(|| feed(stdin, wasm));
            let kept = scope.spawn(|| keep(stdout, entry, self.settings.memory));
            let said = scope.spawn(|| listen(stderr));
            let ended = running.wait(started + self.settings.time);
            let panicked = || io::Error::other("a thread panicked");
            (ended, kept.join().unwrap_or_else(|_| Err(panicked())), said.join().unwrap_or_default())
        });
        drop(place);
        let ended = ended.map_err(CompileError::Start)?;
        // A compiler whose code is not taken fails for that alone.
        let entry = kept.map_err(CompileError::Cache)?;
        match ended {
            Some(status) if status.success() => {
                entry.finish().map_err(CompileError::Cache)?;
                tracing::info!(%digest, milliseconds = started.elapsed().as_millis() as u64, "compiled a component");
                Ok(())
            }
            Some(status) => Err(self.judge(status, said)),
            None => Err(CompileError::Time(self.settings.time)),
        }
    }

    /// What the end of a compiler means.
    fn judge(&self, status: ExitStatus, said: String) -> CompileError {
        let is = |signal: Signal| status.signal() == Some(signal.as_raw());
        if is(Signal::XCPU) {
            return CompileError::Cpu(Duration::from_secs(seconds(self.settings.cpu)));
        }
        // An allocation that fails aborts; a map, or a thread's stack, that fails is an error of the system.
        let short =
            ["memory allocation of", "out of memory", "Cannot allocate memory", "Resource temporarily unavailable"];
        if short.iter().any(|text| said.contains(text)) {
            return CompileError::Memory(self.settings.memory >> 20);
        }
        match status.code() {
            Some(child::REJECTED) => CompileError::Rejected(said),
            Some(child::NOT_CONFINED) => CompileError::Confinement(said),
            _ if is(Signal::KILL) => {
                CompileError::Crashed("the system killed it, as it does when memory is short".into())
            }
            _ if said.is_empty() => CompileError::Crashed(status.to_string()),
            _ => CompileError::Crashed(format!("{status}: {said}")),
        }
    }

    /// Waits until one more compiler may run.
    fn place(&self) -> Place<'_> {
        let mut running = self.running.lock();
        while *running >= self.settings.concurrency.max(1) {
            self.ended.wait(&mut running);
        }
        *running += 1;
        Place { compiler: self, running: *running }
    }
}

/// This program, whatever has become of its file since it was started.
pub fn this_program() -> &'static Path {
    Path::new(OsStr::new("/proc/self/exe"))
}

/// One of the compilers that may run at once.
struct Place<'c> {
    compiler: &'c Compiler,
    /// How many run with it.
    running: usize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.compiler.running.lock() -= 1;
        self.compiler.ended.notify_one();
    }
}

/// A child that does not outlive its owner.
struct Running(Child);

impl Running {
    /// Its status; none when it had to be ended.
    fn wait(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
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

fn feed(mut stdin: ChildStdin, wasm: &[u8]) {
    // A compiler that does not read to the end has its reasons, and says so.
    let _ = stdin.write_all(wasm);
}

/// Everything that comes, up to a limit.
fn keep(from: impl Read, mut entry: Entry, most: u64) -> io::Result<Entry> {
    if io::copy(&mut from.take(most.saturating_add(1)), entry.file())? > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes")));
    }
    Ok(entry)
}

/// The first of what it says, as one line of plain text.
fn listen(mut from: impl Read) -> String {
    let mut said = Vec::new();
    let _ = from.by_ref().take(MOST_SAID).read_to_end(&mut said);
    let _ = io::copy(&mut from, &mut io::sink());
    let said = String::from_utf8_lossy(&said);
    // Names in it are the component's.
    escaped(&said.split_whitespace().collect::<Vec<_>>().join(" "), MAX_QUOTED)
}

/// Whole seconds, rounded up: what the kernel counts CPU time in.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// How often it is looked whether a compiler has ended.
const POLL: Duration = Duration::from_millis(5);

/// Bytes of what a compiler says that are kept.
const MOST_SAID: u64 = 8 << 10;

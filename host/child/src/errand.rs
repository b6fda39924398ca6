//! The host's side: starts a child, feeds it, takes its answer, and ends it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

/// The most bytes that are kept of a child's standard error.
const MOST_SAID: u64 = 4 << 10;

/// How often to check whether a child has ended.
const POLL: Duration = Duration::from_millis(2);

/// The path of this program, even if its file was moved or removed since it was started.
pub fn this_program() -> &'static Path {
    Path::new(OsStr::new("/proc/self/exe"))
}

/// Ends all errands that hold it, permanently. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the running errands, and every errand that is started later.
    pub fn stop(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether the errands are to end.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A job for a child process.
#[derive(Debug)]
pub struct Errand<'a> {
    /// The program, which applies its [`Bounds`](crate::Bounds) by itself.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(&'static str, OsString)>,
    /// Its standard input.
    pub input: &'a [u8],
    /// When the child is ended.
    pub deadline: Instant,
    /// The signal that ends it earlier.
    pub stop: &'a Stop,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It exited by itself, or the kernel ended it.
    Exited(ExitStatus),
    /// It exceeded the deadline, and was ended.
    Late,
    /// It was stopped.
    Stopped,
}

/// The result of an errand.
#[derive(Debug)]
pub struct Ended<T> {
    /// How it ended.
    pub end: End,
    /// The result of reading its standard output.
    pub taken: T,
    /// The beginning of its standard error, as one line of plain text.
    pub said: String,
}

impl<T> Ended<T> {
    /// Whether it used up its memory.
    pub fn is_over_memory(&self) -> bool {
        // A failed allocation aborts; a failed map, or a thread's stack, is an error of the system.
        let short =
            ["memory allocation of", "out of memory", "Cannot allocate memory", "Resource temporarily unavailable"];
        matches!(self.end, End::Exited(status) if !status.success())
            && short.iter().any(|text| self.said.contains(text))
    }

    /// Whether it used up its CPU time.
    pub fn is_over_cpu(&self) -> bool {
        self.was_ended_by(Signal::XCPU)
    }

    /// Whether this signal ended it.
    pub fn was_ended_by(&self, signal: Signal) -> bool {
        matches!(self.end, End::Exited(status) if status.signal() == Some(signal.as_raw()))
    }
}

impl Errand<'_> {
    /// Runs the errand, and blocks until it ends. `take` reads standard output, in a separate thread. Once it returns,
    /// the pipe is closed, which ends a child that still writes.
    ///
    /// # Errors
    ///
    /// The child cannot be started or watched.
    pub fn run<T: Send>(self, take: impl FnOnce(ChildStdout) -> T + Send) -> io::Result<Ended<T>> {
        let mut command = Command::new(self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // Memory is reserved in pieces that fit the limit, in KiB.
            .env("MIMALLOC_ARENA_RESERVE", "32768")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // The child dies with the thread that starts it, so the same thread waits for it.
        let mut running = Running(command.spawn()?);
        let pipes = (running.0.stdin.take(), running.0.stdout.take(), running.0.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("it has no pipes"));
        };
        let input = self.input;
        thread::scope(|scope| {
            scope.spawn(move || {
                // A child that does not read to the end has its reasons, and reports them.
                let _ = stdin.write_all(input);
            });
            let taken = scope.spawn(|| take(stdout));
            let said = scope.spawn(|| listen(stderr));
            let end = running.wait(self.deadline, self.stop);
            let panicked = |_| io::Error::other("a thread panicked");
            let (taken, said) = (taken.join().map_err(panicked)?, said.join().map_err(panicked)?);
            Ok(Ended { end: end?, taken, said })
        })
    }
}

/// A child that does not outlive its owner.
struct Running(Child);

impl Running {
    fn wait(&mut self, deadline: Instant, stop: &Stop) -> io::Result<End> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(End::Exited(status));
            }
            let end = match Instant::now() {
                _ if stop.is_stopped() => End::Stopped,
                now if now >= deadline => End::Late,
                _ => {
                    thread::sleep(POLL);
                    continue;
                }
            };
            self.0.kill()?;
            self.0.wait()?;
            return Ok(end);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If the child was already waited for, it no longer exists, and this does nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads the beginning of its standard error, as one line of plain text.
fn listen(mut from: impl Read) -> String {
    let mut said = Vec::new();
    let _ = from.by_ref().take(MOST_SAID).read_to_end(&mut said);
    let _ = io::copy(&mut from, &mut io::sink());
    let said = String::from_utf8_lossy(&said);
    let plain = said.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &[u8], time: Duration, stop: &Stop) -> Ended<Vec<u8>> {
        let errand = Errand {
            program: Path::new("/bin/sh"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("NAMED", "yes".into())],
            input,
            deadline: Instant::now() + time,
            stop,
        };
        let all = |mut stdout: ChildStdout| {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).expect("a pipe");
            bytes
        };
        errand.run(all).expect("a shell")
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn it_is_fed_and_answers_and_says_why_not() {
        let ended = shell("cat; printf 'no\\n\\033[1mroom' >&2; exit 3", &[b'a'; 300_000], LONG, &Stop::default());
        assert_eq!(ended.taken, [b'a'; 300_000]);
        assert_eq!(ended.said, "no [1mroom");
        assert!(matches!(ended.end, End::Exited(status) if status.code() == Some(3)));
        let ended = shell("echo $NAMED$HOME", b"", LONG, &Stop::default());
        assert_eq!(ended.taken, b"yes\n", "the environment is what is named");
    }

    #[test]
    fn it_is_ended_when_it_is_late_and_when_it_is_stopped() {
        let start = Instant::now();
        // `exec`, so that no grandchild holds the pipes.
        let ended = shell("exec sleep 60", b"", Duration::from_millis(100), &Stop::default());
        assert_eq!(ended.end, End::Late);
        let stop = Stop::default();
        let ended = thread::scope(|scope| {
            let running = scope.spawn(|| shell("exec sleep 60", b"", LONG, &stop));
            thread::sleep(Duration::from_millis(100));
            stop.stop();
            running.join().expect("no panic")
        });
        assert_eq!(ended.end, End::Stopped);
        assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    }

    #[test]
    fn what_it_says_is_bounded() {
        let ended = shell("head -c 1000000 /dev/zero | tr '\\0' x >&2", b"", LONG, &Stop::default());
        assert_eq!(ended.said.len() as u64, MOST_SAID);
    }
}

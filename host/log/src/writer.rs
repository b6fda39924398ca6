//! The only thread that writes, and the ways to it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};
use tracing::Level;

use crate::line::{Format, Line};
use crate::queue::{CAPACITY, Owner, Queue};

/// How long lines are gathered before they are written, so that one call writes many and not every line wakes the
/// writer.
const GATHER: Duration = Duration::from_millis(4);

/// How often the log reports dropped lines.
const TELL: Duration = Duration::from_secs(1);

/// How long to wait for a descriptor that is full and does not block.
const RETRY: Duration = Duration::from_millis(5);

/// The largest buffer, in bytes, that is kept after it was written.
const KEEP: usize = 256 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The numbers of dropped lines.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dropped {
    /// Lines dropped for lack of room, by tenant; `None` for those of the host and those without a tenant.
    pub queue_full: Vec<(Option<String>, u64)>,
    /// Lines that could not be written.
    pub unwritten: u64,
}

/// A queue and its writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    format: Format,
    state: Mutex<State>,
    /// Wakes the writer: there is work.
    work: Condvar,
    /// Wakes flushing threads: lines were written.
    progress: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// The writer waits for a line.
    is_idle: bool,
    /// The writer waits for more lines.
    is_gathering: bool,
    is_writing: bool,
    /// The number of threads that wait for everything to be written.
    flushing: usize,
    unwritten: u64,
}

impl Log {
    /// Makes a log with another destination.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn to(format: Format, reader: impl Write + Send + 'static) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { format, state: Mutex::default(), work: Condvar::new(), progress: Condvar::new() });
        let log = Self(shared.clone());
        std::thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_to(reader))?;
        Ok(log)
    }

    pub(crate) fn format(&self) -> Format {
        self.0.format
    }

    /// Writes a line.
    pub fn line(&self, level: Level, target: &str, owner: Owner<'_>, write: impl FnOnce(&mut Line<'_>)) {
        with_buffer(|buffer| {
            let mut line = Line::new(buffer, self.0.format, level, target, SystemTime::now());
            write(&mut line);
            line.end();
            self.raw(owner, buffer);
        });
    }

    /// Writes a line unchanged.
    pub fn raw(&self, owner: Owner<'_>, line: &[u8]) {
        let mut state = self.0.state.lock();
        state.queue.push(owner, line);
        let is_wanted = state.is_idle || (state.is_gathering && state.queue.cost() > CAPACITY / 4);
        if is_wanted {
            // Once is enough.
            (state.is_idle, state.is_gathering) = (false, false);
            drop(state);
            self.0.work.notify_one();
        }
    }

    /// Waits at most this long until all lines are written. Returns whether they are.
    pub fn flush(&self, most: Duration) -> bool {
        let deadline = Instant::now() + most;
        let mut state = self.0.state.lock();
        state.flushing += 1;
        self.0.work.notify_one();
        let mut is_late = false;
        while !is_late && (state.is_writing || !state.queue.is_empty()) {
            is_late = self.0.progress.wait_until(&mut state, deadline).timed_out();
        }
        state.flushing -= 1;
        !state.is_writing && state.queue.is_empty()
    }

    /// The lines that were dropped so far.
    pub fn dropped(&self) -> Dropped {
        let state = self.0.state.lock();
        let queue_full = state.queue.dropped().map(|(tenant, count)| (tenant.map(str::to_owned), count));
        Dropped { queue_full: queue_full.collect(), unwritten: state.unwritten }
    }
}

impl Shared {
    fn write_to(&self, mut reader: impl Write) {
        let mut text = Vec::new();
        let mut told = (0, None::<Instant>);
        loop {
            text.clear();
            text.shrink_to(KEEP);
            let lines = self.next(&mut text, &mut told);
            let is_written = write_all(&mut reader, &text);
            let mut state = self.state.lock();
            state.is_writing = false;
            if !is_written {
                state.unwritten += lines;
            }
            self.progress.notify_all();
        }
    }

    /// Waits for lines, and gathers more of them; returns their number.
    fn next(&self, text: &mut Vec<u8>, told: &mut (u64, Option<Instant>)) -> u64 {
        let mut state = self.state.lock();
        while state.queue.is_empty() {
            let dropped = state.dropped();
            let due = told.1.map(|last| last + TELL).filter(|_| dropped > told.0);
            if dropped > told.0 && due.is_none_or(|due| due <= Instant::now()) {
                break;
            }
            state.is_idle = true;
            match due {
                Some(due) => {
                    self.work.wait_until(&mut state, due);
                }
                None => self.work.wait(&mut state),
            }
            state.is_idle = false;
        }
        if state.flushing == 0 {
            state.is_gathering = true;
            let gathered = Instant::now() + GATHER;
            while state.is_gathering && state.flushing == 0 {
                if self.work.wait_until(&mut state, gathered).timed_out() {
                    break;
                }
            }
            state.is_gathering = false;
        }
        let lines = state.queue.take(text);
        state.is_writing = true;
        let dropped = state.dropped();
        drop(state);
        if dropped > told.0 && told.1.is_none_or(|last| last.elapsed() >= TELL) {
            let mut line = Line::new(text, self.format, Level::WARN, "roadrunner_log", SystemTime::now());
            line.message("lines of the log were dropped: they were not read in time");
            line.number("lines", dropped - told.0);
            line.end();
            *told = (dropped, Some(Instant::now()));
        }
        lines
    }
}

impl State {
    fn dropped(&self) -> u64 {
        self.queue.dropped().map(|(_, count)| count).sum::<u64>() + self.unwritten
    }
}

/// Lends this thread's buffer, empty.
pub(crate) fn with_buffer(write: impl FnOnce(&mut Vec<u8>)) {
    BUFFER.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.clear();
            write(&mut buffer);
        }
        // A value that is being written writes a line itself.
        Err(_) => write(&mut Vec::new()),
    });
}

/// Writes all bytes; returns false when some could not be written.
fn write_all(reader: &mut impl Write, mut text: &[u8]) -> bool {
    while !text.is_empty() {
        match reader.write(text) {
            Ok(0) => return false,
            Ok(written) => text = &text[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process may have made the shared descriptor non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn piped(format: Format) -> (Log, io::PipeReader) {
        let (reader, writer) = io::pipe().expect("a pipe");
        (Log::to(format, writer).expect("a thread"), reader)
    }

    #[test]
    fn lines_of_many_threads_stay_whole_and_in_order() {
        let (log, reader) = piped(Format::Json);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let log = log.clone();
                std::thread::spawn(move || {
                    for number in 0..500 {
                        log.line(Level::INFO, "test", Owner::Untenanted, |line| {
                            line.number("thread", thread);
                            line.number("number", number);
                            line.text("text", &"x".repeat(number as usize));
                        });
                    }
                })
            })
            .collect();
        let mut next = [0; 4];
        for line in BufReader::new(reader).lines().take(2000) {
            let line: serde_json::Value = serde_json::from_str(&line.expect("text")).expect("a whole line");
            let thread = line["thread"].as_u64().expect("a number") as usize;
            assert_eq!(line["number"], next[thread]);
            next[thread] += 1;
        }
        assert_eq!(next, [500; 4]);
        threads.into_iter().for_each(|thread| thread.join().expect("it has logged"));
        assert!(log.flush(PATIENCE) && log.dropped().queue_full == [(None, 0)]);
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (log, mut reader) = piped(Format::Human { colours: false });
        let start = Instant::now();
        let text = "x".repeat(1000);
        for _ in 0..20_000 {
            log.line(Level::INFO, "test", Owner::Tenant("one"), |line| line.message(&text));
        }
        log.line(Level::INFO, "test", Owner::Tenant("two"), |line| line.message("of another tenant"));
        assert!(!log.flush(Duration::from_millis(100)), "nobody has read them");
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        let dropped = log.dropped();
        let of = |tenant: &str| dropped.queue_full.iter().find(|(name, _)| name.as_deref() == Some(tenant));
        assert!(of("one").is_some_and(|(_, count)| *count > 10_000), "{dropped:?}");
        assert_eq!(of("two").map(|(_, count)| *count), Some(0));
        // Now the reader reads: the kept lines, whole, and the number of the others.
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            let mut piece = [0; 1 << 16];
            while !text.contains("were dropped") || !text.contains("of another tenant") {
                let count = reader.read(&mut piece).expect("a pipe");
                text.push_str(std::str::from_utf8(&piece[..count]).expect("text"));
            }
            text
        });
        let text = reading.join().expect("it was told");
        assert!(
            text.lines().all(|line| line.ends_with('x') || line.contains("other tenant") || line.contains("lines="))
        );
        assert!(log.flush(PATIENCE));
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let (log, reader) = piped(Format::Json);
        drop(reader);
        log.raw(Owner::Host, b"a line\n");
        assert!(log.flush(PATIENCE));
        assert_eq!(log.dropped().unwritten, 1);
    }
}

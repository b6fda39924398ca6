//! Runs `cargo test`, watches its output, and ends it when it hangs.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::suite::tally::Tally;

/// How long a test run may print nothing. The slowest test takes well under this.
const STALL: Duration = Duration::from_secs(600);

/// One line of the run.
enum Line {
    Stdout(String),
    Stderr(String),
}

/// Runs a compiled test suite, passes on its output, counts its tests, and returns whether cargo succeeded.
///
/// # Errors
/// When the command does not start, or prints nothing for [`STALL`]; it is killed then.
pub fn run(command: &mut Command, tally: &mut Tally) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start cargo")?;
    let (sender, lines) = mpsc::channel();
    read(child.stdout.take(), sender.clone(), Line::Stdout);
    read(child.stderr.take(), sender, Line::Stderr);
    let mut last = String::new();
    loop {
        match lines.recv_timeout(STALL) {
            Ok(Line::Stdout(text)) => {
                if tally.line(&text) {
                    println!("{text}");
                }
                last = text;
            }
            Ok(Line::Stderr(text)) => {
                // A test that writes to standard error itself, bypassing the harness, may report a skip there.
                if tally.line(&text) {
                    eprintln!("{text}");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                end(&mut child);
                bail!("nothing was printed for {} s; the last line was {last:?}", STALL.as_secs());
            }
        }
    }
    Ok(child.wait().context("cannot wait for cargo")?.success())
}

fn read(source: Option<impl Read + Send + 'static>, sender: Sender<Line>, wrap: fn(String) -> Line) {
    let Some(source) = source else { return };
    thread::spawn(move || {
        for line in BufReader::new(source).split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(wrap(String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
        }
    });
}

/// Kills cargo and its child processes, children first.
fn end(child: &mut Child) {
    for pid in children(child.id()) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn children(parent: u32) -> Vec<Pid> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)).collect()
}

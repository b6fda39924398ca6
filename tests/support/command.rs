//! The program's command line, and other programs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::Duration;

/// The program: `ROADRUNNER_BIN`, or the release build of the workspace.
///
/// # Panics
/// When it does not exist.
pub fn roadrunner() -> Command {
    let path = from_environment("ROADRUNNER_BIN", "target/release/roadrunner");
    assert!(path.is_file(), "there is no server at {}: run `cargo xtask test`, which builds it", path.display());
    let mut command = Command::new(path);
    command.env_remove("RUST_LOG");
    command
}

/// The folder of the guests: `ROADRUNNER_GUESTS`, or the release build of the guests' workspace.
///
/// # Panics
/// When it does not exist.
pub fn guests() -> PathBuf {
    let path = from_environment("ROADRUNNER_GUESTS", "guests/target/wasm32-wasip2/release");
    assert!(
        path.join("hello.wasm").is_file(),
        "there are no guests in {}: run `cargo xtask test`, which builds them",
        path.display()
    );
    path
}

/// The component of a guest.
pub fn guest(name: &str) -> PathBuf {
    guests().join(format!("{}.wasm", name.replace('-', "_")))
}

/// The folder in which the servers of all tests cache compiled components.
pub fn cache() -> PathBuf {
    workspace().join("target/e2e-cache")
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").to_owned()
}

/// Another program, if it is installed. Otherwise prints that the test is skipped.
pub fn tool(test: &str, name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()) {
        Some(file) => Some(Command::new(file)),
        None => {
            static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
            let skip = format!("SKIPPED: {test}: {name} is not installed");
            if TOLD.lock().expect("no holder panics").insert(skip.clone()) {
                println!("{skip}");
            }
            None
        }
    }
}

/// An HTTP/3 client that tests/clients/http3.sh installs. Otherwise prints that the test is skipped.
pub fn http3_client(test: &str, name: &str) -> Option<Command> {
    let path = workspace().join("target/http3-clients").join(name);
    if path.is_file() {
        return Some(Command::new(path));
    }
    println!("SKIPPED: {test}: there is no {name} with HTTP/3; tests/clients/http3.sh target/http3-clients brings it");
    None
}

/// Python with packages: `ROADRUNNER_PYTHON`, or `python3`. Otherwise prints that the test is skipped.
pub fn python(test: &str, packages: &str) -> Option<Command> {
    let python = std::env::var("ROADRUNNER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", &format!("import {packages}")]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(Command::new(python));
    }
    println!("SKIPPED: {test}: {python} has no {packages}");
    None
}

/// Runs a program to its end, on a separate thread.
pub async fn output(command: Command) -> Done {
    output_within(Duration::from_secs(120), command).await
}

/// Does the same with a time limit, for programs that take long, such as builds on a busy machine.
pub async fn output_within(limit: Duration, mut command: Command) -> Done {
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(limit, run).await.unwrap_or_else(|_| panic!("not within {limit:?}"));
    Done::of(output.expect("it does not panic").expect("the program can be started"))
}

/// The result of a program.
#[derive(Clone, Debug)]
pub struct Done {
    /// Its exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Done {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn from_environment(name: &str, default: &str) -> PathBuf {
    std::env::var_os(name).map_or_else(|| workspace().join(default), PathBuf::from)
}

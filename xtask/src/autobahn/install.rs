//! wstest, the program of the Autobahn test suite, in its own environment below the build folder.
//!
//! It needs Python 2.7, which few systems still have: it uses a Python on the path or of pyenv, and installs nothing
//! without either.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::toolchain::{self, say};

/// The suite's version, to which the counts of cases and their names belong.
pub const VERSION: &str = "25.10.1";

/// The last version that can make environments of Python 2.7.
const VIRTUALENV: &str = "virtualenv==20.21.1";

/// The name of Python 2.7 in pyenv.
const PYENV_VERSION: &str = "2.7.18";

/// The result of [`wstest`].
pub enum Installed {
    /// The program.
    Tool(PathBuf),
    /// The program is not available here, for this reason.
    Missing(String),
}

/// Returns the program, and installs it if necessary.
pub fn wstest(scratch: &Path) -> Result<Installed> {
    let environment = scratch.join(format!("wstest-{VERSION}"));
    let tool = environment.join("bin/wstest");
    // Written last, so that an interrupted installation is repeated.
    let done = environment.join("installed");
    if done.is_file() && tool.is_file() {
        return Ok(Installed::Tool(tool));
    }
    let Some(python) = python() else {
        return Ok(Installed::Missing(format!(
            "the Autobahn test suite: it needs Python 2.7, which is neither on the path nor among pyenv's; \
             `pyenv install {PYENV_VERSION}` brings it"
        )));
    };
    say("installing the Autobahn test suite");
    let virtualenv = scratch.join("virtualenv");
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", "--target"]);
    command.arg(&virtualenv).arg(VIRTUALENV);
    toolchain::run(&mut command)?;
    let mut command = Command::new("python3");
    command.args(["-m", "virtualenv", "--quiet", "--clear", "-p"]).arg(&python).arg(&environment);
    command.env("PYTHONPATH", &virtualenv);
    toolchain::run(&mut command)?;
    let mut command = Command::new(environment.join("bin/pip"));
    command.args(["install", "--quiet", "--disable-pip-version-check", "--no-python-version-warning"]);
    command.arg(format!("autobahntestsuite=={VERSION}"));
    toolchain::run(&mut command)?;
    fs::write(&done, VERSION).with_context(|| format!("cannot write {}", done.display()))?;
    Ok(Installed::Tool(tool))
}

/// Finds a Python with aioquic: `ROADRUNNER_PYTHON`, or the one on the path. Otherwise returns the reason.
pub fn aioquic() -> Result<PathBuf, String> {
    let python = std::env::var_os("ROADRUNNER_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let probe = Command::new(&python).args(["-c", "import aioquic"]).stderr(Stdio::null()).status();
    match probe.is_ok_and(|status| status.success()) {
        true => Ok(python),
        false => Err(format!(
            "the Autobahn test suite over HTTP/3: {} has no aioquic; tests/requirements.txt has its version",
            python.display()
        )),
    }
}

fn python() -> Option<PathBuf> {
    let on_path = toolchain::find("python2.7");
    let prefix = Command::new("pyenv").args(["prefix", PYENV_VERSION]).stderr(Stdio::null()).output();
    let of_pyenv =
        prefix.ok().map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("bin/python2.7"));
    // pyenv puts a program on the path even when no such version is selected; it then does not start.
    let starts = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", "pass"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    on_path.into_iter().chain(of_pyenv).find(starts)
}

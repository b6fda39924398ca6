//! wstest, the program of the Autobahn test suite, in an environment of its own below the build folder.
//!
//! It needs Python 2.7, which few systems still have: one on the path or one of pyenv's is taken, and without either
//! nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::toolchain::{self, say};

/// The suite's version; counts of cases and their names belong to it.
pub const VERSION: &str = "25.10.1";

/// The last that can make environments of Python 2.7.
const VIRTUALENV: &str = "virtualenv==20.21.1";

/// Python 2.7 as pyenv names it.
const PYENV_VERSION: &str = "2.7.18";

/// What [`wstest`] found or made.
pub enum Installed {
    /// The program.
    Tool(PathBuf),
    /// It cannot be had here, and this says why.
    Missing(String),
}

/// The program, installed if it is not there yet.
pub fn wstest(scratch: &Path) -> Result<Installed> {
    let environment = scratch.join(format!("wstest-{VERSION}"));
    let tool = environment.join("bin/wstest");
    // Written last, so that an installation that broke off is done again.
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

/// A Python that has aioquic: `ROADRUNNER_PYTHON`, or the one on the path. Otherwise why not.
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
    // What pyenv puts on the path is there also when no such version is chosen, and then does not start.
    let starts = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", "pass"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    on_path.into_iter().chain(of_pyenv).find(starts)
}

//! The requirements on the machine, and the builds that every command starts with.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::tree::{GUEST_TARGET, Profile, Tree};

/// Checks for a C compiler and the guests' target, and installs the target when it is missing.
pub fn prepare() -> Result<()> {
    ensure!(
        c_compiler().is_some(),
        "there is no C compiler (cc, gcc or clang), which the TLS library is built with: install one, \
         on Debian and Ubuntu with `apt-get install gcc`"
    );
    install_target()
}

/// Builds the fixtures' components.
pub fn build_guests(tree: &Tree) -> Result<()> {
    say("building the guests");
    // The flags of guests/.cargo/config.toml apply only to a cargo that starts in that folder.
    let mut command = cargo(&tree.guests());
    command.args(["build", "--release", "--target", GUEST_TARGET]);
    command.arg("--target-dir").arg(tree.guests().join("target"));
    run(&mut command)
}

/// Builds the server, with the features of the whole workspace: another selection of packages would build the engine a
/// second time.
pub fn build_server(tree: &Tree, profile: Profile) -> Result<()> {
    if tree.server(profile).exists() {
        say("building the host");
    } else {
        say("building the host; the first time this takes about ten minutes");
    }
    let mut command = cargo(&tree.root);
    command.arg("build").args(profile.arguments()).args(["--workspace", "--bin", "roadrunner"]);
    run(&mut command)
}

/// Cargo in a folder.
pub fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(folder).stdin(Stdio::null());
    // Cargo sets these for `cargo xtask` itself; guests and SDK are other workspaces.
    for variable in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a command to its end, with its output passed on; a failure names it.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", line(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

/// The program's path, if it is on the machine.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A line between two pieces of other programs' output.
pub fn say(text: &str) {
    eprintln!("==> {text}");
}

/// A command as text for a command line.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn c_compiler() -> Option<OsString> {
    let named = env::var_os("CC").filter(|name| !name.is_empty());
    named.or_else(|| ["cc", "gcc", "clang"].into_iter().find(|name| find(name).is_some()).map(OsString::from))
}

fn install_target() -> Result<()> {
    if find("rustup").is_none() {
        // A toolchain from another source may include the target.
        ensure!(
            has_target_without_rustup(),
            "the Rust target {GUEST_TARGET} is not installed and there is no rustup to install it with: \
             install rustup from https://rustup.rs, then run this again"
        );
        return Ok(());
    }
    let listed = Command::new("rustup").args(["target", "list", "--installed"]).stderr(Stdio::inherit()).output();
    let listed = listed.context("cannot start rustup")?;
    if String::from_utf8_lossy(&listed.stdout).lines().any(|target| target == GUEST_TARGET) {
        return Ok(());
    }
    say(&format!("installing the Rust target {GUEST_TARGET}"));
    let mut add = Command::new("rustup");
    add.args(["target", "add", GUEST_TARGET]);
    if run(&mut add).is_err() {
        bail!(
            "the Rust target {GUEST_TARGET} is missing: connect to the network and run `rustup target add {GUEST_TARGET}`"
        );
    }
    Ok(())
}

fn has_target_without_rustup() -> bool {
    let Ok(output) = Command::new("rustc").args(["--print", "sysroot"]).output() else {
        return false;
    };
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Path::new(&sysroot).join("lib/rustlib").join(GUEST_TARGET).is_dir()
}

//! `cargo xtask test`: all tests, and the checks that go with them.
//!
//! In this order: the guests, the host, formatting, the crates' sizes, lints, the workspace's tests in one cargo run
//! (one run, so that all crates are compiled with one selection of features), the Rust SDK's tests, the manifests of
//! the examples, and the Autobahn test suite. A failure does not stop the later steps. The last line is `N passed, N
//! failed, N skipped`; a check counts as one test.
//!
//! The end-to-end tests find the server and the guests through `ROADRUNNER_BIN` and `ROADRUNNER_GUESTS`. A test that
//! lacks a tool prints a line with `SKIPPED` and the reason, and passes. Such lines are repeated at the end; with
//! `CI=true` they are failures, except those that `.ci/allowed-skips` excuses.
//!
//! If only a few tests fail, they run again, each alone on the machine. A test that then passes is listed as `FLAKY`,
//! with its output from the failure, and does not count as failed: the tests share a machine with each other, and some
//! measure time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::autobahn::{self, Verdict};
use crate::frameworks;
use crate::languages;
use crate::layout;
use crate::public_tools;
use crate::toolchain::{self, cargo, line, say};
use crate::tree::{GUEST_TARGET, Profile, Tree};

mod harness;
mod steps;
mod tally;

use steps::Steps;
use tally::Tally;

/// The skips that are no failure in CI: each line has a part of the skip's text, ` # `, and the reason why it cannot
/// run there.
const ALLOWED_SKIPS: &str = ".ci/allowed-skips";

/// The most failures that are run again alone. More than that is no accident.
const FLAKY: usize = 3;

/// The options of a run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Test an unoptimised build: quicker to build, slower to run
    #[arg(long)]
    dev: bool,
    /// Run only the tests whose names contain one of these, and no other checks
    filter: Vec<String>,
}

/// Runs everything; the exit code says whether all of it passed.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    let profile = if options.dev { Profile::Dev } else { Profile::Release };
    toolchain::prepare()?;
    let mut steps = Steps::default();
    steps.time("building the guests", || toolchain::build_guests(tree))?;
    steps.time("building guests in other languages", || languages::build(tree))?;
    steps.time("building guests with public tools", || public_tools::build(tree))?;
    steps.time("building the apps of frameworks", || frameworks::build(tree))?;
    steps.time("building the host", || toolchain::build_server(tree, profile))?;

    let mut suite = Suite { tree, profile, filter: &options.filter, tally: Tally::default(), steps };
    if options.filter.is_empty() {
        suite.formatting();
        suite.layout();
        suite.lints();
    }
    suite.tests(&tree.root);
    suite.tests(&tree.sdk());
    if options.filter.is_empty() {
        suite.examples()?;
        suite.autobahn();
    }

    let mut tally = suite.tally;
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        tally.refuse_skips(&allowed_skips(&tree.root)?);
    }
    say("how long it took");
    print!("{}{tally}", suite.steps);
    Ok(if tally.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Suite<'a> {
    tree: &'a Tree,
    profile: Profile,
    filter: &'a [String],
    tally: Tally,
    steps: Steps,
}

impl Suite<'_> {
    fn formatting(&mut self) {
        for folder in self.workspaces() {
            let mut command = cargo(&folder);
            command.args(["fmt", "--all", "--check", "--", "-l"]);
            self.check(&format!("formatting of {}", self.relative(&folder)), &mut command);
        }
    }

    /// Checks the sizes of the crates and the knots in them, and the table of them in docs/design/layout.md.
    fn layout(&mut self) {
        let name = "sizes and knots of the crates";
        say(name);
        match self.steps.time(name, || layout::run(self.tree, &layout::Options { check: true })) {
            Ok(_) => self.tally.pass(),
            Err(error) => {
                eprintln!("{error:#}");
                self.tally.fail(name);
            }
        }
    }

    /// Runs the lints in the profile of the tests, so that both share the output of build scripts.
    fn lints(&mut self) {
        for folder in self.workspaces() {
            let mut command = self.cargo_in(&folder);
            command.args(["clippy", "--workspace"]).args(self.profile.arguments());
            if folder == self.tree.guests() || folder == self.tree.bench_guests() {
                command.args(["--target", GUEST_TARGET]);
            } else {
                command.arg("--all-targets");
            }
            command.args(["--", "--deny", "warnings"]);
            self.check(&format!("lints of {}", self.relative(&folder)), &mut command);
        }
    }

    /// Runs unit and integration tests, then the examples in documentation. Asked for both at once, cargo would link
    /// every example program too.
    fn tests(&mut self, folder: &Path) {
        let name = self.relative(folder);
        for (kind, selection) in [("tests", "--tests"), ("documentation", "--doc")] {
            let mut command = self.cargo_in(folder);
            command.args(["test", "--workspace"]).args(self.profile.arguments()).arg(selection);
            if *folder == self.tree.sdk() {
                command.arg("--all-features");
            }
            if kind == "tests" {
                let mut build = self.cargo_in(folder);
                build.args(command.get_args()).arg("--no-run");
                if !self.check(&format!("compilation of the tests of {name}"), &mut build) {
                    continue;
                }
            }
            // Cargo takes one filter, the test harness any number. Passed tests report skips in their output.
            command.args(["--no-fail-fast", "--", "--show-output"]);
            command.env("ROADRUNNER_BIN", self.tree.server(self.profile));
            command.env("ROADRUNNER_GUESTS", self.tree.components());
            let mut alone = self.cargo_in(folder);
            alone.args(command.get_args()).args(["--exact", "--test-threads=1"]);
            alone.env("ROADRUNNER_BIN", self.tree.server(self.profile));
            alone.env("ROADRUNNER_GUESTS", self.tree.components());
            let before = self.tally.failures();
            self.harness(&format!("the {kind} of {name}"), command.args(self.filter));
            self.again(before, &mut alone);
        }
    }

    /// Runs the tests that have failed since then again, each alone.
    fn again(&mut self, before: usize, command: &mut Command) {
        let failed = self.tally.failed_since(before).to_vec();
        // A name with a space is a check, or an example in documentation, which does not run in parallel with others.
        if failed.is_empty() || failed.len() > FLAKY || failed.iter().any(|name| name.contains(' ')) {
            return;
        }
        say(&format!("running again, alone: {}", failed.join(", ")));
        let mut alone = Tally::default();
        let passed = harness::run(command.args(&failed), &mut alone);
        if passed.is_ok_and(|passed| passed) && alone.is_all_of(failed.len()) {
            failed.iter().for_each(|name| self.tally.passed_alone(name));
        }
    }

    fn harness(&mut self, name: &str, command: &mut Command) {
        let name = format!("testing {name}");
        say(&name);
        let before = self.tally.failures();
        match self.steps.time(&name, || harness::run(command, &mut self.tally)) {
            // Only cargo's exit code reports a test binary that died, or one with its own harness.
            Ok(false) if self.tally.failures() == before => self.tally.fail(&format!("`{}`", line(command))),
            Ok(_) => {}
            Err(error) => self.tally.fail(&format!("{name}: {error:#}")),
        }
    }

    /// Checks that the server accepts every example's manifest.
    fn examples(&mut self) -> Result<()> {
        let folder = self.tree.root.join("examples");
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut manifests: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path().join("roadrunner.toml")))
            .filter(|manifest| manifest.is_file())
            .collect();
        manifests.sort();
        for manifest in manifests {
            let needs_app = fs::read_to_string(&manifest).is_ok_and(|text| text.contains("file = \"app.wasm\""));
            if needs_app && !manifest.with_file_name("app.wasm").is_file() {
                let line = format!("SKIPPED: the manifest {}: its app was not built", self.relative(&manifest));
                self.tally.line(&line);
                println!("{line}");
                continue;
            }
            let mut command = Command::new(self.tree.server(self.profile));
            command.args(["check", "--manifest"]).arg(&manifest);
            self.check(&format!("the manifest {}", self.relative(&manifest)), &mut command);
        }
        Ok(())
    }

    /// Runs WebSocket conformance: every case except most of those of compression, on every transport.
    fn autobahn(&mut self) {
        let name = "the Autobahn test suite";
        say(name);
        match self.steps.time(name, || autobahn::check(self.tree, self.profile)) {
            Ok(Verdict::Passed) => self.tally.pass(),
            Ok(Verdict::Failed) => self.tally.fail(name),
            Ok(Verdict::Skipped(reason)) => {
                // A skip is a test that passed and reported it.
                self.tally.pass();
                let line = format!("SKIPPED {reason}");
                self.tally.line(&line);
                println!("{line}");
            }
            Err(error) => self.tally.fail(&format!("{name}: {error:#}")),
        }
    }

    /// Runs a command that counts as one test.
    fn check(&mut self, name: &str, command: &mut Command) -> bool {
        say(name);
        match self.steps.time(name, || toolchain::run(command)) {
            Ok(()) => {
                self.tally.pass();
                true
            }
            Err(error) => {
                eprintln!("{error:#}");
                self.tally.fail(name);
                false
            }
        }
    }

    fn workspaces(&self) -> [PathBuf; 4] {
        [self.tree.root.clone(), self.tree.guests(), self.tree.bench_guests(), self.tree.sdk()]
    }

    /// Cargo in a workspace, with its own build folder.
    fn cargo_in(&self, folder: &Path) -> Command {
        let mut command = cargo(folder);
        if folder == self.tree.root {
            command.env("CARGO_TARGET_DIR", &self.tree.target);
        } else {
            command.env("CARGO_TARGET_DIR", folder.join("target"));
        }
        command
    }

    fn relative(&self, path: &Path) -> String {
        match path.strip_prefix(&self.tree.root) {
            Ok(path) if path.as_os_str().is_empty() => "the workspace".to_owned(),
            Ok(path) => path.display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }
}

/// The parts of skips' texts that are excused. Each needs a reason.
fn allowed_skips(root: &Path) -> Result<Vec<String>> {
    let path = root.join(ALLOWED_SKIPS);
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(Vec::new());
    };
    let mut allowed = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (part, reason) = line.split_once(" # ").unwrap_or((line, ""));
        ensure!(
            !reason.trim().is_empty(),
            "{ALLOWED_SKIPS}: {part:?} has no reason: write `{part} # why it cannot run`"
        );
        allowed.push(part.trim().to_owned());
    }
    Ok(allowed)
}

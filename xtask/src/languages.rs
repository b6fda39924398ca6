//! `cargo xtask guests`: the demo in every language, each built with its SDK when its tools are on the machine.
//!
//! Missing tools are reported and not installed: a language's tools take hundreds of megabytes. For each language that
//! could not be built, a file `demo_LANGUAGE.missing` next to the components gives the reason, which the tests and the
//! demo repeat. A component is rebuilt when a file of its SDK, its program or the contract has changed.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::toolchain::{self, say};
use crate::tree::Tree;
use crate::{frameworks, public_tools};

/// A guest language other than Rust.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Language {
    /// guest-sdk/c.
    C,
    /// guest-sdk/js.
    Js,
    /// guest-sdk/python.
    Python,
}

/// The demo in one language.
#[derive(Debug)]
pub enum Demo {
    /// Its component.
    Built(PathBuf),
    /// Why there is none, and how to fix it.
    Missing(String),
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 3] = [Self::Js, Self::Python, Self::C];

    /// The name in its folders and paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Js => "js",
            Self::Python => "python",
        }
    }

    /// The command that makes the component, or why it cannot run.
    fn command(self, tree: &Tree, output: &Path) -> Result<Command, String> {
        match self {
            Self::C => c(tree, output),
            Self::Js => js(tree, &tree.guests().join("js/app.js"), output),
            Self::Python => python(tree, &[tree.guests().join("python")], output),
        }
    }
}

/// Builds Rust's guests and every language's demo.
pub fn run(tree: &Tree) -> Result<ExitCode> {
    toolchain::prepare()?;
    toolchain::build_guests(tree)?;
    let demos = build(tree)?.into_iter().map(|(language, demo)| (language.name(), demo));
    for (name, demo) in demos.chain(public_tools::build(tree)?).chain(frameworks::build(tree)?) {
        match demo {
            Demo::Built(component) => say(&format!("{name}: {}", component.display())),
            Demo::Missing(reason) => say(&format!("{name}: missing: {reason}")),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the demo in every language whose tools are installed.
///
/// # Errors
/// When installed tools fail.
pub fn build(tree: &Tree) -> Result<Vec<(Language, Demo)>> {
    let mut demos = Vec::new();
    for language in Language::ALL {
        demos.push((language, build_one(tree, language)?));
    }
    Ok(demos)
}

fn build_one(tree: &Tree, language: Language) -> Result<Demo> {
    let name = language.name();
    let inputs = [format!("guest-sdk/{name}"), format!("guests/{name}"), "wit".to_owned()];
    let finish = |component: &Path| {
        if language == Language::C {
            // The work of `roadrunner componentize`, which is built only later.
            let module = fs::read(component).with_context(|| format!("cannot read {}", component.display()))?;
            let made = roadrunner_componentize::componentize(&module).context("the demo in C is no component")?;
            fs::write(component, made).with_context(|| format!("cannot write {}", component.display()))?;
        }
        Ok(())
    };
    make(tree, &format!("demo_{name}"), &inputs, |output| language.command(tree, output), finish)
}

/// Makes a component with a command, unless it was made from the same inputs before.
///
/// # Errors
/// When the command can run, and fails.
pub fn make(
    tree: &Tree,
    name: &str,
    inputs: &[String],
    command: impl FnOnce(&Path) -> Result<Command, String>,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<Demo> {
    let folder = tree.components();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let file = |extension| folder.join(format!("{name}.{extension}"));
    let (component, stamp, missing) = (file("wasm"), file("inputs"), file("missing"));
    let mut command = match command(&component) {
        Ok(command) => command,
        Err(reason) => {
            // A component of older sources would pass for a current one.
            drop(fs::remove_file(&component));
            fs::write(&missing, &reason).with_context(|| format!("cannot write {}", missing.display()))?;
            return Ok(Demo::Missing(reason));
        }
    };
    drop(fs::remove_file(&missing));
    let inputs = fingerprint(tree, inputs, &command)?;
    if component.is_file() && fs::read_to_string(&stamp).is_ok_and(|known| known == inputs) {
        return Ok(Demo::Built(component));
    }
    say(&format!("building {name}"));
    drop(fs::remove_file(&stamp));
    toolchain::run(&mut command)?;
    ensure!(component.is_file(), "`{}` has made no {}", toolchain::line(&command), component.display());
    finish(&component)?;
    fs::write(&stamp, inputs).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(Demo::Built(component))
}

/// The inputs of a component: the command's words and every file's path and content.
fn fingerprint(tree: &Tree, inputs: &[String], command: &Command) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    toolchain::line(command).hash(&mut hasher);
    for folder in inputs {
        hash_folder(&tree.root.join(folder), &mut hasher)?;
    }
    let mut text = String::new();
    write!(text, "{:016x}", hasher.finish())?;
    Ok(text)
}

fn hash_folder(folder: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        // What tools install or leave behind, and tests.
        if ["node_modules", "__pycache__", "build", ".mypy_cache", "tests", "app.wasm"].iter().any(|made| name == *made)
        {
            continue;
        }
        if path.is_dir() {
            hash_folder(&path, hasher)?;
        } else {
            name.hash(hasher);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?.hash(hasher);
        }
    }
    Ok(())
}

/// Runs the SDK's own build script up to the core module.
fn c(tree: &Tree, output: &Path) -> Result<Command, String> {
    let sdk = tree.root.join("guest-sdk/c");
    let mut command = Command::new("sh");
    command.arg(sdk.join("build.sh")).args(["--module", "-o"]).arg(output);
    command.args(["app.c", "outgoing.c", "store.c"].map(|file| tree.guests().join("c").join(file)));
    command.stdin(Stdio::null());
    if let Some(zig) = in_python_or_path(tree, "python-zig") {
        command.env("ZIG", zig);
        return Ok(command);
    }
    let mut find = Command::new("sh");
    find.arg(sdk.join("build.sh")).arg("--compiler").stdin(Stdio::null());
    match find.output() {
        Ok(found) if found.status.success() => Ok(command),
        _ => Err("there is no C compiler for wasm32-wasi: `pip install -r tests/requirements.txt` installs Zig; \
                  clang with a wasi-sdk will do, too"
            .to_owned()),
    }
}

/// Runs the SDK's own build command from its folder, where its packages have to be.
///
/// # Errors
/// When a tool is missing: how to install it.
pub fn js(tree: &Tree, program: &Path, output: &Path) -> Result<Command, String> {
    let node = toolchain::find("node").ok_or("Node is not installed: install Node 20 or newer, with npm")?;
    let sdk = tree.root.join("guest-sdk/js");
    if !sdk.join("node_modules/@bytecodealliance/componentize-js").is_dir() {
        return Err("componentize-js is not installed: run `npm install` in guest-sdk/js, then start again".to_owned());
    }
    let mut command = Command::new(node);
    command.arg(sdk.join("src/build.js")).arg("build").arg(program);
    command.arg("--output").arg(output).stdin(Stdio::null());
    Ok(command)
}

/// Runs the SDK's own build command from its sources, for the program `app` in one of these folders.
///
/// # Errors
/// When a tool is missing: how to install it.
pub fn python(tree: &Tree, folders: &[PathBuf], output: &Path) -> Result<Command, String> {
    let tool = in_python_or_path(tree, "componentize-py")
        .ok_or("componentize-py is not installed: `pip install -r tests/requirements.txt`, then start again")?;
    // The interpreter that it was installed for, or any other if it is standalone.
    let beside = tool.with_file_name("python3");
    let python = if beside.is_file() { beside } else { PathBuf::from("python3") };
    let mut command = Command::new(python);
    command.args(["-m", "roadrunner_guest.build", "build", "app"]);
    for folder in folders {
        command.arg("--path").arg(folder);
    }
    command.arg("--output").arg(output).stdin(Stdio::null());
    command.env("PYTHONPATH", tree.root.join("guest-sdk/python/src")).env("PYTHONDONTWRITEBYTECODE", "1");
    let folders = tool.parent().map(Path::to_owned).into_iter().chain(path_folders());
    command.env("PATH", std::env::join_paths(folders).map_err(|error| error.to_string())?);
    Ok(command)
}

/// A program of the Python environment that `.ci/run` makes, or on the path.
pub fn in_python_or_path(tree: &Tree, program: &str) -> Option<PathBuf> {
    toolchain::find(program).or_else(|| {
        let path = tree.target.join("python/bin").join(program);
        path.is_file().then_some(path)
    })
}

fn path_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

//! The apps of frameworks in `examples`: Hono in both worlds, Flask and Starlette. The app of axum is one of the guests
//! in Rust.
//!
//! Each is copied into the folder of its example, where the example's own build command puts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::languages::{Demo, in_python_or_path, js, make, python};
use crate::tree::Tree;

/// Builds the apps whose tools are installed.
///
/// # Errors
/// When installed tools fail.
pub fn build(tree: &Tree) -> Result<Vec<(&'static str, Demo)>> {
    let inputs = |language: &str, name: &str| {
        [format!("guest-sdk/{language}"), format!("examples/{name}"), "wit".to_owned(), "guest-sdk/c/wit".to_owned()]
    };
    let of_hono = inputs("js", "hono");
    let to_example = |component: &Path| copy(tree, "hono", component);
    let native = make(tree, "app_hono", &of_hono, |output| hono(tree, "native", output), to_example)?;
    let wasi = make(tree, "app_hono_wasi", &of_hono, |output| hono(tree, "wasi", output), |_| Ok(()))?;
    let app = |name: &'static str| {
        let command = |output: &Path| python_app(tree, name, output);
        make(tree, &format!("app_{name}"), &inputs("python", name), command, |component| copy(tree, name, component))
    };
    Ok(vec![
        ("app of Hono", native),
        ("app of Hono, standard", wasi),
        ("app of Flask", app("flask")?),
        ("app of Starlette", app("starlette")?),
    ])
}

fn copy(tree: &Tree, name: &str, component: &Path) -> Result<()> {
    let place = tree.root.join("examples").join(name).join("app.wasm");
    fs::copy(component, &place).with_context(|| format!("cannot write {}", place.display()))?;
    Ok(())
}

fn hono(tree: &Tree, world: &str, output: &Path) -> Result<Command, String> {
    let folder = tree.root.join("examples/hono");
    if !folder.join("node_modules/hono").is_dir() {
        return Err("hono is not installed: run `npm ci` in examples/hono, then start again".to_owned());
    }
    let mut command = js(tree, &folder.join("app.js"), output)?;
    command.args(["--world", world]);
    Ok(command)
}

/// An app with the packages of the environment in which componentize-py is installed.
fn python_app(tree: &Tree, name: &str, output: &Path) -> Result<Command, String> {
    let packages = packages(tree)
        .filter(|packages| packages.join(name).is_dir())
        .ok_or_else(|| format!("{name} is not installed: `pip install -r tests/requirements.txt`, then start again"))?;
    python(tree, &[tree.root.join("examples").join(name), packages], output)
}

/// The folder of the installed packages.
fn packages(tree: &Tree) -> Option<PathBuf> {
    let beside = in_python_or_path(tree, "componentize-py")?.with_file_name("python3");
    let python = if beside.is_file() { beside } else { PathBuf::from("python3") };
    let mut command = Command::new(python);
    command.args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).stdin(Stdio::null());
    let output = command.output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().into())
}

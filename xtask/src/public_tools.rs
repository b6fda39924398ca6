//! Standard components made by public tools: JavaScript by componentize-js, Python by componentize-py, and the
//! published examples of the crate `wstd`. They contain nothing of Roadrunner, and the tests require the host to serve
//! them unchanged.
//!
//! The WIT files of WASI come with the crates of the standard guests in Rust.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::languages::{Demo, in_python_or_path, make};
use crate::toolchain::{self, cargo};
use crate::tree::{GUEST_TARGET, Tree};

/// The only version of `wasi:http` that the engine in componentize-js supports.
const JS_WASI: &str = "0.2.10";

/// Builds the components whose tools are installed.
///
/// # Errors
/// When installed tools fail.
pub fn build(tree: &Tree) -> Result<Vec<(&'static str, Demo)>> {
    let [wasi02, wasi03] = [wit(tree, "wasip2")?, wit(tree, "wasip3")?];
    let js_wit = wit_for_js(tree, &wasi02)?;
    let done = |_: &Path| Ok(());
    let python = |world: &'static str, wit: PathBuf, app: &'static str| {
        move |output: &Path| python(tree, &wit, world, app, output)
    };
    let js_app = tree.guests().join("js-fetch/app.js");
    let js = make(tree, "standard_js", &["guests/js-fetch".into()], |output| js(tree, &js_wit, output, &js_app), done)?;
    let inputs = ["guests/python-wasi".to_owned()];
    let python02 = python("wasi:http/proxy", wasi02, "standard");
    let python03 = python("wasi:http/service", wasi03, "service");
    let wstd = wstd(tree)?;
    let example = |name: &str| make(tree, name, &[], |_| Ok(wstd_example(tree, &wstd, name)), done);
    Ok(vec![
        ("wstd's http_server", example("http_server")?),
        ("wstd's http_server_proxy", example("http_server_proxy")?),
        ("standard in js", js),
        ("standard in python", make(tree, "standard_python", &inputs, python02, done)?),
        ("service in python", make(tree, "service_python", &inputs, python03, done)?),
    ])
}

fn js(tree: &Tree, wit: &Path, output: &Path, app: &Path) -> Result<Command, String> {
    let node = toolchain::find("node").ok_or("Node is not installed: install Node 20 or newer, with npm")?;
    let tool = tree.root.join("guest-sdk/js/node_modules/@bytecodealliance/componentize-js/src/cli.js");
    if !tool.is_file() {
        return Err("componentize-js is not installed: run `npm install` in guest-sdk/js, then start again".to_owned());
    }
    let mut command = Command::new(node);
    command.arg(tool).arg(app).arg("--wit").arg(wit);
    command.args(["--world-name", "app", "--out"]).arg(output).stdin(Stdio::null());
    Ok(command)
}

/// A package of the examples of `wstd`, from cargo's copy of the published crate.
fn wstd(tree: &Tree) -> Result<PathBuf> {
    let manifest = manifest(tree, "wstd")?;
    let source = manifest.parent().context("it has a folder")?;
    let version = source.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("wstd-"));
    let version = version.context("cargo keeps wstd in a folder of another name")?;
    let folder = tree.scratch(&format!("wstd-{version}"))?;
    let mut text = format!(
        "[package]\nname = \"wstd-examples\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\nanyhow = \"1\"\nfutures-lite = \"1\"\nhttp-body-util = \"0.1\"\nwstd = \"={version}\"\n"
    );
    for name in ["http_server", "http_server_proxy"] {
        let path = source.join("examples").join(name).with_extension("rs");
        write!(text, "\n[[bin]]\nname = \"{name}\"\npath = {path:?}\n")?;
    }
    fs::write(folder.join("Cargo.toml"), text)?;
    // The versions of the guests.
    fs::copy(tree.guests().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    Ok(folder)
}

fn wstd_example(tree: &Tree, folder: &Path, name: &str) -> Command {
    let mut command = cargo(&tree.guests());
    command.args(["build", "--release", "--target", GUEST_TARGET, "--bin", name, "--manifest-path"]);
    command.arg(folder.join("Cargo.toml")).arg("--target-dir").arg(tree.guests().join("target"));
    command
}

fn python(tree: &Tree, wit: &Path, world: &str, app: &str, output: &Path) -> Result<Command, String> {
    let tool = in_python_or_path(tree, "componentize-py")
        .ok_or("componentize-py is not installed: `pip install -r tests/requirements.txt`, then start again")?;
    let mut command = Command::new(tool);
    command.arg("--quiet").arg("--wit-path").arg(wit).args(["--world", world, "componentize", app]);
    command.arg("--python-path").arg(tree.guests().join("python-wasi")).arg("--output").arg(output);
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    Ok(command)
}

/// The folder of WIT files in a crate that the guests depend on.
fn wit(tree: &Tree, package: &str) -> Result<PathBuf> {
    Ok(manifest(tree, package)?.with_file_name("wit"))
}

/// The manifest of a crate that the guests depend on.
fn manifest(tree: &Tree, package: &str) -> Result<PathBuf> {
    let mut command = cargo(&tree.guests());
    command.args(["metadata", "--format-version", "1", "--locked"]).stderr(Stdio::inherit());
    let output = command.output().context("cannot start cargo")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo's metadata is not understood")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages.filter(|known| known["name"] == package).find_map(|known| known["manifest_path"].as_str());
    Ok(manifest.with_context(|| format!("the guests do not depend on {package}"))?.into())
}

/// The same interfaces, in the version that componentize-js supports. Their items existed in earlier versions.
fn wit_for_js(tree: &Tree, wasi: &Path) -> Result<PathBuf> {
    let folder = tree.scratch("wit-js")?;
    let deps = folder.join("deps");
    fs::create_dir_all(&deps).with_context(|| format!("cannot make the folder {}", deps.display()))?;
    for entry in fs::read_dir(wasi.join("deps")).with_context(|| format!("cannot read {}", wasi.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let known = text.lines().find_map(|line| line.strip_prefix("package wasi:")?.split_once('@'));
        let (_, version) = known.with_context(|| format!("{} names no package", path.display()))?;
        let name = path.file_name().unwrap_or_default();
        fs::write(deps.join(name), text.replace(version.trim_end_matches(';'), JS_WASI))?;
    }
    let world = format!("package local:app;\n\nworld app {{\n  include wasi:http/proxy@{JS_WASI};\n}}\n");
    fs::write(folder.join("app.wit"), world)?;
    Ok(folder)
}

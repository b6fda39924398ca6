//! The paths of the repository, and of its builds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The target that guests are compiled for.
pub const GUEST_TARGET: &str = "wasm32-wasip2";

/// The repository's folders.
#[derive(Debug)]
pub struct Tree {
    /// The folder of the root Cargo.toml.
    pub root: PathBuf,
    /// Where cargo builds the host: `CARGO_TARGET_DIR`, or `target`.
    pub target: PathBuf,
}

/// The profile of the host's compilation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// With debug assertions and without optimisation of the workspace's own crates.
    Dev,
    /// The profile that ships, and that is tested and measured.
    Release,
}

impl Tree {
    /// The tree that this program was built from.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no folder")?;
        ensure!(
            root.join("wit").is_dir(),
            "this program was built in {}, which is no longer there: run `cargo xtask` from a clone of the repository",
            root.display()
        );
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(path) => std::path::absolute(&path).context("CARGO_TARGET_DIR is not a path")?,
            None => root.join("target"),
        };
        Ok(Self { root: root.to_owned(), target })
    }

    /// The workspace of the fixtures.
    pub fn guests(&self) -> PathBuf {
        self.root.join("guests")
    }

    /// The workspace of the benchmarks' own guests.
    pub fn bench_guests(&self) -> PathBuf {
        self.root.join("bench/guests")
    }

    /// The workspace of the Rust SDK.
    pub fn sdk(&self) -> PathBuf {
        self.root.join("guest-sdk/rust")
    }

    /// The folder of the fixtures' components, once they are built.
    pub fn components(&self) -> PathBuf {
        self.guests().join("target").join(GUEST_TARGET).join("release")
    }

    /// The path of the server, once it is built.
    pub fn server(&self, profile: Profile) -> PathBuf {
        self.target.join(profile.folder()).join("roadrunner")
    }

    /// A folder for files that a command makes, below the build folder and so never committed.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(folder)
    }
}

impl Profile {
    /// The profile's folder in the build folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }

    /// Cargo's arguments for the profile.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Dev => &[],
            Self::Release => &["--release"],
        }
    }
}

/// Writes a committed file that the given command makes, or with `check` tells whether the written one is current.
pub fn generated(path: &Path, text: &str, check: bool, command: &str) -> Result<()> {
    if check {
        let written = fs::read_to_string(path).unwrap_or_default();
        ensure!(written == text, "{} is not current: run `{command}`", path.display());
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A path as a TOML string.
pub fn quoted(path: &Path) -> Result<String> {
    Ok(format!("{:?}", path.to_str().context("the repository's path is not UTF-8, which a manifest has to be")?))
}

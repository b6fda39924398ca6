//! The processes that the host starts from its own program: a compiler for each compilation, and a process for each
//! pull from a registry. The command line runs the other end of both.

use std::path::PathBuf;

use anyhow::Result;
use roadrunner_child::{Stop, this_program};
use roadrunner_manifest::Manifest;
use roadrunner_registry::Puller;
use roadrunner_sandbox::{Cache, Compiler};

/// The command of a compiler's process.
pub(crate) const COMPILE: &str = "compile-component";

/// The command of a process that fetches from a registry.
pub(crate) const FETCH: &str = "fetch-component";

/// The folder for pulled components, inside the cache's folder.
const PULLED: &str = "pulled";

/// Creates a compiler, with the cache of compiled code. `stop` ends compilations.
pub(crate) fn compiler(manifest: &Manifest, stop: &Stop) -> Result<Compiler> {
    let cache = Cache::open(cache_directory(manifest))?;
    Ok(Compiler::new(cache, this_program(), &[COMPILE], manifest.compile, stop.clone()))
}

/// Creates a puller of components from registries, which keeps them beside the compiled code. `stop` ends its waits.
pub(crate) fn puller(manifest: &Manifest, stop: &Stop) -> Puller {
    let directory = cache_directory(manifest).join(PULLED);
    Puller::new(this_program(), FETCH, directory, manifest.compile.max_wasm, stop.clone())
}

/// The directory for compiled code: `cache-dir`, or the user's cache folder.
fn cache_directory(manifest: &Manifest) -> PathBuf {
    if let Some(directory) = &manifest.server.cache_dir {
        return directory.clone();
    }
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("roadrunner")
}

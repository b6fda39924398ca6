//! The reasons why a file cannot be served.

use std::io;
use std::path::PathBuf;

use crate::engine::CompileError;

/// The name under which a component exports its handler.
pub(crate) const HANDLER: &str = "roadrunner:handler/handler@0.1.0";

/// The name under which a standard component exports its own.
pub(crate) const STANDARD_HANDLER: &str = "wasi:http/incoming-handler@0.2";

/// The prefix of the WASI 0.3 handler's name, for every version that is compatible with it.
pub(crate) const SERVICE_HANDLER: &str = "wasi:http/handler@0.3.";

/// The reason why a file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The component was not compiled.
    #[error("{path}: {reason}", path = .0.display(), reason = .1)]
    Compile(PathBuf, CompileError),
    /// The engine rejects the component.
    #[error("{path} is not a valid component: {reason}", path = .0.display(), reason = .1)]
    Invalid(PathBuf, String),
    /// The component needs something that this host does not offer.
    #[error("{path} cannot be linked: {reason}", path = .0.display(), reason = .1)]
    Link(PathBuf, String),
    /// The file is a core module.
    #[error(
        "{path} is a core WebAssembly module and not a component; build it for wasm32-wasip2, \
         or wrap it with a componentizing tool", path = .0.display()
    )]
    Module(PathBuf),
    /// The component exports no handler.
    #[error("{path} does not export {HANDLER}, {STANDARD_HANDLER} or {SERVICE_HANDLER}; it exports {exports}", path = .0.display(), exports = .1)]
    NoHandler(PathBuf, String),
    /// The file is neither a component nor a core module.
    #[error("{path} is not a WebAssembly component", path = .0.display())]
    NotWasm(PathBuf),
    /// The component is made for WASI 0.3, which this host was not told to serve.
    #[error(
        "{path} is a component of wasi:http/service 0.3, whose support in the engine is experimental; to serve it, \
         set `wasi-03 = true` under [server], or give --wasi-03, and start the host again", path = .0.display()
    )]
    NoWasi03(PathBuf),
    /// The component needs more memory at its start than any route allows.
    #[error(
        "{path} needs more memory from its start than the `memory` limit of every route allows; raise that limit \
         ({reason})", path = .0.display(), reason = .1
    )]
    TooLarge(PathBuf, String),
    /// The component needs more of something than a component may have, whatever the manifest says.
    #[error("{path} has no room in the engine: {fix} ({reason})", path = .0.display(), fix = .1, reason = .2)]
    Unfit(PathBuf, &'static str, String),
    /// The component needs more places than a component may have.
    #[error(
        "{path} has {count} {what}, and a component may have {most}: let its parts share them, or make several \
         components of it", path = .0.display(), what = .1, count = .2, most = .3
    )]
    TooMany(PathBuf, &'static str, u32, u32),
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}", path = .0.display(), reason = .1)]
    Read(PathBuf, io::Error),
}

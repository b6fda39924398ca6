//! Makes the code of gRPC services from `.proto` files. It needs no protoc.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     roadrunner_guest_build::grpc(&["greeter.proto"], &["proto"])
//! }
//! ```
//!
//! The guest then includes the code with `roadrunner_guest::include_proto!`.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message as _;

/// Writes the code of services and messages to `OUT_DIR`, a file `PACKAGE.rs` for each package, and their descriptors
/// to `descriptors.bin`. Names of files are relative to one of the directories in `includes`.
///
/// # Errors
/// When a file cannot be read or is not valid.
pub fn grpc(files: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Box<dyn Error>> {
    for include in includes {
        println!("cargo:rerun-if-changed={}", include.as_ref().display());
    }
    let descriptors = protox::compile(files, includes)?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: this is for build scripts")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_client(false).build_transport(false).compile_fds(descriptors)?;
    Ok(())
}

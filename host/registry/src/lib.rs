//! A name in a registry becomes the bytes of a component.
//!
//! ```text
//! oci://REGISTRY/REPOSITORY:TAG -> manifest -> its one layer -> the component
//!                                     |
//!                                     +-> sha256-DIGEST.sig -> signatures of the manifest
//! ```
//!
//! | step | module |
//! |---|---|
//! | what to ask for first, what was pulled before, whether it is what it claims to be | `pull`, `kept` |
//! | which manifests are those of a component, and which of signatures | `artifact` |
//! | one request to a registry, in a process of its own | `fetcher` is the host's side, [`fetch`] the other |
//!
//! What a registry sends is read by a process that has nothing but the name, the credentials of that registry and a pipe,
//! and is bounded in memory and time: the client library that it uses bounds neither manifests nor errors. The host
//! takes a bounded number of bytes from the pipe, and believes none of them before their SHA-256 is the one that was
//! asked for.
//!
//! It does not verify signatures, it only brings them. It does not push, and it follows no index to one of its images.

mod access;
mod artifact;
mod fetch;
mod fetcher;
mod kept;
mod pull;

pub use access::{Access, User};
pub use artifact::{Layer, Refused, component_layer};
pub use fetch::fetch;
pub use pull::{Claim, PullError, Pulled, Puller, Reference, sha256};

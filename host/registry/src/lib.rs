//! Turns a name in a registry into the bytes of a component.
//!
//! ```text
//! oci://REGISTRY/REPOSITORY:TAG -> manifest -> its one layer -> the component
//!                                     |
//!                                     +-> sha256-DIGEST.sig -> signatures of the manifest
//! ```
//!
//! | step | module |
//! |---|---|
//! | the order of requests, earlier pulls, whether the content is authentic | `pull`, `kept` |
//! | the manifests of components and of signatures | `artifact` |
//! | claimed signatures, and the names of content | `claim`, `digest` |
//! | one request to a registry, in a separate process | `fetcher` is the host's side, [`fetch`] the other |
//!
//! A process that has only the name, the credentials of that registry and a pipe reads the registry's answers. It is
//! bounded in memory and time, since its client library bounds neither manifests nor errors. The host takes a bounded
//! number of bytes from the pipe, and trusts none of them before their SHA-256 matches.
//!
//! It does not verify signatures; it only fetches them. It does not push, and it does not follow an index to one of its
//! images.

#![forbid(unsafe_code)]

mod access;
mod artifact;
mod claim;
mod digest;
mod fetch;
mod fetcher;
mod kept;
mod pull;

pub use access::{Access, User};
pub use artifact::{Layer, Refused, component_layer};
pub use claim::Claim;
pub use digest::sha256;
pub use fetch::fetch;
pub use pull::{PullError, Pulled, Puller, Reference};

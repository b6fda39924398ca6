//! Calls of gRPC and gRPC-Web: the host's part of them.
//!
//! A guest reads messages and writes its status itself, in the shapes that there are. The host adds:
//!
//! | what | where |
//! |---|---|
//! | the caller's deadline ends the request, and its answer says so | [`Call`], [`deadline`] |
//! | the framing of messages is checked as they pass | [`framing`] |
//! | each answer of the host has the form of gRPC | [`shaped`] |
//! | health and reflection are answered, where the manifest asks for them | [`services`] |
//! | the status is counted and logged | [`progress`] |
//!
//! Connect needs nothing of this: its errors are HTTP's.

pub(crate) mod call;
mod deadline;
mod framing;
pub(crate) mod progress;
pub(crate) mod routed;
mod services;
mod shaped;

pub(crate) use call::{Call, earlier};
pub(crate) use deadline::{cut_at, ends_by};
pub(crate) use framing::{Framed, is_framed};
pub(crate) use services::{descriptors, serve};
pub(crate) use shaped::shaped;

//! The capabilities that a manifest grants to components.

pub(crate) mod broker;
pub(crate) mod outbound;
pub(crate) mod secrets;
pub(crate) mod stores;
pub(crate) mod wasi;

//! Capabilities: a guest's access to things outside itself. There is one module for each, with what the manifest
//! grants, what an instance holds, and the functions that guests import. The list is in `state`.

pub(crate) mod bus;
pub(crate) mod config;
pub(crate) mod exchange;
pub(crate) mod fields;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod routes;
pub(crate) mod secrets;
pub(crate) mod session;
pub(crate) mod sql;
pub(crate) mod store;
pub(crate) mod timers;
pub(crate) mod wasi;
pub(crate) mod wasi_config;

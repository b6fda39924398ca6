//! A guest from the host's side: its memory, its requests and responses, its output, and the calls that it makes.

pub(crate) mod core;
pub(crate) mod event;
pub(crate) mod memory;
pub(crate) mod output;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod webtransport;

//! Requests for files in real directories.

mod bodies;
mod conditions;
mod options;
mod responses;
mod support;

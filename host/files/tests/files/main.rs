//! Requests put to real directories.

mod bodies;
mod responses;
mod support;

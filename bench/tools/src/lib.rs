//! What the programs of this package share.

#![forbid(unsafe_code)]

pub mod answers;
pub mod browser;

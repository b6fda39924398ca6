//! What the programs of this package share.

#![forbid(unsafe_code)]

pub mod browser;
pub mod client;
pub mod load;
pub mod native;
pub mod pace;
pub mod scenarios;
pub mod tls;

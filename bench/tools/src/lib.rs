//! What the programs of this package share.

pub mod answers;
pub mod browser;

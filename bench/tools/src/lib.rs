//! What both programs of this package know.

pub mod answers;

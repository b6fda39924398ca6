//! Factors of the units in which the sections write their ranges: bytes, and milliseconds.

pub(crate) use super::duration::{DAY, HOUR};
pub(crate) use super::size::{GIB, KIB, MIB};

//! Blocks, in which the room of files is counted.

/// The size of a block in bytes.
const BLOCK: u64 = 4 << 10;

/// The bytes that a file of this length takes.
pub(crate) fn blocks(length: u64) -> u64 {
    length.div_ceil(BLOCK).saturating_mul(BLOCK)
}

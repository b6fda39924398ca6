//! The few parts of the binary format that this crate writes.

/// Appends an unsigned number (LEB128).
pub(crate) fn number(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// Appends a signed number of 33 bits that is not negative: a type index in the place of a type.
pub(crate) fn type_index(out: &mut Vec<u8>, index: u32) {
    let mut value = u64::from(index);
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 && byte & 0x40 == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// Appends a name.
pub(crate) fn name(out: &mut Vec<u8>, name: &str) {
    bytes(out, name.as_bytes());
}

/// Appends bytes with their length.
pub(crate) fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, length(bytes));
    out.extend_from_slice(bytes);
}

/// Appends a section.
pub(crate) fn section(out: &mut Vec<u8>, id: u8, payload: &[u8]) {
    out.push(id);
    bytes(out, payload);
}

/// A section's payload: the entries of a section that is there, `count` of them, and more behind them.
pub(crate) fn longer(count: u32, entries: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() + 16);
    let added = u32::try_from(more.len()).unwrap_or(u32::MAX);
    number(&mut out, count.saturating_add(added));
    out.extend_from_slice(entries);
    more.iter().for_each(|entry| out.extend_from_slice(entry));
    out
}

fn length(bytes: &[u8]) -> u32 {
    // Components are bounded far below 4 GiB.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// A list of entries that starts with its number.
pub(crate) fn list(entries: &[Vec<u8>]) -> Vec<u8> {
    longer(0, &[], entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_leb128() {
        let encoded = |value| {
            let mut out = Vec::new();
            number(&mut out, value);
            out
        };
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(127), [127]);
        assert_eq!(encoded(128), [0x80, 1]);
        assert_eq!(encoded(u32::MAX), [0xff, 0xff, 0xff, 0xff, 0x0f]);
        let mut out = Vec::new();
        type_index(&mut out, 64);
        assert_eq!(out, [0xc0, 0], "its sixth bit is not its sign");
    }
}

//! Arbitrary bytes as a client's control stream, whole and cut in pieces: the same outcome, and no panic.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roadrunner_h3::{
    Fault,
    control::{ControlEvent, ControlReader},
};

fn read(bytes: &[u8], step: usize) -> Result<Vec<ControlEvent>, Fault> {
    let mut reader = ControlReader::default();
    let mut events = Vec::new();
    for piece in bytes.chunks(step) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(event) = reader.next(&mut input)? {
            events.push(event);
        }
    }
    Ok(events)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    assert_eq!(read(bytes, usize::from(step).max(1)), read(bytes, bytes.len().max(1)));
});

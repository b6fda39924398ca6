//! Arbitrary bytes as a request stream, whole and cut in pieces: the same outcome, no section above the limit, no
//! panic.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roadrunner_h3::{
    Fault,
    message::{Event, MessageReader},
};

const LIMIT: u64 = 64;

fn read(bytes: &[u8], step: usize, length: Option<u64>) -> Result<Vec<Event>, Fault> {
    let mut reader = MessageReader::new(LIMIT);
    if let Some(length) = length {
        reader.expect_length(length);
    }
    let mut events = Vec::new();
    for piece in bytes.chunks(step) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(event) = reader.next(&mut input)? {
            match (events.last_mut(), event) {
                (Some(Event::Data(before)), Event::Data(data)) => *before = [&before[..], &data].concat().into(),
                (_, event) => events.push(event),
            }
        }
    }
    reader.finish().map(|()| events)
}

fuzz_target!(|input: (u8, Option<u64>, &[u8])| {
    let (step, length, bytes) = input;
    let whole = read(bytes, bytes.len().max(1), length);
    assert_eq!(read(bytes, usize::from(step).max(1), length), whole);
    for event in whole.into_iter().flatten() {
        if let Event::Headers(section) | Event::Trailers(section) = event {
            assert!(section.len() as u64 <= LIMIT);
        }
    }
});

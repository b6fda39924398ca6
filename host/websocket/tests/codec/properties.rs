//! Properties that hold for any bytes: cuts do not matter, messages arrive as they were sent, nothing panics and memory
//! is bounded.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use proptest::prelude::*;
use proptest::sample::Index;
use roadrunner_websocket::{
    Config, Decoder, DeflateConfig, DeflateParams, Encoder, Event, Frame, Kind, Level, Limits, Message, Rate, Role,
    Session, Violation, WindowBits,
};

use crate::support::*;

/// Limits that random streams of a few kilobytes do reach.
fn narrow() -> Limits {
    Limits {
        frame_size: 20_000,
        message_size: 50_000,
        fragments: 6,
        compression_ratio: NonZeroU32::new(100),
        compression_floor: 20_000,
        control_rate: Rate::new(1, 8),
        ..Limits::default()
    }
}

fn bits() -> impl Strategy<Value = WindowBits> {
    (9..=15u8).prop_map(|bits| WindowBits::new(bits).expect("in range"))
}

fn deflate() -> impl Strategy<Value = DeflateConfig> {
    (1..=9u8, 0..200usize, any::<bool>(), any::<bool>(), bits(), bits()).prop_map(
        |(level, threshold, server_takeover, client_takeover, server_window, client_window)| DeflateConfig {
            level: Level::new(level).expect("in range"),
            threshold,
            server_context_takeover: server_takeover,
            client_context_takeover: client_takeover,
            server_window,
            client_window,
        },
    )
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}",
        (0..70_000usize).prop_map(|length| "x".repeat(length)),
        prop::collection::vec(0..50u32, 0..2000)
            .prop_map(|words| words.iter().map(|word| format!("word{word}é ")).collect()),
    ]
}

fn message() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    prop_oneof![
        words().prop_map(|text| (Kind::Text, text.into_bytes())),
        words().prop_map(|text| (Kind::Binary, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(|bytes| (Kind::Binary, bytes)),
        prop::collection::vec(any::<u8>(), 30_000..40_000).prop_map(|bytes| (Kind::Binary, bytes)),
    ]
}

/// A part of a mostly valid stream.
#[derive(Clone, Debug)]
enum Part {
    Message { kind: Kind, payload: Vec<u8>, frame: usize, uncompressed: bool },
    Frame { first: u8, payload: Vec<u8> },
    Raw(Vec<u8>),
}

fn part() -> impl Strategy<Value = Part> {
    let control = prop_oneof![Just(FIN | PING), Just(FIN | PONG)];
    let frame = prop_oneof![Just(usize::MAX), 1..5000usize];
    prop_oneof![
        8 => (message(), frame, any::<bool>()).prop_map(|((kind, payload), frame, uncompressed)| {
            Part::Message { kind, payload, frame, uncompressed }
        }),
        4 => (control, prop::collection::vec(any::<u8>(), 0..125))
            .prop_map(|(first, payload)| Part::Frame { first, payload }),
        2 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(first, payload)| Part::Frame { first, payload }),
        1 => prop::collection::vec(any::<u8>(), 0..30).prop_map(Part::Raw),
    ]
}

fn stream(from: Role, parts: &[Part], config: &DeflateConfig, params: &DeflateParams) -> Vec<u8> {
    let mut encoder = Encoder::new(from, Some((config, params)));
    let mut plain = Encoder::new(from, None);
    let mut out = BytesMut::new();
    for part in parts {
        match part {
            Part::Message { kind, payload, frame, uncompressed: true } => {
                plain.fragmented(*kind, payload, *frame, &mut out);
            }
            Part::Message { kind, payload, frame, uncompressed: false } => {
                encoder.fragmented(*kind, payload, *frame, &mut out);
            }
            Part::Frame { first, payload } => out.extend_from_slice(&frame(from, *first, payload)),
            Part::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
    out.to_vec()
}

/// Cuts at these places.
fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// Returns events and outgoing bytes of a session over these reads, whose queue is written at once.
fn run(role: Role, limits: Limits, params: DeflateParams, reads: &[&[u8]]) -> (Vec<Event>, Vec<u8>) {
    let now = Instant::now();
    let config = Config { limits, ..Config::with_deflate() };
    let mut session = Session::new(role, Arc::new(config), Some(params), now);
    let (mut events, mut out) = (Vec::new(), Vec::new());
    for read in reads {
        // Both ways to feed.
        if read.len() % 2 == 0 {
            session.feed(read);
        } else {
            session.read_buffer(read.len()).extend_from_slice(read);
        }
        loop {
            match session.next_event(now) {
                Some(event) => events.push(event),
                None if session.outgoing().is_empty() => break,
                None => {
                    out.extend_from_slice(session.outgoing());
                    session.written(session.outgoing().len());
                }
            }
        }
    }
    session.feed_eof();
    events.extend(session.next_event(now));
    (events, out)
}

/// Makes results comparable: the close frame of a violation is masked with a random key when a client sends it.
fn comparable(role: Role, (events, out): (Vec<Event>, Vec<u8>)) -> (Vec<Event>, Vec<u8>) {
    if role == Role::Server {
        return (events, out);
    }
    let mut decoder = Decoder::new(Role::Server, Limits::default(), None);
    let (frames, _) = decode(&mut decoder, [&out[..]]);
    (events, format!("{frames:?}").into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn cuts_do_not_matter(
        role in role(),
        config in deflate(),
        parts in prop::collection::vec(part(), 1..8),
        flips in prop::collection::vec((any::<Index>(), any::<u8>()), 0..3),
        cuts in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let params = agree(&config);
        let mut bytes = stream(other(role), &parts, &config, &params);
        for (at, byte) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let whole = comparable(role, run(role, narrow(), params, &[&bytes]));
        let in_pieces = comparable(role, run(role, narrow(), params, &cut(&bytes, &cuts)));
        prop_assert!(whole == in_pieces, "{:?}\n{:?}", kinds(&whole.0), kinds(&in_pieces.0));
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        let bytewise = comparable(role, run(role, narrow(), params, &bytewise));
        prop_assert!(whole == bytewise, "{:?}\n{:?}", kinds(&whole.0), kinds(&bytewise.0));
    }

    #[test]
    fn what_is_sent_arrives(
        from in role(),
        config in deflate(),
        messages in prop::collection::vec((message(), prop_oneof![Just(None), (1..3000usize).prop_map(Some)]), 1..8),
        controls in prop::collection::vec((any::<Index>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..125)), 0..6),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
        agreed: bool,
    ) {
        let params = agree(&config);
        let deflate = agreed.then_some((&config, &params));
        let mut encoder = Encoder::new(from, deflate);
        let mut out = BytesMut::new();
        let mut expected = Vec::new();
        for ((kind, payload), frame) in &messages {
            match (kind, frame) {
                (_, Some(frame)) => encoder.fragmented(*kind, payload, *frame, &mut out),
                (Kind::Binary, None) => encoder.binary(payload, &mut out),
                (Kind::Text, None) => encoder.text(std::str::from_utf8(payload).expect("made as text"), &mut out),
            }
            expected.push(match kind {
                Kind::Binary => binary(payload),
                Kind::Text => text(std::str::from_utf8(payload).expect("made as text")),
            });
        }
        // Control frames go anywhere between frames.
        let mut bytes = out.to_vec();
        let mut pings = Vec::new();
        for (at, ping, payload) in controls {
            let boundaries = boundaries(&bytes);
            let at = boundaries[at.index(boundaries.len())];
            let first = if ping { FIN | PING } else { FIN | PONG };
            bytes.splice(at..at, frame(from, first, &payload));
            pings.push(payload);
        }
        let limits = Limits { compression_ratio: None, ..Limits::default() };
        let mut decoder = Decoder::new(other(from), limits, agreed.then_some(&params));
        let (frames, violation) = decode(&mut decoder, cut(&bytes, &cuts));
        prop_assert_eq!(violation, None);
        let (received, received_pings): (Vec<_>, Vec<_>) =
            frames.into_iter().partition(|frame| matches!(frame, Frame::Message(_)));
        prop_assert!(received == expected);
        let mut received_pings: Vec<Vec<u8>> = received_pings
            .into_iter()
            .map(|frame| match frame {
                Frame::Ping(payload) | Frame::Pong(payload) => payload.to_vec(),
                frame => panic!("{frame:?}"),
            })
            .collect();
        received_pings.sort();
        pings.sort();
        prop_assert_eq!(received_pings, pings);
    }

    #[test]
    fn any_bytes_are_survived_in_bounded_memory(
        role in role(),
        config in deflate(),
        reads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..20),
        // A valid first byte gets further.
        first in prop_oneof![Just(FIN | TEXT), Just(RSV1 | BINARY), Just(TEXT), Just(FIN | RSV1 | BINARY), any::<u8>()],
        length in prop_oneof![Just(0xfeu8), Just(0x7e), Just(0xff), any::<u8>()],
    ) {
        let params = agree(&config);
        let limits = narrow();
        let bound = 2 * limits.message_size + 3 * params.memory(role) + (64 << 10);
        let mut decoder = Decoder::new(role, limits, Some(&params));
        let opening = [first, length];
        for read in std::iter::once(&opening[..]).chain(reads.iter().map(Vec::as_slice)) {
            let (_, violation) = decode(&mut decoder, [read]);
            prop_assert!(decoder.memory() <= bound, "{}", decoder.memory());
            prop_assert!(decoder.buffered() <= (16 << 10) + 14);
            if let Some(violation) = violation {
                prop_assert_eq!(decoder.decode(), Err(violation));
                prop_assert_eq!(decoder.memory(), 0);
            }
        }
    }

    #[test]
    fn text_is_what_std_calls_text(
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..30),
            ("\\PC{0,30}", any::<Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
                let mut bytes = text.into_bytes();
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                bytes
            }),
        ],
        fragments in any::<Index>(),
    ) {
        let at = fragments.index(payload.len() + 1);
        let stream = [client(TEXT, &payload[..at]), client(FIN | CONTINUATION, &payload[at..])].concat();
        let expected = match std::str::from_utf8(&payload) {
            Ok(valid) => (vec![text(valid)], None),
            Err(_) => (vec![], Some(Violation::InvalidUtf8)),
        };
        prop_assert_eq!(served(&stream), expected);
    }
}

/// The offsets where frames begin, and where the last one ends.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut places = vec![0];
    let mut at = 0;
    while at < bytes.len() {
        let key = if bytes[at + 1] & 0x80 != 0 { 4 } else { 0 };
        let (length, extended) = match bytes[at + 1] & 0x7f {
            126 => (usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])), 2),
            127 => (u64::from_be_bytes(bytes[at + 2..at + 10].try_into().expect("eight bytes")) as usize, 8),
            length => (usize::from(length), 0),
        };
        at += 2 + extended + key + length;
        places.push(at);
    }
    places
}

/// Events without their payloads, for a readable message.
fn kinds(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| match event {
            Event::Message(Message::Text(text)) => format!("text of {}", text.len()),
            Event::Message(Message::Binary(bytes)) => format!("binary of {}", bytes.len()),
            Event::Ended(end) => format!("{end:?}"),
        })
        .collect()
}

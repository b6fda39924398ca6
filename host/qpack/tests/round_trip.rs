//! Our encoder against our decoder over a network that delays, splits and reorders.
//!
//! In any order of arrival, every section decodes to its input, no limit of the decoder is exceeded, and once all bytes
//! have arrived both sides agree.

mod support;

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use roadrunner_qpack::{Decoded, Decoder, DecoderConfig, Encoder, EncoderConfig};
use support::{List, Random};

#[derive(Clone, Debug)]
struct Setup {
    encoder: EncoderConfig,
    max_table_capacity: u64,
    max_blocked_streams: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Cancel(usize),
    DecoderStream(usize),
    Encode { stream: u64, seed: u64 },
    EncoderStream(usize),
    Section(usize),
}

struct Connection {
    encoder: Encoder,
    decoder: Decoder,
    limits: Setup,
    encoder_wire: VecDeque<u8>,
    decoder_wire: VecDeque<u8>,
    /// Sections in transit, by stream; the first may be blocked.
    streams: BTreeMap<u64, VecDeque<(Vec<u8>, List)>>,
    cancelled: Vec<u64>,
    decoded: usize,
}

impl Connection {
    fn new(setup: &Setup) -> Self {
        let mut encoder = Encoder::new(setup.encoder);
        encoder.set_peer_settings(setup.max_table_capacity, setup.max_blocked_streams);
        Self {
            encoder,
            decoder: Decoder::new(DecoderConfig {
                max_table_capacity: setup.max_table_capacity,
                max_blocked_streams: setup.max_blocked_streams,
                max_field_section_size: 1 << 20,
            }),
            limits: setup.clone(),
            encoder_wire: VecDeque::new(),
            decoder_wire: VecDeque::new(),
            streams: BTreeMap::new(),
            cancelled: Vec::new(),
            decoded: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Encode { stream, seed } => {
                let list = Random(seed).list();
                if self.cancelled.contains(&stream) {
                    return;
                }
                let mut section = Vec::new();
                let fields = list.iter().map(|(name, value)| (&name[..], &value[..]));
                self.encoder.encode(stream, fields, &mut section);
                self.encoder_wire.extend(self.encoder.take_encoder_stream());
                let queue = self.streams.entry(stream).or_default();
                queue.push_back((section, list));
                assert!(
                    self.encoder.blocking_streams() as u64 <= self.limits.max_blocked_streams,
                    "RFC 9204 section 2.1.2"
                );
            }
            Step::EncoderStream(count) => {
                let count = count.min(self.encoder_wire.len());
                let bytes: Vec<u8> = self.encoder_wire.drain(..count).collect();
                for stream in self.decoder.on_encoder_stream(&bytes).unwrap() {
                    assert!(self.deliver(stream), "stream {stream} was said to be ready");
                }
            }
            Step::DecoderStream(count) => {
                self.decoder_wire.extend(self.decoder.take_decoder_stream());
                let count = count.min(self.decoder_wire.len());
                let bytes: Vec<u8> = self.decoder_wire.drain(..count).collect();
                self.encoder.on_decoder_stream(&bytes).unwrap();
            }
            Step::Section(index) => {
                if let Some(stream) = self.pick(index) {
                    self.deliver(stream);
                }
            }
            Step::Cancel(index) => {
                if let Some(stream) = self.pick(index) {
                    self.streams.remove(&stream);
                    self.cancelled.push(stream);
                    self.decoder.cancel_stream(stream).unwrap();
                }
            }
        }
    }

    fn pick(&self, index: usize) -> Option<u64> {
        let count = self.streams.len().max(1);
        self.streams.keys().nth(index % count).copied()
    }

    /// Decodes the stream's next section; returns false if it is blocked.
    fn deliver(&mut self, stream: u64) -> bool {
        let Some(queue) = self.streams.get_mut(&stream) else {
            return true;
        };
        let (section, expected) = queue.front().expect("empty queues are removed");
        match self.decoder.decode(stream, section).unwrap() {
            Decoded::Fields(fields) => {
                let list: List = fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect();
                assert_eq!(list, *expected);
                queue.pop_front();
                self.decoded += 1;
                if queue.is_empty() {
                    self.streams.remove(&stream);
                }
                true
            }
            Decoded::Blocked { required_insert_count } => {
                assert!(required_insert_count > self.decoder.insert_count());
                assert!(self.limits.encoder.max_blocked_streams > 0);
                false
            }
            Decoded::TooLarge { size } => panic!("{size} bytes are not too large"),
        }
    }

    fn settle(&mut self) {
        self.step(&Step::EncoderStream(usize::MAX));
        while let Some(stream) = self.pick(0) {
            assert!(self.deliver(stream), "nothing can block any more");
        }
        self.step(&Step::DecoderStream(usize::MAX));
        assert_eq!(self.encoder.insert_count(), self.decoder.insert_count());
        assert_eq!(self.encoder.known_received_count(), self.encoder.insert_count());
        assert_eq!(self.encoder.blocking_streams(), 0);
        assert_eq!(self.decoder.blocked_streams(), 0);
    }
}

fn setup() -> impl Strategy<Value = Setup> {
    let capacity = || prop_oneof![Just(0u64), 0..200u64, Just(256), Just(512), Just(4096), Just(65_536)];
    (capacity(), capacity(), 0..6u64, 0..6u64, any::<bool>()).prop_map(
        |(ours, theirs, our_blocked, their_blocked, insert_on_first_sight)| Setup {
            encoder: EncoderConfig {
                max_table_capacity: ours,
                max_blocked_streams: our_blocked,
                insert_on_first_sight,
            },
            max_table_capacity: theirs,
            max_blocked_streams: their_blocked,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // Few seeds, so that lists repeat.
        6 => (0..40u64, 0..30u64).prop_map(|(stream, seed)| Step::Encode { stream, seed }),
        3 => prop_oneof![0..20usize, 0..2000usize].prop_map(Step::EncoderStream),
        3 => prop_oneof![0..3usize, 0..100usize].prop_map(Step::DecoderStream),
        6 => any::<usize>().prop_map(Step::Section),
        1 => any::<usize>().prop_map(Step::Cancel),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_delivery_order_gives_the_same_fields(
        setup in setup(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut connection = Connection::new(&setup);
        for step in &steps {
            connection.step(step);
        }
        connection.settle();
    }
}

/// The table is not only allowed, but also used, filled, drained and waited for.
#[test]
fn the_test_reaches_what_it_is_for() {
    let mut connection = Connection::new(&Setup {
        encoder: EncoderConfig { max_blocked_streams: 4, ..EncoderConfig::default() },
        max_table_capacity: 1024,
        max_blocked_streams: 4,
    });
    let mut random = Random(7);
    let mut blocked = 0;
    for stream in 0..2000 {
        let seed = random.next() % 30;
        connection.step(&Step::Encode { stream, seed });
        connection.step(&Step::Section(random.below(100)));
        blocked = blocked.max(connection.decoder.blocked_streams());
        if random.chance(50) {
            connection.step(&Step::EncoderStream(random.below(200)));
            connection.step(&Step::DecoderStream(random.below(20)));
        }
    }
    connection.settle();
    assert_eq!(connection.decoded, 2000);
    assert!(connection.encoder.insert_count() > 200, "evictions");
    assert!(blocked >= 2, "{blocked} blocked at most");
}

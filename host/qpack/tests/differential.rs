//! Our halves against those of ls-qpack, through the Python package pylsqpack, in both directions.
//!
//! Lists, table sizes, blocking budgets, delays on all three kinds of stream and cancellations are random, from fixed
//! seeds. Needs `python3` with `pylsqpack` (1.0 or newer); `ROADRUNNER_PYTHON` names another interpreter. Without it
//! the tests print SKIPPED and the reason.

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use roadrunner_qpack::{Decoded, Decoder, DecoderConfig, Encoder, EncoderConfig};
use support::{List, Random};

const CONNECTIONS: usize = 300;
const LISTS: u64 = 40;
const CAPACITIES: [u64; 9] = [0, 64, 100, 220, 512, 1024, 4096, 16_384, 65_536];
const BLOCKED: [u64; 5] = [0, 1, 2, 16, 100];

struct Peer {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// The peer process, or the reason for its absence.
    fn start() -> Result<Self, String> {
        let python = std::env::var("ROADRUNNER_PYTHON").unwrap_or_else(|_| "python3".into());
        let probe = Command::new(&python)
            .args(["-c", "import pylsqpack"])
            .output()
            .map_err(|error| format!("{python} does not start: {error}"))?;
        if !probe.status.success() {
            return Err(format!("{python} has no pylsqpack (pip install pylsqpack)"));
        }
        let mut process = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pylsqpack_peer.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{python} does not start: {error}"))?;
        let requests = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut peer = Self { process, requests, answers };
        assert_eq!(peer.read(), ["ok"]);
        Ok(peer)
    }

    /// Sends a request and returns the answer's words.
    fn ask(&mut self, request: &str) -> Vec<String> {
        writeln!(self.requests, "{request}").unwrap();
        self.read()
    }

    /// The words after "ok".
    fn ask_ok(&mut self, request: &str) -> Vec<String> {
        let mut words = self.ask(request);
        assert_eq!(words.remove(0), "ok", "{request}: {words:?}");
        words
    }

    fn read(&mut self) -> Vec<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn peer() -> Option<Peer> {
    Peer::start().inspect_err(|reason| eprintln!("SKIPPED: differential test against pylsqpack: {reason}")).ok()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("=");
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn unhex(word: &str) -> Vec<u8> {
    let digits = word.strip_prefix('=').expect("byte strings start with =");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn list_words(list: &List) -> String {
    list.iter().map(|(name, value)| format!(" {}:{}", hex(name), hex(value))).collect()
}

fn words_list(words: &[String]) -> List {
    words
        .iter()
        .map(|word| {
            let (name, value) = word.split_once(':').unwrap();
            (unhex(name), unhex(value))
        })
        .collect()
}

/// Takes a random number of bytes off the front.
fn some(wire: &mut VecDeque<u8>, random: &mut Random) -> Vec<u8> {
    let count = match random.chance(60) {
        true => wire.len(),
        false => random.below(wire.len() + 1),
    };
    wire.drain(..count).collect()
}

#[derive(Default)]
struct Tally {
    lists: usize,
    blocked: usize,
    cancelled: usize,
    inserted: u64,
}

#[test]
fn our_encoder_is_understood() {
    let Some(mut peer) = peer() else { return };
    let mut tally = Tally::default();
    for seed in 0..CONNECTIONS {
        encode_connection(&mut peer, Random(seed as u64), &mut tally);
    }
    println!(
        "our encoder: {} lists, {} insertions, {} blocked, {} cancelled",
        tally.lists, tally.inserted, tally.blocked, tally.cancelled
    );
    assert!(tally.lists + tally.cancelled >= 10_000 && tally.cancelled > 50);
    assert!(tally.blocked > 300 && tally.inserted > 5_000);
}

fn encode_connection(peer: &mut Peer, mut random: Random, tally: &mut Tally) {
    let capacity = *random.pick(&CAPACITIES);
    let blocked = *random.pick(&BLOCKED);
    let mut encoder = Encoder::new(EncoderConfig {
        max_table_capacity: *random.pick(&CAPACITIES),
        max_blocked_streams: *random.pick(&BLOCKED),
        insert_on_first_sight: random.chance(50),
    });
    encoder.set_peer_settings(capacity, blocked);
    peer.ask_ok(&format!("decoder {capacity} {blocked}"));
    let mut encoder_wire = VecDeque::new();
    let mut decoder_wire = VecDeque::new();
    let mut waiting: BTreeMap<u64, List> = BTreeMap::new();
    let mut pool: Vec<List> = (0..6).map(|_| random.list()).collect();
    for index in 0..LISTS {
        if random.chance(20) {
            let replaced = random.below(pool.len());
            pool[replaced] = random.list();
        }
        let mut list = random.pick(&pool).clone();
        if list.is_empty() {
            // ls-qpack takes a section that consists of a prefix only for a truncated one.
            list.push((b"x-only".to_vec(), Vec::new()));
        }
        let stream = 4 * index;
        let mut section = Vec::new();
        let fields = list.iter().map(|(name, value)| (&name[..], &value[..]));
        encoder.encode(stream, fields, &mut section);
        encoder_wire.extend(encoder.take_encoder_stream());
        if random.chance(50) {
            feed_encoder(peer, some(&mut encoder_wire, &mut random), &mut waiting, &mut decoder_wire, tally);
        }
        let mut words = peer.ask(&format!("decode {stream} {}", hex(&section)));
        match words.remove(0).as_str() {
            "ok" => {
                assert_eq!(words_list(&words[1..]), list);
                decoder_wire.extend(unhex(&words[0]));
                tally.lists += 1;
            }
            "blocked" => {
                tally.blocked += 1;
                waiting.insert(stream, list);
            }
            _ => panic!("stream {stream}: {words:?}"),
        }
        if random.chance(5)
            && let Some((stream, _)) = waiting.pop_first()
        {
            decoder_wire.extend(unhex(&peer.ask_ok(&format!("cancel {stream}"))[0]));
            tally.cancelled += 1;
        }
        if random.chance(70) {
            encoder.on_decoder_stream(&some(&mut decoder_wire, &mut random)).unwrap();
        }
        if random.chance(50) {
            feed_encoder(peer, encoder_wire.drain(..).collect(), &mut waiting, &mut decoder_wire, tally);
            encoder.on_decoder_stream(&decoder_wire.drain(..).collect::<Vec<u8>>()).unwrap();
            report_insertions(&mut encoder);
        }
    }
    feed_encoder(peer, encoder_wire.drain(..).collect(), &mut waiting, &mut decoder_wire, tally);
    assert!(waiting.is_empty(), "all that was waited for has arrived");
    encoder.on_decoder_stream(&decoder_wire.drain(..).collect::<Vec<u8>>()).unwrap();
    tally.inserted += encoder.insert_count();
}

fn feed_encoder(
    peer: &mut Peer,
    bytes: Vec<u8>,
    waiting: &mut BTreeMap<u64, List>,
    decoder_wire: &mut VecDeque<u8>,
    tally: &mut Tally,
) {
    for stream in peer.ask_ok(&format!("feed-encoder {}", hex(&bytes))) {
        let words = peer.ask_ok(&format!("resume {stream}"));
        let expected = waiting.remove(&stream.parse().unwrap());
        assert_eq!(Some(words_list(&words[1..])), expected, "stream {stream}");
        decoder_wire.extend(unhex(&words[0]));
        tally.lists += 1;
    }
}

/// Reports all insertions, since pylsqpack never sends Insert Count Increment. All have been delivered at this point.
fn report_insertions(encoder: &mut Encoder) {
    let increment = encoder.insert_count() - encoder.known_received_count();
    for _ in 0..increment {
        encoder.on_decoder_stream(&[0x01]).unwrap();
    }
}

#[test]
fn their_encoder_is_understood() {
    let Some(mut peer) = peer() else { return };
    let mut tally = Tally::default();
    for seed in 0..CONNECTIONS {
        decode_connection(&mut peer, Random(1000 + seed as u64), &mut tally);
    }
    println!(
        "their encoder: {} lists, {} insertions, {} blocked, {} cancelled",
        tally.lists, tally.inserted, tally.blocked, tally.cancelled
    );
    assert!(tally.lists + tally.cancelled >= 10_000 && tally.cancelled > 50);
    assert!(tally.blocked > 300 && tally.inserted > 5_000);
}

fn decode_connection(peer: &mut Peer, mut random: Random, tally: &mut Tally) {
    let capacity = *random.pick(&CAPACITIES);
    let blocked = *random.pick(&BLOCKED);
    let mut decoder = Decoder::new(DecoderConfig {
        max_table_capacity: capacity,
        max_blocked_streams: blocked,
        max_field_section_size: 1 << 20,
    });
    let mut encoder_wire = VecDeque::new();
    encoder_wire.extend(unhex(&peer.ask_ok(&format!("encoder {capacity} {blocked}"))[0]));
    let mut waiting: BTreeMap<u64, (Vec<u8>, List)> = BTreeMap::new();
    let mut pool: Vec<List> = (0..6).map(|_| random.list()).collect();
    for index in 0..LISTS {
        if random.chance(20) {
            let replaced = random.below(pool.len());
            pool[replaced] = random.list();
        }
        let list = random.pick(&pool).clone();
        let stream = 4 * index;
        let words = peer.ask_ok(&format!("encode {stream}{}", list_words(&list)));
        encoder_wire.extend(unhex(&words[0]));
        waiting.insert(stream, (unhex(&words[1]), list));
        if random.chance(50) {
            on_encoder_stream(&mut decoder, some(&mut encoder_wire, &mut random), &mut waiting, tally);
        }
        if waiting.contains_key(&stream) && !deliver(&mut decoder, stream, &mut waiting, tally) {
            tally.blocked += 1;
        }
        if random.chance(5)
            && let Some((stream, _)) = waiting.pop_first()
        {
            decoder.cancel_stream(stream).unwrap();
            tally.cancelled += 1;
        }
        if random.chance(50) {
            on_encoder_stream(&mut decoder, encoder_wire.drain(..).collect(), &mut waiting, tally);
        }
        if random.chance(70) {
            let bytes = decoder.take_decoder_stream();
            peer.ask_ok(&format!("feed-decoder {}", hex(&bytes)));
        }
    }
    on_encoder_stream(&mut decoder, encoder_wire.drain(..).collect(), &mut waiting, tally);
    assert!(waiting.is_empty(), "all that was waited for has arrived");
    let bytes = decoder.take_decoder_stream();
    peer.ask_ok(&format!("feed-decoder {}", hex(&bytes)));
    tally.inserted += decoder.insert_count();
}

fn on_encoder_stream(
    decoder: &mut Decoder,
    bytes: Vec<u8>,
    waiting: &mut BTreeMap<u64, (Vec<u8>, List)>,
    tally: &mut Tally,
) {
    for stream in decoder.on_encoder_stream(&bytes).unwrap() {
        assert!(deliver(decoder, stream, waiting, tally), "it was said to be ready");
    }
}

/// Decodes a section; returns false if it is blocked.
fn deliver(
    decoder: &mut Decoder,
    stream: u64,
    waiting: &mut BTreeMap<u64, (Vec<u8>, List)>,
    tally: &mut Tally,
) -> bool {
    let (section, list) = &waiting[&stream];
    match decoder.decode(stream, section).unwrap() {
        Decoded::Fields(fields) => {
            let decoded: List = fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect();
            assert_eq!(decoded, *list);
            waiting.remove(&stream);
            tally.lists += 1;
            true
        }
        Decoded::Blocked { .. } => false,
        Decoded::TooLarge { size } => panic!("{size} bytes are not too large"),
    }
}

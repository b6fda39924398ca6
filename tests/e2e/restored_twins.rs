//! Restored instances beside new ones: the same requests get the same answers, log lines, outcomes and meters.
//!
//! Two servers of one component differ in the key `restore` alone, and get one random sequence of requests. Everything
//! that a client, a log or an operator could tell them apart by is compared.

use std::collections::BTreeSet;

use roadrunner_tests::{Answer, Ask, Server, Setup, Way};
use serde_json::Value;

use crate::languages::is_built;

/// The number of requests of a sequence.
const REQUESTS: usize = 300;

/// The fields of a line of the log that differ between any two runs.
const OF_THE_RUN: [&str; 6] = ["timestamp", "request", "peer", "instance", "microseconds", "cpu_microseconds"];

/// A request that any server answers alike: its method, path and body.
type Sample = (&'static str, &'static str, &'static str);

const ANSWERS: &[Sample] = &[
    ("GET", "/cookie", ""),
    ("GET", "/counter", ""),
    ("GET", "/headers", ""),
    ("GET", "/large/3/1", ""),
    ("GET", "/log/warn?message=one", ""),
    ("GET", "/print", ""),
    ("GET", "/print/pieces", ""),
    ("GET", "/redirect", ""),
    ("GET", "/size/0", ""),
    ("GET", "/size/70000", ""),
    ("GET", "/status/418", ""),
    ("GET", "/trailers", ""),
    ("GET", "/there-is-none", ""),
    ("HEAD", "/size/12", ""),
];

const BODIES: &[Sample] = &[
    ("POST", "/after-end", "some text"),
    ("POST", "/all", "a=1&b=2"),
    ("POST", "/count", "12345"),
    ("POST", "/digest", "the same bytes"),
    ("POST", "/drop", "dropped"),
    ("POST", "/error", "x"),
    ("POST", "/form", "name=you&name=me"),
    ("POST", "/half", "0123456789"),
    ("POST", "/ignore", "nobody reads it"),
    ("POST", "/std-read", "read by the standard library"),
    ("POST", "/twice", "once"),
];

const STREAMS: &[Sample] = &[
    ("GET", "/bytes?n=3000", ""),
    ("GET", "/chunks?n=4&size=1000", ""),
    ("GET", "/empty", ""),
    ("GET", "/empty-chunks", ""),
    ("GET", "/one?size=5", ""),
    ("GET", "/status/201?n=2&size=3", ""),
    ("GET", "/trailers", ""),
    ("GET", "/there-is-none", ""),
];

const STANDARD: &[Sample] = &[
    ("GET", "/hello", ""),
    ("GET", "/request", ""),
    ("GET", "/status?204", ""),
    ("GET", "/empty", ""),
    ("GET", "/length?5", ""),
    ("POST", "/echo", "back again"),
    ("POST", "/splice", "spliced"),
    ("POST", "/sum", "1 2 3"),
    ("GET", "/counter", ""),
    ("GET", "/fields", ""),
    ("GET", "/forbidden", ""),
    ("GET", "/files", ""),
];

const DEMO: &[Sample] = &[
    ("GET", "/hello", ""),
    ("POST", "/echo", "back again"),
    ("GET", "/stream?n=3", ""),
    ("GET", "/settings", ""),
    ("GET", "/secret?name=none", ""),
    ("GET", "/files/none", ""),
    ("GET", "/there-is-none", ""),
];

/// The next of a sequence of numbers that look random (Steele and Vigna's SplitMix64).
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 33) as usize
}

fn ask((method, path, body): Sample) -> Ask {
    match method {
        "POST" => Ask::post(path, body),
        method => Ask::new(method, path),
    }
}

/// The parts of an answer that two servers share.
fn seen(mut answer: Answer) -> String {
    answer.headers.remove("date");
    answer.headers.remove("x-request-id");
    // Whether a short body is known whole when the head is sent, is a matter of time.
    answer.headers.remove("content-length");
    let fields: BTreeSet<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    let Answer { status, body, trailers, end, .. } = answer;
    format!("{status} {fields:?} {} {trailers:?} {end:?}", String::from_utf8_lossy(&body))
}

/// The lines of the log, without that which differs between any two runs.
async fn lines(server: &Server) -> Vec<String> {
    let mut lines: Vec<_> = server.log.settled().await.lines();
    lines.retain(|line| line["target"] == "access" || line["target"] == "guest");
    // A request's line and the guest's own may overtake each other, but not others of their kind.
    lines.sort_by_key(|line| line["target"].as_str() == Some("guest"));
    let strip = |line: &mut Value| {
        let fields = line.as_object_mut().expect("an object");
        OF_THE_RUN.iter().for_each(|field| drop(fields.remove(*field)));
        line.to_string()
    };
    lines.iter_mut().map(strip).collect()
}

/// The differences between two servers of this guest with these keys, after one sequence of requests.
async fn differences(guest: &str, keys: [&str; 2], samples: &[Sample]) -> Vec<String> {
    let [left, right] = keys.map(|keys| Setup::of(guest).component(keys));
    let (left, right) = (left.compiled().await.start().await, right.compiled().await.start().await);
    let mut different = Vec::new();
    let mut seed = guest.len() as u64;
    for way in [Way::H1, Way::H2c] {
        let mut clients = [left.connect(way).await, right.connect(way).await];
        for _ in 0..REQUESTS {
            let sample = samples[next(&mut seed) % samples.len()];
            let [left, right] = &mut clients;
            let answers = [left.fetch(ask(sample)).await, right.fetch(ask(sample)).await].map(seen);
            if answers[0] != answers[1] {
                different.push(format!("{way:?} {sample:?}:\n{}\n{}", answers[0], answers[1]));
            }
        }
    }
    let logs = (lines(&left).await, lines(&right).await);
    assert!(logs.0.len() >= 2 * REQUESTS, "{guest}: only {} lines", logs.0.len());
    if logs.0.len() != logs.1.len() {
        different.push(format!("{} lines and {}", logs.0.len(), logs.1.len()));
    }
    different.extend(logs.0.iter().zip(&logs.1).filter(|(a, b)| a != b).map(|(a, b)| format!("{a}\n{b}")));
    different
}

async fn are_alike(guest: &str, samples: &[Sample]) {
    let found = differences(guest, ["", "restore = false"], samples).await;
    assert!(found.is_empty(), "{guest}: {} differences, such as\n{}", found.len(), found[0]);
}

#[tokio::test]
async fn in_rust() {
    for (guest, samples) in [("answers", ANSWERS), ("bodies", BODIES), ("streams", STREAMS), ("demo", DEMO)] {
        are_alike(guest, samples).await;
    }
}

#[tokio::test]
async fn of_the_standard() {
    are_alike("standard", STANDARD).await;
}

#[tokio::test]
async fn in_other_languages() {
    for guest in ["demo-c", "demo-js", "demo-python"] {
        if is_built("restored_twins::in_other_languages", guest) {
            are_alike(guest, DEMO).await;
        }
    }
}

/// The positive control: an instance that keeps its state is told from a new one.
#[tokio::test]
async fn a_kept_state_is_found() {
    let found = differences("answers", ["reuse = { requests = 1000 }", "restore = false"], ANSWERS).await;
    assert!(found.iter().any(|text| text.contains("/counter")), "{found:?}");
}

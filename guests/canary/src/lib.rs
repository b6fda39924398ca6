//! The isolation canary. One instance writes a pattern over every part of its memory; a later one, in the same
//! place of the host's pool, reads all of its own memory and counts what it finds of it.
//!
//! The pattern is one word of 64 bits, made at run time from the query's `key`, so that it stands neither in the code
//! nor in the data of the scanner; the scanner holds it in a local, which WebAssembly keeps outside of the memory.
//! What it does not cover: tables and globals, which a Rust guest cannot write and `tests/support/core_canary.wat` does,
//! and the processor's caches.

use std::arch::wasm32::{memory_grow, memory_size};
use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use roadrunner_guest::{IntoResponse, Request, Response, StatusCode, handler};

const PAGE: usize = 64 * 1024;
const HEAP_BYTES: usize = 96 * 1024;
const STACK_FRAMES: usize = 40;
const FRAME_WORDS: usize = 128;
const GROWN_PAGES: usize = 8;
const STATIC_WORDS: usize = 512;

static ZEROED: [AtomicU64; STATIC_WORDS] = [const { AtomicU64::new(0) }; STATIC_WORDS];
static INITIALISED: [AtomicU64; STATIC_WORDS] = [const { AtomicU64::new(1) }; STATIC_WORDS];

#[handler]
fn canary(request: Request) -> Response {
    let Some(key) = request.query_pairs().parsed::<u64>("key") else {
        return (StatusCode::BAD_REQUEST, "a number `key` is wanted\n").into_response();
    };
    match request.path().as_str() {
        "/write" => format!("wrote {}\n", write(word(key))).into_response(),
        // Without growth, after which an instance cannot be put back to its first state.
        "/write/within" => format!("wrote {}\n", write_within(word(key))).into_response(),
        "/scan" => format!("found {}\n", scan(word(key))).into_response(),
        "/control" => {
            let wrote = write(word(key));
            format!("wrote {wrote} found {}\n", scan(word(key))).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The pattern of a key. Its own constants are not the pattern of any small key.
fn word(key: u64) -> u64 {
    let mixed = (key ^ 0x5bf0_3635_dcf9_78a1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29) | 1
}

/// Writes the pattern everywhere, and returns how many words that were. What is on the stack may be overwritten later.
fn write(word: u64) -> usize {
    write_within(word) + write_grown(word)
}

fn write_within(word: u64) -> usize {
    write_statics(word) + write_heap(word) + write_stack(word, STACK_FRAMES)
}

fn write_statics(word: u64) -> usize {
    for place in ZEROED.iter().chain(&INITIALISED) {
        place.store(word, Ordering::Relaxed);
    }
    2 * STATIC_WORDS
}

fn write_heap(word: u64) -> usize {
    let words = HEAP_BYTES / size_of::<u64>();
    // Leaked, so that the allocator writes nothing of its own over it.
    black_box(vec![word; words].leak());
    words
}

fn write_grown(word: u64) -> usize {
    let first = memory_grow(0, GROWN_PAGES);
    if first == usize::MAX {
        return 0;
    }
    let start = first * PAGE;
    let words = GROWN_PAGES * PAGE / size_of::<u64>();
    for at in 0..words {
        // SAFETY: these pages were grown just now, and nothing else knows of them.
        unsafe { ptr::with_exposed_provenance_mut::<u64>(start).add(at).write_volatile(word) };
    }
    words
}

/// Writes over as many frames of the stack, deep enough that later calls do not reach all of them.
#[inline(never)]
fn write_stack(word: u64, frames: usize) -> usize {
    if frames == 0 {
        return 0;
    }
    let mut frame = [word; FRAME_WORDS];
    black_box(&mut frame);
    let below = write_stack(word, frames - 1);
    black_box(&mut frame);
    below + FRAME_WORDS
}

/// Counts the words of all of the memory that are the pattern. The first eight bytes, the end of the stack's growth,
/// are left out: their address is that of the null pointer.
fn scan(word: u64) -> usize {
    let words = memory_size(0) * PAGE / size_of::<u64>();
    let memory = ptr::with_exposed_provenance::<u64>(size_of::<u64>());
    let mut found = 0;
    for at in 0..words - 1 {
        // SAFETY: in WebAssembly every address below the memory's size can be read; volatile, because the compiler
        // cannot know what is there.
        found += usize::from(unsafe { memory.add(at).read_volatile() } == word);
    }
    found
}

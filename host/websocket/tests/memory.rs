//! The codec's allocations: none per small message, and about as much as it reports.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use roadrunner_websocket::handshake::Extension;
use roadrunner_websocket::{Config, DeflateConfig, DeflateParams, Event, Message, Role, Session, WindowBits};

/// The system's allocator, counting for each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it came; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE.set(LIVE.get() + layout.size() as isize);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn small_messages_and_pings_do_not_allocate() {
    let now = Instant::now();
    let config = Arc::new(Config::default());
    let mut server = Session::new(Role::Server, config.clone(), None, now);
    let mut client = Session::new(Role::Client, config, None, now);
    let mut reads = BytesMut::new();
    for _ in 0..50 {
        client.send_text("a small message, as most are", now).expect("the queue is empty");
        client.send_binary(&[7; 200], now).expect("the queue is empty");
    }
    reads.extend_from_slice(client.outgoing());
    // A ping, masked with zeroes.
    reads.extend_from_slice(b"\x89\x80\0\0\0\0");

    let mut allocations = Vec::new();
    for _ in 0..100 {
        let before = ALLOCATIONS.get();
        server.read_buffer(reads.len()).extend_from_slice(&reads);
        let mut messages = 0;
        while let Some(event) = server.next_event(now) {
            match event {
                Event::Message(Message::Text(text)) => server.send_text(&text, now),
                Event::Message(Message::Binary(bytes)) => server.send_binary(&bytes, now),
                Event::Ended(end) => panic!("{end:?}"),
            }
            .expect("the queue has room");
            messages += 1;
        }
        assert_eq!(messages, 100);
        assert!(server.outgoing().ends_with(b"\x8a\x00"));
        server.written(server.outgoing().len());
        allocations.push(ALLOCATIONS.get() - before);
    }
    // The first reads size the buffers; after that, 101 frames per read cost nothing.
    assert!(allocations[10..].iter().all(|count| *count == 0), "{allocations:?}");
}

#[test]
fn the_estimates_of_compression_are_close() {
    let payload: String = (0..30_000).map(|at| format!("{at:x} ")).collect();
    for window in 9..=15 {
        for takeover in [true, false] {
            let window = WindowBits::new(window).expect("in range");
            let deflate = DeflateConfig {
                server_window: window,
                client_window: window,
                server_context_takeover: takeover,
                client_context_takeover: takeover,
                ..DeflateConfig::default()
            };
            let params = agree(&deflate);
            let config = Arc::new(Config { deflate: Some(deflate), ..Config::default() });
            let now = Instant::now();
            let mut server = Session::new(Role::Server, config.clone(), Some(params), now);
            let mut client = Session::new(Role::Client, config, Some(params), now);
            client.send_text(&payload, now).expect("the queue is empty");
            let from_client = client.outgoing().to_vec();

            let before = LIVE.get();
            server.send_text(&payload, now).expect("the queue is empty");
            server.written(server.outgoing().len());
            server.feed(&from_client);
            assert!(matches!(server.next_event(now), Some(Event::Message(_))));
            let held = LIVE.get() - before;
            let said = server.memory() as isize;
            assert!(held <= said && said <= held * 5 / 4, "{window:?}: held {held}, said {said}");
            assert!(params.memory(Role::Server) as isize <= said + 1024);

            server.release();
            let (held, said) = (LIVE.get() - before, server.memory() as isize);
            if takeover {
                assert!(held > 0 && said > 0);
            } else {
                assert_eq!((held, said), (0, 0), "streams that forget are given back");
            }
        }
    }
}

fn agree(config: &DeflateConfig) -> DeflateParams {
    let offers = Extension::parse(config.offer().as_bytes()).expect("an offer is well-formed");
    config.accept(&offers).expect("the offer is acceptable")
}

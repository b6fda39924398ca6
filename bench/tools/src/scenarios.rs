//! The scenarios: what a client asks for, and what every server must answer, byte for byte.
//!
//! This table is their only definition. The loader asks by it, the native server and the guests in bench/guests answer
//! by it, and `cargo xtask bench` names its rows by it; guests and xtask include this file. The first fourteen are those
//! of the Erlang Roadrunner's benchmark, with the same sizes.

#![allow(dead_code, reason = "guests, servers, the loader and xtask each use a part")]

/// The protocol of a load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1 over TCP.
    H1,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/3.
    H3,
}

/// What a connection does again and again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Does {
    /// One request, and its answer.
    Ask,
    /// So many requests at once, pipelined on HTTP/1.1 and in streams otherwise, and their answers.
    Batch(usize),
    /// A new connection for each request, with its handshakes.
    Connect,
    /// Reads the events of a session that stays open.
    Listen,
    /// One WebSocket message, and its echo.
    Message,
}

/// What a server has to have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Needs {
    /// Any component of wasi:http can answer.
    Component,
    /// Compression by the server.
    Compression,
    /// Sessions whose timers fire.
    Events,
    /// Files from a disk.
    Files,
    /// WebSockets.
    WebSocket,
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in results.
    pub name: &'static str,
    /// Its meaning, as a line in the page.
    pub about: &'static str,
    /// The protocols that it is measured with.
    pub protocols: &'static [Protocol],
    /// See [`Does`].
    pub does: Does,
    /// See [`Needs`].
    pub needs: Needs,
    /// Connections of its load.
    pub connections: usize,
    /// The path. `{}` stands for 0001 to 0100 in turn.
    pub path: &'static str,
    /// Header fields, besides `host` and `content-length`.
    pub fields: fn() -> Vec<(String, String)>,
    /// The request's body; a request with one is a POST.
    pub body: fn() -> Vec<u8>,
    /// The status of the answer.
    pub status: u16,
    /// The media type of the answer.
    pub media: &'static str,
    /// The body of the answer, before its compression; one event for [`Does::Listen`].
    pub answer: fn() -> Vec<u8>,
}

use Protocol::{H1, H2, H3};

const TEXT: &str = "text/plain";
const BYTES: &str = "application/octet-stream";
const JSON: &str = "application/json";

const HELLO: Scenario = Scenario {
    name: "hello",
    about: "GET, 7 bytes",
    protocols: &[H1, H2, H3],
    does: Does::Ask,
    needs: Needs::Component,
    connections: 50,
    path: "/",
    fields: Vec::new,
    body: Vec::new,
    status: 200,
    media: TEXT,
    answer: || b"alive\r\n".to_vec(),
};

const ECHO: Scenario = Scenario {
    name: "echo",
    about: "POST of 256 bytes, which come back",
    path: "/echo",
    fields: || fields(&[("user-agent", "bench"), ("accept", "*/*"), ("content-type", BYTES)]),
    body: || vec![b'x'; 256],
    media: BYTES,
    answer: || vec![b'x'; 256],
    ..HELLO
};

const FILE: Scenario = Scenario { needs: Needs::Files, protocols: &[H1, H2], media: BYTES, ..HELLO };

const UPLOAD: Scenario = Scenario {
    protocols: &[H1, H2],
    connections: 2,
    fields: || fields(&[("content-type", BYTES)]),
    body: || vec![b'x'; UPLOAD_BYTES],
    answer: || format!("{UPLOAD_BYTES}\n").into_bytes(),
    ..HELLO
};

/// Every scenario, in the order of the page.
pub const SCENARIOS: &[Scenario] = &[
    HELLO,
    Scenario {
        name: "json",
        about: "GET, 115 bytes of JSON",
        path: "/json",
        fields: || fields(&[("accept", JSON)]),
        media: JSON,
        answer: || JSON_BODY.to_vec(),
        ..HELLO
    },
    ECHO,
    Scenario {
        name: "headers_heavy",
        about: "hello with 16 more header fields",
        protocols: &[H1, H2],
        fields: heavy,
        ..HELLO
    },
    Scenario {
        name: "large_response",
        about: "GET, 64 KiB",
        protocols: &[H1],
        path: "/large",
        media: BYTES,
        answer: || vec![b'x'; 64 << 10],
        ..HELLO
    },
    Scenario {
        name: "multi_request_body",
        about: "POST of 4 KiB, which come back",
        protocols: &[H1, H2],
        body: || vec![b'x'; 4 << 10],
        answer: || vec![b'x'; 4 << 10],
        ..ECHO
    },
    Scenario {
        name: "varied_paths_router",
        about: "hello at 100 paths in turn, each with a route",
        protocols: &[H1],
        path: "/api/v1/items/{}",
        ..HELLO
    },
    Scenario {
        name: "post_4kb_form",
        about: "POST of a form with 128 pairs, which are counted",
        protocols: &[H1],
        path: "/form",
        fields: || fields(&[("content-type", "application/x-www-form-urlencoded")]),
        body: form,
        answer: || b"128".to_vec(),
        ..HELLO
    },
    Scenario {
        name: "large_post_streaming",
        about: "POST of 1 MiB, read piece by piece",
        protocols: &[H1],
        path: "/drain",
        fields: || fields(&[("content-type", BYTES)]),
        body: || vec![b'x'; 1 << 20],
        answer: || b"ok".to_vec(),
        ..HELLO
    },
    Scenario {
        name: "pipelined_h1",
        about: "hello, 4 in one segment",
        protocols: &[H1],
        does: Does::Batch(4),
        ..HELLO
    },
    Scenario {
        name: "websocket_msg_throughput",
        about: "messages of 1 KiB, one in flight, which come back",
        protocols: &[H1],
        does: Does::Message,
        needs: Needs::WebSocket,
        path: "/ws",
        answer: || vec![b'x'; 1 << 10],
        ..HELLO
    },
    Scenario {
        name: "gzip_response",
        about: "GET, 16 KiB of JSON, compressed by the server",
        protocols: &[H1],
        needs: Needs::Compression,
        path: "/gzip",
        fields: || fields(&[("accept-encoding", "gzip")]),
        media: JSON,
        answer: || RECORDS.to_vec(),
        ..HELLO
    },
    Scenario {
        name: "multi_stream",
        about: "hello, 16 streams at once on each connection",
        protocols: &[H2, H3],
        does: Does::Batch(16),
        ..HELLO
    },
    Scenario {
        name: "streaming_response",
        about: "GET, 4 pieces of 4 KiB, each sent by itself",
        protocols: &[H2],
        path: "/streaming",
        media: BYTES,
        answer: || vec![b'x'; 4 * PIECE],
        ..HELLO
    },
    Scenario {
        name: "connect",
        about: "hello on a connection of its own, with a full handshake where there is TLS",
        does: Does::Connect,
        connections: 8,
        ..HELLO
    },
    Scenario {
        name: "events",
        about: "1024 held sessions with a timer of a millisecond each; events are counted",
        protocols: &[H1, H2],
        does: Does::Listen,
        needs: Needs::Events,
        connections: 1024,
        path: "/events",
        media: "text/event-stream",
        answer: || b"data: 0123456789abcdef\n\n".to_vec(),
        ..HELLO
    },
    Scenario { name: "file_1k", about: "a file of 1 KiB", path: "/files/1k.bin", answer: || file(1 << 10), ..FILE },
    Scenario { name: "file_64k", about: "a file of 64 KiB", path: "/files/64k.bin", answer: || file(64 << 10), ..FILE },
    Scenario {
        name: "file_10m",
        about: "a file of 10 MiB",
        connections: 4,
        path: "/files/10m.bin",
        answer: || file(10 << 20),
        ..FILE
    },
    Scenario {
        name: "file_range",
        about: "1000 bytes of a file of 64 KiB",
        path: "/files/64k.bin",
        fields: || fields(&[("range", "bytes=1000-1999")]),
        status: 206,
        answer: || file(64 << 10)[1000..2000].to_vec(),
        ..FILE
    },
    Scenario { name: "upload_auto", about: "POST of 20 MiB, which the guest gets at once", path: "/collect", ..UPLOAD },
    Scenario { name: "upload_manual", about: "POST of 20 MiB, read piece by piece", path: "/count", ..UPLOAD },
];

/// A session that stays silent. This one and the next are held and not loaded, so they are not among the scenarios.
pub const IDLE: Scenario = Scenario {
    name: "idle",
    about: "a held session without events",
    protocols: &[H1, H2, H3],
    does: Does::Listen,
    needs: Needs::Events,
    path: "/idle",
    ..HELLO
};

/// A silent session of the guest `loops`, which can hibernate.
pub const HIBERNATED: Scenario =
    Scenario { name: "hibernated", about: "a session that hibernates", path: "/tally/silence", ..IDLE };

/// The files below `/files/`, and their sizes.
pub const FILES: [(&str, usize); 3] = [("1k.bin", 1 << 10), ("64k.bin", 64 << 10), ("10m.bin", 10 << 20)];

/// The number of paths that `{}` stands for.
pub const PATHS: usize = 100;

/// Bytes of one piece of `/streaming`.
pub const PIECE: usize = 4 << 10;

/// Bytes of one piece of `/download`.
pub const DOWNLOAD_PIECE: usize = 64 << 10;

/// Bytes of `/download`.
pub const DOWNLOAD: u64 = 1 << 30;

/// Bytes of an upload.
pub const UPLOAD_BYTES: usize = 20 << 20;

/// The data of each server-sent event.
pub const EVENT: &str = "0123456789abcdef";

/// Milliseconds between two events of a session: so short that the server, and not the clock, sets the pace.
pub const EVENT_PERIOD_MS: u64 = 1;

/// The JSON of `/json`: 115 bytes.
pub const JSON_BODY: &[u8] =
    br#"{"id":4711001,"customer":"Wile E. Coyote","paid":true,"total":1284.5,"items":["anvil","rocket skates","bird seed"]}"#;

/// The JSON of `/gzip`: a list of 180 records of 88 bytes.
pub static RECORDS: [u8; 16_021] = {
    let record = br#"{"id":1000,"name":"rocket skates","count":12,"price":492.50,"tags":["outdoor","desert"]}"#;
    let mut bytes = [b','; 16_021];
    let mut index = 0;
    while index < 180 * (record.len() + 1) - 1 {
        if index % (record.len() + 1) < record.len() {
            bytes[1 + index] = record[index % (record.len() + 1)];
        }
        index += 1;
    }
    bytes[0] = b'[';
    bytes[16_020] = b']';
    bytes
};

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().chain([&IDLE, &HIBERNATED]).find(|scenario| scenario.name == name)
}

/// The bytes of a file. No two neighbouring kibibytes are equal, so that a wrong range is seen.
pub fn file(size: usize) -> Vec<u8> {
    (0..size).map(|index| b'a' + ((index + index / 1024) % 26) as u8).collect()
}

impl Protocol {
    /// Its name in results.
    pub fn label(self) -> &'static str {
        match self {
            H1 => "h1",
            H2 => "h2",
            H3 => "h3",
        }
    }
}

impl Scenario {
    /// All paths that are asked for in turn.
    pub fn paths(&self) -> Vec<String> {
        if !self.path.contains("{}") {
            return vec![self.path.to_owned()];
        }
        (1..=PATHS).map(|number| self.path.replace("{}", &format!("{number:04}"))).collect()
    }

    /// The number of answers that one exchange brings, where it is known beforehand.
    pub fn batch(&self) -> usize {
        match self.does {
            Does::Batch(batch) => batch,
            _ => 1,
        }
    }
}

fn fields(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Sixteen fields, each as long as its number says.
fn heavy() -> Vec<(String, String)> {
    let digits = "123456789abcdefg".chars();
    (1..).zip(digits).map(|(index, digit)| (format!("x-bench-{index}"), digit.to_string().repeat(index))).collect()
}

fn form() -> Vec<u8> {
    let pairs: Vec<String> = (0..128).map(|index| format!("k{index:03}=abcdefghijklmnopqrstuvwxyz")).collect();
    pairs.join("&").into_bytes()
}

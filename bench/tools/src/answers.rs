//! What every server of a benchmark answers. The guest in bench/guests/workload includes this file, so that the native
//! server and the guest cannot drift apart.

#![allow(dead_code, reason = "the guest, the server and the loader each use a part")]

use serde::Serialize;

/// The answer of `/hello`.
pub const HELLO: &str = "hello, world\n";

/// The answer of `/bytes`, and one piece of `/download`.
pub static BYTES: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// Bytes of `/download`.
pub const DOWNLOAD: u64 = 1 << 30;

/// The data of each server-sent event of `/events`.
pub const EVENT: &str = "0123456789abcdef";

/// Milliseconds between two events of a session: so short that the server, and not the clock, sets the pace.
pub const EVENT_PERIOD_MS: u64 = 1;

/// The answer of `/json`.
#[derive(Debug, Serialize)]
pub struct Order {
    id: u64,
    customer: &'static str,
    paid: bool,
    total: f64,
    items: Vec<Item>,
}

#[derive(Debug, Serialize)]
struct Item {
    name: &'static str,
    count: u32,
    price: f64,
    tags: [&'static str; 2],
}

/// Made anew for each request.
pub fn order() -> Order {
    let item = |name, count, price| Item { name, count, price, tags: ["outdoor", "desert"] };
    Order {
        id: 4711,
        customer: "Wile E. Coyote",
        paid: true,
        total: 1284.5,
        items: vec![item("anvil", 1, 299.0), item("rocket skates", 2, 492.5), item("bird seed", 10, 0.05)],
    }
}

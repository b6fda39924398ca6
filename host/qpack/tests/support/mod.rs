//! Header lists with the repetition of real traffic, and a generator with repeatable runs.

#![allow(dead_code, reason = "each test binary uses a part")]

pub type List = Vec<(Vec<u8>, Vec<u8>)>;

/// SplitMix64: the same seed gives the same run everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A list of 0 to 24 fields, most of them from small pools.
    pub fn list(&mut self) -> List {
        (0..self.below(25)).map(|_| self.field()).collect()
    }

    fn field(&mut self) -> (Vec<u8>, Vec<u8>) {
        let name = match self.below(10) {
            0 => {
                let length = 1 + self.below_cubed(40);
                self.token(length)
            }
            1 | 2 => format!("x-custom-{}", self.below(12)).into_bytes(),
            _ => self.pick(NAMES).as_bytes().to_vec(),
        };
        let value = match self.below(10) {
            0 => {
                let length = self.below(60);
                self.bytes(length)
            }
            1 => {
                let length = self.below_cubed(700);
                self.token(length)
            }
            2 => Vec::new(),
            3..=5 => self.pick(VALUES).as_bytes().to_vec(),
            _ => format!("value number {}", self.below(20)).into_bytes(),
        };
        (name, value)
    }

    /// A number below `bound`, far more often small than large.
    fn below_cubed(&mut self, bound: usize) -> usize {
        let bound = self.below(bound) + 1;
        let bound = self.below(bound) + 1;
        self.below(bound)
    }

    fn token(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| *self.pick(b"abcdefghijklmnopqrstuvwxyz0123456789-_")).collect()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

const NAMES: &[&str] = &[
    ":method",
    ":path",
    ":scheme",
    ":authority",
    ":status",
    "accept",
    "accept-encoding",
    "authorization",
    "cache-control",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "etag",
    "server",
    "set-cookie",
    "user-agent",
    "vary",
    "via",
    "x-request-id",
];

const VALUES: &[&str] = &[
    "GET",
    "https",
    "/",
    "200",
    "*/*",
    "gzip, deflate, br",
    "no-cache",
    "application/json",
    "text/html; charset=utf-8",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
    "accept-encoding",
    "0",
];

//! An attacker's neighbour: how long its requests take, and whether they fail.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Ask, Client, Way};

/// The pause between its requests.
const PAUSE: Duration = Duration::from_millis(5);

/// How long it waits for one answer before that counts as an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// The allowed median and p99 under load, if twice the quiet value is less: the effect of a machine with other work on
/// either.
const FLOORS: (Duration, Duration) = match cfg!(debug_assertions) {
    true => (Duration::from_millis(8), Duration::from_millis(25)),
    false => (Duration::from_millis(1), Duration::from_millis(8)),
};

/// Requests a path of the host `normal` over one HTTP/1.1 connection, for this long.
pub async fn ask(address: SocketAddr, path: &str, time: Duration) -> Latencies {
    let mut latencies = Latencies::default();
    let end = Instant::now() + time;
    let mut client = None;
    while Instant::now() < end {
        let start = Instant::now();
        let answered = tokio::time::timeout(PATIENCE, fetch(address, path, &mut client)).await;
        latencies.taken.push(start.elapsed());
        if answered != Ok(200) {
            latencies.errors += 1;
            client = None;
        }
        tokio::time::sleep(PAUSE).await;
    }
    latencies.taken.sort();
    latencies
}

/// Sends a request, and returns the status; 0 for a connection that was cut.
async fn fetch(address: SocketAddr, path: &str, client: &mut Option<Client>) -> u16 {
    if client.is_none() {
        *client = Some(Client::connect(address, Way::H1).await);
    }
    match client {
        Some(client) => client.fetch(Ask::get(path).host("normal")).await.status,
        None => 0,
    }
}

/// The durations of requests, the shortest first.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    taken: Vec<Duration>,
    /// The number of requests that were not answered with 200, or not in time.
    pub errors: usize,
}

impl Latencies {
    /// The number of requests.
    pub fn count(&self) -> usize {
        self.taken.len()
    }

    /// The time within which this many of a thousand requests were answered.
    pub fn at(&self, permille: usize) -> Duration {
        self.taken.get(self.taken.len().saturating_sub(1) * permille / 1000).copied().unwrap_or_default()
    }

    /// Whether these latencies, of a host under attack, are without error and at most twice those of a quiet host, or
    /// `floors` times the floors. That factor is more than one if the attacker's clients share the same processors.
    pub fn are_within(&self, quiet: &Self, floors: u32) -> bool {
        self.errors == 0
            && self.at(500) <= (2 * quiet.at(500)).max(floors * FLOORS.0)
            && self.at(990) <= (2 * quiet.at(990)).max(floors * FLOORS.1)
    }

    /// The JSON for a file of results; times in microseconds.
    pub fn to_json(&self) -> Value {
        let micros = |permille| u64::try_from(self.at(permille).as_micros()).unwrap_or(u64::MAX);
        json!({
            "requests": self.count(),
            "errors": self.errors,
            "p50_us": micros(500),
            "p99_us": micros(990),
            "most_us": micros(1000),
        })
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (count, errors) = (self.count(), self.errors);
        let [p50, p99, most] = [500, 990, 1000].map(|permille| self.at(permille));
        write!(f, "{count} requests, {errors} failed, p50 {p50:?}, p99 {p99:?}, at most {most:?}")
    }
}

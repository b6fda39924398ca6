//! The sockets' end: it chooses a server, speaks to it, and connects again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::link::{self, Link};
use crate::servers::Servers;
use crate::settings::{Handler, Settings};
use crate::shared::Shared;

/// The sockets' end: connects, speaks, and connects again.
pub struct Driver {
    shared: Arc<Shared>,
    handler: Arc<dyn Handler>,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, handler: Arc<dyn Handler>) -> Self {
        Self { shared, handler }
    }

    /// Connects, speaks, and connects again, for ever.
    pub async fn run(self) {
        let Settings { min_backoff, max_backoff, .. } = self.shared.settings;
        let mut servers = Servers::new(&self.shared.settings.servers);
        let mut pause = min_backoff;
        let mut is_told = false;
        loop {
            if self.round(&mut servers, is_told).await {
                (pause, is_told) = (min_backoff, false);
            } else {
                is_told = true;
            }
            tokio::time::sleep(with_jitter(pause)).await;
            pause = (pause * 2).min(max_backoff);
        }
    }

    /// Tries one server after the other, and speaks to the first that takes the connection until it is lost. Whether there
    /// was one. Why there was none is told once for each outage; the gauge tells how long it lasts.
    async fn round(&self, servers: &mut Servers, is_told: bool) -> bool {
        for member in servers.round() {
            let server = &member.server;
            match link::open(&self.shared, &member).await {
                Ok(link) => {
                    tracing::info!("connected to the NATS server {server}");
                    servers.connected(&member, &link.servers());
                    speak(&self.shared, link, &*self.handler).await;
                    tracing::warn!("the connection to the NATS server {server} is lost");
                    return true;
                }
                Err(error) if is_told => tracing::debug!("no connection to the NATS server {server}: {error}"),
                Err(error) => tracing::warn!("no connection to the NATS server {server}, and trying on: {error}"),
            }
        }
        false
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// Uses a connection until it ends.
async fn speak(shared: &Arc<Shared>, link: Link, handler: &dyn Handler) {
    shared.counters.connects.fetch_add(1, Relaxed);
    // Before the subscriptions are made: what comes from now on is behind the gap.
    handler.gap();
    shared.state.lock().begin(link.client());
    link.run(shared, handler).await;
    let dropped = shared.state.lock().end();
    shared.counters.dropped_disconnected.fetch_add(dropped as u64, Relaxed);
    while let Some(arrival) = shared.arrivals.take() {
        shared.deliver(arrival, handler);
    }
}

/// Between half of a pause and all of it, so that many hosts do not come back at once.
fn with_jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the hosts come back together, which is a burst and no fault.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause * u32::from(byte[0]) / 512
}

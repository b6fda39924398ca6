//! A session that a client has asked for: streams and datagrams find it, and it raises what the client may open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::registry::Arrivals;
use crate::code::Code;
use crate::config::unidirectional_streams;
use crate::shared::Shared;

/// The number of ended sessions that are remembered. A stream of a forgotten session waits among the early ones.
const REMEMBERED: usize = 64;

/// A session whose CONNECT has come: streams and datagrams find it from now on, until this is dropped.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) arrivals: Arc<Arrivals>,
    granted: u32,
}

impl Offered {
    /// Offers a session; `None` if the connection has reached its limit of sessions.
    pub(crate) fn new(shared: &Arc<Shared>, id: u64) -> Option<Offered> {
        let config = &shared.config;
        let limit = u32::try_from(config.webtransport.buffered_streams).unwrap_or(u32::MAX);
        let arrivals = Arc::new(Arrivals::new(limit));
        let registry = &shared.webtransport;
        let mut state = registry.state.lock();
        if state.sessions.len() >= config.webtransport.sessions as usize {
            return None;
        }
        for (session, arrival) in std::mem::take(&mut state.early) {
            match session == id {
                true => arrivals.push(arrival),
                false => state.early.push_back((session, arrival)),
            }
        }
        state.sessions.insert(id, Arc::clone(&arrivals));
        registry.count.store(state.sessions.len(), Ordering::Release);
        drop(state);
        Some(Offered { shared: Arc::clone(shared), id, arrivals, granted: 0 })
    }

    /// Accepts the session, with this limit of streams.
    pub(super) fn accept(&mut self, streams: u32) {
        self.arrivals.limit.store(streams, Ordering::Release);
        self.granted = streams;
        let mut state = self.shared.webtransport.state.lock();
        state.granted = state.granted.saturating_add(streams);
        self.grant(state.granted);
    }

    fn grant(&self, more: u32) {
        let config = &self.shared.config;
        self.shared.quic.set_max_concurrent_bi_streams(config.http3.max_streams.saturating_add(more).into());
        self.shared
            .quic
            .set_max_concurrent_uni_streams(unidirectional_streams(&config.http3).saturating_add(more).into());
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        let registry = &self.shared.webtransport;
        let mut state = registry.state.lock();
        state.sessions.remove(&self.id);
        registry.count.store(state.sessions.len(), Ordering::Release);
        state.gone.push_back(self.id);
        if state.gone.len() > REMEMBERED {
            state.gone.pop_front();
        }
        if self.granted > 0 {
            state.granted = state.granted.saturating_sub(self.granted);
            self.grant(state.granted);
        }
        drop(state);
        for mut arrival in self.arrivals.take_all() {
            arrival.set_on_drop(Code::WEBTRANSPORT_SESSION_GONE);
        }
    }
}

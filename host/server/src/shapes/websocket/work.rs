//! What permessage-deflate costs: who pays for it, and what it waits for. Sessions without it have no such work.

use std::sync::Arc;
use std::task::Context;

use roadrunner_sandbox::{Meter, PIECE, Pause, Payer, Sandbox};
use roadrunner_websocket::Session;

/// The work of one session.
pub(super) struct Work {
    /// Nobody where nothing is compressed.
    payer: Option<Payer>,
    pause: Pause,
}

impl Work {
    pub(super) fn new(sandbox: &Sandbox, meter: &Arc<Meter>, deflates: bool) -> Self {
        let payer = deflates.then(|| Payer::request(sandbox, meter.clone()));
        Self { payer, pause: Pause::default() }
    }

    /// Whether there can be work with messages now, and one more piece of it: that waits for the tenant's CPU time, and
    /// for its turn once it is long.
    pub(super) fn poll(&mut self, session: &mut Session, context: &mut Context<'_>) -> bool {
        let Some(payer) = &self.payer else { return true };
        if self.pause.poll_over(payer, context).is_pending() {
            return false;
        }
        if session.is_spent() {
            payer.work(|| session.allow(PIECE));
        } else {
            session.allow(PIECE);
        }
        true
    }

    /// Something that may compress or inflate.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.payer {
            Some(payer) => payer.work(work),
            None => work(),
        }
    }

    /// Others have their turn. `more` says that there is a next piece already.
    pub(super) fn end(&mut self, more: bool) {
        self.pause.end(more);
    }
}

//! The work of permessage-deflate: its payer, and its waits. Sessions without it have no such work.

use std::sync::Arc;
use std::task::Context;

use roadrunner_account::{Meter, PIECE, Pause, Payer};
use roadrunner_sandbox::Sandbox;
use roadrunner_websocket::Session;

/// The work of one session.
pub(super) struct Work {
    /// The payer; none where nothing is compressed.
    payer: Option<Payer>,
    pause: Pause,
}

impl Work {
    pub(super) fn new(sandbox: &Sandbox, meter: &Arc<Meter>, deflates: bool) -> Self {
        let payer = deflates.then(|| Payer::request(sandbox.accounts(), meter.clone()));
        Self { payer, pause: Pause::default() }
    }

    /// Whether work with messages can be done now. If so, allows another piece of it. The work waits for the tenant's
    /// CPU time and, once it is long, for its turn.
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

    /// Runs work that may compress or inflate.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.payer {
            Some(payer) => payer.work(work),
            None => work(),
        }
    }

    /// Lets others have their turn. `more` says that the next piece is there already.
    pub(super) fn end(&mut self, more: bool) {
        self.pause.end(more);
    }
}

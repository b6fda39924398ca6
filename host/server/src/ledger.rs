//! The account of a request, kept for its middlewares, which may work on after the guest's response is whole.
//!
//! A [`Record`](crate::record::Record) closes when the guest's part is over. Without middlewares, its account is
//! written then. With middlewares, the account waits here, and is written when nothing holds the ledger any more. Its
//! holders are the request's future, and the body of a middleware that works for the request.

use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use roadrunner_account::{Meter, Outcome};
use roadrunner_grpc::Code;

use crate::access_log::{End, Line};
use crate::counters::RouteCounters;

/// The facts about a request when the guest's part of it is over.
pub(crate) struct Account {
    pub(crate) counters: Arc<RouteCounters>,
    pub(crate) started: Instant,
    pub(crate) meter: Option<Arc<Meter>>,
    pub(crate) line: Option<Box<Line>>,
    /// The time at which the request has to be over.
    pub(crate) ends: Option<Instant>,
    pub(crate) status: u16,
    /// The code of a call of gRPC.
    pub(crate) grpc: Option<Code>,
    pub(crate) bytes: u64,
    /// Streams and datagrams of a WebTransport session.
    pub(crate) traffic: Option<(u64, u64)>,
    pub(crate) outcome: Outcome,
}

impl Account {
    /// Replaces the outcome.
    fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
        self.grpc = self.grpc.map(|_| outcome.row().grpc);
    }

    /// Counts the request, and writes its line.
    pub(crate) fn write(&self) {
        let elapsed = self.started.elapsed();
        self.counters.end(self.outcome, self.grpc, elapsed, self.meter.as_deref());
        if let Some(line) = &self.line {
            let (outcome, traffic) = (self.outcome.row().label, self.traffic);
            let end = End { status: self.status, grpc: self.grpc, bytes: self.bytes, traffic, outcome, elapsed };
            line.write(&end, self.meter.as_deref());
        }
    }
}

/// The account of one request behind middlewares. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Shared>);

/// The record's handle on the ledger.
#[derive(Clone, Default)]
pub(crate) struct WeakLedger(Weak<Shared>);

#[derive(Default)]
struct Shared(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    meter: Option<Arc<Meter>>,
    account: Option<Account>,
    /// The outcome that a middleware set, and the status that it answered in place of the guest's.
    failed: Option<(Outcome, Option<u16>)>,
    left: bool,
}

impl Ledger {
    pub(crate) fn downgrade(&self) -> WeakLedger {
        WeakLedger(Arc::downgrade(&self.0))
    }

    /// The account of the instance that worked for the request; none without an instance.
    pub(crate) fn meter(&self) -> Option<Arc<Meter>> {
        self.0.0.lock().meter.clone()
    }

    /// Records that a middleware has cut the response.
    pub(crate) fn cut(&self, outcome: Outcome) {
        self.0.0.lock().failed.get_or_insert((outcome, None));
    }

    /// Records that a middleware answers with this outcome's status in place of the guest's.
    pub(crate) fn replace(&self, outcome: Outcome) {
        self.0.0.lock().failed.get_or_insert((outcome, Some(outcome.row().status)));
    }

    /// Records that the client left before it had taken all of a middleware's output.
    pub(crate) fn leave(&self) {
        self.0.0.lock().left = true;
    }
}

impl WeakLedger {
    pub(crate) fn runs(&self, meter: &Arc<Meter>) {
        if let Some(shared) = self.0.upgrade() {
            shared.0.lock().meter = Some(meter.clone());
        }
    }

    /// Writes the account as soon as no middleware can work for the request any more.
    pub(crate) fn put(&self, account: Account) {
        match self.0.upgrade() {
            Some(shared) => shared.0.lock().account = Some(account),
            None => account.write(),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Kept { account, failed, left: has_left, .. } = self.0.get_mut();
        let Some(account) = account else { return };
        if let Some((outcome, status)) = *failed {
            account.end(outcome);
            account.status = status.unwrap_or(account.status);
        } else if *has_left && account.outcome == Outcome::Ok {
            account.end(left(account.ends));
        }
        account.write();
    }
}

/// The outcome of a request whose response was not taken whole.
pub(crate) fn left(ends: Option<Instant>) -> Outcome {
    if ends.is_some_and(|ends| ends <= Instant::now()) { Outcome::TotalExceeded } else { Outcome::Cancelled }
}

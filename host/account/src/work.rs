//! Work that the host does for guests outside their calls: its payer, and its waits.
//!
//! A guest's call is charged as a whole, with the host calls in it. Other work that takes time, such as compressing a
//! response whose instance is gone, goes through a [`Payer`], in pieces of at most [`PIECE`] bytes. Before each piece
//! it waits, as a guest does ([`Pause`]): until its tenant is out of debt, and for its turn.
//!
//! Not covered: the cost of clients' connections, such as TLS and framing, which is the host's own.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use crate::charge::Buffers;
use crate::clock::Span;
use crate::instances::{Instances, Registration};
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::tenant::Tenant;
use crate::turns::{Turn, Turns};

/// The number of bytes to work on before others have their turn.
pub const PIECE: usize = 64 << 10;

/// The accounts that all requests of a host share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// The live instances.
    pub instances: Instances,
    /// The turns of guests that compute.
    pub turns: Turns,
    /// The bytes that the host may hold for all requests together.
    pub buffers: Arc<Buffers>,
}

impl Accounts {
    /// Creates accounts for a host with this number of threads that run guests, and with room for `buffers` bytes.
    pub fn new(threads: usize, buffers: u64) -> Self {
        Self { instances: Instances::default(), turns: Turns::new(threads), buffers: Buffers::new(buffers) }
    }
}

/// The payer of some work of the host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Payer {
    meter: Option<Arc<Meter>>,
    tenant: Option<Arc<Tenant>>,
    accounts: Accounts,
}

impl Payer {
    /// Charges a request, and with it its tenant.
    pub fn request(accounts: &Accounts, meter: Arc<Meter>) -> Self {
        Self { tenant: meter.subject.tenant.clone(), meter: Some(meter), accounts: accounts.clone() }
    }

    /// Charges a tenant, for work that no instance takes part in; nobody for the host's own work.
    pub fn tenant(accounts: &Accounts, tenant: Option<Arc<Tenant>>) -> Self {
        Self { meter: None, tenant, accounts: accounts.clone() }
    }

    /// The reason why the work has to end: an operator has ended the request, or its budget is used up.
    pub fn failure(&self) -> Option<Outcome> {
        let meter = self.meter.as_ref()?;
        if meter.is_killed() {
            return Some(Outcome::Killed);
        }
        meter.is_over_budget().then_some(Outcome::CpuExceeded)
    }

    /// Asks for a wake-up when an operator ends the request.
    pub fn register(&self, context: &Context<'_>) {
        if let Some(meter) = &self.meter {
            meter.register(context);
        }
    }

    /// Lists the request among the instances while the work lasts, even after its own instance is gone.
    pub fn list(&self) -> Listed {
        Listed(self.meter.as_ref().map(|meter| self.accounts.instances.insert(meter.clone())))
    }

    /// Does some work, and charges for it.
    pub fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        let span = Span::begin(true);
        let done = work();
        let used = span.end();
        match (&self.meter, &self.tenant) {
            (Some(meter), _) => {
                meter.charge(used);
                if meter.is_over_budget() {
                    // The request's guest may wait for this work, and has to end.
                    meter.wake();
                }
            }
            (None, Some(tenant)) => tenant.cpu.spend(used),
            (None, None) => {}
        }
        done
    }
}

/// A listing of a request; dropping it ends the listing.
#[derive(Debug)]
pub struct Listed(#[expect(dead_code, reason = "it is dropped")] Option<Registration>);

/// The waits of work before it goes on: for CPU time of its tenant, and for its turn if it is long.
#[derive(Debug, Default)]
pub struct Pause {
    debt: Option<Pin<Box<Sleep>>>,
    turn: Option<Turn>,
    is_long: bool,
}

impl Pause {
    /// Polls until the next piece can be done. A turn that it takes lasts until [`Self::end`].
    pub fn poll_over(&mut self, payer: &Payer, context: &mut Context<'_>) -> Poll<()> {
        // A guest in the line is polled by the task that does this work. So the work must not wait behind its own
        // guest.
        let waits = payer.meter.as_ref().is_some_and(|meter| meter.is_in_line());
        self.poll(payer.tenant.as_ref(), &payer.accounts.turns, self.is_long && !waits, context)
    }

    /// Ends a piece. `more` says that the work goes on, so that the next piece needs a turn.
    pub fn end(&mut self, more: bool) {
        if !self.is_in_line() {
            self.turn = None;
        }
        self.is_long |= more;
    }

    /// Whether the work stands in a line and was not called yet.
    pub fn is_in_line(&self) -> bool {
        self.turn.as_ref().is_some_and(Turn::waits)
    }

    /// Does one piece of some work, as soon as it can be done.
    pub async fn piece<T>(&mut self, payer: &Payer, work: impl FnOnce() -> T) -> Result<T, Outcome> {
        if self.is_long {
            tokio::task::yield_now().await;
        }
        poll_fn(|context| self.poll_over(payer, context)).await;
        let done = payer.work(work);
        self.end(true);
        payer.failure().map_or(Ok(done), Err)
    }

    /// Polls until work of this tenant can go on: it is out of debt and, if it takes turns, has its turn.
    pub fn poll(
        &mut self,
        tenant: Option<&Arc<Tenant>>,
        turns: &Turns,
        takes_turn: bool,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if let Some(tenant) = tenant {
            while let Some(debt) = tenant.cpu.debt() {
                // Work that has to wait gives up its turn.
                self.turn = None;
                let sleep = self.debt.get_or_insert_with(|| {
                    tenant.cpu.count();
                    Box::pin(tokio::time::sleep(debt))
                });
                ready!(sleep.as_mut().poll(context));
                self.debt = None;
            }
            self.debt = None;
        }
        if takes_turn { turns.poll_take(tenant, &mut self.turn, context) } else { Poll::Ready(()) }
    }
}

/// A future of the host that works for a guest outside its calls, as an outgoing request does. It takes no turns: it
/// may be polled inside a call that has one.
#[derive(Debug)]
pub struct Worked<F> {
    future: F,
    payer: Payer,
    pause: Pause,
}

impl<F> Worked<F> {
    /// Charges each poll to this payer.
    pub fn new(payer: Payer, future: F) -> Self {
        Self { future, payer, pause: Pause::default() }
    }
}

impl<F: Future + Unpin> Future for Worked<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, payer, pause } = &mut *self;
        ready!(pause.poll_over(payer, context));
        payer.work(|| Pin::new(future).poll(context))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::clock::spin;
    use roadrunner_values::Quota;

    fn payer(cpu_per_second: Duration) -> Payer {
        let quota = Quota { cpu_per_second: Some(cpu_per_second), ..Quota::default() };
        Payer::tenant(&Accounts::new(2, 1 << 30), Some(Tenant::new("t", quota)))
    }

    #[tokio::test]
    async fn work_waits_until_its_tenant_is_out_of_debt() {
        let payer = payer(Duration::from_millis(50));
        let mut pause = Pause::default();
        let start = Instant::now();
        for _ in 0..4 {
            pause.piece(&payer, || spin(Duration::from_millis(50))).await.expect("it has no budget of its own");
        }
        let tenant = payer.tenant.expect("it has one");
        let used = Duration::from_nanos(tenant.cpu.total());
        // One second's worth is available at the start, and the last piece is paid for afterwards.
        let owed = used.saturating_sub(Duration::from_millis(100));
        assert!(start.elapsed() + Duration::from_millis(200) >= 20 * owed, "{used:?} in {:?}", start.elapsed());
        assert!(tenant.cpu.exceeded() > 0);
    }

    #[tokio::test]
    async fn long_work_of_one_tenant_takes_turns() {
        let payer = payer(Duration::from_secs(100));
        let (mut first, mut second) = (Pause::default(), Pause::default());
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.poll_over(&payer, &mut context).is_ready() && second.poll_over(&payer, &mut context).is_ready());
        first.end(true);
        second.end(true);
        assert!(first.poll_over(&payer, &mut context).is_ready());
        assert!(second.poll_over(&payer, &mut context).is_pending(), "one of two threads is for the others");
        first.end(true);
        assert!(second.poll_over(&payer, &mut context).is_ready());
    }

    #[tokio::test]
    async fn a_future_of_the_host_is_charged_for_its_polls() {
        let payer = payer(Duration::from_secs(100));
        let future = Box::pin(async {
            spin(Duration::from_millis(30));
            tokio::time::sleep(Duration::from_millis(50)).await;
            spin(Duration::from_millis(30));
        });
        Worked::new(payer.clone(), future).await;
        let used = Duration::from_nanos(payer.tenant.map_or(0, |tenant| tenant.cpu.total()));
        assert!(used > Duration::from_millis(20) && used < Duration::from_millis(90), "{used:?}");
    }
}

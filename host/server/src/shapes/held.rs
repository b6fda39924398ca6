//! What all held sessions have in common.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use roadrunner_account::Failure;
use roadrunner_sandbox::{Held, Next};

/// The longest time that a call in progress may go on after the client has left.
pub(super) const UNDER_WAY: Duration = Duration::from_millis(20);

/// The longest time for the last event.
pub(super) const LAST_EVENT: Duration = Duration::from_secs(1);

/// A call into a guest, which gives the session back.
pub(super) type Call = Pin<Box<dyn Future<Output = (Held, Result<Next, Failure>)> + Send>>;

/// Asks the session to leave its instance, between two events.
pub(super) fn suspend(mut held: Held) -> Call {
    Box::pin(async move {
        let result = held.suspend().await.map(|()| Next::Continue);
        (held, result)
    })
}

pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    // Bodies are also dropped when the runtime shuts down; the guest then ends without its last event.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(task);
    }
}

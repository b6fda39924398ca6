//! The task of one HTTP/2 stream.
//!
//! hyper gives each stream a future that runs the service and then moves its response body into h2. A client can hold
//! such a future in two ways: it does not send the request body, or it does not open its window. hyper waits in both
//! cases; here the waits end.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use crate::{
    Stats, TimeoutName, Timeouts,
    alarm::Alarm,
    marks::{self, Waits},
};

/// Spawns the tasks of a connection's streams.
#[derive(Clone)]
pub(crate) struct StreamExecutor {
    pub(crate) timeouts: Arc<Timeouts>,
    pub(crate) stats: Arc<Stats>,
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let StreamExecutor { timeouts, stats } = self.clone();
        tokio::spawn(run(stream, timeouts, stats));
    }
}

async fn run(stream: impl Future<Output = ()>, timeouts: Arc<Timeouts>, stats: Arc<Stats>) {
    let mut stream = pin!(Some(stream));
    let mut waits = Waits::default();
    let mut alarm = Alarm::default();
    poll_fn(|cx| {
        loop {
            let Some(running) = stream.as_mut().as_pin_mut() else {
                return Poll::Ready(());
            };
            if waits.during(|| running.poll(cx)).is_ready() {
                return Poll::Ready(());
            }
            waits.note_window();
            let Some((deadline, name)) = waits.deadline(&timeouts) else {
                return Poll::Pending;
            };
            if !alarm.has_passed(cx, deadline) {
                return Poll::Pending;
            }
            // A body that is too slow is told to the service, which may still answer. If the service does not look
            // at its body again, or if the answer is what does not move, then the stream is reset.
            if name != TimeoutName::WriteStall && waits.passed().is_none() {
                stats.count_timeout(name);
                waits.pass(name);
                continue;
            }
            if waits.passed().is_none() {
                stats.count_timeout(name);
            }
            tracing::debug!(timeout = %name, "resetting a stream");
            marks::with_stream_timed_out(name, || stream.set(None));
            return Poll::Ready(());
        }
    })
    .await;
}

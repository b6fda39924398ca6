//! The task of one stream, on HTTP/2 and HTTP/3.
//!
//! It runs the service and then sends the response body. On HTTP/2, hyper gives each stream a future that runs the
//! service and then moves its response body into h2. A client can block such a future in two ways: it does not send the
//! request body, or it does not open its window. hyper waits without limit in both cases, and so does the HTTP/3 layer;
//! this module ends the waits.

use roadrunner_values::Timeouts;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::alarm::Alarm;
use crate::marks::{self, Waits, earliest};
use crate::{Stats, TimeoutName};

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
        tokio::spawn(async move { run(stream, Writes::AreGuessed, &timeouts, &stats).await });
    }
}

/// How this task knows whether the client takes the bytes to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// HTTP/2: from the requests for pieces of the response body; see [`Waits::note_window`].
    AreGuessed,
    /// HTTP/3: the stream reports it, and may find at a poll that the client has moved without waking it.
    AreTold,
}

pub(crate) async fn run(stream: impl Future<Output = ()>, writes: Writes, timeouts: &Timeouts, stats: &Stats) {
    let mut stream = pin!(Some(stream));
    let mut waits = Waits::default();
    let mut alarm = Alarm::default();
    let mut asked = false;
    let mut body = None;
    poll_fn(|cx| {
        loop {
            let Some(running) = stream.as_mut().as_pin_mut() else {
                return Poll::Ready(());
            };
            if waits.during(|| running.poll(cx)).is_ready() {
                return Poll::Ready(());
            }
            body = waits.take_body_waker().or(body.take());
            if writes == Writes::AreGuessed {
                waits.note_window();
            }
            let Some((deadline, name)) = earliest(waits.total(), waits.deadline(timeouts)) else {
                return Poll::Pending;
            };
            if !alarm.has_passed(cx, deadline) {
                asked = false;
                return Poll::Pending;
            }
            if writes == Writes::AreTold && name == TimeoutName::WriteStall && !std::mem::replace(&mut asked, true) {
                continue;
            }
            // The service is told of a body that is too slow, and may still answer. If the service does not look at its
            // body again, or if the answer itself is stalled, the stream is reset.
            let is_body = matches!(name, TimeoutName::BodyIdle | TimeoutName::BodyMinRate);
            if is_body && waits.passed().is_none() {
                stats.count_timeout(name);
                waits.pass(name, body.take());
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

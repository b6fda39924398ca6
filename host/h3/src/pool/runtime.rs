//! The runtime of the endpoints: tokio's, in which the tasks of quinn let others go first.
//!
//! Each response wakes the task that sends the datagrams of its connection. If that task ran at once, each response would
//! leave in a datagram and a system call of its own. One turn later, the responses of all streams that were ready are
//! there, and leave together.

use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

/// Tokio's runtime, with tasks that are polled one turn after they were woken.
#[derive(Debug)]
pub(super) struct Patient;

impl Runtime for Patient {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(Box::pin(NextTurn { future, waited: false }));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }
}

struct NextTurn {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    waited: bool,
}

impl Future for NextTurn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.waited = !self.waited;
        if self.waited {
            // A task that wakes itself goes to the end of the queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.future.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn others_that_are_ready_go_first() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let (finished, wait) = tokio::sync::oneshot::channel();
        let note = |name: &'static str| {
            let order = Arc::clone(&order);
            move || order.lock().expect("no holder panics").push(name)
        };
        let (first, second) = (note("quinn"), note("a stream"));
        Patient.spawn(Box::pin(async move {
            first();
            let _ = finished.send(());
        }));
        tokio::spawn(async move { second() });
        wait.await.expect("it ends");
        assert_eq!(*order.lock().expect("no holder panics"), ["a stream", "quinn"]);
    }
}

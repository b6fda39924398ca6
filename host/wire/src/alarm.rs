//! One timer per task, moved only when it has to be.
//!
//! The deadlines of a busy task move further away with every request. An alarm that is set earlier than the deadline
//! stays as it is; when it goes off too early it is set again. A connection therefore touches the timer wheel about
//! once per timeout and not once per request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// An alarm that always wakes the same task.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the alarm goes off; `None` if it must be set first.
    at: Option<Instant>,
}

impl Alarm {
    /// Whether the deadline has passed. If not, the task is woken at the deadline or somewhat earlier.
    pub fn has_passed(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        if let (Some(at), Some(sleep)) = (self.at, &self.sleep)
            && at <= deadline
            && !sleep.is_elapsed()
        {
            return false;
        }
        if Instant::now() >= deadline {
            self.at = None;
            return true;
        }
        self.set(cx, deadline);
        false
    }

    fn set(&mut self, cx: &mut Context<'_>, deadline: Instant) {
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(deadline.into());
                sleep
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(deadline.into()))),
        };
        // Without cooperative budget the poll would wake the task at once and register nothing.
        let registers = tokio::task::coop::has_budget_remaining();
        match sleep.as_mut().poll(cx) {
            Poll::Pending if registers => self.at = Some(deadline),
            Poll::Pending => self.at = None,
            Poll::Ready(()) => {
                self.at = None;
                cx.waker().wake_by_ref();
            }
        }
    }
}

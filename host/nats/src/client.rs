//! What the rest of a program holds of the connection: calls that change the shared state and never wait.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::{Request, RequestErrorKind};
use bytes::Bytes;
use tokio::time::Instant;

use crate::credentials::InvalidCredentials;
use crate::driver::Driver;
use crate::outgoing::Outgoing;
use crate::settings::{Handler, Settings};
use crate::shared::{Counters, Shared};

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Too much waits for the server already.
    #[error("too many messages wait for the server")]
    QueueFull,
    /// The payload is larger than this.
    #[error("the payload is larger than {0} bytes")]
    TooLarge(usize),
}

/// The program's end of the connection. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

impl Client {
    /// The two ends. Nothing happens before the driver runs.
    ///
    /// # Errors
    /// The credentials are none.
    pub fn new(settings: Settings, handler: Arc<dyn Handler>) -> Result<(Self, Driver), InvalidCredentials> {
        settings.credentials.apply(async_nats::ConnectOptions::new())?;
        let shared = Arc::new(Shared::new(settings));
        Ok((Self(shared.clone()), Driver::new(shared, handler)))
    }

    /// Sends a message, at most once. The account is who fills the queue with it. Whether there is a connection: without
    /// one, the message is dropped and counted.
    ///
    /// The subject and the label have to be valid, the label a line of ASCII; both come from this program and not from a
    /// guest.
    pub fn publish(
        &self,
        account: &Arc<str>,
        subject: &Arc<str>,
        label: String,
        payload: Bytes,
    ) -> Result<bool, PublishError> {
        let shared = &self.0;
        let mut state = shared.state.lock();
        let of_server = state.link.as_ref().map_or(usize::MAX, |link| link.client.max_payload());
        let max = shared.settings.max_payload.min(of_server.saturating_sub(shared.header_length(&label)));
        if payload.len() > max {
            return Err(PublishError::TooLarge(max));
        }
        if state.link.is_none() {
            shared.counters.dropped_disconnected.fetch_add(1, Relaxed);
            return Ok(false);
        }
        let message = Outgoing { account: account.clone(), subject: subject.clone(), label, payload };
        if !state.queue.push(message) {
            shared.counters.dropped_queue.fetch_add(1, Relaxed);
            return Err(PublishError::QueueFull);
        }
        drop(state);
        shared.wake.notify_one();
        Ok(true)
    }

    /// Wants the messages of a subject, also from the next connections. Wanting it twice is the same as once.
    pub fn subscribe(&self, subject: &Arc<str>) {
        let mut state = self.0.state.lock();
        if !state.subscriptions.contains_key(subject) {
            let number = state.next_subscription;
            state.next_subscription += 1;
            state.subscriptions.insert(subject.clone(), number);
            state.change(subject);
            drop(state);
            self.0.wake.notify_one();
        }
    }

    /// Wants no more messages of a subject.
    pub fn unsubscribe(&self, subject: &Arc<str>) {
        let mut state = self.0.state.lock();
        if state.subscriptions.remove(subject).is_some() {
            state.change(subject);
            drop(state);
            self.0.wake.notify_one();
        }
    }

    /// Waits until the server has all that was published, but not for longer than this. Whether it has.
    pub async fn flush(&self, limit: Duration) -> bool {
        /// How often is looked.
        const LOOK: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + limit;
        let client = loop {
            {
                let state = self.0.state.lock();
                let Some(link) = &state.link else { return false };
                if state.queue.is_empty() && !link.is_writing {
                    break link.client.clone();
                }
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        };
        // A question that nobody can answer. The server says so, or that it may not be asked, when it has come to it.
        let question = Request::new().timeout(Some(limit));
        let refused = self.0.refused.notified();
        let answered = async {
            tokio::select! {
                answer = client.send_request(client.new_inbox(), question) => match answer {
                    Ok(_) => true,
                    Err(error) => error.kind() == RequestErrorKind::NoResponders,
                },
                () = refused => true,
            }
        };
        tokio::time::timeout_at(deadline, answered).await.unwrap_or(false)
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.0.state.lock().link.is_some()
    }

    /// Bytes that wait to be sent.
    pub fn queued_bytes(&self) -> usize {
        self.0.state.lock().queue.bytes()
    }

    /// Counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

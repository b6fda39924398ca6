//! The accept loop of one endpoint, and how it is told to stop.

use std::sync::Arc;

use quinn::{Endpoint, Incoming};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{
    config::{Config, RetryPolicy},
    connection::serve_connection,
    service::Service,
};

/// Accepts connections and serves them, until the signal says to drain and the last connection is gone, or the endpoint
/// is closed.
///
/// Handshakes run in tasks of their own, so none delays another. Dropping the future drops every connection.
pub async fn serve<S: Service>(endpoint: Endpoint, service: Arc<S>, config: Arc<Config>, mut signal: DrainSignal) {
    let mut connections = JoinSet::new();
    let mut command = signal.command();
    while command == Command::Serve || !connections.is_empty() {
        tokio::select! {
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                if command != Command::Serve || connections.len() >= config.max_connections {
                    incoming.refuse();
                } else if let Some(incoming) = validated(incoming, config.retry, connections.len()) {
                    connections.spawn(accept(incoming, Arc::clone(&service), Arc::clone(&config), signal.clone()));
                }
            }
            Some(done) = connections.join_next() => {
                if let Err(error) = done && error.is_panic() {
                    tracing::error!("the driver of an HTTP/3 connection panicked");
                }
            }
            next = signal.changed() => command = next,
        }
    }
    // Closes are still on their way, and are sent again until they have had their time.
    endpoint.wait_idle().await;
}

async fn accept<S: Service>(incoming: Incoming, service: Arc<S>, config: Arc<Config>, signal: DrainSignal) {
    let remote = incoming.remote_address();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return tracing::debug!(%remote, %error, "handshake failed"),
    };
    match timeout(config.handshake_timeout, connecting).await {
        Ok(Ok(connection)) => {
            if let Err(fault) = serve_connection(connection, service, config, signal).await {
                tracing::debug!(%remote, %fault, "connection closed");
            }
        }
        Ok(Err(error)) => tracing::debug!(%remote, %error, "handshake failed"),
        Err(_) => tracing::debug!(%remote, "handshake timed out"),
    }
}

/// The client again, unless it was sent a Retry (RFC 9000 section 8.1.2).
fn validated(incoming: Incoming, policy: RetryPolicy, connections: usize) -> Option<Incoming> {
    let wanted = match policy {
        RetryPolicy::Above(threshold) => connections >= threshold,
        RetryPolicy::Always => true,
        RetryPolicy::Never => false,
    };
    if !wanted || incoming.remote_address_validated() || !incoming.may_retry() {
        return Some(incoming);
    }
    // It fails for a client that has come back from one, which may_retry has ruled out.
    let _ = incoming.retry();
    None
}

/// Tells servers to stop. Dropping it leaves them serving.
#[derive(Clone, Debug)]
pub struct DrainTrigger(Arc<watch::Sender<Command>>);

/// What servers listen to.
#[derive(Clone, Debug)]
pub struct DrainSignal(watch::Receiver<Command>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Close now.
    Cut,
    /// Finish what has begun.
    Drain,
    Serve,
}

impl DrainTrigger {
    /// A trigger and its signal.
    pub fn new() -> (DrainTrigger, DrainSignal) {
        let (sender, receiver) = watch::channel(Command::Serve);
        (DrainTrigger(Arc::new(sender)), DrainSignal(receiver))
    }

    /// Refuses new connections and requests; what has begun is finished.
    pub fn drain(&self) {
        self.0.send_if_modified(|command| {
            let serving = *command == Command::Serve;
            if serving {
                *command = Command::Drain;
            }
            serving
        });
    }

    /// Closes every connection, whatever is going on there.
    pub fn cut(&self) {
        self.0.send_replace(Command::Cut);
    }
}

impl DrainSignal {
    pub(crate) fn command(&mut self) -> Command {
        *self.0.borrow_and_update()
    }

    /// The next command. May be cancelled.
    pub(crate) async fn changed(&mut self) -> Command {
        match self.0.changed().await {
            Ok(()) => self.command(),
            // Nobody is left to say anything.
            Err(_) => std::future::pending().await,
        }
    }
}

//! The accept loops of a pool of endpoints, and the signal that stops them.

use std::sync::Arc;

use quinn::{Endpoint, Incoming};
use roadrunner_values::TransportSettings;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection::serve_connection;
use crate::handshake::establish;
use crate::pool::Pool;
use crate::service::Service;

/// Accepts connections and serves them, until the signal says to drain and the last connection is gone, or the
/// endpoints are closed.
///
/// Handshakes run in separate tasks, so none delays another. Dropping the future drops every connection.
pub async fn serve<S: Service>(
    pool: impl Into<Pool>,
    service: Arc<S>,
    config: Arc<TransportSettings>,
    signal: DrainSignal,
) {
    let pool = pool.into();
    let connections = Arc::new(watch::Sender::new(0));
    let mut members = JoinSet::new();
    for endpoint in pool.endpoints() {
        let member = Member {
            endpoint: endpoint.clone(),
            pool: pool.clone(),
            service: Arc::clone(&service),
            config: Arc::clone(&config),
            connections: Arc::clone(&connections),
        };
        members.spawn(member.serve(signal.clone()));
    }
    while members.join_next().await.is_some() {}
    // Close frames are still in transit, and are repeated until they have had their time.
    pool.wait_idle().await;
}

/// The accept loop of one endpoint.
struct Member<S> {
    endpoint: Endpoint,
    pool: Pool,
    service: Arc<S>,
    config: Arc<TransportSettings>,
    /// The number of connections of all members.
    connections: Arc<watch::Sender<usize>>,
}

impl<S: Service> Member<S> {
    async fn serve(self, mut signal: DrainSignal) {
        let mut tasks = JoinSet::new();
        let mut command = signal.command();
        let mut count = self.connections.subscribe();
        // A member without connections keeps turning clients away while other members have connections.
        while command == Command::Serve || *count.borrow_and_update() > 0 {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { break };
                    let connections = *self.connections.borrow();
                    let retry_above = self.config.http3.retry_above;
                    if command != Command::Serve || connections >= self.config.caps.connections {
                        incoming.refuse();
                    } else if let Some(incoming) = self.pool.validated(incoming, retry_above, connections) {
                        let slot = Slot::take(&self.connections);
                        let (service, config) = (Arc::clone(&self.service), Arc::clone(&self.config));
                        tasks.spawn(accept(incoming, service, config, signal.clone(), slot));
                    }
                }
                Some(done) = tasks.join_next() => {
                    if let Err(error) = done && error.is_panic() {
                        tracing::error!("the driver of an HTTP/3 connection panicked");
                    }
                }
                next = signal.changed() => command = next,
                _ = count.changed(), if command != Command::Serve => {}
            }
        }
    }
}

/// One of the open connections.
struct Slot(Arc<watch::Sender<usize>>);

impl Slot {
    fn take(connections: &Arc<watch::Sender<usize>>) -> Slot {
        connections.send_modify(|count| *count += 1);
        Slot(Arc::clone(connections))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

async fn accept<S: Service>(
    incoming: Incoming,
    service: Arc<S>,
    config: Arc<TransportSettings>,
    signal: DrainSignal,
    _slot: Slot,
) {
    let remote = incoming.remote_address();
    let connection = match establish(incoming, &config).await {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%remote, %error, "no connection"),
    };
    if let Err(fault) = serve_connection(connection, service, config, signal).await {
        tracing::debug!(%remote, %fault, "connection closed");
    }
}

/// Tells servers to stop. Dropping it leaves them serving.
#[derive(Clone, Debug)]
pub struct DrainTrigger(Arc<watch::Sender<Command>>);

/// The signal that servers listen to.
#[derive(Clone, Debug)]
pub struct DrainSignal(watch::Receiver<Command>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Close now.
    Cut,
    /// Finish the exchanges in progress.
    Drain,
    Serve,
}

impl DrainTrigger {
    /// Makes a trigger and its signal.
    pub fn new() -> (DrainTrigger, DrainSignal) {
        let (sender, receiver) = watch::channel(Command::Serve);
        (DrainTrigger(Arc::new(sender)), DrainSignal(receiver))
    }

    /// Refuses new connections and requests; those in progress are finished.
    pub fn drain(&self) {
        self.0.send_if_modified(|command| {
            let serving = *command == Command::Serve;
            if serving {
                *command = Command::Drain;
            }
            serving
        });
    }

    /// Closes every connection, whatever its state.
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
            // No trigger is left to send a command.
            Err(_) => std::future::pending().await,
        }
    }
}

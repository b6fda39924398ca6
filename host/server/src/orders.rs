//! Orders to change the state that serves: from signals, from the admin listener, from watched files. One task carries
//! them out, one at a time.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

use crate::deploy::switch::Switch;

/// The maximum number of waiting orders; more of them would have no further effect.
const WAITING: usize = 16;

/// A handle that orders changes. Cheap to clone.
#[derive(Clone)]
pub struct Orders(mpsc::Sender<Order>);

/// An order, and the channel for its result.
pub(crate) enum Order {
    Reload(Option<Reply<Reloaded>>),
    /// Moves every component to the engine that new instances now run on.
    Relink(Reply<()>),
    /// Switches one component, and leaves everything else.
    Switch(Box<Switch>, Reply<()>),
}

/// The channel for the result of an order.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, OrderError>>;

/// The reason why an order changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// The new state cannot be had.
    #[error("{0:#}")]
    Refused(#[from] anyhow::Error),
    #[error("the host is shutting down")]
    ShuttingDown,
}

/// A manifest that was loaded again.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// The settings that only a start can change, by their place in the manifest.
    pub(crate) unchanged: Vec<&'static str>,
}

impl Reloaded {
    /// A warning for each setting that stayed as it was.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.unchanged.iter().map(|key| format!("{key} cannot change without a restart, and stays as it was"))
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reloaded")?;
        self.warnings().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

/// Creates a queue of orders, and the handle that fills it.
pub(crate) fn queue() -> (Orders, mpsc::Receiver<Order>) {
    let (sender, orders) = mpsc::channel(WAITING);
    (Orders(sender), orders)
}

impl Orders {
    /// Orders a reload; the log reports its result.
    pub(crate) fn reload_later(&self) {
        // A full queue means that there will be a reload anyway.
        let _ = self.0.try_send(Order::Reload(None));
    }

    /// Reloads the manifest.
    pub(crate) async fn reload(&self) -> Result<Reloaded, OrderError> {
        self.carried_out(|reply| Order::Reload(Some(reply))).await
    }

    /// Moves every component to the engine that new instances now run on.
    pub(crate) async fn relink(&self) -> Result<(), OrderError> {
        self.carried_out(Order::Relink).await
    }

    /// Switches one component, in the order of all changes.
    pub(crate) async fn switch(&self, switch: Switch) -> Result<(), OrderError> {
        self.carried_out(|reply| Order::Switch(Box::new(switch), reply)).await
    }

    async fn carried_out<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, OrderError> {
        let (reply, result) = oneshot::channel();
        self.0.send(order(reply)).await.map_err(|_| OrderError::ShuttingDown)?;
        result.await.map_err(|_| OrderError::ShuttingDown)?
    }
}

//! Checks every second whether swap was turned on, and moves all components to engines that are safe with swap.
//!
//! Until all have moved, no component gets a new instance: the answer is 503.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::orders::Orders;

/// The interval of the checks.
const EVERY: Duration = Duration::from_secs(1);

/// Ends when all components have moved, or with the host.
pub(crate) async fn watch(app: App, orders: Orders) {
    let sandbox = app.current().host.sandbox.clone();
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        match sandbox.look_for_swap() {
            Ok(false) => continue,
            Ok(true) => tracing::warn!(
                "swap was turned on, so that a slot may keep what its last instance wrote: from now on every instance \
                 maps memory of its own, which is slower, until the next start"
            ),
            Err(error) => {
                tracing::error!("swap was turned on, and there are no new instances: {error:#}; start the host again");
                continue;
            }
        }
        match orders.relink().await {
            Ok(()) => return,
            Err(error) => tracing::error!("swap was turned on, and there are no new instances: {error}"),
        }
    }
}

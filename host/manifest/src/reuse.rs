//! How long instances are kept for further requests.

use std::time::Duration;

use crate::component::ComponentSection;
use crate::decode::section;
use crate::resolve::value;
use crate::scalar::units::HOUR;
use crate::scalar::{Count, Time};

/// How long an instance is kept for further requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// Requests that it answers at most.
    pub requests: u32,
    /// Requests that it answers at once.
    pub concurrency: u32,
    /// How long it may wait for its next request.
    pub idle: Duration,
}

section! {
    /// How long an instance of a component is kept for further requests, on the route that it was started for. Only one
    /// that answered in full is kept; of a native component, with a buffered response.
    pub(crate) struct ReuseSection {
        /// Requests that one instance answers at most.
        requests: Count<2, 1_000_000> [required];
        /// Requests that one instance answers at once. More than one is for components of `wasi:http/service` 0.3 alone.
        /// Such an instance has one `memory` limit for all of them, and a fault ends them together.
        concurrency: Count<1, 10_000> = "1";
        /// How long it may wait for its next request.
        idle: Time<1, { HOUR }> = "\"1s\"";
    }
}

/// Whether and how long instances of a component are kept.
pub(crate) fn reuse(component: &ComponentSection) -> Option<Reuse> {
    let section = value(&component.reuse)?;
    Some(Reuse {
        requests: value(&section.requests)?.get(),
        concurrency: section.concurrency().get(),
        idle: section.idle().get(),
    })
}

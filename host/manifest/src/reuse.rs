//! The reuse of instances.

use std::time::Duration;

use crate::decode::Field;
use crate::resolver::value;
use crate::scalar::units::HOUR;
use crate::scalar::{Count, Time};
use crate::section::section;

/// The reuse of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// The largest number of requests that it answers.
    pub requests: u32,
    /// The largest number of requests that it answers at once.
    pub concurrency: u32,
    /// The longest wait for its next request.
    pub idle: Duration,
}

section! {
    /// The reuse of a component's instances for further requests, on the route that they were started for. An instance
    /// is kept after a complete answer only; for a native component, after a buffered response.
    #[title = "`reuse` of a component"]
    pub(crate) struct ReuseSection {
        /// The largest number of requests that one instance answers.
        requests: Count<2, 1_000_000> [required];
        /// The largest number of requests that one instance answers at once. More than one is allowed for components of
        /// `wasi:http/service` 0.3 only. Such an instance has one `memory` limit for all of them, and a fault ends them
        /// together.
        concurrency: Count<1, 10_000> = "1";
        /// The longest wait for the next request.
        idle: Time<1, { HOUR }> = "\"1s\"";
    }
}

/// The reuse of a component's instances; `None` for none.
pub(crate) fn reuse(section: &Field<ReuseSection>) -> Option<Reuse> {
    let section = value(section)?;
    Some(Reuse {
        requests: value(&section.requests)?.get(),
        concurrency: section.concurrency().get(),
        idle: section.idle().get(),
    })
}

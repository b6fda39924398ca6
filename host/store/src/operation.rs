//! An operation under way: it has a place among those of its bucket, and a bill.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::bill::Bill;

/// A place among the operations of a bucket, and the bill for its operation.
pub(crate) struct Place {
    bill: Option<Bill>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    pub(crate) fn new(bill: Option<Bill>, permit: OwnedSemaphorePermit) -> Self {
        Self { bill, _permit: permit }
    }

    /// Charges the CPU time that the operation has used.
    pub(crate) fn charge(&self, used: Duration) {
        if let Some(bill) = &self.bill {
            bill.charge(used);
        }
    }
}

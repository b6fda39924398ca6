//! The end of an instance: one enum, and one table from it to the statuses of HTTP and gRPC, log field and metric label.
//!
//! Every shape, every protocol and every counter goes through [`Outcome`]; nothing else in the host decides how a limit
//! or a fault looks from outside.

use std::fmt;

use roadrunner_grpc::Code;
use roadrunner_log::{escaped, shortened};

/// The most bytes of a detail.
const MAX_DETAIL: usize = 1 << 10;

/// The way in which the life of an instance ended.
///
/// The discriminants index [`Outcome::ALL`] and the counters of the host.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Outcome {
    /// The guest answered in full.
    Ok,
    /// The request body was longer than the route's `body` limit, or than the memory that was left to read it.
    BodyTooLarge,
    /// The host held too many bytes for requests already, in total or for this tenant or client.
    BuffersExceeded,
    /// The client left before the answer was whole, or sent its request too slowly; the instance was dropped.
    Cancelled,
    /// The guest used up its CPU time.
    CpuExceeded,
    /// The guest did not answer within the wall-clock deadline.
    DeadlineExceeded,
    /// The guest reported an error in the middle of a stream.
    GuestError,
    /// The guest held more handles, timers or subscriptions than allowed.
    HandlesExceeded,
    /// The client asked for a WebSocket or a WebTransport session where there is none, or made a plain request where
    /// there is one.
    HandshakeMismatch,
    /// Too many sessions of this component are held already.
    HeldExceeded,
    /// One call from the guest to the host carried too many bytes.
    HostCallExceeded,
    /// A held session saw no event for longer than its idle limit.
    IdleExceeded,
    /// The guest's answer is not valid HTTP.
    InvalidResponse,
    /// An operator ended the instance.
    Killed,
    /// The bytes that came as the request body are not a valid body.
    Malformed,
    /// The guest needed more memory than allowed.
    MemoryExceeded,
    /// No instance became free in time.
    Overloaded,
    /// The peer made more requests than it may.
    RateLimited,
    /// The tenant's CPU time of this second is used up, and no more came in time.
    TenantCpuExceeded,
    /// The instances of the tenant needed more memory together than allowed.
    TenantMemoryExceeded,
    /// The tenant received more requests than it may have in a second.
    TenantRateLimited,
    /// The request took longer in total than allowed.
    TotalExceeded,
    /// The guest trapped, aborted or exited.
    Trapped,
    /// The guest answered with a shape that the component or the connection does not support.
    Unsupported,
}

/// The appearance of an [`Outcome`] from outside.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The status that answers the request when no head was sent yet.
    pub status: u16,
    /// The code that answers a call of gRPC, before and after the head.
    pub grpc: Code,
    /// The value of the `outcome` field in logs and of the `outcome` label in metrics.
    pub label: &'static str,
    /// The text that the client sees as the body of the answer.
    pub message: &'static str,
}

impl Outcome {
    /// Every outcome, in the order of its discriminant.
    pub const ALL: [Self; 24] = [
        Self::Ok,
        Self::BodyTooLarge,
        Self::BuffersExceeded,
        Self::Cancelled,
        Self::CpuExceeded,
        Self::DeadlineExceeded,
        Self::GuestError,
        Self::HandlesExceeded,
        Self::HandshakeMismatch,
        Self::HeldExceeded,
        Self::HostCallExceeded,
        Self::IdleExceeded,
        Self::InvalidResponse,
        Self::Killed,
        Self::Malformed,
        Self::MemoryExceeded,
        Self::Overloaded,
        Self::RateLimited,
        Self::TenantCpuExceeded,
        Self::TenantMemoryExceeded,
        Self::TenantRateLimited,
        Self::TotalExceeded,
        Self::Trapped,
        Self::Unsupported,
    ];

    /// The outcome's row of the one table.
    pub const fn row(self) -> Row {
        let (status, grpc, label, message) = match self {
            Self::Ok => (200, Code::Ok, "ok", ""),
            Self::BodyTooLarge => (413, Code::ResourceExhausted, "body-too-large", "the request body is too large"),
            Self::BuffersExceeded => (503, Code::Unavailable, "buffers-exceeded", "no room is free"),
            Self::Cancelled => (499, Code::Cancelled, "cancelled", "the client left"),
            Self::CpuExceeded => (503, Code::ResourceExhausted, "cpu-exceeded", "the handler used up its CPU time"),
            Self::DeadlineExceeded => {
                (504, Code::DeadlineExceeded, "deadline-exceeded", "the handler did not answer in time")
            }
            Self::GuestError => (500, Code::Internal, "guest-error", "the handler failed"),
            Self::HandlesExceeded => {
                (500, Code::ResourceExhausted, "handles-exceeded", "the handler held too many handles")
            }
            Self::HandshakeMismatch => {
                (400, Code::Unimplemented, "handshake-mismatch", "the request does not ask for what is here")
            }
            Self::HeldExceeded => (503, Code::Unavailable, "held-exceeded", "too many sessions are open"),
            Self::HostCallExceeded => {
                (500, Code::ResourceExhausted, "host-call-exceeded", "the handler sent too much at once")
            }
            Self::IdleExceeded => (504, Code::DeadlineExceeded, "idle-exceeded", "the session was idle for too long"),
            Self::InvalidResponse => (500, Code::Internal, "invalid-response", "the handler's answer was not valid"),
            Self::Killed => (503, Code::Unavailable, "killed", "the handler was stopped"),
            Self::Malformed => (400, Code::Internal, "malformed", "the request body is malformed"),
            Self::MemoryExceeded => (503, Code::ResourceExhausted, "memory-exceeded", "the handler used up its memory"),
            Self::Overloaded => (503, Code::Unavailable, "overloaded", "no capacity is free"),
            Self::RateLimited => (429, Code::ResourceExhausted, "rate-limited", "too many requests from this address"),
            Self::TenantCpuExceeded => {
                (503, Code::Unavailable, "tenant-cpu-exceeded", "this site used up its CPU time")
            }
            Self::TenantMemoryExceeded => {
                (503, Code::Unavailable, "tenant-memory-exceeded", "this site used up its memory")
            }
            Self::TenantRateLimited => {
                (429, Code::ResourceExhausted, "tenant-rate-limited", "too many requests to this site")
            }
            Self::TotalExceeded => (504, Code::DeadlineExceeded, "total-exceeded", "the request took too long"),
            Self::Trapped => (500, Code::Internal, "trapped", "the handler failed"),
            Self::Unsupported => {
                (501, Code::Unimplemented, "unsupported", "the handler's answer is not supported here")
            }
        };
        Row { status, grpc, label, message }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().label)
    }
}

/// An outcome other than [`Outcome::Ok`], with the known facts about its cause.
///
/// The detail is for the log; it is never sent to a client.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The outcome that is reported to the outside.
    pub outcome: Outcome,
    /// The detail for the operator; empty when the outcome says it all.
    pub detail: String,
}

impl Failure {
    /// Creates a failure with a detail, which is kept short and on one line. Text in it that comes from a guest has to
    /// be [`roadrunner_log::Quoted`].
    pub fn new(outcome: Outcome, detail: impl fmt::Display) -> Self {
        Self { outcome, detail: escaped(&shortened(detail, MAX_DETAIL), MAX_DETAIL) }
    }
}

impl From<Outcome> for Failure {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, detail: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.outcome.row().label)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_discriminants() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index, "{outcome}");
        }
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::BTreeSet<_> = Outcome::ALL.iter().map(|o| o.row().label).collect();
        assert_eq!(labels.len(), Outcome::ALL.len());
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let page = include_str!("../../../docs/limits.md");
        for outcome in Outcome::ALL {
            let row = outcome.row();
            let status = if outcome == Outcome::Ok { "the guest's".to_owned() } else { row.status.to_string() };
            let grpc = if outcome == Outcome::Ok { "the guest's".to_owned() } else { row.grpc.to_string() };
            let cells = format!("| `{}` | {status} | {grpc} |", row.label);
            assert!(page.contains(&cells), "docs/limits.md has no row {cells}");
        }
    }
}

//! Accounts of requests, tenants and the host: who uses how much, who may use more, and how a request ended.
//!
//! | module | subject |
//! |---|---|
//! | [`Meter`] | one request: CPU time, memory, log text, its kill switch |
//! | [`Tenant`] | the quotas of one tenant: levels, flows and stocks |
//! | [`Gate`] | places for instances and sessions, and the queue in front of them |
//! | [`Charge`], [`Buffers`] | bytes that the host holds for requests |
//! | [`Turns`], [`Payer`] | the order of work that takes long, and its payer |
//! | [`Instances`] | the live instances, to list and to kill |
//! | [`Outcome`] | the end of a request, in one table |
//!
//! This crate knows no engine, no protocol and no manifest.

#![forbid(unsafe_code)]

mod charge;
mod clock;
mod digest;
mod gate;
mod instances;
mod log;
mod meter;
mod outcome;
mod tenant;
mod turns;
mod work;

pub use charge::{Account, Buffers, Charge, Covering, Gathered, Holder, charge, cover};
pub use clock::{Span, TICK};
pub use digest::{Digest, Digester, NotADigest};
pub use gate::{Gate, GateSettings, Gates, Permit};
pub use instances::{Instances, Registration};
pub use log::{Level as LogLevel, admits, write};
pub use meter::{Meter, Peer, RequestId, Shape, Subject};
pub use outcome::{Failure, Outcome, Row};
pub use tenant::{Flow, Level, Stock, Tenant};
pub use turns::{Turn, Turns};
pub use work::{Accounts, Listed, PIECE, Pause, Payer, Worked};

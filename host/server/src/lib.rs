//! The program: turns a manifest into a running host.
//!
//! Data flows one way: listener -> connection -> exchange -> router -> middleware -> admission -> instance -> shape ->
//! exchange -> wire. Admission comes after the router, since it applies the caps of a route and its component.
//! `roadrunner-wire` is both ends of the flow, `roadrunner-sandbox` the middle; this crate joins them and adds the
//! operator's interface: the manifest, the command line, logs, metrics and the admin listener.

mod access;
mod access_log;
mod accounts;
pub mod admin;
mod answer;
mod app;
mod bind;
mod body;
pub mod boot;
mod buffers;
mod capability;
mod child;
pub mod cli;
mod client;
mod context;
mod counters;
pub mod deploy;
mod drain;
mod grpc;
mod inherited;
mod ledger;
mod load;
mod machine;
mod memory;
mod metrics;
mod middleware;
mod orders;
mod places;
mod rate_limit;
mod record;
pub mod reload;
pub mod serve;
mod serving;
mod shapes;
mod source;
mod swap;
mod token;
pub mod transport;

pub use app::App;

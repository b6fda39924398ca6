//! The program: turns a manifest into a running host.
//!
//! Data flows one way: listener -> connection -> exchange -> router -> middleware -> admission -> instance -> shape ->
//! exchange -> wire. Admission comes after the router, since it applies the caps of a route and its component.
//! `roadrunner-wire` is both ends of the flow, `roadrunner-sandbox` the middle; this crate joins them and adds the
//! operator's interface: the manifest, the command line, logs, metrics and the admin listener.

mod access;
mod access_log;
pub mod admin;
mod app;
mod body;
pub mod boot;
mod broker;
mod buffers;
pub mod cli;
mod client;
pub mod deploy;
mod drain;
mod inherited;
mod ledger;
mod load;
mod machine;
mod metrics;
mod middleware;
mod outbound;
mod places;
mod rate_limit;
mod record;
pub mod reload;
mod secrets;
pub mod serve;
mod shapes;
mod source;
mod stores;
mod swap;
mod token;
pub mod transport;
mod wasi;

pub use app::App;

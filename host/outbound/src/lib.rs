//! Sends requests of guests to granted destinations, and nowhere else.
//!
//! A request passes two checks. The name check: its origin (scheme, host, port) has to match a [`Grant`]. The address
//! check: of the addresses that the host resolves to, those that are not public are dropped, unless the grant names the
//! address itself or allows private ones. The connection goes to a checked address, so a name that resolves differently
//! a moment later changes nothing. [`roadrunner_names`] resolves names and races addresses.
//!
//! Each request has its own connection, over HTTP/1.1, and counts against the cap of its [`Client`] until the
//! connection is closed. Redirects are not followed: the guest gets them, and its next request is checked again.
//!
//! Knows neither components nor the manifest. Not covered: HTTP/2, proxies, connection reuse, client certificates.

#![forbid(unsafe_code)]

mod address;
mod body;
mod client;
mod error;
mod grant;

pub use address::is_public;
pub use body::ResponseBody;
pub use client::{Client, Driver, READ_BUFFER, Settings, Timeouts};
pub use error::Error;
pub use grant::{Grant, Host};

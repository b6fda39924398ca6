//! Requests of guests go out to the destinations that were granted, and nowhere else.
//!
//! A request passes two checks. Its origin (scheme, host, port) has to match a [`Grant`]: the name check. Then the
//! addresses that the host resolves to are looked at, and those that are not public are left out, unless the grant names
//! the address itself or private ones are allowed: the address check. The connection is made to an address that was
//! checked, so that a name which resolves to something else a moment later changes nothing. Names are resolved, and
//! addresses raced, by [`roadrunner_names`].
//!
//! Each request has a connection of its own, over HTTP/1.1, and counts against the cap of its [`Client`] until the
//! connection is closed. Redirects are not followed: the guest gets them, and what it asks for next is checked again.
//!
//! Knows neither components nor the manifest. Does not do: HTTP/2, proxies, connection reuse, client certificates.

mod address;
mod body;
mod client;
mod grant;

pub use address::is_public;
pub use body::ResponseBody;
pub use client::{Client, Driver, Error, READ_BUFFER, Settings, Timeouts};
pub use grant::{Grant, Host};
